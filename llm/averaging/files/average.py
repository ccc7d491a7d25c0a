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
from ..ratios import Recipe, Resolved, resolve
from . import chunks as pieces
from . import lora as adapters
from .card import write_card
from .chunks import Piece
from .compatible import check_tokenizers, pair
from .hashes import FollowingHash
from .write import aside, write_weights

_KINDS = (".json", ".txt", ".model", ".jinja", ".py", ".tiktoken", ".spm")  # copied beside the weights
_RESULTS = ("trainer_state.json", "averaging.json", "all_results.json", "train_results.json")
_NOTICES = ("LICENSE", "LICENCE", "NOTICE", "USE_POLICY")
_TOKENIZER = ("tokenizer", "vocab.", "merges.", "special_tokens", "added_tokens", "chat_template", "spiece")


@dataclass(frozen=True)
class Report:
    """What `average_files` did.

    groups: label -> ratio; tensors: name -> (label, ratio, shape); notes: sentences.
    hashes: "theta_0", "theta" -> file name -> SHA-256.
    """

    kind: str
    groups: dict[str, float]
    grouping: dict[str, object] | None
    tensors: dict[str, tuple[str, float, tuple[int, ...]]]
    notes: list[str]
    hashes: dict[str, dict[str, str]]


@dataclass(frozen=True)
class _Plan:
    """All that is decided before a byte is written: whose layout the output has, how its tensors are made."""

    kind: str
    layout: ModelFolder
    resolved: Resolved
    pieces: Callable[[str], Iterator[Piece]]
    notes: list[str]


def average_files(
    theta_0: Path,
    theta: Path,
    out: Path,
    recipe: Recipe,
    *,
    union: bool = False,
    merge: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Write (1 - ratio) theta_0 + ratio theta as the new model folder `out`, whole or not at all.

    theta_0, theta: local folders with safetensors weights; theta may be a LoRA adapter on theta_0, and then
    `out` is an adapter too unless `merge` is set.
    union: allow different vocabulary sizes: shared rows are averaged, theta's own are kept.
    progress: called with bytes written so far and in all.
    Raises UserError, with nothing written, for anything that is missing, damaged or does not fit.
    """
    base, other = read_folder(theta_0, "theta-0"), read_folder(theta, "theta")
    if base.is_adapter:
        raise UserError(f"theta-0 is {str(theta_0)!r}, which is an adapter; give the model it belongs to.")
    if merge and not other.is_adapter:
        raise UserError(f"merge is set, but theta is {str(theta)!r}, which is no adapter.")
    plan = _adapter_plan(base, other, recipe, merge) if other.is_adapter else _model_plan(base, other, recipe, union)
    leftovers = sorted(file.name for file in out.parent.glob(f".{escape(out.name)}.partial-*"))
    with aside(out, plan.layout.weight_bytes) as folder:
        hashes = _write(plan, base, other, folder, progress)
        sources = [other, base] if merge else [other]
        notes = plan.notes + _copy_rest(sources, base, folder)
        notes += [f"{name} beside it is what a killed run has left." for name in leftovers]
        resolved = plan.resolved
        report = Report(plan.kind, resolved.groups, resolved.grouping, _covered(plan), notes, hashes)
        write_card(folder, report, base, other)
    return report


def _model_plan(base: ModelFolder, other: ModelFolder, recipe: Recipe, union: bool) -> _Plan:
    pairing = pair(base, other, union)
    resolved = resolve(recipe, other.tensors, pairing.tied)
    tensors = other.tensors

    def make(name: str) -> Iterator[Piece]:
        return pieces.averaged(pairing.theta_0[name], tensors[name], resolved.ratios[name])

    notes = pairing.notes + [
        f"{len(mixed)} tensors are {kinds[0]} in theta-0 and {kinds[1]} in theta: written as {kinds[1]}."
        for kinds, mixed in _mixed_types(pairing.theta_0, tensors).items()
    ]
    return _Plan("model", other, resolved, make, notes)


def _adapter_plan(base: ModelFolder, other: ModelFolder, recipe: Recipe, merge: bool) -> _Plan:
    adapter = adapters.read_adapter(base, other)
    notes = check_tokenizers(base.path, other.path)
    own, tensors = base.tensors, other.tensors
    resolved = resolve(recipe, [*own, *(set(adapter.targets.values()) - own.keys())], {})
    if merge:
        if adapter.unmergeable:
            raise UserError(
                f"merge is set, but {adapter.unmergeable[0]} of the adapter belongs to no single "
                "tensor of theta-0; average it without --merge."
            )
        return _Plan(
            "merged adapter",
            base,
            resolved,
            lambda name: pieces.merged(own[name], adapter, resolved.ratios[name]),
            notes,
        )
    ratios = {name: resolved.ratios[target] for name, target in adapter.targets.items()}
    labels = {name: resolved.assignment[target] for name, target in adapter.targets.items()}
    return _Plan(
        "adapter",
        other,
        Resolved(resolved.groups, labels, ratios, resolved.grouping),
        lambda name: pieces.scaled_adapter(own, adapter, tensors[name], ratios[name]),
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

        def followed(name: str) -> Iterator[Piece]:
            for piece in plan.pieces(name):
                yield piece
                for span, hash_ in zip((piece.theta_0, piece.theta), sources, strict=True):
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
            weights = file.name.endswith(".index.json") or (merged and file.name == "adapter_config.json")
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
