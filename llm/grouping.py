"""Which averaging ratio each tensor of a model gets, found from the tensors' names alone.

The paper (section 5) cuts the L transformer layers into K contiguous parts and gives each its own ratio.
Part k ends with layer floor(L k / K): 26 layers and K = 3 are 1-8, 9-17, 18-26, as printed in the paper, and
6 layers are 1-2, 3-4, 5-6. (The authors' code has 1-8, 9-16, 17-26 for 26 layers.) Defaults are the authors':
the embeddings go with the first part, the final norm and the output head get the mean of the ratios.

What is what, for tensors outside the layers:
* embeddings: token, position and type embeddings, their norms and projections into the layers;
* head: everything that follows the final norm (`lm_head`, `embed_out`, `score`, ...), its bias included;
* norm: the norms that are left, that is the final one;
* anything else (rare: per-layer embeddings' mixers and the like) gets the mean.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Real
from statistics import mean
from typing import ClassVar

from .errors import UserError

LEVELS = ("part", "layer", "module")
PLACES = ("first", "last", "mean", "own", "theta", "theta_0")
PART_NAMES = {"part1": "input", "part2": "middle", "part3": "output"}  # the paper's figure 4; K = 3 only

_HEAD = re.compile(
    r"lm_head|embed_out|logits|^(project_out|head|output|score|classifier|v_head|value_head|qa_outputs)$"
)
_EMBEDDINGS = re.compile(r"emb|^wte$|^wpe$|^shared$|^project_in$|rotary")
_NORM = re.compile(r"norm|^ln(_|$)|_ln$")
_ATTENTION = re.compile(r"attn|attention|mixer|mamba|ssm|recurrent|time_mix|conv")


@dataclass(frozen=True)
class Grouping:
    """How tensors are put into groups of one ratio each.

    parts: K, the number of contiguous parts of the layers, 1 <= K <= L; not used at level "layer".
    level: "part" (a ratio per part), "layer" (a ratio per layer) or "module" (attention and MLP of each part;
        a layer's norms, which belong to neither, get the mean of their part's two).
    embeddings, norm, head: with the "first" or "last" part, at the "mean" of the ratios, a group of its
        "own", or kept as in "theta" or "theta_0". A head tied to the embeddings follows the embeddings.
    Raises UserError for a value that is not allowed.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}  # where it is a section of settings

    parts: int = 3
    level: str = "part"
    embeddings: str = "first"
    norm: str = "mean"
    head: str = "mean"

    def __post_init__(self) -> None:
        if isinstance(self.parts, bool) or not isinstance(self.parts, int) or self.parts < 1:
            raise UserError(f"parts = {self.parts!r} is not allowed; allowed are 1 to the number of layers.")
        if self.level not in LEVELS:
            raise UserError(f"level = {self.level!r} is not allowed; allowed are {', '.join(LEVELS)}.")
        for key in ("embeddings", "norm", "head"):
            if getattr(self, key) not in PLACES:
                raise UserError(f"{key} = {getattr(self, key)!r} is not allowed; allowed are {', '.join(PLACES)}.")


def layer_index(name: str, layers: str | None = None) -> int | None:
    """The number that a tensor's name has in the module list `layers` (see `layer_list`), None outside of it.

    Without `layers`: the number in the outermost numbered list of this one name.
    """
    for prefix, index in _numbers(name):
        return index if layers is None or prefix == layers else None
    return None


def layer_list(names: Iterable[str]) -> str:
    """The module list that holds the transformer layers, such as "model.layers", from all names of a model.

    Only outermost lists count, so experts within a layer do not. Among several (an image encoder's layers,
    small lists of projections) it is the one nearest to the token embeddings, then the one with most tensors.
    Raises UserError if there is none, or if two lists are equally good (an encoder and a decoder).
    """
    names = list(names)
    sizes: dict[str, int] = defaultdict(int)
    for name in names:
        for prefix, _ in _numbers(name):
            sizes[prefix] += 1
            break
    if not sizes:
        raise UserError("The tensors' names hold no numbered list of layers, so there are no parts.")
    tokens = token_embeddings(names) or _nearest(_embeddings(names))
    ranked = [(_shared_depth(prefix, tokens), size, prefix) for prefix, size in sizes.items()]
    ranked.sort(reverse=True)
    best, rivals = ranked[0], ranked[1:]
    for depth, size, prefix in rivals:
        if depth == best[0] and 2 * size > best[1]:
            raise UserError(
                f"The tensors' names hold two lists of layers, {best[2]} and {prefix}: only "
                "decoder-only models can be split into parts."
            )
    return best[2]


def layer_ranks(names: Iterable[str]) -> dict[str, int | None]:
    """Tensor name -> which layer it lies in, from 1, without gaps; None outside of the layers. Raises UserError as `layer_list` does."""
    names = list(names)
    layers = layer_list(names)
    indices = {name: layer_index(name, layers) for name in names}
    found = sorted({index for index in indices.values() if index is not None})
    ranks = {index: rank for rank, index in enumerate(found, start=1)}
    return {name: None if index is None else ranks[index] for name, index in indices.items()}


def token_embeddings(names: Iterable[str]) -> str:
    """The most likely token embedding among names outside numbered lists; "" if there is none."""
    return _nearest(n for n in _embeddings(names) if re.search(r"tok|wte|word|embed_in|shared|embeddings?\.weight$", n))


def part_ends(layers: int, parts: int) -> list[int]:
    """The last layer (from 1) of each of the contiguous parts: floor(layers * k / parts), k = 1..parts."""
    if not 1 <= parts <= layers:
        raise UserError(f"parts = {parts} is not allowed; allowed are 1 to {layers}, the model's number of layers.")
    return [layers * k // parts for k in range(1, parts + 1)]


def role(name: str) -> str:
    """What a tensor outside the layers is: "embeddings", "norm", "head" or "other"."""
    components = name.lower().split(".")
    for kind, pattern in (("head", _HEAD), ("embeddings", _EMBEDDINGS), ("norm", _NORM)):
        if any(pattern.search(component) for component in components):
            return kind
    return "other"


def assign(names: Iterable[str], grouping: Grouping, tied: Mapping[str, str] | None = None) -> dict[str, str]:
    """Tensor name -> group label, for every name once.

    Labels are "part1".."partK", "layer1".."layerL" or "part1.attention", "part1.mlp", ..; "embeddings",
    "norm", "head" where these have a group of their own; and, for tensors without a ratio of their own,
    "mean", "theta", "theta_0" (and "part1", .. for norms at level "module").
    tied: name -> the name of the tensor that it is the same as; it gets that one's label.
    Raises UserError if the layers cannot be found or there are fewer of them than parts.
    """
    names = list(names)
    ranks, by_module = layer_ranks(names), grouping.level == "module"
    layers = layer_list(names) if by_module else ""
    count = max(filter(None, ranks.values()))
    ends = part_ends(count, count if grouping.level == "layer" else grouping.parts)
    unit = "layer" if grouping.level == "layer" else "part"
    places = {"first": f"{unit}1", "last": f"{unit}{len(ends)}"}
    assignment = {}
    for name in names:
        if (rank := ranks[name]) is None:
            assignment[name] = _place(role(name), grouping, places)
        else:
            part = next(k for k, end in enumerate(ends, start=1) if rank <= end)
            module = _module(name.removeprefix(f"{layers}.")) if by_module else ""
            assignment[name] = f"{unit}{part}{module}"
    for name, owner in (tied or {}).items():
        assignment[name] = assignment[owner]
    return assignment


def labels(assignment: Mapping[str, str]) -> list[str]:
    """The groups that carry a ratio of their own, in order: parts, then embeddings, norm, head when "own"."""
    used = set(assignment.values())
    divided = {label.partition(".")[0] for label in used if "." in label}
    return [label for label in sorted_labels(used - divided) if _rank(label)[0] < 2]


def sorted_labels(names: Iterable[str]) -> list[str]:
    """Labels of groups: parts by their number, then embeddings, norm, head; what is no group comes last."""
    return sorted(set(names), key=_rank)


def _rank(label: str) -> tuple[int, int, str]:
    number, others = re.match(r"(?:part|layer)(\d+)", label), ("embeddings", "norm", "head")
    if number:
        return 0, int(number[1]), label
    return (1, others.index(label), label) if label in others else (2, 0, label)


def ratios(assignment: Mapping[str, str], alphas: Mapping[str, float], most: float = 1.0) -> dict[str, float]:
    """Tensor name -> ratio in [0, most], given the ratio of each group of `labels(assignment)`.

    "mean" is the plain mean over these groups, whatever their sizes; "theta" is 1 and "theta_0" is 0.
    Raises UserError if a group has no ratio, a ratio no group, or a ratio is outside [0, most].
    """
    groups = labels(assignment)
    if set(alphas) != set(groups):
        given = ", ".join(map(str, alphas)) or "nothing"
        raise UserError(f"alphas has ratios for {given}, but the groups are {', '.join(groups)}.")
    for label in groups:
        check_ratio(f"alphas[{label}]", alphas[label], most)
    value = {label: float(alphas[label]) for label in groups}
    value |= {"mean": mean(value.values()), "theta": 1.0, "theta_0": 0.0}
    for label in set(assignment.values()) - set(value):
        value[label] = mean(value[group] for group in groups if group.startswith(f"{label}."))
    return {name: value[label] for name, label in assignment.items()}


def only_linear(assignment: Mapping[str, str]) -> dict[str, str]:
    """The same with embeddings and norms, those within layers too, at "theta_0"."""
    return {name: label if is_linear(name) else "theta_0" for name, label in assignment.items()}


def is_linear(name: str) -> bool:
    """Whether a tensor belongs to a linear layer: it is neither a norm's nor the embeddings'."""
    if layer_index(name) is None:
        return role(name) not in ("embeddings", "norm")
    return not any(_NORM.search(component) for component in name.lower().split("."))


def check_ratio(name: str, value: float, most: float = 1.0) -> None:
    """Raises UserError unless `value` is a number in [0, most] (NaN is not)."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= value <= most:
        top = "1 (theta)" if most == 1 else f"{most:g} (1 is theta)"
        raise UserError(f"{name} = {value!r} is not allowed; allowed are numbers from 0 (theta_0) to {top}.")


def label_of(name: str, parts: int = 3) -> str:
    """The label of a part by its number, or of three by its name: "2" -> "part2", "input" -> "part1"; labels are returned as they are."""
    named = {part: label for label, part in PART_NAMES.items()} if parts == 3 else {}
    return f"part{name}" if name.isdecimal() else named.get(name, name)


def _numbers(name: str) -> Iterable[tuple[str, int]]:
    """(path of the list, index) for each number in a tensor's name, outermost first."""
    components = name.split(".")
    for place, component in enumerate(components):
        if component.isdecimal():
            yield ".".join(components[:place]), int(component)


def _embeddings(names: Iterable[str]) -> list[str]:
    return [name for name in names if layer_index(name) is None and role(name) == "embeddings"]


def _nearest(names: Iterable[str]) -> str:
    return min(names, key=lambda name: (name.count("."), len(name)), default="")


def _shared_depth(prefix: str, name: str) -> int:
    """How many leading components two dotted names share."""
    depth = 0
    for left, right in zip(prefix.split("."), name.split("."), strict=False):
        if left != right:
            break
        depth += 1
    return depth


def _place(kind: str, grouping: Grouping, places: Mapping[str, str]) -> str:
    if kind == "other":
        return "mean"
    choice = getattr(grouping, kind)
    return kind if choice == "own" else places.get(choice, choice)


def _module(name_in_list: str) -> str:
    """ ".attention", ".mlp" or "" (a norm within the layer) for a name such as "3.mlp.up_proj.weight"."""
    module = name_in_list.split(".")[1].lower()
    if _NORM.search(module):
        return ""
    return ".attention" if _ATTENTION.search(module) else ".mlp"
