"""From the command line's choices (one ratio, one per part, one part only, a file) to a ratio per tensor."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from ..errors import UserError, first_line
from ..grouping import Grouping, assign, check_ratio, label_of, labels, ratios
from ..models.folder import read_json

EVERYTHING = "all"  # the label of every tensor when one ratio serves the whole model
REST = "the rest"  # the label of tensors that a recipe leaves as in theta


@dataclass(frozen=True)
class Gradient:
    """Ratios that change evenly from the first layer to the last: through `anchors`, equally far apart, linearly between them."""

    anchors: tuple[float, ...]

    def ratios(self, groups: Sequence[str]) -> dict[str, float]:
        """Label -> ratio; embeddings of their own have the first layer's, norm and head the last one's."""
        layers = [label for label in groups if label.startswith("layer")]
        last, steps = len(self.anchors) - 1, max(1, len(layers) - 1)
        found = {}
        for number, label in enumerate(layers):
            place = number * last / steps
            below = min(int(place), last - 1)
            low, high = self.anchors[below : below + 2]
            found[label] = low + (high - low) * (place - below)
        ends = {"embeddings": self.anchors[0], "norm": self.anchors[-1], "head": self.anchors[-1]}
        return {label: found.get(label, ends.get(label, 0.0)) for label in groups}


@dataclass(frozen=True)
class Recipe:
    """What is averaged at which ratio; `resolve` applies it to a model's tensor names.

    alphas: one ratio for everything, a ratio per group in the order of `llm.grouping.labels`, label -> ratio, or a gradient.
    rest: the ratio, 0 or 1, of groups that a mapping does not name, which stay theta_0's or theta's; None if it has to name all.
    rule: what gives each tensor its ratio by its name and the one ratio `alphas` (`averaging.schedule`), instead of the grouping.
    only: a regular expression; tensors in whose names it is not found stay theta's. most: the largest ratio, above 1 beyond theta.
    """

    grouping: Grouping
    alphas: float | Sequence[float] | Mapping[str, float] | Gradient
    rest: float | None = None
    rule: Callable[[Iterable[str], Mapping[str, str], float], Mapping[str, tuple[str, float]]] | None = None
    only: str | None = None
    most: float = 1.0


@dataclass(frozen=True)
class Resolved:
    """A recipe applied: group label -> ratio, tensor name -> label, tensor name -> ratio.

    fixed: tensors that the recipe leaves as they are in theta (ratio 1) or theta_0 (0), which not every method has as its ends.
    """

    groups: dict[str, float]
    assignment: dict[str, str]
    ratios: dict[str, float]
    grouping: dict[str, object] | None
    fixed: frozenset[str] = frozenset()


def uniform(alpha: float, grouping: Grouping, most: float = 1.0) -> Recipe:
    """One ratio in [0, most] for the whole model, but for what `grouping` fixes to theta or theta_0."""
    check_ratio("alpha", alpha, most)
    return Recipe(replace(grouping, parts=1, level="part"), _plain(alpha), most=most)


def _plain(alpha: float | str) -> float:
    """As a float, -0 as 0."""
    return float(alpha) + 0.0


def in_order(alphas: str | Sequence[float], grouping: Grouping, parts: int | None, most: float = 1.0) -> Recipe:
    """Ratios (text: with commas) in the order of the groups; K follows from their number if `parts` is None. Or a gradient over
    the layers (text: FIRST..LAST, with more anchors in between).
    """
    if isinstance(alphas, str) and ".." in alphas:
        return _gradient(alphas, grouping, parts, most)
    try:
        values = [_plain(value) for value in (alphas.split(",") if isinstance(alphas, str) else alphas)]
    except (ValueError, TypeError):
        raise UserError(f"alphas = {alphas!r} is not allowed; allowed are numbers from 0 to 1 and commas.") from None
    for place, value in enumerate(values, start=1):
        check_ratio(f"ratio {place} of alphas", value, most)
    own = sum(choice == "own" for choice in (grouping.embeddings, grouping.norm, grouping.head))
    per_part = 2 if grouping.level == "module" else 1
    if parts is None and grouping.level != "layer":
        parts, left_over = divmod(len(values) - own, per_part)
        if parts < 1 or left_over:
            raise UserError(
                f"alphas has {len(values)} ratios; allowed is {per_part} per part and {own} for groups of their own."
            )
    return Recipe(grouping if parts is None else replace(grouping, parts=parts), values, most=most)


def _gradient(alphas: str, grouping: Grouping, parts: int | None, most: float) -> Recipe:
    try:
        anchors = tuple(_plain(value) for value in alphas.split(".."))
    except ValueError:
        raise UserError(
            f"alphas = {alphas!r} is not allowed; allowed are numbers from 0 to 1 with .. between them."
        ) from None
    for place, value in enumerate(anchors, start=1):
        check_ratio(f"ratio {place} of alphas", value, most)
    if parts is not None or grouping.level not in ("part", "layer"):
        raise UserError(f"alphas is {alphas!r}, a gradient over the layers; leave out --parts and --level.")
    return Recipe(replace(grouping, level="layer"), Gradient(anchors), most=most)


def one_part(part: str, alpha: float, grouping: Grouping, most: float = 1.0) -> Recipe:
    """One part at the ratio `alpha` and the rest as in theta (the paper's figure 4).

    part: "input", "middle", "output" (K = 3), or a part's number from 1. The embeddings follow the first part
    unless `grouping` says otherwise; norm and head, where they would take the mean, stay theta's.
    """
    check_ratio("alpha", alpha, most)
    label = label_of(part, grouping.parts)
    allowed = [f"part{k}" for k in range(1, grouping.parts + 1)]
    if label not in allowed:
        named = "input, middle, output or " if grouping.parts == 3 else ""
        raise UserError(f"part = {part!r} is not allowed; allowed are {named}1 to {grouping.parts}.")
    if grouping.level != "part":
        raise UserError(f"level = {grouping.level!r} is not allowed with a single part; allowed is 'part'.")
    return Recipe(for_one_part(grouping), {label: _plain(alpha)}, rest=1.0, most=most)


def for_one_part(grouping: Grouping) -> Grouping:
    """The grouping when one part alone is averaged: what would take the mean of the ratios stays theta's."""
    kept: dict[str, Any] = {key: "theta" for key in ("embeddings", "norm", "head") if getattr(grouping, key) == "mean"}
    return replace(grouping, **kept)


def from_file(path: Path) -> Recipe:
    """A JSON file {"groups": {label: ratio}, "grouping": {"parts": 3, ..}} as `adapt` writes it."""
    if not path.is_file():
        raise UserError(f"alphas-file is {str(path)!r}, which is no file.")
    content = read_json(path)
    groups, grouping = content.get("groups"), content.get("grouping", {})
    if not isinstance(groups, dict) or not groups:
        raise UserError(f'{path} has no "groups"; allowed is an object of labels with their ratios.')
    for label, value in groups.items():
        check_ratio(f"groups[{label}] in {path}", value)
    known = [field.name for field in fields(Grouping)]
    if not isinstance(grouping, dict) or set(grouping) - set(known):
        allowed = ", ".join(known)
        raise UserError(f"{path}: grouping = {grouping!r} is not allowed; allowed is an object with {allowed}.")
    return Recipe(Grouping(**grouping), {label: float(value) for label, value in groups.items()})


def resolve(recipe: Recipe, names: Iterable[str], tied: Mapping[str, str]) -> Resolved:
    """Ratios for a model with these tensors; `tied`: name -> name of the tensor that it is the same as.

    Raises UserError if the names cannot be grouped, or the ratios do not fit the groups.
    """
    resolved = _resolved(recipe, list(names), tied)
    if recipe.only is None:
        return resolved
    try:
        chosen = {name for name in resolved.ratios if re.search(recipe.only, tied.get(name, name))}
    except (re.error, RecursionError, OverflowError) as error:
        raise UserError(f"only is {recipe.only!r}, which is no regular expression ({first_line(error)}).") from None
    if not chosen:
        raise UserError(
            f"only is {recipe.only!r}, which no tensor's name has; a name is {next(iter(resolved.ratios))}."
        )
    assignment = {name: label if name in chosen else REST for name, label in resolved.assignment.items()}
    ratios = {name: ratio if name in chosen else 1.0 for name, ratio in resolved.ratios.items()}
    return replace(resolved, assignment=assignment, ratios=ratios, fixed=resolved.fixed | (ratios.keys() - chosen))


def _resolved(recipe: Recipe, names: list[str], tied: Mapping[str, str]) -> Resolved:
    grouping = recipe.grouping
    if recipe.rule is not None:
        if not isinstance(recipe.alphas, float):
            raise UserError("The method has a rule for its ratios, so it takes one ratio; give alpha alone.")
        found = recipe.rule(names, tied, recipe.alphas)
        labelled = {name: label for name, (label, _) in found.items()}
        return Resolved(dict(found.values()), labelled, {name: ratio for name, (_, ratio) in found.items()}, None)
    fixed = {grouping.embeddings, grouping.norm, grouping.head} & {"theta", "theta_0"}
    if isinstance(recipe.alphas, float) and not fixed:
        everything = dict.fromkeys(names, recipe.alphas)
        return Resolved({EVERYTHING: recipe.alphas}, dict.fromkeys(names, EVERYTHING), everything, None)
    assignment = assign(names, grouping, tied)
    own, ends = labels(assignment), {"theta", "theta_0"}
    if isinstance(recipe.alphas, float):
        groups = dict.fromkeys(own, recipe.alphas)
    elif isinstance(recipe.alphas, Gradient):
        groups = recipe.alphas.ratios(own)
    elif isinstance(recipe.alphas, Mapping):
        groups = dict(recipe.alphas)
        if recipe.rest is not None:
            ends |= set(own) - groups.keys()
            groups = dict.fromkeys(own, recipe.rest) | groups
    elif len(recipe.alphas) != len(own):
        count = len(recipe.alphas)
        raise UserError(f"alphas has {count} ratios, but there are {len(own)} groups: {', '.join(own)}.")
    else:
        groups = dict(zip(own, recipe.alphas, strict=True))
    kept = frozenset(name for name, label in assignment.items() if label in ends)
    return Resolved(groups, assignment, ratios(assignment, groups, recipe.most), asdict(grouping), kept)
