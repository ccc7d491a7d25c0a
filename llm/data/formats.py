"""What a user's own file of prompts may look like; an item of a task and a sample have their prompt in the same ways."""

from pathlib import Path
from typing import get_args

from ..errors import UserError
from ..files import read_lines, read_text, text_of
from .records import Prompt, Role, Turn

FORMS = (
    '{"prompt": "text"}, {"prompt": [{"role": "user", "content": "text"}]}, {"messages": [{"role": "user", ...}]} or '
    '{"instruction": "text", "input": "more"}'
)
MESSAGES = '[{"role": "user", "content": "text"}]'


def read_prompts(path: Path, option: str = "prompts") -> list[Prompt]:
    """The prompt of each line of a JSONL file, or each line of a .txt file that is not blank. Raises UserError naming the option that
    gave the file, file and line.
    """
    if path.suffix == ".txt" and path.is_file():
        found: list[Prompt] = [
            line.removesuffix("\r") for line in read_text(path).removeprefix("\ufeff").split("\n") if line.strip()
        ]
        if not found:
            raise UserError(f"--{option} {path} holds no lines; allowed is a prompt a line.")
        return found
    return [prompt_of(row, where) for where, row in read_lines(path, option, FORMS)]


def prompt_of(row: dict, where: str) -> Prompt:
    """The prompt of a row in one of `FORMS`: a text, or turns up to the last that is not the assistant's.

    where: "file, line n". Raises UserError for a row in none of the forms.
    """
    if isinstance(row.get("prompt"), list):
        return _asked(turns_from(row["prompt"], "prompt", where), "prompt", where)
    if "prompt" in row:
        return text_of(row, "prompt", where)
    if "messages" in row:
        return _asked(turns_from(row["messages"], "messages", where), "messages", where)
    if "instruction" in row:
        more = text_of(row, "input", where) if row.get("input") else ""
        return text_of(row, "instruction", where) + (f"\n\n{more}" if more else "")
    keys = ", ".join(map(repr, row)) or "nothing"
    raise UserError(f"{where} has {keys:.80} and no prompt; allowed is {FORMS}.")


def turns_from(messages: object, key: str, where: str) -> tuple[Turn, ...]:
    """Messages {"role", "content"} as turns; UserError for anything else."""
    if not isinstance(messages, list) or not messages:
        raise UserError(
            f"{where}: {key} = {messages!r:.80} is not allowed; allowed is a list of messages, as {MESSAGES}."
        )
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in get_args(Role):
            allowed = ", ".join(get_args(Role))
            raise UserError(f"{where}: {key} has {message!r:.80}, allowed roles are {allowed}, as {MESSAGES}.")
    return tuple(Turn(message["role"], text_of(message, "content", where)) for message in messages)


def _asked(turns: tuple[Turn, ...], key: str, where: str) -> Prompt:
    """The turns without a last reply, a single one as its text; UserError where none is left that could be replied to."""
    turns = turns[:-1] if turns[-1].role == "assistant" else turns
    if not turns or turns[-1].role != "user":
        raise UserError(
            f"{where}: {key} has no turn of the user to reply to; allowed is one at the end, or before the last, as {MESSAGES}."
        )
    return turns if len(turns) > 1 else turns[0].content
