"""Damaged files of lines: result rows, and what users hand in (samples, replies, items)."""

import json
import math
import random
from itertools import count
from pathlib import Path

import made_rows
from fuzzing import Case, changed, damaged, difference, fuzzer
from llm.evidence.rows import write_rows

ROW = {
    "preset": "smoke",
    "seed": 0,
    "rlhf": "rsf",
    "method": "ama",
    "setting": {"alpha": 0.4, "parts": 3, "alphas": {"part1": 0.5, "part2": 0.3}},
    "metric": "qa",
    "value": 0.5,
    "stderr": 0.1,
    "n": 4,
    "split": "test",
    "seconds": 1.0,
    "version": "0.1.0",
    "items": [1.0, 0.0, 0.5, 0.5],
}


def line(rows: list[dict], rng: random.Random) -> tuple[str, bytes]:
    """JSONL of which one row is damaged: (what was done, bytes)."""
    place = rng.randrange(len(rows))
    if rng.random() < 0.5:
        row, what = changed(rows[place], rng)
        rows = [*rows[:place], row, *rows[place + 1 :]]
        return what, "".join(json.dumps(row) + "\n" for row in rows).encode()
    data = [json.dumps(row).encode() + b"\n" for row in rows]
    data[place] = damaged(data[place], rng)
    return "bytes", b"".join(data)


def plausible(rows: list[dict], rng: random.Random) -> tuple[str, bytes]:
    """Rows of which those of one kind are gone, or have something of another row, or the same value."""
    of, key = (
        rng.choice(["metric", "method", "rlhf"]),
        rng.choice(["metric", "method", "rlhf", "seed", "value", "setting"]),
    )
    kind, other = rng.choice(rows)[of], rng.choice(rows)[key]
    chosen = [row for row in rows if row[of] == kind]
    if rng.random() < 0.3:
        chosen = [rng.choice(chosen)]
    way = rng.choice(["without", "with", "with", "only"])
    found = [row for row in rows if row not in chosen]
    if way == "with":
        found += [row | {key: rng.choice([other, 0.0, 1]) if key in ("value", "seed") else other} for row in chosen]
    text = "".join(json.dumps(row) + "\n" for row in (chosen if way == "only" else found))
    return f"{way} {of} {kind}{f', {key} {other}' if way == 'with' else ''}", text.encode()


def values(file: Path) -> list:
    """What stands in its lines, by Python's own reader."""
    lines = file.read_bytes().decode().split("\n")
    return [json.loads(line.removeprefix("\ufeff")) for line in lines if line.strip()]


def is_row(row) -> bool:
    """The schema of result rows, written once more."""

    def number(value, least=-math.inf):
        return (
            isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= least
        )

    def whole(value, least):
        return number(value, least) and isinstance(value, int)

    def finite(value):
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return (not isinstance(value, float) or math.isfinite(value)) and all(map(finite, inner))

    if not isinstance(row, dict) or row.keys() - {"items"} != ROW.keys() - {"items"}:
        return False
    items = row.get("items")
    mean = items is None or (
        isinstance(items, list)
        and len(items) == row["n"]
        and all(map(number, items))
        and abs(sum(items) / len(items) - row["value"]) <= 1e-5
    )
    return (
        all(isinstance(row[key], str) and row[key] for key in ("preset", "method", "metric", "split", "version"))
        and row["rlhf"] in ("none", "rsf", "dpo", "ppo")
        and isinstance(row["setting"], dict)
        and finite(row["setting"])
        and whole(row["seed"], 0)
        and whole(row["n"], 1)
        and number(row["value"])
        and (row["stderr"] is None or number(row["stderr"], 0))
        and number(row["seconds"], 0)
        and mean
    )


@fuzzer
def rows(folder, rng):
    """By `collect`: what it writes are the rows that it read."""
    file, to = folder / "rows.jsonl", folder / "all.jsonl"

    def accepted() -> str:
        given, read = values(file), values(to)
        if not all(map(is_row, given)):
            return "accepted what is no row"
        return difference(*(sorted(some, key=lambda row: row["seed"]) for some in (given, read)))

    for _ in count():
        what, data = line([ROW | {"seed": seed} for seed in range(2)], rng)
        file.write_bytes(data)
        to.unlink(missing_ok=True)
        yield Case(what, ("collect", file, "--to", to), accepted, refused=lambda: "wrote a file" if to.exists() else "")


@fuzzer
def results(folder, rng):
    """A folder of rows, for the commands that draw conclusions from them."""
    place = folder / "microcosm"
    sweeps = ("core", "kl-penalty")
    good = [row for name in sweeps for row in made_rows.sweep_rows(name, 0)]
    write_rows(place / "rows.jsonl", good)
    for number in count():
        what, data = line(good, rng) if rng.random() < 0.3 else plausible(good, rng)
        (place / "rows.jsonl").write_bytes(data)
        command = ("table", "span", "claims")[number % 3]
        yield Case(f"{command} {what}", (command, place))


ITEMS = {
    "choices": [
        {"prompt": "a", "choices": ["b", "c"], "answer": 1},
        {"prompt": "a", "choices": ["b", "c"], "answer": "b"},
    ],
    "answers": [{"prompt": "a", "answers": ["b", "c"]}, {"prompt": "b", "answers": ["c"]}],
    "reference": [{"prompt": "a", "reference": "b"}, {"prompt": "b", "reference": "c"}],
}


@fuzzer
def items(folder, rng):
    """Tasks of `front`; the models are missing, so a refusal that names these means that the items are accepted."""
    file = folder / "bad.jsonl"
    (folder / "good.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ITEMS["reference"]))
    (folder / "settings.yaml").write_text("alignment: good")
    given = ("--theta-0", "nowhere", "--theta", "nowhere", "--out", "front", "--config", "settings.yaml")

    def accepted() -> str:
        read = values(file)
        kinds = [row.keys() & ITEMS.keys() for row in read]
        fine = all(isinstance(row["prompt"], str) and one == kinds[0] for row, one in zip(read, kinds, strict=True))
        return "" if fine else "accepted what are no items"

    for number in count():
        kind = list(ITEMS)[number % 3]
        what, data = line(ITEMS[kind], rng)
        file.write_bytes(data)
        yield Case(f"{kind} {what}", ("front", *given, "--tasks", "good.jsonl,bad.jsonl"), accepted, "'nowhere'")


@fuzzer
def replies(folder, rng):
    """AlpacaEval's lists of replies; the algorithm, which is looked at afterwards, is none."""
    keys = {"instruction": "a", "output": "b", "generator": "m", "dataset": "d", "datasplit": "eval"}
    good, file = [keys, keys | {"instruction": "c"}], folder / "bad.json"
    (folder / "good.json").write_text(json.dumps(good))

    def accepted() -> str:
        read = json.loads(file.read_text("utf-8-sig"))
        fine = all(isinstance(row[key], str) for row in read for key in ("instruction", "output", "generator"))
        return "" if fine else "accepted what are no replies"

    for number in count():
        content, what = changed(good, rng)
        file.write_bytes(damaged(json.dumps(good).encode(), rng) if number % 2 else json.dumps(content).encode())
        given = ("win-rate", file, "good.json", "--to", "rows.jsonl", "--rlhf", "grpo")
        yield Case("bytes" if number % 2 else what, given, accepted, "rlhf = 'grpo'")
