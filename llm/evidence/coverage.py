"""Does every sweep of a mitigation span its range, from no effect to no reward gained?

At its mildest setting a method should reach the reward of training without it (`distilled`; for PPO's penalty, theta at the preset's
own one), at its strongest that of theta_0; otherwise its curve is a piece of its front only.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..errors import UserError
from ..methods import METHODS, names
from . import paths
from .frames import after, read_preset

METRIC = "reward"


@dataclass(frozen=True)
class End:
    """One end of a sweep, a mean over seeds.

    setting: of the model there. reference: what it should be like. difference: of the learned reward, model - reference.
    stderr: of that difference over test items, of these very runs. share: the difference in units of the whole
    range, from theta_0 to the model without the method (NaN where both are the same). aimed_at: False where the method is not meant to get there.
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
    family: str
    seeds: int
    mildest: End
    strongest: End


def spans(results: Path) -> list[Span]:
    """Every sweep of a mitigation in a folder of rows of one preset, at its own learning rate; at other rates there are fewer
    strengths, which need not span anything. UserError where an end's reference is missing.
    """
    rows, found = read_preset(results), []
    trained = [name for name in names("training") if METHODS[name].order]
    for rlhf in names("alignment"):
        frame = after(rows, rlhf)
        for method in trained:
            chosen = paths.at_rate(paths.of_method(frame, method), None)
            found += [_span(frame, rlhf, family) for family in chosen["family"].drop_duplicates()]
    if not found:
        raise UserError(f"results: {results} has no rows of a mitigation; it must have some of {', '.join(trained)}.")
    return found


def _span(frame: pd.DataFrame, rlhf: str, family: str) -> Span:
    models = paths.path(frame, family)
    models = models[models["family"] == family]
    method = METHODS[models["method"].iloc[0]]
    without = method.order.ends or "theta"  # PPO without its penalty would be another PPO: theta has the preset's own
    top, bottom = (
        paths.of_seeds(paths.of_method(paths.at_rate(frame, None), name), models["seed"])
        for name in (without, "theta_0")
    )
    width = paths.difference(top, bottom, METRIC).mean

    def end(step: float, reference: pd.DataFrame, called: str, aimed_at: bool) -> End:
        model = models[models["step"] == step]
        setting = ", ".join(
            f"{key} {model[key].iloc[0]:g}"
            for key in method.options
            if key in method.order.by and model[key].notna().all()
        )
        change = paths.difference(model, reference, METRIC).mean
        error = paths.items_error(model, reference, METRIC)
        return End(setting, called, change, error, change / width if width else math.nan, aimed_at)

    mildest = end(models["step"].max(), top, without, True)
    strongest = end(models["step"].min(), bottom, "theta_0", method.order.starts == "theta_0")
    return Span(rlhf, family, models["seed"].nunique(), mildest, strongest)


def table(found: list[Span]) -> str:
    """A line an end, in plain text."""
    head = (
        "learned reward at the ends of each sweep, means over seeds; +- standard error over test items, and noise is 1.96 of it\n"
        "range: from theta_0 to what the mildest is held against\n"
    )
    lines = [head, _line("", "seeds", "end", "setting", "against", "difference", "of range", "verdict")]
    for span in found:
        name = f"{span.rlhf} {span.family}"
        for where, end in (("mildest", span.mildest), ("strongest", span.strongest)):
            numbers = (
                f"{end.difference:+.3f} +- {end.stderr:.3f}",
                "-" if math.isnan(end.share) else f"{end.share:+.0%}",
            )
            lines.append(_line(name, str(span.seeds), where, end.setting, end.reference, *numbers, _verdict(end)))
            name = ""
    return "\n".join(lines)


def _verdict(end: End) -> str:
    return "within noise" if end.within_noise else "not" if end.aimed_at else "not, nor meant to"


def _line(
    name: str, seeds: str, end: str, setting: str, against: str, difference: str, share: str, verdict: str
) -> str:
    return f"{name:<34}{seeds:>5}  {end:<10}{setting:<24}{against:<10}{difference:>17}{share:>10}  {verdict}".rstrip()
