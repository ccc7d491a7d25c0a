"""The steps of the experiment's graph (`Snakefile`) that given sweeps need, once a seed."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

from ..config import AveragingEntry, Preset, Sweep, TrainingEntry, has_baseline, runnable


@dataclass(frozen=True)
class Step:
    """One job. rule: the graph's; eta: PPO's penalty where it is not the preset's."""

    rule: str
    rlhf: str | None = None
    lr: float | None = None
    eta: float | None = None
    entry: AveragingEntry | TrainingEntry | None = None

    @property
    def name(self) -> str:
        numbers = [f"{key} {value:g}" for key, value in (("lr", self.lr), ("eta", self.eta)) if value is not None]
        words = (self.rule, self.rlhf, *numbers, self.entry and self.entry.label)
        return " ".join(word for word in words if word)

    @property
    def aligns(self) -> bool:
        return self.rule in ("align", "penalise")


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
        for rlhf, lr in product(sweep.rlhf, sweep.learning_rates):
            found += [Step("align", rlhf, lr)] if sweep.averaging or sweep.trajectory else []
            for entry in sweep.training:
                penalised = entry.spec.after == "ppo"  # at the sweep's rate; what is imitated is made at its own
                found.append(Step("align", entry.spec.after, lr if penalised else None))
                etas = entry.options["strength"] if penalised else ()
                found += [Step("penalise", "ppo", lr, eta) for eta in etas if preset.ppo.name_of(eta) != "own"]
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
    if step.entry is not None:
        return len(step.entry.settings()) * len(getattr(step.entry, "alphas", (None,)))
    return 1 if step.rule == "baseline" else 0
