"""Averages of theta_0 and theta, mixed in memory and measured: with ratios that a sweep says (MA, single parts, the
patterns of figure 9) or that were found before (AMA, AdaMerging, the oracle) (paper.md sections 4, 5)."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from ..config import Algorithm, AveragingEntry
from ..errors import UserError
from ..evaluation.local import Evaluator
from ..evaluation.rows import rows_of, with_rate
from ..grouping import PART_NAMES, Grouping, labels
from .between import load_between

# what a method that looks for its ratios has found: (which model it is, as the rows say it; ratio of each group)
Found = list[tuple[dict, dict[str, float]]]


def measure_averages(
    evaluator: Evaluator, theta: Path, rlhf: Algorithm, entry: AveragingEntry, lr: float | None, found: Found
) -> list[dict]:
    """Result rows of every setting of an entry.

    Args:
        rlhf: the algorithm that made theta.
        lr: the learning rate theta was made with, None for the preset's own; it becomes part of the setting.
        found: what a method that looks for its ratios has found; empty for the others.
    """
    grouping = entry.grouping.of_model(evaluator.run.preset.model)
    between, rows = load_between(evaluator.theta_0, theta, grouping, evaluator.mixed_on), []
    for setting, alphas in settings_of(entry, grouping, labels(between.assignment), found):
        measured, seconds = evaluator.measure(between.mix(alphas))
        rows += rows_of(evaluator.run, rlhf, entry.method, with_rate(setting, lr), measured, seconds)
    return rows


def settings_of(
    entry: AveragingEntry, grouping: Grouping, groups: list[str], found: Found
) -> Iterator[tuple[dict, dict[str, float]]]:
    """(setting as written into the rows, ratio of each group) for every setting of an entry."""
    for named, alphas in found:
        yield {**named, **asdict(grouping), "alphas": alphas}, alphas
    for alpha in entry.alphas:
        if entry.method == "ma":
            yield {"alpha": alpha}, dict.fromkeys(groups, alpha)
        elif entry.method == "part":
            for name in entry.part_names:
                group = group_named(name, groups)
                yield {"part": name, "alpha": alpha}, {g: alpha if g == group else 1.0 for g in groups}
        elif entry.method == "pattern":
            for offsets in entry.offsets:
                alphas = _pattern(alpha, offsets, groups)
                yield {**asdict(grouping), "alphas": alphas}, alphas


def _pattern(alpha: float, offsets: tuple[float, ...], groups: list[str]) -> dict[str, float]:
    """alpha plus each group's offset, rounded to what was meant (0.4 - 0.1 is 0.3)."""
    if len(offsets) != len(groups):
        raise UserError(f"offsets = {list(offsets)} is not allowed; allowed is one for each of {', '.join(groups)}")
    return {group: round(alpha + offset, 12) for group, offset in zip(groups, offsets, strict=True)}


def group_named(name: str, groups: list[str]) -> str:
    """The group of a part's name ("input" is part1 of three), or the group itself ("embeddings")."""
    group = next((label for label, part in PART_NAMES.items() if part == name), name)
    if group not in groups:
        raise UserError(f"part_names = {name!r} is no group of this model; allowed are {', '.join(groups)}")
    return group
