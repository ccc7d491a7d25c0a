"""What rounding makes of an average: the ratio that it has in effect, and how many weights differ from their parents'.

An update of about one unit in the last place (step) of a weight's type cannot be averaged finely: the rounded path from theta_0
to theta is a staircase (docs/precision.md).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import inf, isfinite

import numpy as np

TOLERANCE = 0.02  # of the effective ratio, before a warning
WHOLE = 1 << 15  # values of a tensor or a block that are all looked at; of a longer one every STRIDE-th
REMEDY = "--dtype float32 keeps them, --rounding stochastic keeps their mean"
STRIDE = 33  # odd, so that over the rows of a matrix each column has its turn


@dataclass
class Effect:
    """Sums over weights of theta_0 (low), theta (high) and their average as it is stored (made).

    along: sum of (made - low)(high - low), and wanted the same before rounding; square: of (high - low)^2. moved: weights in which
    the models differ; from_low, from_high: in which the average differs from theta_0, from theta. values: all.
    Of sampled blocks each counts by the number of values that it stands for. seen: how many were looked at.
    """

    along: float = 0.0
    square: float = 0.0
    wanted: float = 0.0
    moved: float = 0.0
    from_low: float = 0.0
    from_high: float = 0.0
    values: float = 0.0
    seen: float = 0.0

    def add(self, low, high, made, ratio: float, stands_for: int | None = None, exact=None, stored=None) -> None:
        """Count weights, (values,) each, numpy's or torch's in fp64 or in a type that holds their differences.

        exact: the average before it was rounded; None where it is linear, at the ratio. stored: theta as it would be stored, where `high`
        has it before that.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # what that makes is looked at below
            step, count, stored = high - low, len(low), high if stored is None else stored
            square = float(step @ step)
        weight = (count if stands_for is None else stands_for) / max(1, count)
        if not isfinite(square):
            # infinities that both have, as masks do, have not moved; or the square is too large for its type
            finite = (abs(low) < inf) & (abs(high) < inf)
            low, high, made, stored = (_wide(one[finite]) for one in (low, high, made, stored))
            exact = None if exact is None else _wide(exact[finite])
            step = high - low
            square = float(step @ step)
        self.square += weight * square
        self.wanted += weight * (ratio * square if exact is None else float((exact - low) @ step))
        self.along += weight * float((made - low) @ step)
        self.moved += weight * int((step != 0).sum())
        self.from_low += weight * int((made != low).sum())
        self.from_high += weight * int((made != stored).sum())
        self.values += weight * count
        self.seen += count

    def include(self, other: "Effect") -> None:
        """Count another one's weights, too."""
        for key, value in asdict(other).items():
            setattr(self, key, getattr(self, key) + value)

    @property
    def alpha(self) -> float | None:
        """The effective ratio: the projection of (average - theta_0) on (theta - theta_0); None where the models are equal."""
        return self.along / self.square if self.square else None

    @property
    def asked(self) -> float | None:
        """The same of the unrounded average; of a linear one the mean of the ratios, each tensor by its squared displacement."""
        return self.wanted / self.square if self.square else None

    @property
    def changed(self) -> float | None:
        """Share of the weights in which the average differs from theta_0, in [0, 1]."""
        return self.from_low / self.values if self.values else None

    def described(self) -> dict[str, float | int | None]:
        """As JSON has it, `like` of it."""
        return asdict(self) | {"alpha": self.alpha, "asked": self.asked, "changed": self.changed}

    @classmethod
    def of(cls, described: Mapping) -> "Effect":
        """From what `described` gave; ValueError, KeyError or TypeError for anything else."""
        found = {key: float(described[key]) for key in cls.__dataclass_fields__}
        if not all(isfinite(value) for value in found.values()):
            raise ValueError("a sum is not finite")
        return cls(**found)

    def sentence(self, weights: str = "the weights") -> str:
        """The effective ratio and the shares in words; weights: of what."""
        if self.alpha is None or not self.values:
            return "the two models are equal"
        seen = "" if self.seen >= self.values else f" (from {self.seen:,.0f} of {self.values:,.0f} weights)"
        return (
            f"effective alpha {self.alpha:.3f}; {self.from_low / self.values:.1%} of {weights} differ from theta_0, "
            f"{self.from_high / self.values:.1%} from theta; these two differ in {self.moved / self.values:.1%}{seen}"
        )

    def warning(self, dtype: str) -> str | None:
        """A sentence where rounding to `dtype` moves the ratio by more than `TOLERANCE`; None where it does not."""
        if self.alpha is None or self.asked is None or abs(self.alpha - self.asked) <= TOLERANCE:
            return None
        return (
            f"Rounded to {dtype} the average has an effective alpha of {self.alpha:.3f} instead of {self.asked:.3f}: the "
            f"updates are about as small as that type's steps; {REMEDY}."
        )


def _wide(values):
    """numpy's or torch's, in fp64."""
    return values.double() if hasattr(values, "double") else values.astype("float64")
