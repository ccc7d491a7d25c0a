"""Damaged files that earlier runs have left: of `adapt`, of `front`, and of the stages of alignment."""

import json
import os
import random
import shutil
from itertools import count
from math import isclose
from pathlib import Path

from ama_models import save_models, save_samples, words, write_lines
from fuzzing import Case, changed, damaged, fuzzer, run
from llm.averaging.ama.run import adapt_files
from llm.averaging.ama.settings import AdaptSettings, Sources
from llm.stages.align import align
from microcosm_runs import smoke_run


def spoil(file: Path, rng: random.Random) -> str:
    """Damage a file as a crash does, or by a hand; it keeps its age. What was done."""
    data, age = file.read_bytes(), file.stat().st_mtime_ns
    ways = {
        "empty": lambda: b"",
        "torn": lambda: data[: rng.randrange(len(data))],
        "zeros": lambda: bytes(len(data)),
        "zeros at the end": lambda: data[: len(data) // 2] + bytes(len(data) // 2),
        "another": lambda: rng.choice(
            [b"null", b"[]", b"{}", b"3", b'"x"', b'{"tasks": {}}', b'{"run": 1, "reached": 2}']
        ),
        "bytes": lambda: damaged(data, rng),
    }
    if file.suffix != ".safetensors":
        ways["value"] = ways["values"] = lambda: json.dumps(changed(json.loads(data), rng)[0]).encode()
    way = rng.choice(list(ways))
    file.write_bytes(ways[way]())
    os.utime(file, ns=(age, age))
    return f"{file.name}, {way}"


def models(folder: Path) -> tuple:
    """Options of a tiny pair of models."""
    save_models(folder)
    save_samples(folder / "samples.jsonl")
    return "--theta-0", folder / "theta_0", "--theta", folder / "theta"


@fuzzer
def adapt_states(folder, rng):
    pair, out = models(folder / "models"), folder / "ratios.json"
    settings = AdaptSettings(alpha=0.6, batch=5, epochs=1, lr=0.2, check=8, save_every=2)

    def stopping(phase, done, total, state):
        if done == 5:
            raise KeyboardInterrupt

    data = folder / "models" / "samples.jsonl"
    try:
        adapt_files(Sources(pair[1], pair[3], data), out, settings, progress=stopping)
    except KeyboardInterrupt:
        state = (folder / ".ratios.json.state").read_bytes()
    config = write_lines(folder / "settings.yaml", [{"batch": 5, "epochs": 1, "lr": 0.2, "check": 8}])  # JSON is YAML

    def accepted() -> str:
        found = json.loads(out.read_text())
        ratios = found["groups"].values()
        fine = all(0 <= ratio <= 1 for ratio in ratios) and isclose(sum(ratios) / 3, 0.6) and len(found["path"]) == 8
        return "" if fine else f"wrote {found['groups']}"

    for _ in count():
        out.unlink(missing_ok=True)
        (folder / ".ratios.json.state").write_bytes(state)
        what = spoil(folder / ".ratios.json.state", rng)
        given = ("--alpha", "0.6", "--data", data, "--config", config, "--out", out)
        yield Case(what, ("adapt", *pair, *given), accepted, refused=lambda: "wrote ratios" if out.exists() else "")


@fuzzer
def front_states(folder, rng):
    place, out = folder / "models", folder / "front"
    pair = models(place)
    for number, name in enumerate(("reward", "qa")):
        rows = [
            {"prompt": p, "reference": r} for p, r in zip(words(6, 2, number), words(6, 3, number + 2), strict=True)
        ]
        write_lines(place / f"{name}.jsonl", rows)
    write_lines(place / "settings.yaml", [{"task_tokens": 2, "resamples": 5}])
    tasks = f"{place / 'reward.jsonl'},{place / 'qa.jsonl'}"
    arguments = ("front", *pair, "--tasks", tasks, "--alphas", "0.5", "--config", place / "settings.yaml", "--out", out)
    assert run(*arguments, folder=folder).code == 0
    out.rename(folder / "whole")

    def accepted() -> str:
        same = len((out / "rows.jsonl").read_text().splitlines()) == 6 and (out / "report.html").exists()
        return "" if same else "there is no report"

    for _ in count():
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(folder / "whole", out)
        (out / "report.html").unlink()
        what = spoil(rng.choice([out / "settings.json", *sorted((out / "points").iterdir())]), rng)
        yield Case(what, arguments, accepted)


@fuzzer
def stages(folder, rng):
    """A run of DPO and PPO whose last iteration is to be made again; a file from which training goes on is damaged."""
    made = smoke_run(folder / "whole", upto="reward")
    for rlhf in ("dpo", "ppo"):
        align(made, rlhf, "own")
    for number in count():
        rlhf, last = ("dpo", 2) if number % 2 else ("ppo", 3)
        shutil.rmtree(folder / "out", ignore_errors=True)
        shutil.copytree(folder / "whole", folder / "out")
        place = folder / "out" / "smoke" / "seed0" / rlhf / "own"
        shutil.rmtree(place / f"iteration{last:02d}")
        names = [
            f"training{last - 1:02d}.safetensors",
            *([f"iteration{k:02d}.json" for k in (1, 2)] if rlhf == "ppo" else []),
        ]
        what = spoil(place / rng.choice([*names, "../../preferences.json"] if rlhf == "dpo" else names), rng)

        def accepted(made=place / f"iteration{last:02d}" / "config.json") -> str:
            return "" if made.is_file() else "the model is not there"

        yield Case(f"{rlhf} {what}", ("align", "--preset", "smoke", "--rlhf", rlhf, "--out", folder / "out"), accepted)
