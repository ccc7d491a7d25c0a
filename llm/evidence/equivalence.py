"""From intervals to a word: is a difference there, is it large enough to matter, or are two methods equivalent?

Two one-sided tests at 5 % (Schuirmann 1987) reject "the difference is outside the margin" just where the 90 % interval lies
inside the margin. So one 95 % interval, one 90 % interval and a margin decide; `docs/protocol.md` says where the margins come from.
"""

from typing import Literal, get_args

Verdict = Literal[
    "holds",
    "holds, small",
    "equivalent",
    "fails, small",
    "fails",
    "mixed",
    "undecided",
    "not testable here",
    "not measured",
]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
ABILITY_MARGIN = 0.10  # of the rival's own tax
REWARD_MARGIN = 0.02  # of the reward's rise


def inside(low: float, high: float, margin: float | None) -> bool:
    """Whether an interval lies inside (-margin, margin)."""
    return margin is not None and -margin < low and high < margin


def judge(outer: tuple[float, float], inner: tuple[float, float], margin: float | None, bound: float = 0.0) -> Verdict:
    """The word for a difference that is expected above `bound`; margin: around the bound, None where there is none.

    holds: the 95 % interval lies above the bound; fails: below it; either is small where the 90 % interval lies inside
    the margin. equivalent: it does, and the 95 % interval holds the bound. undecided: anything else.
    """
    (low, high), small = outer, inside(inner[0] - bound, inner[1] - bound, margin)
    if low > bound:
        return "holds, small" if small else "holds"
    if high < bound:
        return "fails, small" if small else "fails"
    return "equivalent" if small else "undecided"
