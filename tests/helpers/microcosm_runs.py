"""Small runs of the microcosm's stages within the test's own process, tiny models, and the command line."""

import json
from functools import cache
from pathlib import Path

import torch

from averaging_models import command as command  # for the tests that run stages
from llm.config import load_preset, load_sweep
from llm.data.microcosm.size import Size
from llm.data.microcosm.tokenizer import build_tokenizer
from llm.evaluation.local import Evaluator
from llm.files import write_json
from llm.models.save import build_model
from llm.run import Run
from llm.stages import average, pretrain, reward, sft, trajectory
from llm.stages.adapt import ratios_of
from llm.stages.align import align, theta_folder

DIALOGUE = ("reward", "gold_reward", "length", "win_rate", "forward_kl", "reverse_kl", "weight_displacement")
DIALOGUE += ("distinct_n", "self_bleu")
QA = ("qa", "qa_log_likelihood", "qa_probability", "qa_brier", "qa_ece")
METRICS = (*DIALOGUE, *QA, "reading_f1", "reading_log_likelihood", "bleu", "translation_log_likelihood")
STAGES = ("pretrain", "sft", "reward", "rsf")
# one row that is right, for tests of what reads and writes rows
ROW = {"preset": "smoke", "seed": 0, "rlhf": "none", "method": "theta_0", "setting": {}, "metric": "qa", "value": 0.5}
ROW |= {"stderr": 0.1, "n": 4, "split": "test", "seconds": 1.0, "version": "0.1.0"}


def second_size() -> Size:
    """The size of the default preset's world, larger and harder than the first."""
    return load_preset("microcosm").world.size


@cache
def smoke():
    return load_preset("smoke")


def far_stepping():
    """The smoke preset with an RSF that takes such steps that every average writes other replies."""
    rsf = smoke().rsf
    return smoke().model_copy(
        update={"rsf": rsf.model_copy(update={"optimiser": rsf.optimiser.model_copy(update={"lr": 0.1})})}
    )


def tiny_model(seed: int = 0, scale: float = 10.0, **changes):
    """A model of the smoke preset's size whose enlarged head makes its next token depend on what was said."""
    model = build_model(smoke().model.model_copy(update=changes), build_tokenizer(), seed=seed)
    with torch.no_grad():
        model.lm_head.weight.mul_(scale)
    return model


def smoke_run(out: Path, seed: int = 0, upto: str = "rsf", preset=None) -> Run:
    """A run of the smoke preset with the stages up to `upto` done."""
    run = Run(preset or smoke(), seed, out)
    folder = run.folder
    stages = {
        "pretrain": lambda: pretrain.pretrain(run, folder / "pretrained"),
        "sft": lambda: sft.sft(run, folder / "pretrained", folder / "theta_0"),
        "reward": lambda: make_reward(run),
        "rsf": lambda: align(run, "rsf", "own"),
    }
    for stage in STAGES[: STAGES.index(upto) + 1]:
        stages[stage]()
    return run


def make_reward(run: Run) -> None:
    pairs = run.folder / "preferences.json"
    reward.preferences(run, run.folder / "theta_0", pairs)
    judged = reward.train_reward(run, run.folder / "theta_0", pairs, run.folder / "reward")
    write_json(run.folder / "reward.json", judged)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def evaluator(run: Run) -> Evaluator:
    return Evaluator(run, run.folder / "theta_0", run.folder / "reward")


def theta(run: Run) -> Path:
    return theta_folder(run, "rsf", "own")


def averages(run: Run, label: str) -> list[dict]:
    """The rows of one entry of the sweep "core"."""
    entry = load_sweep("core").entry(label)
    found = ratios_of(run, theta(run), entry, run.folder / "ama" / "rsf" / "own") if entry.method == "ama" else []
    return average.measure_averages(evaluator(run), theta(run), "rsf", entry, None, found)


def core_rows(run: Run, labels: tuple[str, ...] | None = None) -> list[dict]:
    """Every row of the sweep "core", or of some of its entries beside what all begin and end with, as the stages give them."""
    rows = trajectory.measure_baseline(evaluator(run))
    rows += trajectory.measure_trajectory(evaluator(run), "rsf", "own")
    if labels is None:
        labels = tuple(entry.label for entry in load_sweep("core").averaging)
    return rows + [row for label in labels for row in averages(run, label)]


def timeless(rows: list[dict]) -> list[str]:
    """Rows without the time they took, in an order of their own, to be compared."""
    return sorted(json.dumps({k: v for k, v in row.items() if k != "seconds"}, sort_keys=True) for row in rows)


def values(rows: list[dict], method: str, **setting) -> dict[str, tuple[float, float]]:
    """metric -> (value, stderr) of the one model of that method and setting."""
    chosen = [row for row in rows if row["method"] == method and setting.items() <= row["setting"].items()]
    found = {row["metric"]: (row["value"], row["stderr"]) for row in chosen}
    assert len(found) == len(chosen), f"several models match {method}, {setting}"
    return found
