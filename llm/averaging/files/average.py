"""Averaging two model folders into a third, tensor by tensor, without ever holding a model in memory.

Memory: a few blocks of some megabytes each, whatever the size of the model or of its largest tensor.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ...errors import UserError
from ...grouping import token_embeddings
from ...models.folder import ModelFolder, notes_on_base, read_folder
from ...models.safetensors import Source, TensorInfo
from ..merge import Merge, merge_named
from ..ratios import Recipe, Resolved, resolve
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
from .write import atomic_folder, write_weights


@dataclass(frozen=True)
class _Plan:
    """All that is decided before a byte is written.

    like: the folder whose files the output has. tensors: its tensors, and where they have their places in those files.
    settings: what differs in config.json.
    """

    kind: str
    like: ModelFolder
    tensors: Tensors
    resolved: Resolved
    chunks: Callable[[str], Iterator[Chunk]]
    settings: dict[str, object]
    notes: list[str]


def average_files(
    theta_0: Path,
    theta: Path,
    out: Path,
    recipe: Recipe,
    *,
    union: bool = False,
    full: bool = False,
    merge: str = "linear",
    ignore_config: Collection[str] = (),
    strict: bool = False,
    code: bool = False,
    output: Output | None = None,
    origin: Origin = Origin(),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Write the average of two model folders, tensor by tensor, as the new folder `out`, atomically.

    theta_0, theta: local folders with safetensors weights; theta may be a LoRA adapter on theta_0, and then
    `out` is an adapter too unless `full` is set.
    union: allow different vocabulary sizes (shared rows are averaged, theta's own are kept) and renamed added tokens.
    merge: "linear", (1 - ratio) theta_0 + ratio theta, or another method of `averaging.merge` (not with an adapter).
    ignore_config: keys of config.json that may differ. strict: refuse an adapter of another base, and tokenizers that differ
    or cannot be compared, which are else noted. code: copy theta's Python files.
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
        method = merge_named(merge)
        if other.is_adapter and merge != "linear":
            raise UserError(f"merge is {merge!r}, allowed with an adapter is linear.")
        for folder in (base, other):
            check_links(folder)
        notes = [] if other.is_adapter else check_config(base, other, ignore_config)
        doubts = check_tokenizers(base.path, other.path, union)
        if other.is_adapter:
            doubts += notes_on_base(base, other)
            plan = _adapter_plan(base, other, recipe, union, full, output)
        else:
            plan = _model_plan(base, other, recipe, union, method, output)
        if strict and doubts:
            raise UserError(f"strict is set, but: {doubts[0]}")
        beside, last = files_beside([other, base] if full else [other], base, code)
        notes += base.notes + other.notes + doubts + plan.notes + last
        return _write(plan, base, other, out, merge, beside, notes, progress, output, origin)
    except OSError as error:
        raise UserError(f"average was stopped by {error}; nothing was written.") from None


def _model_plan(
    base: ModelFolder, other: ModelFolder, recipe: Recipe, union: bool, merge: Merge, output: Output
) -> _Plan:
    pairing = pair(base, other, union)
    left, right = pairing.theta_0, pairing.theta
    resolved = resolve(recipe, dict.fromkeys([*right, *pairing.tied.values()]), pairing.tied)

    def make(name: str) -> Iterator[Chunk]:
        return chunks.averaged(left[name], right[name], resolved.ratios[name], output, merge)

    settings: dict[str, object] = {"tie_word_embeddings": False} if pairing.untied else {}
    return _Plan("model", other, right, resolved, make, settings, pairing.notes + _mixed_types(left, right))


def _adapter_plan(
    base: ModelFolder, other: ModelFolder, recipe: Recipe, union: bool, full: bool, output: Output
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


def _write(
    plan: _Plan,
    base: ModelFolder,
    other: ModelFolder,
    out: Path,
    merge: str,
    beside: dict[str, Source],
    notes: list[str],
    progress: Callable[[int, int], None],
    output: Output,
    origin: Origin,
) -> Report:
    """Write the weights while hashing both sources, and what lies beside them, once all is sure to be of one moment."""
    stored = (replace(tensor, dtype=output.type_of(tensor.dtype)) for tensor in plan.tensors.values())
    done, files = 0, layout(plan.like.files, stored)
    total = sum(file.size for file in files)
    sources = [[file.source for file in model.files] for model in (base, other)]
    hashes = [FollowingHash(found) for found in sources]

    def count(size: int) -> None:
        nonlocal done
        done += size
        progress(done, total)

    def followed(name: str) -> Iterator[Chunk]:
        for chunk in plan.chunks(name):
            yield chunk
            for span, hash_ in zip((chunk.theta_0, chunk.theta), hashes, strict=True):
                if span is not None:
                    hash_.follow(span.tensor.source, span.end)

    with atomic_folder(out, total) as folder, hashes[0], hashes[1]:
        write_weights(files, folder, followed, count)
        write_index(plan.like, files, folder)
        typed = {} if plan.kind == "adapter" else output.settings(plan.like.config)
        write_beside(beside, plan.settings | typed | {"quantization_config": None}, folder)
        for hash_ in hashes:
            hash_.finish()
        digests = {key: hash_.hexdigests() for key, hash_ in zip(("theta_0", "theta"), hashes, strict=True)}
        resolved = plan.resolved
        covered = {n: (resolved.assignment[n], resolved.ratios[n], t.shape) for n, t in plan.tensors.items()}
        kinds, linear = output.stored_as(plan.tensors), merge == "linear"
        notes += [warning] if linear and (warning := output.effect.warning(kinds)) else []
        effect = output.effect.described()
        report = Report(
            plan.kind,
            merge,
            resolved.groups,
            resolved.grouping,
            covered,
            notes,
            digests,
            effect,
            kinds,
            output.rounding,
        )
        write_card(folder, report, base, other, origin)
        for source in [*sources[0], *sources[1], *beside.values()]:
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
