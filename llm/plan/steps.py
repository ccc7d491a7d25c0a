"""The steps of the experiment's graph (`Snakefile`) that given sweeps need, once a seed."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from math import prod

from ..config import Algorithm, AveragingEntry, Preset, Sweep, TrainingEntry, eta_name, has_baseline, runnable


@dataclass(frozen=True)
class Step:
    """One job. rule: the graph's; eta: PPO's penalty where it is not the preset's."""

    rule: str
    rlhf: Algorithm | None = None
    lr: float | None = None
    eta: float | None = None
    entry: AveragingEntry | TrainingEntry | None = None

    @property
    def name(self) -> str:
        numbers = [f"{key} {value:g}" for key, value in (("lr", self.lr), ("eta", self.eta)) if value is not None]
        said = (self.rule, self.rlhf, *numbers, self.entry and self.entry.label)
        return " ".join(part for part in said if part)


@dataclass(frozen=True)
class Cost:
    """What a step takes. memory: bytes on each GPU, or of the computer where there is none. disk: bytes that it leaves behind.

    scratch: bytes of disk that it takes while it runs, beside what it leaves behind.
    """

    gpus: int
    memory: float
    hours: float
    disk: float = 0.0
    scratch: float = 0.0

    @property
    def gpu_hours(self) -> float:
        return self.gpus * self.hours


def steps(preset: Preset, sweeps: Iterable[Sweep]) -> list[Step]:
    """Every job of the sweeps, each once, in an order in which they can run."""
    found = [Step("pretrain"), Step("sft"), Step("reward")]
    for sweep in (runnable(sweep, preset) for sweep in sweeps):
        imitating = any(entry.method != "kl" for entry in sweep.training)
        for rlhf, lr in product(sweep.rlhf, sweep.learning_rates):
            found += [Step("align", "rsf")] if imitating else []
            found += [Step("align", rlhf, lr)] if sweep.averaging or sweep.trajectory else []
            for entry in (entry for entry in sweep.training if entry.method == "kl"):
                other = [eta for eta in entry.strengths if eta_name(preset.ppo.eta, eta) != "own"]
                found += [Step("align", "ppo", lr), *(Step("penalise", "ppo", lr, eta) for eta in other)]
            found += [Step("trajectory", rlhf, lr)] if sweep.trajectory else []
            found += [Step("average", rlhf, lr, entry=entry) for entry in sweep.averaging]
            found += [Step("mitigate", rlhf, lr, entry=entry) for entry in sweep.training]
        if has_baseline(sweep, preset):
            found.append(Step("baseline"))
    return list(dict.fromkeys(found))


def models(preset: Preset, step: Step) -> int:
    """How many models a step measures."""
    if step.rule == "trajectory":
        return preset.iterations(step.rlhf)
    if isinstance(step.entry, TrainingEntry):
        return len(step.entry.settings())
    if isinstance(step.entry, AveragingEntry):
        lists = ("alphas", "part_names", "offsets", "chosen_by", "samples", "regularisers")
        return prod(max(1, len(getattr(step.entry, key))) for key in lists)
    return 1 if step.rule == "baseline" else 0
