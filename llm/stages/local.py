"""The stages that our own loop runs, as the commands call them; `llm.stages.hub.stages` has the same for the paper's own models."""

from pathlib import Path

from ..config import Algorithm, AveragingEntry
from ..evaluation.local import Evaluator
from ..run import LocalRun
from . import adapt, oracle
from .align import align
from .average import Found
from .pretrain import make_pretrained as pretrain
from .reward import make_reward as reward
from .sft import make_theta_0 as sft
from .trajectory import measure_baseline

__all__ = ["align", "evaluator", "measure_baseline", "pretrain", "ratios", "reward", "sft"]


def evaluator(run: LocalRun) -> Evaluator:
    return Evaluator(run, run.folder / "theta_0", run.folder / "reward")


def ratios(measuring: Evaluator, theta: Path, rlhf: Algorithm, entry: AveragingEntry, folder: Path) -> Found:
    """What a method that looks for its ratios finds, kept in `folder`; empty for the others."""
    if entry.method in ("ama", "adamerging"):
        return adapt.ratios_of(measuring.run, theta, entry, folder)
    if entry.method == "oracle":
        return oracle.oracle_ratios(measuring, theta, entry, folder)
    return []
