"""The data of a run as files that its trainers read: written once, each line a row, with a line said about what was left out."""

import json
from collections.abc import Iterable
from pathlib import Path

from ...config import HubPreset
from ...data.hub import hh_rlhf, sharegpt
from ...data.hub.place import Place
from ...data.hub.splits import distinct_prompts, split
from ...data.records import Conversation, Preference, Turn, messages, turns_of
from ...files import write_text
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
    """HH-RLHF, the training pairs by default: `train`, `test` {"prompt", "chosen", "rejected"}, `train-prompts`, `test-prompts` {"prompt"},
    each once, `chosen` {"messages"}. No training pair has a prompt of the test's.
    """
    file = run.folder / "data" / f"{name}.jsonl"
    if not file.is_file():
        where = place(run.preset)
        train, test = (hh_rlhf.preferences(side, where) for side in ("train", "test"))
        for parsed in (train, test):
            print(parsed.summary())
        parts = split(train.records, test.records, validation=0.0)
        print(parts.summary(hh_rlhf.DATA.folder))
        for side, records in (("train", parts.train), ("test", parts.test)):
            _write(file.with_name(f"{side}.jsonl"), map(_pair, records))
            prompts = distinct_prompts(records)[0]
            _write(
                file.with_name(f"{side}-prompts.jsonl"), ({"prompt": messages(turns_of(prompt))} for prompt in prompts)
            )
        _write(
            file.with_name("chosen.jsonl"),
            ({"messages": _whole(Conversation(pair.prompt, pair.chosen))} for pair in parts.train),
        )
    return file


def read_prompts(file: Path) -> list[tuple[Turn, ...]]:
    """The prompts of a file of {"prompt"}."""
    rows = map(json.loads, file.read_text().splitlines())
    return [tuple(Turn(**turn) for turn in row["prompt"]) for row in rows]


def _pair(pair: Preference) -> dict:
    return {"prompt": messages(turns_of(pair.prompt)), "chosen": pair.chosen, "rejected": pair.rejected}


def _whole(talk: Conversation) -> list[dict[str, str]]:
    return messages((*turns_of(talk.prompt), Turn("assistant", talk.reply)))


def _write(file: Path, rows: Iterable[dict]) -> None:
    write_text(file, "".join(json.dumps(row) + "\n" for row in rows))
