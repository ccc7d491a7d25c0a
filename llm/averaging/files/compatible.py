"""Whether two model folders can be averaged: same architecture, same tokens, same tensors."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...errors import UserError
from ...grouping import role
from ...models.folder import ModelFolder, read_json
from ...models.safetensors import TensorInfo

# Settings that may differ: they change neither the tensors nor what the model computes from them.
_FREE = frozenset(
    (
        "_name_or_path transformers_version torch_dtype dtype use_cache vocab_size bos_token_id eos_token_id "
        "pad_token_id sep_token_id unk_token_id decoder_start_token_id max_position_embeddings n_positions n_ctx "
        "model_max_length max_length tie_word_embeddings output_attentions output_hidden_states return_dict "
        "gradient_checkpointing pretraining_tp task_specific_params id2label label2id problem_type _attn_implementation "
        "_attn_implementation_autoset attn_implementation initializer_range router_aux_loss_coef output_router_logits"
    ).split()
)
_COMPARE = 1 << 20  # elements at a time


@dataclass
class Pairing:
    """How theta's tensors find theirs in theta_0.

    theta_0: tensor name in theta -> the tensor of theta_0 to average with (one row per token may be missing).
    tied: head -> embeddings, where both models store one matrix twice.
    notes: sentences for the report.
    """

    theta_0: dict[str, TensorInfo]
    tied: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def pair(theta_0: ModelFolder, theta: ModelFolder, union: bool) -> Pairing:
    """Check two full models against each other and pair their tensors.

    union: allow different vocabulary sizes (see `_check_rows`).
    Raises UserError at the first mismatch of configuration, tokenizer, tensor names, shapes or types.
    """
    notes = check_config(theta_0, theta) + check_tokenizers(theta_0.path, theta.path)
    left, right = theta_0.tensors, theta.tensors
    partners = {name: left[name] for name in right if name in left}
    for name in sorted(left.keys() ^ right.keys()):
        owner, tensors = (theta_0, left) if name in left else (theta, right)
        other = theta if name in left else theta_0
        embeddings = _same_matrix(name, tensors)
        if embeddings is None or embeddings not in partners:
            raise UserError(f"{name} is a tensor of {owner.name} only: {other.name} ({other.path}) lacks it.")
        notes.append(f"{name} is stored by {owner.name} only and is its {embeddings}: tied.")
        if name in right:
            partners[name] = left[embeddings]
    same = {name: own for name in partners if (own := _same_matrix(name, right))}
    tied = {name: own for name, own in same.items() if name not in left or _same_matrix(name, left, own)}
    for name, partner in partners.items():
        _check_types(partner, right[name])
    notes += _check_rows(theta_0, theta, partners, union)
    return Pairing(partners, tied, notes)


def check_config(theta_0: ModelFolder, theta: ModelFolder) -> list[str]:
    """Compare the settings that both config.json have, nested ones included; a note on free ones that differ.

    Raises UserError naming the first setting that must be the same and is not.
    """
    free = []
    for key, left, right in _differences(theta_0.config, theta.config, ""):
        if key.rpartition(".")[2] not in _FREE and not key.endswith(("dropout", "pdrop", "layerdrop")):
            raise UserError(
                f"{key} in config.json is {left!r} in {theta_0.name} and {right!r} in "
                f"{theta.name}: only models of one architecture can be averaged."
            )
        if not key.startswith("_") and not key.endswith(("transformers_version", "use_cache")):
            free.append(f"{key} in config.json is {theta.name}'s {right!r}, not {theta_0.name}'s {left!r}.")
    return free


def check_tokenizers(theta_0: Path, theta: Path) -> list[str]:
    """Each token id must mean the same text in both folders; tokens of one folder only are noted.

    Compared are tokenizer.json, else vocab.json and merges.txt, else tokenizer.model, whichever both have.
    Raises UserError naming the first id that differs.
    """
    for names in (["tokenizer.json"], ["vocab.json", "merges.txt"], ["tokenizer.model"]):
        if all((folder / file).is_file() for folder in (theta_0, theta) for file in names):
            break
    else:
        return ["The tokenizers were not compared: the folders share no tokenizer file."]
    if all((theta_0 / file).read_bytes() == (theta / file).read_bytes() for file in names):
        return []
    if names == ["tokenizer.model"]:
        raise UserError(f"tokenizer.model differs between {theta_0} and {theta}, but must be the same.")
    left, right = tokens(theta_0), tokens(theta)
    for index in sorted(left.keys() & right.keys()):
        if left[index] != right[index]:
            texts = f"{left[index]!r} in {theta_0} and {right[index]!r} in {theta}"
            raise UserError(f"Token {index} is {texts}, but must be the same.")
    if _merges(theta_0) != _merges(theta):
        raise UserError(f"The tokenizers' merges in {theta_0} and {theta} differ, but must be the same.")
    odd = sorted(left.keys() ^ right.keys())
    return [f"Token {i} is {left.get(i, right.get(i))!r} in one tokenizer only." for i in odd[:3]]


def tokens(folder: Path) -> dict[int, str]:
    """Token id -> text from tokenizer.json or vocab.json and added_tokens.json; empty if there is neither."""
    if (folder / "tokenizer.json").is_file():
        content = read_json(folder / "tokenizer.json")
        model = content.get("model") or {}
        vocabulary = model.get("vocab") or {}
        if isinstance(vocabulary, dict):
            found = {index: token for token, index in vocabulary.items()}
        else:  # unigram models list [token, score]
            found = {index: token for index, (token, *_) in enumerate(vocabulary)}
        return found | {added["id"]: added["content"] for added in content.get("added_tokens") or []}
    files = [folder / "vocab.json", folder / "added_tokens.json"]
    return {index: token for file in files if file.is_file() for token, index in read_json(file).items()}


def _merges(folder: Path) -> list[tuple[str, ...]]:
    """Byte-pair merges, in either of the two spellings of tokenizer.json, or the lines of merges.txt."""
    if (folder / "tokenizer.json").is_file():
        listed = (read_json(folder / "tokenizer.json").get("model") or {}).get("merges") or []
    else:
        lines = (folder / "merges.txt").read_text("utf-8").splitlines()
        listed = [line for line in lines if not line.startswith("#version")]
    return [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in listed]


def _differences(left: dict, right: dict, prefix: str) -> list[tuple[str, object, object]]:
    """(dotted key, left value, right value) where both have a key and its values differ."""
    found = []
    for key in sorted(left.keys() & right.keys()):
        if isinstance(left[key], dict) and isinstance(right[key], dict):
            found += _differences(left[key], right[key], f"{prefix}{key}.")
        elif left[key] != right[key]:
            found.append((f"{prefix}{key}", left[key], right[key]))
    return found


def _same_matrix(name: str, tensors: dict[str, TensorInfo], only: str | None = None) -> str | None:
    """The embeddings whose stored values equal those of the head `name` (`only`: consider just that one)."""
    head = tensors.get(name)
    if head is None or role(name) != "head" or len(head.shape) != 2:
        return None
    for other in [tensors.get(only)] if only else tensors.values():
        like = other is not None and (other.shape, other.dtype) == (head.shape, head.dtype)
        if like and role(other.name) == "embeddings":
            starts = range(0, head.elements, _COMPARE)
            ranges = [(start, min(start + _COMPARE, head.elements)) for start in starts]
            if all(np.array_equal(head.read(*part), other.read(*part)) for part in ranges):
                return other.name
    return None


def _check_types(left: TensorInfo, right: TensorInfo) -> None:
    floats = ("F64", "F32", "F16", "BF16")
    if left.dtype != right.dtype and not (left.dtype in floats and right.dtype in floats):
        raise UserError(f"{right.name} has type {left.dtype} in theta-0 and {right.dtype} in theta.")


def _check_rows(theta_0: ModelFolder, theta: ModelFolder, partners: dict[str, TensorInfo], union: bool) -> list[str]:
    """Shapes must be equal, but for the rows of tensors with a row per token if `union` is set.

    A tensor has a row per token if it belongs to the embeddings or the head and its number of rows is its
    model's vocab_size. Shared rows are averaged, rows of theta only are kept, rows of theta_0 only are left
    out, since theta's tokenizer cannot produce them.
    """
    sizes = [_vocabulary_size(folder.config) for folder in (theta_0, theta)]
    notes = []
    for name, right in theta.tensors.items():
        left = partners[name]
        if left.shape == right.shape:
            continue
        rows = [tensor.shape[0] if tensor.shape else None for tensor in (left, right)]
        per_token = role(name) in ("embeddings", "head") and rows == sizes
        if not per_token or left.shape[1:] != right.shape[1:]:
            shapes = f"{_shape(left)} in {theta_0.name} and {_shape(right)} in {theta.name}"
            raise UserError(f"{name} has shape {shapes}.")
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


def _meanings(folder: Path, rows: range) -> str:
    """The first three of these token ids in words, in brackets; "" where the folder has none."""
    names = tokens(folder)
    known = ", ".join(repr(names[row]) for row in rows[:3] if row in names)
    return f" ({known}{', ..' if len(rows) > 3 else ''})" if known else ""


def _vocabulary_size(config: dict) -> int | None:
    nested = config.get("text_config")
    return config.get("vocab_size", nested.get("vocab_size") if isinstance(nested, dict) else None)


def _shape(tensor: TensorInfo) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"
