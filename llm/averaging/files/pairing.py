"""Which tensor of theta_0 belongs to which of theta: names, shapes and types, tied heads, rows of tokens."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...errors import UserError, dimensions
from ...grouping import role, token_embeddings
from ...models.folder import ModelFolder
from ...models.safetensors import TensorInfo
from .arithmetic import STORAGE
from .compatible import tokens

_COMPARE = 1 << 20  # elements at a time
Tensors = dict[str, TensorInfo]


@dataclass(frozen=True)
class Pairing:
    """What the output holds, and of which tensors it is made.

    theta_0, theta: output's name -> the tensor of each model; theta_0's may have fewer or more rows, one a token.
    tied: head -> embeddings, where they are one matrix in both models.
    untied: whether they are two matrices in the output, though one model has one.
    notes: sentences for the report.
    """

    theta_0: Tensors
    theta: Tensors
    tied: dict[str, str]
    untied: bool
    notes: list[str]


def pair(theta_0: ModelFolder, theta: ModelFolder, union: bool) -> Pairing:
    """Pair the tensors of two full models; where one does not store its head, or its embeddings, the two are one matrix.

    union: allow different vocabulary sizes (see `check_rows`).
    Raises UserError at the first mismatch of tensor names, shapes or types.
    """
    left, notes = _named_as(theta.tensors, theta_0)
    right = dict(theta.tensors)
    tied, untied = _tie(theta_0, theta, left, right, notes)
    for name in sorted(left.keys() ^ right.keys()):
        owner, other = (theta_0, theta) if name in left else (theta, theta_0)
        raise UserError(f"{name} is a tensor of {owner.name} only: {other.name} ({other.path}) lacks it.")
    for name, tensor in right.items():
        if left[name].dtype != tensor.dtype and not {left[name].dtype, tensor.dtype} <= STORAGE.keys():
            raise UserError(f"{name} has type {left[name].dtype} in theta-0 and {tensor.dtype} in theta.")
    notes += check_rows(theta_0, theta, left, right, union)
    return Pairing(left, right, tied, untied, notes)


def heads(tensors: Tensors, size: int) -> list[str]:
    """The names of matrices after the final norm that have a row for each of `size` tokens."""
    return sorted(n for n, t in tensors.items() if role(n) == "head" and len(t.shape) == 2 and t.shape[0] >= size > 0)


def may_be_tied(folder: ModelFolder) -> bool:
    """Whether the head is the embeddings where only one of the two is stored."""
    nested = folder.config.get("text_config")
    inner = nested.get("tie_word_embeddings") if isinstance(nested, dict) else None
    return folder.config.get("tie_word_embeddings", inner) is not False


def same_values(left: TensorInfo, right: TensorInfo) -> bool:
    """Whether two tensors are stored with the same type, shape and bits."""
    if (left.shape, left.dtype) != (right.shape, right.dtype):
        return False
    starts = range(0, left.elements, _COMPARE)
    ranges = [(start, min(start + _COMPARE, left.elements)) for start in starts]
    return all(np.array_equal(left.read(*part), right.read(*part)) for part in ranges)


def check_rows(theta_0: ModelFolder, theta: ModelFolder, left: Tensors, right: Tensors, union: bool) -> list[str]:
    """Shapes of the tensors of `right` must be those in `left`, but for the rows of tokens if `union` is set; notes.

    The token embeddings and the head have a row a token, as many as the model's vocab_size or more. Shared rows are
    averaged, rows of theta only are kept, rows of theta_0 only are left out, since theta's tokenizer cannot produce them.
    """
    sizes = [vocabulary_size(folder) for folder in (theta_0, theta)]
    embeddings, notes = token_embeddings(right), []
    for name, tensor in right.items():
        shapes = (left[name].shape, tensor.shape)
        if shapes[0] == shapes[1]:
            continue
        rows = [shape[0] if shape else 0 for shape in shapes]
        per_token = (name == embeddings or role(name) == "head") and all(
            number >= (size or 1) for number, size in zip(rows, sizes, strict=True)
        )
        if not per_token or shapes[0][1:] != shapes[1][1:]:
            raise UserError(
                f"{name} has shape {dimensions(shapes[0])} in {theta_0.name} and {dimensions(shapes[1])} in {theta.name}."
            )
        low, high = sorted(rows)
        longer = theta if rows[1] > rows[0] else theta_0
        which = f"rows {low} to {high - 1}{_meanings(longer.path, range(low, high))}"
        if not union:
            counts = f"{rows[0]} rows in {theta_0.name} and {rows[1]} in {theta.name}"
            raise UserError(
                f"{name} has {counts}: {which} are in {longer.name} only; --vocab union averages "
                "the others and keeps theta's own."
            )
        fate = "kept from theta" if longer is theta else "left out: theta's tokenizer does not use them"
        notes.append(f"{name}: {which} are in {longer.name} only and were {fate}.")
    return notes


def vocabulary_size(folder: ModelFolder) -> int | None:
    """vocab_size of the configuration, None if there is none."""
    nested = folder.config.get("text_config")
    size = folder.config.get("vocab_size", nested.get("vocab_size") if isinstance(nested, dict) else None)
    return size if isinstance(size, int) else None


def _named_as(names: Tensors, folder: ModelFolder) -> tuple[Tensors, list[str]]:
    """The folder's tensors by the names of the other model, whose base model may lie in a module of its own; notes."""
    found = dict(folder.tensors)
    ours, theirs = token_embeddings(found), token_embeddings(names)
    if ours == theirs or not ours or not theirs:
        return found, []
    if ours.endswith(f".{theirs}"):
        prefix = ours.removesuffix(theirs)
        renamed = {name: name.removeprefix(prefix) for name in found}
    elif theirs.endswith(f".{ours}"):
        prefix = theirs.removesuffix(ours)
        renamed = {name: prefix + name if prefix + name in names else name for name in found}
    else:
        return found, []
    note = f"Names of tensors begin with {prefix!r} in one of the models only: they were paired without it."
    return {renamed[name]: replace(tensor, name=renamed[name]) for name, tensor in found.items()}, [note]


def _tie(
    theta_0: ModelFolder, theta: ModelFolder, left: Tensors, right: Tensors, notes: list[str]
) -> tuple[dict[str, str], bool]:
    """`Pairing.tied` and `Pairing.untied`; what a model stores once and the output twice is added to `left` and `right`."""
    embeddings = token_embeddings([*right, *left])
    sizes = [size for folder in (theta_0, theta) if (size := vocabulary_size(folder)) is not None]
    sizes = sizes or [tensors[embeddings].shape[0] for tensors in (left, right) if embeddings in tensors]
    tied, untied = {}, False
    for head in heads(left | right, min(sizes, default=0)):
        if not embeddings:  # where neither model stores them, the head has their ratio
            alone = head in left and [name for name, t in right.items() if t.shape == left[head].shape] == [head]
            if alone and may_be_tied(theta_0) and may_be_tied(theta):
                tied[head] = "embed_tokens.weight"
            continue
        once = len(right.keys() & {head, embeddings}) == 1
        own = [_is_own(folder, one, head, embeddings) for folder, one in ((theta_0, left), (theta, right))]
        if not all(name in tensors for name in (head, embeddings) for tensors in (left, right)):
            continue
        if any(own) and (may_be_tied(theta) or not all(own)):
            owners = " and ".join(folder.name for folder, two in zip((theta_0, theta), own, strict=True) if two)
            notes.append(f"{head} and the embeddings are two matrices in {owners}, and so in the output.")
            untied = True
        elif not any(own) and once:
            del left[head], right[head]
        elif not any(own):
            tied[head] = embeddings
    return tied, untied


def _is_own(folder: ModelFolder, tensors: Tensors, head: str, embeddings: str) -> bool:
    """Whether the head is a matrix of its own; of two that are one and may be so, the one not stored is added."""
    if head in tensors and embeddings in tensors:
        return not same_values(tensors[head], tensors[embeddings])
    if may_be_tied(folder):
        for name, other in ((head, embeddings), (embeddings, head)):
            if other in tensors:
                tensors[name] = replace(tensors[other], name=name)
                break
    return False


def _meanings(folder: Path, rows: range) -> str:
    """The first three of these token ids in words, in brackets; "" where the folder has none."""
    names = tokens(folder)
    known = ", ".join(repr(names[row]) for row in rows[:3] if row in names)
    return f" ({known}{', ..' if len(rows) > 3 else ''})" if known else ""
