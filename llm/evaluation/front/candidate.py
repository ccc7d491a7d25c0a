"""A model between theta_0 and theta, or beyond, as the recommendation's rule has judged it, and what is to be said of that."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

WIDE = 0.2  # of the rise: an interval that is wider gets a warning


@dataclass(frozen=True)
class Candidate:
    """A model between the ends, as it was judged. kept: share of the rise, its bounds None where the rise is too uncertain for any.

    allowed: whether it keeps enough; chosen: how often the procedure chose it on resampled items. gain: mean change of the
    abilities against theta, as a share of their scales.
    """

    method: str
    alpha: float
    kept: float | None
    low: float | None
    high: float | None
    allowed: bool
    chosen: float
    gain: float

    @property
    def span(self) -> str:
        """The interval of the share that is kept, in words."""
        return "not known" if self.low is None or self.high is None else f"{self.low:.0%} to {self.high:.0%}"

    def may_keep(self, keep: float) -> bool:
        """Whether the interval does not rule out that it keeps enough."""
        return self.high is None or self.high >= keep


def warnings_on(best: Candidate, sure: bool, keep: float, items: int, names: Sequence[tuple[str, float]]) -> list[str]:
    said = []
    if not sure:
        said.append(
            f"By its estimate alone this model keeps {best.kept:.0%} of the rise; its interval reaches below the {keep:.0%} asked for, "
            "and more prompts, or more samples a prompt, are needed to be sure."
        )
    if best.low is None or best.high is None or best.high - best.low > WIDE:
        span = best.span if best.low is None or best.high is None else f"known as {best.span} only"
        said.append(f"The share of the rise that is kept is {span}, from {items} items.")
    tried = [alpha for method, alpha in names if method == best.method]
    if best.alpha and best.alpha == max(tried, key=lambda alpha: abs(1 - alpha)):
        where = "further beyond theta" if best.alpha > 1 else "nearer to theta_0"
        said.append(f"Nothing {where} was tried of its method, which may gain more.")
    return said


def doubts_on(doubtful: Sequence[Candidate], keep: float, items: int) -> list[str]:
    """What is to be said where theta is kept, though models that gain are not ruled out."""
    if not doubtful:
        return []
    widest = max(doubtful, key=lambda one: np.inf if one.low is None or one.high is None else one.high - one.low)
    return [
        f"{len(doubtful)} of the models that gain may keep {keep:.0%} of the rise all the same: the widest interval of what one keeps "
        f"is {widest.span}, from {items} items; more prompts, or more samples a prompt, are needed to tell."
    ]
