"""The stages of the paper's own models, as the commands call them; `llm.stages.local` has the same for our own loop."""

from pathlib import Path

from llm.config import Algorithm, AveragingEntry, HubPreset
from llm.hub import adapt
from llm.hub.evaluator import HubEvaluator, measure_baseline
from llm.hub.training import align, pretrain, reward, sft
from llm.run import Run
from llm.stages.average import Found

__all__ = ["align", "evaluator", "measure_baseline", "pretrain", "ratios", "reward", "sft"]


def evaluator(run: Run[HubPreset]) -> HubEvaluator:
    return HubEvaluator(run, run.folder / "theta_0", run.folder / "reward")


def ratios(measuring: HubEvaluator, theta: Path, rlhf: Algorithm, entry: AveragingEntry, folder: Path) -> Found:
    """What AMA finds, kept in `folder`; empty for methods whose ratios the sweep says."""
    return adapt.ratios_of(measuring.run, theta, rlhf, entry, folder) if entry.method == "ama" else []
