"""When alignment stops before its last iteration, and which of its models is theta.

A preset with a section `until` trains all algorithms to a common learned reward, theta_0's plus the share `until.share` of RSF's rise, on
validation prompts. RSF at the preset's own rate, which says how much that is, runs to its last iteration; so does RSF on the gold reward, by
its own rise in gold. Every other run stops at the first iteration that has the reward, or at its last one; asked is the model that training goes on with, which of
WARP and of moving averages is another than the one that is measured. `theta.json` beside the models says
which of them is theta, the first that has it (the last where none does), and what was measured.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..config import Until
from ..errors import UserError
from ..evaluation.local import Evaluator
from ..files import read_made, up_to_date, write_json
from ..models.loading import load_model
from ..run import LocalRun
from ..training.iterations import iteration_folder

Reached = Callable[[int], bool]  # (iteration) -> whether training stops after it


def never(iteration: int) -> bool:
    return False


def theta_file(out: Path) -> Path:
    """What says which iteration is theta."""
    return out / "theta.json"


@dataclass(frozen=True)
class Target:
    """The reward that the models in a folder are to reach.

    out: of the iterations. own: whether the run itself says how much that is, so that it does not stop. metric: "reward" or
    "gold_reward". reference: the `theta.json` of the run that says it otherwise.
    """

    run: LocalRun
    out: Path
    own: bool
    metric: str
    reference: Path

    @property
    def until(self) -> Until:
        return self.run.preset.until

    def reached(self, iteration: int) -> bool:
        """Whether training stops: an iteration, this one or one before, has the reward."""
        if self.own:
            return False
        wanted = read_wanted(self.reference)
        return any(self.reward(i) >= wanted for i in range(1, iteration + 1))

    def reward(self, iteration: int) -> float:
        """Mean reward on the validation prompts after an iteration, of theta_0 after 0; kept beside the model."""
        theta_0 = self.run.folder / "theta_0"
        model = iteration_folder(self.out, iteration) if iteration else theta_0
        file = self.out / f"validation{iteration:02d}.json"
        judge = self.run.folder / "reward"
        if not up_to_date(file, model / "config.json", judge / "config.json"):
            evaluator = Evaluator(self.run, theta_0, judge)
            rng = self.run.rng("until")
            prompts = self.run.source.prompts("validation", self.run.preset.prompts, self.until.prompts, rng)
            measured = evaluator.dialogue(load_model(model, self.run.device), prompts)
            write_json(file, {key: measured[key].value for key in ("reward", "gold_reward")})
        return read_made(file, lambda found: found[self.metric] + 0.0)

    def finish(self, made: int) -> None:
        """Write `theta.json` after `made` iterations, unless it is there and newer than all of them."""
        models = [iteration_folder(self.out, i) / "config.json" for i in range(1, made + 1)]
        file = theta_file(self.out)
        if up_to_date(file, *models, *([] if self.own else [self.reference])):
            return
        rewards = [self.reward(i) for i in range(made + 1)]
        start = rewards[0]
        wanted = start + self.until.share * (rewards[-1] - start) if self.own else read_wanted(self.reference)
        first = next((i for i in range(1, made + 1) if rewards[i] >= wanted), made)
        told = {"iteration": first, "wanted": wanted, "reached": rewards[first] >= wanted, "metric": self.metric}
        write_json(file, told | {"rewards": rewards})


def read_wanted(file: Path) -> float:
    """The reward that other runs are to reach; UserError where RSF has not been run."""
    if not file.is_file():
        raise UserError(f"{file} is missing; run `align --rlhf rsf`, whose rise says what all others train to, first")
    return read_made(file, lambda told: told["wanted"] + 0.0)


def read_theta(file: Path) -> int:
    """Which iteration is theta; UserError where alignment has not ended."""
    if not file.is_file():
        raise UserError(f"{file} is missing; run the stage `align`, which makes it, first")
    return read_made(file, lambda told: int(told["iteration"]))
