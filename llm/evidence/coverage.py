"""Does every sweep of a mitigation span its range, from no effect to no reward gained?

At its mildest setting a method should reach the reward of training without it (`distilled`; for PPO's penalty, theta at the preset's
own one), at its strongest that of theta_0; otherwise its curve is a piece of its front only.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pandas as pd

from ..config.base import Algorithm
from ..errors import UserError
from . import paths
from .families import FAMILIES, NOT_DISTILLED, NOT_THETA_0, TRAINED, strengths
from .frames import after, read_preset

METRIC = "reward"


@dataclass(frozen=True)
class End:
    """One end of a sweep, a mean over seeds.

    setting: of the model there. reference: what it should be like. difference: of the learned reward, model - reference.
    stderr: of that difference over test items, of these very runs. share: the difference in units of the whole
    range, from theta_0 to the model without the method. aimed_at: False where the method is not meant to get there.
    """

    setting: str
    reference: str
    difference: float
    stderr: float
    share: float
    aimed_at: bool = True

    @property
    def within_noise(self) -> bool:
        """Whether the difference is at most 1.96 standard errors."""
        return abs(self.difference) <= paths.NORMAL * self.stderr


@dataclass(frozen=True)
class Span:
    """A sweep's two ends."""

    rlhf: str
    method: str
    seeds: int
    mildest: End
    strongest: End


def spans(results: Path) -> list[Span]:
    """Every sweep of a mitigation in a folder of rows of one preset, at its own learning rate; at other rates there are fewer
    strengths, which need not span anything. UserError where an end's reference is missing.
    """
    rows, found = read_preset(results), []
    for rlhf in get_args(Algorithm):
        frame = paths.at_rate(after(rows, rlhf, FAMILIES), None)
        for method in TRAINED:
            chosen = frame[(frame["method"] == method) & (frame["rlhf"] == rlhf)]
            if method != "distilled" and len(chosen):
                found += _spans_of(frame, chosen, rlhf, method)
    if not found:
        allowed = ", ".join(method for method in TRAINED if method != "distilled")
        raise UserError(f"results: {results} has no rows of a mitigation; it must have some of {allowed}.")
    return found


def _spans_of(frame: pd.DataFrame, chosen: pd.DataFrame, rlhf: str, method: str) -> Iterator[Span]:
    for targets in chosen["targets"].drop_duplicates():
        where = {} if pd.isna(targets) else {"targets": targets}
        path = strengths(frame, method, **where)
        name = " ".join([method, *where.values()])
        without = "theta" if method in NOT_DISTILLED else "distilled"
        yield _span(frame, path[path["method"] == method], rlhf, name, without, method not in NOT_THETA_0)


def _span(frame: pd.DataFrame, steps: pd.DataFrame, rlhf: str, name: str, without: str, to_theta_0: bool) -> Span:
    seeds = set(steps["seed"])
    top, bottom = paths.of_method(frame, without), paths.theta_0(frame)
    top, bottom = (ends[ends["seed"].isin(seeds)] for ends in (top, bottom))
    width = paths.difference(top, bottom, METRIC).mean

    def end(step: float, reference: pd.DataFrame, called: str, aimed_at: bool) -> End:
        model = steps[steps["step"] == step]
        change = paths.difference(model, reference, METRIC).mean
        return End(
            _setting(model), called, change, paths.items_error(model, reference, METRIC), change / width, aimed_at
        )

    mildest, strongest = (
        end(steps["step"].max(), top, without, True),
        end(steps["step"].min(), bottom, "theta_0", to_theta_0),
    )
    return Span(rlhf, name, len(seeds), mildest, strongest)


def _setting(model: pd.DataFrame) -> str:
    first = model.iloc[0]
    return ", ".join(f"{name} {first[name]:g}" for name in ("strength", "rank", "lora_alpha") if pd.notna(first[name]))


def table(found: list[Span]) -> str:
    """A line an end, in plain text."""
    head = (
        "learned reward at the ends of each sweep, means over seeds; +- standard error over test items, and noise is 1.96 of it\n"
        "range: from theta_0 to what the mildest is held against\n"
    )
    lines = [head, _line("", "seeds", "end", "setting", "against", "difference", "of range", "verdict")]
    for span in found:
        name = f"{span.rlhf} {span.method}"
        for where, end in (("mildest", span.mildest), ("strongest", span.strongest)):
            difference = f"{end.difference:+.3f} +- {end.stderr:.3f}"
            lines.append(
                _line(
                    name,
                    str(span.seeds),
                    where,
                    end.setting,
                    end.reference,
                    difference,
                    f"{end.share:+.0%}",
                    _verdict(end),
                )
            )
            name = ""
    return "\n".join(lines)


def _verdict(end: End) -> str:
    return "within noise" if end.within_noise else "not" if end.aimed_at else "not, nor meant to"


def _line(
    name: str, seeds: str, end: str, setting: str, against: str, difference: str, share: str, verdict: str
) -> str:
    return f"{name:<34}{seeds:>5}  {end:<10}{setting:<24}{against:<10}{difference:>17}{share:>10}  {verdict}".rstrip()
