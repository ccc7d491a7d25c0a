"""Averaging two model folders into a third, tensor by tensor, without ever holding a model in memory.

Memory: a few blocks of some megabytes each, whatever the size of the model or of its largest tensor.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import UserError
from ...grouping import token_embeddings
from ...methods import METHODS
from ...models.folder import ModelFolder, notes_on_base, read_folder
from ...models.safetensors import Source, TensorInfo
from ..merge import Merge
from ..merge.linear import LINEAR
from ..ratios import Recipe, Resolved, resolve
from ..schedule import applied, checked
from . import chunks, lora
from .card import Origin, write_card
from .chunks import Chunk
from .compatible import check_config, check_tokenizers
from .copies import check_links, files_beside, write_beside
from .hashes import FollowingHash
from .layout import layout, write_index
from .output import Output
from .pairing import Tensors, heads, pair
from .report import Report
from .write import atomic_folder, check_new, write_weights

if TYPE_CHECKING:
    from .regression import Regression


@dataclass(frozen=True)
class _Plan:
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


def average_files(
    theta_0: Path,
    theta: Path,
    out: Path,
    recipe: Recipe,
    *,
    union: bool = False,
    full: bool = False,
    method: str = "ma",
    options: Mapping[str, Any] | None = None,
    theta_pre: Path | None = None,
    ignore_config: Collection[str] = (),
    strict: bool = False,
    code: bool = False,
    regression: "Regression | None" = None,
    output: Output | None = None,
    origin: Origin = Origin(),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Write the average of two model folders, tensor by tensor, as the new folder `out`, atomically.

    theta_0, theta: local folders with safetensors weights; theta may be a LoRA adapter on theta_0, and then
    `out` is an adapter too unless `full` is set.
    union: allow different vocabulary sizes (shared rows are averaged, theta's own are kept) and renamed added tokens.
    method: "ma", (1 - ratio) theta_0 + ratio theta, or another merge or rule of the table of methods (merges other than this one
    not with an adapter); options: values of its options. theta_pre: a third model folder, of methods that take it.
    ignore_config: keys of config.json that may differ. strict: refuse an adapter of another base, and tokenizers that differ
    or cannot be compared, which are else noted. code: copy theta's Python files. regression: with method "regmean", what of the network
    texts come to is merged by regression (`regression`), and the other tensors at the ratios of `recipe`; theta must be a model, or
    `full` be set.
    output: type and rounding of what is written; theta's, to nearest, by default. origin: what the card says of the command.
    progress: called with bytes written so far and in all.
    Raises UserError, with nothing written, for anything that is missing, damaged, does not fit, or changes meanwhile.
    """
    output = Output() if output is None else output
    try:
        base, other = read_folder(theta_0, "theta-0"), read_folder(theta, "theta")
        if base.is_adapter:
            raise UserError(f"theta-0 is {str(theta_0)!r}, which is an adapter; give the model it belongs to.")
        if full and not other.is_adapter:
            raise UserError(f"full is set, but theta is {str(theta)!r}, which is no adapter.")
        recipe, merge = (recipe, LINEAR) if regression else applied(method, options or {}, recipe)
        third = _third(theta_pre, method, merge)
        if other.is_adapter and merge is not LINEAR:
            raise UserError(f"method is {method!r}, allowed with an adapter is ma.")
        for folder in filter(None, (base, other, third)):
            check_links(folder)
        notes = [] if other.is_adapter else check_config(base, other, ignore_config)
        doubts = check_tokenizers(base.path, other.path, union)
        kind = partial(_adapter_plan, full=full) if other.is_adapter else partial(_model_plan, third=third, merge=merge)
        make_plan = partial(kind, base, other, union=union)
        doubts += notes_on_base(base, other) if other.is_adapter else []
        plan = make_plan(recipe=recipe, output=output)
        if strict and doubts:
            raise UserError(f"strict is set, but: {doubts[0]}")
        if regression:
            if (output.dtype, output.rounding) != ("auto", "nearest"):
                raise UserError("dtype and rounding are given, allowed with method regmean are auto and nearest.")
            ends = [make_plan(recipe=replace(recipe, alphas=end), output=Output()).chunks for end in (0.0, 1.0)]
            plan = _by_regression(plan, ends, base, other, out, regression, union)
        beside, last = files_beside([other, base] if full else [other], base, code)
        notes += base.notes + other.notes + doubts + plan.notes + last
        sources = {"theta_0": base, "theta": other} | ({"theta_pre": third} if third else {})
        given = {} if regression else METHODS[method].defaults | checked(METHODS[method], options or {})
        report = _write(
            plan, sources, out, ("regmean" if regression else method, given), beside, notes, progress, output, origin
        )
        if regression:
            regression.finish(out)
        return report
    except OSError as error:
        raise UserError(f"average was stopped by {error}; nothing was written.") from None


def _third(theta_pre: Path | None, method: str, merge: Merge) -> ModelFolder | None:
    """theta_pre's folder; UserError unless it is given exactly where the method takes it."""
    if (theta_pre is not None) != merge.third:
        wanted = "needs theta-pre, the model that theta-0 was tuned from" if merge.third else "takes no theta-pre"
        raise UserError(f"theta-pre is {str(theta_pre) if theta_pre else None!r}, but method {method!r} {wanted}.")
    if theta_pre is None:
        return None
    folder = read_folder(theta_pre, "theta-pre")
    if folder.is_adapter:
        raise UserError(f"theta-pre is {str(theta_pre)!r}, which is an adapter; allowed is a full model.")
    return folder


def _model_plan(
    base: ModelFolder,
    other: ModelFolder,
    recipe: Recipe,
    union: bool,
    output: Output,
    third: ModelFolder | None,
    merge: Merge,
) -> _Plan:
    pairing = pair(base, other, union)
    left, right = pairing.theta_0, pairing.theta
    before = pair(third, other, False).theta_0 if third else {}
    for name in right if third else ():
        if name not in before:
            raise UserError(f"{name} is a tensor of theta-0 and theta only: theta-pre ({third.path}) lacks it.")
    resolved = resolve(recipe, dict.fromkeys([*right, *pairing.tied.values()]), pairing.tied)

    def make(name: str) -> Iterator[Chunk]:
        drawn = pairing.tied.get(name, name)  # two copies of one matrix stay one
        return chunks.averaged(left[name], right[name], resolved.ratios[name], output, merge, drawn, before.get(name))

    settings: dict[str, object] = {"tie_word_embeddings": False} if pairing.untied else {}
    notes = pairing.notes + _mixed_types(left, right)
    return _Plan("model", other, right, resolved, make, settings, notes, merge.formula)


def _adapter_plan(
    base: ModelFolder, other: ModelFolder, recipe: Recipe, union: bool, output: Output, full: bool
) -> _Plan:
    adapter = lora.read_adapter(base, other, union)
    if not full:
        resolved = resolve(recipe, dict.fromkeys([*base.tensors, *adapter.targets.values()]), adapter.tied)
        ratios = {name: resolved.ratios[target] for name, target in adapter.targets.items()}
        labels = {name: resolved.assignment[target] for name, target in adapter.targets.items()}
        resolved = replace(resolved, assignment=labels, ratios=ratios)

        def scale(name: str) -> Iterator[Chunk]:
            return chunks.scaled_adapter(adapter, other.tensors[name], ratios[name], output)

        return _Plan("adapter", other, other.tensors, resolved, scale, {}, adapter.notes)
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
    settings: dict[str, object] = {}
    notes = adapter.notes + _mixed_types(adapter.base, whole)
    if adapter.untied:
        settings["tie_word_embeddings"] = False
        notes.append(f"{adapter.untied} and the embeddings are two matrices with the adapter, and so in the output.")
    embeddings = token_embeddings(tensors)
    if embeddings in whole and whole[embeddings].shape != adapter.base[embeddings].shape:
        settings["vocab_size"] = rows = whole[embeddings].shape[0]
        for head in heads(tensors, min(rows, adapter.base[embeddings].shape[0])):
            if tensors[head].shape[0] != rows:
                raise UserError(f"{head} has {tensors[head].shape[0]} rows and {embeddings} {rows} with the adapter.")
    return _Plan(
        "merged adapter",
        base,
        tensors,
        resolved,
        lambda name: chunks.merged(name, adapter, resolved.ratios[name], output),
        settings,
        notes,
    )


def _by_regression(
    plan: _Plan, ends: list, base: ModelFolder, other: ModelFolder, out: Path, regression: "Regression", union: bool
) -> _Plan:
    """The plan with what is merged by regression, which is done here."""
    from .regression import regress_files

    if plan.kind == "adapter":
        raise UserError("method is 'regmean', allowed with an adapter is --full: the result has no low rank.")
    if union:
        raise UserError("vocab is 'union', allowed with method regmean is same.")
    check_new(out, 2 * sum(tensor.elements * tensor.itemsize for tensor in plan.tensors.values()))
    tokenizer = other.path if any(other.path.glob("tokenizer*")) else base.path
    made = regress_files(regression, plan.like, tokenizer, plan.tensors, plan.settings, ends, out, [base, other])
    labels = {name: f"regression, {part}" for name, part in made.part_of.items()}
    shares = {name: made.parts[part].share for name, part in made.part_of.items()}
    groups = plan.resolved.groups | {labels[name]: share for name, share in shares.items()}
    resolved = replace(
        plan.resolved, groups=groups, assignment=plan.resolved.assignment | labels, ratios=plan.resolved.ratios | shares
    )
    chunks_ = lambda name: made.chunks(name) if name in made.tensors else plan.chunks(name)
    notes = plan.notes + made.notes(plan.tensors)
    details: dict[str, Any] = made.details | regression.described()
    return replace(plan, resolved=resolved, chunks=chunks_, notes=notes, formula=made.formula, details=details)


def _write(
    plan: _Plan,
    models: dict[str, ModelFolder],
    out: Path,
    how: tuple[str, dict[str, Any]],
    beside: dict[str, Source],
    notes: list[str],
    progress: Callable[[int, int], None],
    output: Output,
    origin: Origin,
) -> Report:
    """how: the method and its options. Write the weights while hashing the sources, and what lies beside them, once all is sure to be of one moment."""
    method, options = how
    stored = (replace(tensor, dtype=output.type_of(tensor.dtype)) for tensor in plan.tensors.values())
    done, files = 0, layout(plan.like.files, stored)
    total = sum(file.size for file in files)
    sources = {key: [file.source for file in model.files] for key, model in models.items()}
    hashes = {key: FollowingHash(found) for key, found in sources.items()}

    def count(size: int) -> None:
        nonlocal done
        done += size
        progress(done, total)

    def followed(name: str) -> Iterator[Chunk]:
        for chunk in plan.chunks(name):
            yield chunk
            for key, span in (("theta_0", chunk.theta_0), ("theta", chunk.theta)):
                if span is not None:
                    hashes[key].follow(span.tensor.source, span.end)

    with atomic_folder(out, total) as folder, ExitStack() as threads:
        for hash_ in hashes.values():
            threads.enter_context(hash_)
        write_weights(files, folder, followed, count)
        write_index(plan.like, files, folder)
        typed = {} if plan.kind == "adapter" else output.settings(plan.like.config)
        write_beside(beside, plan.settings | typed | {"quantization_config": None}, folder)
        for hash_ in hashes.values():
            hash_.finish()
        digests = {key: hash_.hexdigests() for key, hash_ in hashes.items()}
        resolved = plan.resolved
        covered = {n: (resolved.assignment[n], resolved.ratios[n], t.shape) for n, t in plan.tensors.items()}
        kinds = output.stored_as(plan.tensors)
        notes += [warning] if method == "ma" and (warning := output.effect.warning(kinds)) else []
        about = resolved.groups, resolved.grouping, covered, notes, digests, plan.formula, plan.details
        rounded = output.effect.described(), kinds, output.rounding
        report = Report(plan.kind, method, options, *about, *rounded)
        write_card(folder, report, models, origin)
        for source in [*chain.from_iterable(sources.values()), *beside.values()]:
            source.check()
    return report


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
