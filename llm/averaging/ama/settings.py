"""The settings of `adapt`: checked, frozen, and all of them in the file of ratios."""

from dataclasses import asdict, dataclass
from math import ceil, cos, inf, pi

from ...errors import UserError
from ...grouping import Grouping, check_ratio
from .parameterise import placement


@dataclass(frozen=True)
class AdaptSettings:
    """What decides the ratios, given the models and the samples.

    alpha: mean ratio of the groups. keep, draw: D_theta is `draw` samples out of the `keep` best.
    epochs: passes over D_theta. batch: samples a step. lr: Adam's rate on s; it warms up over the share
    `warmup` of the steps and falls to 0 by a cosine. max_length: tokens of prompt and reply; longer
    replies are cut. regulariser: the coefficient of the middle's penalty, 0 for none, `squared` for its
    squares (`regulariser.py`). check: samples on which the found and equal ratios are compared. samples,
    tokens, temperature: of the sampling of replies, where it is asked for. Raises UserError for a value
    that is not allowed.
    """

    alpha: float
    grouping: Grouping = Grouping()
    keep: int = 5000
    draw: int = 2000
    epochs: float = 1.0
    batch: int = 8
    lr: float = 0.05
    warmup: float = 0.03
    max_length: int = 512
    parameterisation: str = "sigmoid"
    eps: float = 0.0
    regulariser: float = 0.0
    squared: bool = False
    check: int = 256
    seed: int = 0
    dtype: str = "auto"
    samples: int = 8
    tokens: int = 196
    temperature: float = 1.0

    def __post_init__(self) -> None:
        check_ratio("alpha", self.alpha)
        placement(self.parameterisation, self.eps)
        for name in ("keep", "draw", "batch", "max_length", "samples", "tokens"):
            _check(name, getattr(self, name), 1, inf, "whole numbers from 1")
        _check("seed", self.seed, 0, inf, "whole numbers from 0")
        _check("check", self.check, 2, inf, "whole numbers from 2")
        _check("warmup", self.warmup, 0, 1, "numbers from 0 to 1")
        _check("regulariser", self.regulariser, 0, 1e300, "finite numbers from 0")
        for name in ("epochs", "lr", "temperature"):
            _check(name, getattr(self, name), 1e-300, 1e300, "finite numbers above 0")
        if self.squared and not self.regulariser:
            raise UserError("squared is set, but regulariser is 0; allowed is with a regulariser above 0 only.")

    def steps(self, count: int) -> int:
        """The number of steps for `count` samples."""
        return ceil(self.epochs * count / self.batch)

    def rate(self, step: int, steps: int) -> float:
        """Adam's rate in step 0 .. steps - 1."""
        warm = ceil(self.warmup * steps)
        if step < warm:
            return self.lr * (step + 1) / warm
        return self.lr * (1 + cos(pi * (step - warm) / (steps - warm))) / 2

    def described(self) -> dict:
        """As plain values, the grouping apart from the rest."""
        return {key: value for key, value in asdict(self).items() if key not in ("alpha", "grouping")}


def _check(name: str, value: float, low: float, high: float, allowed: str) -> None:
    if not low <= value <= high:
        raise UserError(f"{name.replace('_', '-')} is {value}, allowed are {allowed}.")
