"""The oracle of AMA: the point of Omega with the highest reward, found by looking (the paper, eq. 3).

Omega = {alpha_k in [0, 1], mean alpha_k = alpha} is searched on a lattice. All of its points are tried on a cheap, noisy
measure of the reward, the best of them again on a better one.
"""

from collections.abc import Callable, Iterator

from ...errors import UserError

_WHOLE = 1e-9  # how far from a whole number of steps a sum of ratios may be


def lattice(groups: int, alpha: float, step: float) -> list[tuple[float, ...]]:
    """Every point of Omega whose ratios are multiples of `step`, in lexical order.

    Raises UserError unless 1 and groups * alpha are multiples of `step`: else no point has the mean alpha exactly.
    """
    top, total = round(1 / step), round(groups * alpha / step)
    if abs(top * step - 1) > _WHOLE or abs(total * step - groups * alpha) > _WHOLE:
        raise UserError(
            f"step = {step:g} is not allowed with alpha = {alpha:g} and {groups} groups; "
            "allowed are steps of which 1 and the sum of the ratios are multiples"
        )
    return [tuple(number / top for number in point) for point in _summing_to(total, groups, top)]


def _summing_to(total: int, groups: int, top: int) -> Iterator[tuple[int, ...]]:
    """Every (groups,) of whole numbers from 0 to `top` with that sum."""
    if groups == 0:
        if total == 0:
            yield ()
        return
    for first in range(min(top, total) + 1):
        for rest in _summing_to(total - first, groups - 1, top):
            yield (first, *rest)


def search(
    points: list[tuple[float, ...]],
    screen: Callable[[tuple[float, ...]], dict[str, float]],
    decide: Callable[[tuple[float, ...]], dict[str, float]],
    finalists: int,
) -> dict[str, tuple[float, ...]]:
    """Name of each reward -> the point at which it is highest; of equal points the one that screened best.

    screen: point -> every reward, cheap and noisy; called for all points. decide: the same, better; called for the
    `finalists` points of each reward that screened best.
    """
    screened = {point: screen(point) for point in points}
    best = {}
    decided: dict[tuple[float, ...], dict[str, float]] = {}
    for name in next(iter(screened.values())):
        chosen = sorted(points, key=lambda point: -screened[point][name])[:finalists]
        decided |= {point: decide(point) for point in chosen if point not in decided}
        best[name] = max(chosen, key=lambda point: decided[point][name])
    return best
