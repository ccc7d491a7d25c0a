"""What is measured of the models that training itself made: theta_0, every iteration of RSF, theta; and chance."""

import json
from math import sqrt
from pathlib import Path

from llm.model import load_model
from llm.run import Run
from llm.stages.evaluate import Evaluator, Measurement, chance
from llm.stages.rows import rows_of
from llm.stages.rsf import iteration_folder


def measure_baseline(evaluator: Evaluator) -> list[dict]:
    """Rows of theta_0, of the chance floors and of the reward model."""
    run = evaluator.run
    measured, seconds = evaluator.measure(load_model(evaluator.theta_0))
    rows = rows_of(run, "none", "theta_0", {}, measured, seconds)
    rows += rows_of(run, "none", "chance", {}, chance(run), 0.0)
    judged = json.loads((run.folder / "reward.json").read_text())
    return rows + rows_of(run, "none", "reward_model", {}, _reward_model(judged), 0.0)


def _reward_model(judged: dict[str, float]) -> dict[str, Measurement]:
    """Held-out accuracy on pairs, and correlation with the gold reward (error: (1 - r^2) / sqrt(n - 1))."""
    accuracy, r, pairs, replies = (judged[key] for key in ("accuracy", "correlation", "n", "replies"))
    return {
        "pair_accuracy": Measurement(accuracy, sqrt(accuracy * (1 - accuracy) / pairs), pairs),
        "gold_correlation": Measurement(r, (1 - r**2) / sqrt(replies - 1), replies),
    }


def measure_trajectory(evaluator: Evaluator, rsf: Path, lr: float | None) -> list[dict]:
    """Rows of early stopping at every iteration, and of theta, the last one."""
    run, rows = evaluator.run, []
    rate = {} if lr is None else {"lr": lr}
    last = run.preset.rsf.iterations
    for iteration in range(1, last + 1):
        measured, seconds = evaluator.measure(load_model(iteration_folder(rsf, iteration)))
        rows += rows_of(run, "rsf", "early-stopping", {"iteration": iteration, **rate}, measured, seconds)
        if iteration == last:
            rows += rows_of(run, "rsf", "theta", rate, measured, seconds)
    return rows


def theta_folder(run: Run, rsf: Path) -> Path:
    """The model after the last iteration."""
    return iteration_folder(rsf, run.preset.rsf.iterations)
