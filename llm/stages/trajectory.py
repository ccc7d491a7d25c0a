"""What is measured of the models that training itself made: theta_0, every iteration of RSF, theta; and chance."""

from pathlib import Path

from llm.model import load_model
from llm.run import Run
from llm.stages.evaluate import Evaluator, chance
from llm.stages.rows import rows_of
from llm.stages.rsf import iteration_folder


def measure_baseline(evaluator: Evaluator) -> list[dict]:
    """Rows of theta_0 and of the chance floors."""
    measured, seconds = evaluator.measure(load_model(evaluator.theta_0))
    return rows_of(evaluator.run, "none", "theta_0", {}, measured, seconds) + rows_of(
        evaluator.run, "none", "chance", {}, chance(evaluator.run), 0.0
    )


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
