"""The stages of the paper's own models, as the commands call them; `llm.stages.local` has the same for our own loop."""

from pathlib import Path

from ...config import Algorithm, AveragingEntry, HubPreset
from ...evaluation.hub import HubEvaluator, measure_baseline
from ...run import Run
from ..average import Found
from . import adapt
from .training import align, pretrain, reward, sft

__all__ = ["align", "evaluator", "measure_baseline", "pretrain", "ratios", "reward", "sft"]


def evaluator(run: Run[HubPreset]) -> HubEvaluator:
    return HubEvaluator(run, run.folder / "theta_0", run.folder / "reward")


def ratios(measuring: HubEvaluator, theta: Path, rlhf: Algorithm, entry: AveragingEntry, folder: Path) -> Found:
    """What AMA finds, kept in `folder`; empty for methods whose ratios the sweep says."""
    return adapt.ratios_of(measuring.run, theta, rlhf, entry, folder) if entry.method == "ama" else []
