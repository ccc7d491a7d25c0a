"""Damaged settings: presets, sweeps, and the files of `adapt` and `front`."""

import json
from importlib import resources
from itertools import count
from pathlib import Path

import yaml

from fuzzing import Case, changed, damaged, difference, fuzzer
from llm import config
from llm.averaging.ama.settings import AdaptSettings
from llm.evaluation.front.settings import FrontSettings

ROOT = Path(__file__).parents[2]


def packaged(folder: str, name: str) -> bytes:
    return resources.files("llm").joinpath(folder, f"{name}.yaml").read_bytes()


def texts(source: bytes, rng):
    """Damaged copies of a YAML file, without end: (what was done to it, bytes)."""
    for number in count():
        if number % 2:
            yield f"bytes {number}", damaged(source, rng)
        else:
            content, what = changed(yaml.safe_load(source), rng)
            yield what, (json.dumps(content) if rng.random() < 0.5 else yaml.safe_dump(content)).encode()


def read_plainly(file: Path) -> dict:
    """What stands in a YAML file, by PyYAML alone."""
    return yaml.safe_load(file.read_text("utf-8-sig")) or {}


def as_it_stands(file: Path, read) -> str:
    """What is wrong with settings that were accepted, where they are not what the file says."""
    given = read_plainly(file)
    if "base" in given:
        return ""
    given = json.loads(json.dumps(given))  # keys that are numbers become texts
    return difference(given, json.loads(read().model_dump_json()))


@fuzzer
def presets(folder, rng):
    """By `plan`, which reads all of a preset."""
    yield from _planned(
        "presets", ["smoke", "microcosm-1-untied", "smollm2-135m", "zephyr-7b-gemma", "openllama-3b"], folder, rng
    )


@fuzzer
def sweeps(folder, rng):
    yield from _planned("sweeps", ["core", "mitigations", "ratios", "ama-samples", "kl-penalty"], folder, rng)


def _planned(kind: str, names: list[str], folder, rng):
    sources = [texts(packaged(kind, name), rng) for name in names]
    file = folder / "given.yaml"
    read, options = {
        "presets": (config.load_preset, ("--memory-gb", "1e6", "--preset", file)),
        "sweeps": (config.load_sweep, ("--preset", "microcosm-1-untied", "--sweep", file)),
    }[kind]
    for number in count():
        what, data = next(sources[number % len(sources)])
        file.write_bytes(data)
        yield Case(
            f"{names[number % len(names)]}, {what}",
            ("plan", *options),
            accepted=lambda: as_it_stands(file, lambda: read(str(file))),
            mark="is not allowed with preset",
        )


@fuzzer
def adapt_settings(folder, rng):
    given = ("--alpha", "0.5", "--out", "ratios.json", "--data", "samples.jsonl")
    yield from _of_command("adapt", rng, folder, given, lambda found: AdaptSettings(alpha=0.5, **found))


@fuzzer
def front_settings(folder, rng):
    for name in ("reward", "qa"):
        (folder / f"{name}.jsonl").write_text('{"prompt": "a", "reference": "b"}\n')
    given = ("--tasks", "reward.jsonl,qa.jsonl", "--out", "front")
    yield from _of_command("front", rng, folder, given, lambda found: FrontSettings(tasks=(), **found))


def _of_command(command: str, rng, folder, given, settings):
    """The models are missing, so a refusal that names them means that the settings are accepted."""
    file = folder / "settings.yaml"
    for what, data in texts((ROOT / "docs" / f"{command}.yaml").read_bytes(), rng):
        file.write_bytes(data)
        yield Case(
            what,
            (command, "--theta-0", "nowhere", "--theta", "nowhere", *given, "--config", file),
            accepted=lambda: as_it_stands(file, lambda: settings(read_plainly(file))),
            mark="'nowhere'",
        )
