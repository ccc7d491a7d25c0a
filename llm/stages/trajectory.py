"""What is measured of the models that training itself made: theta_0, each iteration of alignment, theta; and chance."""

from functools import partial
from math import sqrt
from typing import Any

from ..config import Algorithm
from ..evaluation.abilities import chance
from ..evaluation.keeping import Keep, anew
from ..evaluation.local import Evaluator
from ..evaluation.measurement import Measurement, rows_of, with_rate
from ..files import read_made
from ..models.loading import load_model
from ..training.iterations import iteration_folder
from .align import aligned_folder, last_iteration, number


def measure_baseline(evaluator: Evaluator) -> list[dict]:
    """Rows of theta_0, of the chance floors and of the reward model."""
    run = evaluator.run
    measured, seconds = evaluator.measure(load_model(evaluator.theta_0, evaluator.mixed_on))
    rows = rows_of(run, "none", "theta_0", {}, measured, seconds)
    rows += rows_of(run, "none", "chance", {}, chance(run), 0.0)
    judged = read_made(run.folder / "reward.json", _reward_model)
    return rows + rows_of(run, "none", "reward_model", {}, judged, 0.0)


def _reward_model(judged: dict[str, Any]) -> dict[str, Measurement]:
    """Held-out accuracy on pairs, and correlation with the gold reward (error: (1 - r^2) / sqrt(n - 1))."""
    accuracy, r, pairs, replies = (judged[key] for key in ("accuracy", "correlation", "n", "replies"))
    return {
        "pair_accuracy": Measurement(accuracy, sqrt(accuracy * (1 - accuracy) / pairs), pairs),
        "gold_correlation": Measurement(r, (1 - r**2) / sqrt(replies - 1), replies),
    }


def measure_trajectory(evaluator: Evaluator, rlhf: Algorithm, rate: str, keep: Keep = anew) -> list[dict]:
    """Rows of early stopping at every iteration up to theta whose model is kept, and of theta. keep: as for `llm.stages.average.measure_averages`."""
    run, rows, setting = evaluator.run, list[dict](), with_rate({}, number(rate))
    folder = aligned_folder(run, rlhf, rate)
    last = last_iteration(run, rlhf, folder)

    def measured(iteration: int) -> list[dict]:
        model = load_model(iteration_folder(folder, iteration), evaluator.mixed_on)
        found = evaluator.measure(model)
        own = rows_of(run, rlhf, "early-stopping", {"iteration": iteration, **setting}, *found)
        return own + (rows_of(run, rlhf, "theta", setting, *found) if iteration == last else [])

    for iteration in run.preset.measured(rlhf, last):
        rows += keep(iteration, partial(measured, iteration))
    return rows
