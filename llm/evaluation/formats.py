"""Tasks from a user's own files: lines of items, of one of three kinds."""

import json
from pathlib import Path
from typing import Any

from ..data.formats import prompt_of
from ..errors import UserError
from ..files import read_lines, text_of
from ..models.loading import warn
from .measurement import normalise
from .tasks import Answer, Asking, Choice, Task, Translation

EXAMPLES = {
    "choices": '{"prompt": "2 + 2 =", "choices": ["3", "4"], "answer": "4"}',
    "answers": '{"prompt": "Who wrote Faust?", "answers": ["Goethe"]}',
    "reference": '{"prompt": "Translate: le chat", "reference": "the cat"}',
}  # the key that tells an item's kind -> an item
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def read_task(name: str, path: Path, asking: Asking) -> Task:
    """A task from a JSONL file, all of whose lines are of one kind: a prompt (`llm.data.formats`) and one of these.

    "choices" and "answer" (the right one, its index from 0, or its letter); "answers" (one or more); "reference".
    Raises UserError naming file, line and key.
    """
    rows = read_lines(path, "tasks", EXAMPLES["choices"])
    kinds = [next((key for key in EXAMPLES if key in row), "") for _, row in rows]
    key = kinds[0]
    for (where, row), kind in zip(rows, kinds, strict=True):
        if not kind or kind != key:
            raise UserError(
                f"{where} has {', '.join(map(str, row)) or 'nothing'}: each line must have a prompt and the same one of "
                f"{', '.join(EXAMPLES)}, as {EXAMPLES['choices']}."
            )
    items = [{"prompt": prompt_of(row, where)} | _READERS[key](row, where) for where, row in rows]
    if repeated := len(items) - len({json.dumps(item, sort_keys=True, default=list) for item in items}):
        warn(
            f"{repeated} of {len(items)} lines of {path} stand there before: intervals take them for independent items, and are too narrow."
        )
    task: Any = {"choices": Choice, "answers": Answer, "reference": Translation}[key]
    return task(name, items, asking)


def _choice(row: dict, where: str) -> dict:
    choices, answer = row["choices"], row.get("answer")
    if not isinstance(choices, list) or len(choices) < 2 or not all(isinstance(c, str) and c for c in choices):
        raise UserError(
            f"{where}: choices = {choices!r:.80} is not allowed; allowed is a list of at least two texts, as {EXAMPLES['choices']}."
        )
    if isinstance(answer, str) and choices.count(answer) == 1:
        answer = choices.index(answer)
    elif isinstance(answer, str) and len(answer) == 1 and answer not in choices and answer in _LETTERS:
        answer = _LETTERS.index(answer)
    if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < len(choices):
        last = _LETTERS[min(len(choices), len(_LETTERS)) - 1]
        raise UserError(
            f"{where}: answer = {row.get('answer')!r:.80} is not allowed; allowed is one of the choices, its index from 0, or its letter "
            f"from A to {last}, as {EXAMPLES['choices']}."
        )
    return {"choices": choices, "answer": answer}


def _answers(row: dict, where: str) -> dict:
    answers = row["answers"]
    if not isinstance(answers, list) or not answers or not all(isinstance(answer, str) for answer in answers):
        raise UserError(
            f"{where}: answers = {answers!r:.80} is not allowed; allowed is a list of at least one text, as {EXAMPLES['answers']}."
        )
    if empty := next((answer for answer in answers if answer.strip() and not normalise(answer)), None):
        raise UserError(
            f"{where}: answers has {empty!r:.80}, of which nothing is left without articles and punctuation; allowed are words, or choices "
            f"in their place, as {EXAMPLES['choices']}."
        )
    return {"answers": answers}


def _reference(row: dict, where: str) -> dict:
    return {"reference": text_of(row, "reference", where)}


_READERS = {"choices": _choice, "answers": _answers, "reference": _reference}
