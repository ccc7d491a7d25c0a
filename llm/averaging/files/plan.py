"""What an average of two model folders is to be, decided before a byte is written: its tensors, their ratios and how each is made."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from ...errors import UserError
from ...grouping import token_embeddings
from ...models.folder import ModelFolder
from ...models.safetensors import TensorInfo
from ..merge import Merge
from ..merge.linear import LINEAR
from ..ratios import Recipe, Resolved, resolve
from ..soup import Soup
from . import chunks, lora
from .chunks import Averaged, Chunk
from .output import Output
from .pairing import Tensors, heads, pair
from .soup import of_adapters, of_models

MERGED_LATER = (
    "The effective alpha is that of the adapter by itself; in a model of 16 bits that it is merged into it may be another, which "
    "`front` and `tax` tell."
)


@dataclass(frozen=True)
class Plan:
    """All that is decided before a byte is written.

    like: the folder whose files the output has. tensors: its tensors, and where they have their places in those files.
    settings: what differs in config.json. formula, details: for the report.
    """

    kind: str
    like: ModelFolder
    tensors: Tensors
    resolved: Resolved
    chunks: Callable[[str], Iterator[Chunk]]
    settings: dict[str, object]
    notes: list[str]
    formula: str = LINEAR.formula
    details: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Inputs:
    """What is read: theta_0, theta (an adapter, or a model), theta_pre of methods that take it, and the others of a soup.

    union: whether vocabularies may differ in size. full: whether an adapter becomes a model.
    """

    base: ModelFolder
    theta: ModelFolder
    third: ModelFolder | None = None
    soup: Soup = Soup()
    others: tuple[ModelFolder, ...] = ()
    union: bool = False
    full: bool = False

    @property
    def shares(self) -> dict[str, float]:
        """Key in the report -> its share of the soup; none without one."""
        names = [key for key in self.named if key not in ("theta_0", "theta_pre")]
        return dict(zip(names, self.soup.shares, strict=True)) if self.others else {}

    @property
    def named(self) -> dict[str, ModelFolder]:
        """Key in the report -> folder."""
        others = {other.name.replace(" ", "_"): other for other in self.others}
        return {"theta_0": self.base, "theta": self.theta} | others | ({"theta_pre": self.third} if self.third else {})

    def plan(self, recipe: Recipe, output: Output, merge: Merge = LINEAR) -> Plan:
        """The plan; UserError for tensors that do not fit each other or the recipe."""
        if not self.theta.is_adapter or self.full:
            plan = (_of_merged_adapter if self.full else _of_models)(self, recipe, output, merge)
            return replace(plan, details={"soup": self.shares}) if self.others else plan
        if self.others:
            raise UserError(
                "theta is an adapter, and the mean of several has no low rank; allowed with --with is --full."
            )
        return _of_adapter(self, recipe, output)


def _of_models(inputs: Inputs, recipe: Recipe, output: Output, merge: Merge) -> Plan:
    pairing = pair(inputs.base, inputs.theta, inputs.union)
    left, right = pairing.theta_0, pairing.theta
    before = _before(inputs.third, inputs.theta, right)
    soup = of_models(inputs.soup, inputs.theta, inputs.others, right)
    resolved = resolve(recipe, dict.fromkeys([*right, *pairing.tied.values()]), pairing.tied)
    averaged = _averaged(left, right, before, pairing.tied, resolved, output, merge)
    make = lambda name: averaged(name, soup(name))

    settings: dict[str, object] = {"tie_word_embeddings": False} if pairing.untied else {}
    notes = pairing.notes + _mixed_types(left, right)
    return Plan("model", inputs.theta, right, resolved, make, settings, notes, merge.formula)


def _of_adapter(inputs: Inputs, recipe: Recipe, output: Output) -> Plan:
    base, theta = inputs.base, inputs.theta
    adapter = lora.read_adapter(base, theta, inputs.union)
    resolved = resolve(recipe, dict.fromkeys([*base.tensors, *adapter.targets.values()]), adapter.tied)
    ratios = {name: resolved.ratios[target] for name, target in adapter.targets.items()}
    labels = {name: resolved.assignment[target] for name, target in adapter.targets.items()}
    resolved = replace(resolved, assignment=labels, ratios=ratios)

    def scale(name: str) -> Iterator[Chunk]:
        return chunks.scaled_adapter(adapter, theta.tensors[name], ratios[name], output)

    notes = [*adapter.notes, MERGED_LATER]
    return Plan("adapter", theta, theta.tensors, resolved, scale, {}, notes)


def _of_merged_adapter(inputs: Inputs, recipe: Recipe, output: Output, merge: Merge) -> Plan:
    base, adapter = inputs.base, lora.read_adapter(inputs.base, inputs.theta, inputs.union)
    if inputs.theta.config.get("alora_invocation_tokens"):
        raise UserError(
            "full is set, but the adapter is an activated LoRA (alora_invocation_tokens), which acts on a part of the text only; "
            "average it without --full."
        )
    if adapter.unmergeable:
        raise UserError(
            f"full is set, but {adapter.unmergeable[0]} of the adapter belongs to no single "
            "tensor of theta-0; average it without --full."
        )
    names = dict.fromkeys([*base.tensors, *filter(None, [adapter.untied])])
    whole = {name: adapter.whole[name] for name in names if name in adapter.whole}
    tensors = {name: adapter.base[name] for name in names}
    tensors |= {name: replace(tensors[name], dtype=t.dtype, shape=t.shape) for name, t in whole.items()}
    resolved = resolve(recipe, dict.fromkeys([*names, *adapter.tied, *adapter.tied.values()]), adapter.tied)
    settings, notes = _settings(tensors, adapter, whole)
    before = _before(inputs.third, base, tensors)
    soup = of_adapters(inputs.soup, base, adapter, inputs.others, inputs.union, always=not merge.is_linear)

    averaged = _averaged(adapter.base, tensors, before, adapter.tied, resolved, output, merge)

    def make(name: str) -> Iterator[Chunk]:
        several = soup(name)
        if several is None:
            return chunks.merged(name, adapter, resolved.ratios[name], output)
        return averaged(name, several)

    notes = adapter.notes + _mixed_types(adapter.base, whole) + notes
    return Plan("merged adapter", base, tensors, resolved, make, settings, notes, merge.formula)


def _averaged(
    left: Tensors,
    right: Tensors,
    before: Tensors,
    tied: Mapping[str, str],
    resolved: Resolved,
    output: Output,
    merge: Merge,
) -> Callable[[str, chunks.Several | None], Iterator[Chunk]]:
    """(name, the soup in place of `right`'s tensor) -> the merged tensor; two copies of one matrix stay one (`tied`)."""
    merge = replace(merge, fixed=resolved.fixed)

    def make(name: str, soup: chunks.Several | None) -> Iterator[Chunk]:
        own, drawn = merge.of(name), tied.get(name, name)
        third = before.get(name) if own.third else None
        return Averaged(left[name], right[name], resolved.ratios[name], output, own, drawn, third, soup).chunks()

    return make


def _before(pre: ModelFolder | None, like: ModelFolder, names: Tensors) -> Tensors:
    """theta_pre's tensors by the names of `like`; UserError where one of `names` is not among them."""
    if pre is None:
        return {}
    found = pair(pre, like, False).theta_0
    for name in names:
        if name not in found:
            raise UserError(f"{name} is a tensor of theta-0 and theta only: theta-pre ({pre.path}) lacks it.")
    return found


def _settings(tensors: Tensors, adapter: lora.Adapter, whole: Tensors) -> tuple[dict[str, object], list[str]]:
    """(what differs in config.json from theta_0's, notes) once the adapter is merged."""
    settings: dict[str, object] = {}
    notes = []
    if adapter.untied:
        settings["tie_word_embeddings"] = False
        notes.append(f"{adapter.untied} and the embeddings are two matrices with the adapter, and so in the output.")
    embeddings = token_embeddings(tensors)
    if embeddings in whole and whole[embeddings].shape != adapter.base[embeddings].shape:
        settings["vocab_size"] = rows = whole[embeddings].shape[0]
        for head in heads(tensors, min(rows, adapter.base[embeddings].shape[0])):
            if tensors[head].shape[0] != rows:
                raise UserError(f"{head} has {tensors[head].shape[0]} rows and {embeddings} {rows} with the adapter.")
    return settings, notes


def _mixed_types(theta_0: Tensors, theta: Tensors) -> list[str]:
    """A note for each pair of types that differ."""
    found: dict[tuple[str, str], list[TensorInfo]] = {}
    for name, tensor in theta.items():
        if theta_0[name].dtype != tensor.dtype:
            found.setdefault((theta_0[name].dtype, tensor.dtype), []).append(tensor)
    return [
        f"{len(mixed)} tensors are {kinds[0]} in theta-0 and {kinds[1]} in theta: written as {kinds[1]}."
        for kinds, mixed in found.items()
    ]
