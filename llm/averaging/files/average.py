"""Averaging two model folders into a third, tensor by tensor, without ever holding a model in memory.

Memory: a few blocks of some megabytes each, whatever the size of the model or of its largest tensor.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from glob import escape
from pathlib import Path

from ...errors import UserError
from ...models.folder import ModelFolder, read_folder
from ...models.safetensors import TensorInfo
from ..merge import Merge, merge_named
from ..ratios import Recipe, Resolved, resolve
from . import chunks, lora
from .card import write_card
from .chunks import Chunk
from .compatible import check_tokenizers, pair
from .hashes import FollowingHash
from .report import Report
from .write import atomic_folder, write_weights

_KINDS = (".json", ".txt", ".model", ".jinja", ".py", ".tiktoken", ".spm")  # copied beside the weights
_RESULTS = ("trainer_state.json", "averaging.json", "all_results.json", "train_results.json")
_NOTICES = ("LICENSE", "LICENCE", "NOTICE", "USE_POLICY")
_TOKENIZER = ("tokenizer", "vocab.", "merges.", "special_tokens", "added_tokens", "chat_template", "spiece")


@dataclass(frozen=True)
class _Plan:
    """All that is decided before a byte is written: whose layout the output has, how its tensors are made."""

    kind: str
    layout: ModelFolder
    resolved: Resolved
    chunks: Callable[[str], Iterator[Chunk]]
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
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Write the average of two model folders, tensor by tensor, as the new folder `out`, atomically.

    theta_0, theta: local folders with safetensors weights; theta may be a LoRA adapter on theta_0, and then
    `out` is an adapter too unless `full` is set.
    union: allow different vocabulary sizes: shared rows are averaged, theta's own are kept.
    merge: "linear", (1 - ratio) theta_0 + ratio theta, or another method of `averaging.merge` (not with an adapter).
    progress: called with bytes written so far and in all.
    Raises UserError, with nothing written, for anything that is missing, damaged or does not fit.
    """
    base, other = read_folder(theta_0, "theta-0"), read_folder(theta, "theta")
    if base.is_adapter:
        raise UserError(f"theta-0 is {str(theta_0)!r}, which is an adapter; give the model it belongs to.")
    if full and not other.is_adapter:
        raise UserError(f"full is set, but theta is {str(theta)!r}, which is no adapter.")
    method = merge_named(merge)
    if other.is_adapter and merge != "linear":
        raise UserError(f"merge is {merge!r}, allowed with an adapter is linear.")
    if other.is_adapter:
        plan = _adapter_plan(base, other, recipe, full)
    else:
        plan = _model_plan(base, other, recipe, union, method)
    leftovers = sorted(file.name for file in out.parent.glob(f".{escape(out.name)}.partial-*"))
    with atomic_folder(out, plan.layout.weight_bytes) as folder:
        hashes = _write(plan, base, other, folder, progress)
        sources = [other, base] if full else [other]
        notes = plan.notes + _copy_rest(sources, base, folder)
        notes += [f"{name} beside it is what a killed run has left." for name in leftovers]
        resolved = plan.resolved
        report = Report(plan.kind, merge, resolved.groups, resolved.grouping, _covered(plan), notes, hashes)
        write_card(folder, report, base, other)
    return report


def _model_plan(base: ModelFolder, other: ModelFolder, recipe: Recipe, union: bool, merge: Merge) -> _Plan:
    pairing = pair(base, other, union)
    resolved = resolve(recipe, other.tensors, pairing.tied)
    tensors = other.tensors

    def make(name: str) -> Iterator[Chunk]:
        return chunks.averaged(pairing.theta_0[name], tensors[name], resolved.ratios[name], merge)

    notes = pairing.notes + [
        f"{len(mixed)} tensors are {kinds[0]} in theta-0 and {kinds[1]} in theta: written as {kinds[1]}."
        for kinds, mixed in _mixed_types(pairing.theta_0, tensors).items()
    ]
    return _Plan("model", other, resolved, make, notes)


def _adapter_plan(base: ModelFolder, other: ModelFolder, recipe: Recipe, full: bool) -> _Plan:
    adapter = lora.read_adapter(base, other)
    notes = check_tokenizers(base.path, other.path)
    own, tensors = base.tensors, other.tensors
    resolved = resolve(recipe, [*own, *(set(adapter.targets.values()) - own.keys())], {})
    if full:
        if adapter.unmergeable:
            raise UserError(
                f"full is set, but {adapter.unmergeable[0]} of the adapter belongs to no single "
                "tensor of theta-0; average it without --full."
            )
        return _Plan(
            "merged adapter",
            base,
            resolved,
            lambda name: chunks.merged(own[name], adapter, resolved.ratios[name]),
            notes,
        )
    ratios = {name: resolved.ratios[target] for name, target in adapter.targets.items()}
    labels = {name: resolved.assignment[target] for name, target in adapter.targets.items()}
    return _Plan(
        "adapter",
        other,
        Resolved(resolved.groups, labels, ratios, resolved.grouping),
        lambda name: chunks.scaled_adapter(own, adapter, tensors[name], ratios[name]),
        notes,
    )


def _write(
    plan: _Plan, base: ModelFolder, other: ModelFolder, folder: Path, progress: Callable[[int, int], None]
) -> dict[str, dict[str, str]]:
    """Write the weights while hashing both sources; "theta_0", "theta" -> file name -> SHA-256."""
    done = 0

    def count(size: int) -> None:
        nonlocal done
        done += size
        progress(done, plan.layout.weight_bytes)

    sources = [FollowingHash([file.path for file in source.files]) for source in (base, other)]
    with sources[0], sources[1]:

        def followed(name: str) -> Iterator[Chunk]:
            for chunk in plan.chunks(name):
                yield chunk
                for span, hash_ in zip((chunk.theta_0, chunk.theta), sources, strict=True):
                    if span is not None:
                        hash_.follow(span.tensor.path, span.end)

        write_weights(plan.layout.files, folder, followed, count)
        if plan.layout.index is not None:
            shutil.copyfile(plan.layout.index, folder / plan.layout.index.name)
        for hash_ in sources:
            hash_.finish()
        return {key: hash_.hexdigests() for key, hash_ in zip(("theta_0", "theta"), sources, strict=True)}


def _copy_rest(sources: list[ModelFolder], base: ModelFolder, folder: Path) -> list[str]:
    """Configuration, tokenizer, chat template, licence from the first source that has each; notes."""
    merged = len(sources) > 1
    for source in sources:
        for file in sorted(source.path.iterdir()):
            wanted = file.name.startswith(_NOTICES) or (file.suffix in _KINDS and file.name not in _RESULTS)
            of_adapter = source.is_adapter and file.name in ("config.json", "adapter_config.json")
            weights = file.name.endswith(".index.json") or (merged and of_adapter)
            if file.is_file() and wanted and not weights and not (folder / file.name).exists():
                shutil.copyfile(file, folder / file.name)
        templates = source.path / "chat_templates"
        if templates.is_dir() and not (folder / templates.name).exists():
            shutil.copytree(templates, folder / templates.name)
    if any(file.name.startswith(_TOKENIZER) for file in folder.iterdir()):
        return []
    own = [file for file in sorted(base.path.iterdir()) if file.name.startswith(_TOKENIZER)]
    for file in own:
        shutil.copyfile(file, folder / file.name)
    return ["The tokenizer is theta-0's: theta has none."] if own else ["Neither model has a tokenizer."]


def _covered(plan: _Plan) -> dict[str, tuple[str, float, tuple[int, ...]]]:
    """Tensor of the output -> (label, ratio, shape)."""
    resolved = plan.resolved
    return {n: (resolved.assignment[n], resolved.ratios[n], t.shape) for n, t in plan.layout.tensors.items()}


def _mixed_types(theta_0: dict[str, TensorInfo], theta: dict[str, TensorInfo]) -> dict[tuple[str, str], list[str]]:
    """(type in theta_0, type in theta) -> names, where they differ."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, tensor in theta.items():
        if theta_0[name].dtype != tensor.dtype:
            found.setdefault((theta_0[name].dtype, tensor.dtype), []).append(name)
    return found
