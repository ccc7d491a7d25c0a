"""The data of a run as files that its trainers read: written once, a row a line; what was left out is printed."""

import json
from collections.abc import Iterable
from pathlib import Path

from ...config import HubPreset
from ...data.hub import hh_rlhf, sharegpt
from ...data.hub.parsed import distinct_prompts, without_prompts_of
from ...data.hub.place import Place
from ...data.records import Conversation, Preference, Turn, messages, turns_of
from ...files import read_lines, write_text
from ...run import Run


def place(preset: HubPreset) -> Place:
    """Where the preset's data sets are."""
    return Place(Path(preset.data_dir) if preset.data_dir else None)


def talks(run: Run[HubPreset]) -> Path:
    """ShareGPT: {"messages"}."""
    file = run.folder / "data" / "talks.jsonl"
    if not file.is_file():
        parsed = sharegpt.conversations(place(run.preset))
        print(parsed.summary())
        _write(file, ({"messages": _whole(talk)} for talk in parsed.records))
    return file


def pairs(run: Run[HubPreset], name: str) -> Path:
    """HH-RLHF by `name`: `train`, `test` {"prompt", "chosen", "rejected"}; `train-prompts`, `test-prompts` {"prompt"}, each
    once; `chosen` {"messages"}, of the training pairs. No training pair has a prompt of the test's.
    """
    file = run.folder / "data" / f"{name}.jsonl"
    if not file.is_file():
        where = place(run.preset)
        train, test = (hh_rlhf.preferences(side, where) for side in ("train", "test"))
        for parsed in (train, test):
            print(parsed.summary())
        apart = without_prompts_of(test.records, train.records)
        print(f"{len(train.records) - len(apart)} pairs are left out of training, with a prompt of the test split")
        for side, records in (("train", apart), ("test", test.records)):
            _write(file.with_name(f"{side}.jsonl"), map(_pair, records))
            prompts = ({"prompt": messages(turns_of(prompt))} for prompt in distinct_prompts(records))
            _write(file.with_name(f"{side}-prompts.jsonl"), prompts)
        chosen = ({"messages": _whole(Conversation(pair.prompt, pair.chosen))} for pair in apart)
        _write(file.with_name("chosen.jsonl"), chosen)
    return file


def read_prompts(file: Path) -> list[tuple[Turn, ...]]:
    """The prompts of a file of {"prompt"}."""
    return [tuple(Turn(**turn) for turn in row["prompt"]) for _, row in read_lines(file)]


def _pair(pair: Preference) -> dict:
    return {"prompt": messages(turns_of(pair.prompt)), "chosen": pair.chosen, "rejected": pair.rejected}


def _whole(talk: Conversation) -> list[dict[str, str]]:
    return messages((*turns_of(talk.prompt), Turn("assistant", talk.reply)))


def _write(file: Path, rows: Iterable[dict]) -> None:
    write_text(file, "".join(json.dumps(row) + "\n" for row in rows))
