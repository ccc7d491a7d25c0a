"""What the commands begin with; torch is loaded here, at a command's call, and not before."""

from pathlib import Path


def run_of(preset: str, seed: int, out: Path):
    from llm.config import load_preset
    from llm.run import Run

    return Run(load_preset(preset), seed, out)


def evaluator_of(run):
    from llm.stages.evaluate import Evaluator

    return Evaluator(run, run.folder / "theta_0", run.folder / "reward")
