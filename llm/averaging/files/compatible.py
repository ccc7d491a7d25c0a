"""Whether two model folders belong together: same architecture, same tokens (`pairing` has their tensors)."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...models.folder import ModelFolder, read_json
from .copies import has_tokenizer

# Settings that may differ: they change neither the tensors nor what the model computes from them, or what they change shows in the
# tensors, which are compared by themselves.
_FREE = frozenset(
    (
        "transformers_version torch_dtype dtype use_cache vocab_size bos_token_id eos_token_id pad_token_id sep_token_id "
        "unk_token_id decoder_start_token_id max_position_embeddings n_positions n_ctx model_max_length max_length "
        "tie_word_embeddings output_attentions output_hidden_states return_dict gradient_checkpointing pretraining_tp "
        "task_specific_params id2label label2id problem_type attn_implementation initializer_range "
        "router_aux_loss_coef output_router_logits finetuning_task torchscript"
    ).split()
)
# Names of settings' values, and of tokens, that mean the same or nothing.
_ROPE_TYPES = {"su": "longrope", "mrope": "default"}
_SPARE = re.compile(r"[<\[].*(reserved|unused|extra|placeholder|dummy|special_\d)", re.IGNORECASE)


def check_config(theta_0: ModelFolder, theta: ModelFolder, ignore: Collection[str] = ()) -> list[str]:
    """Compare the settings of config.json, nested ones included; notes on those that differ and may. Of one that a folder leaves out its
    class's default counts, where transformers is installed and knows the class.

    ignore: keys that may differ, with all that is nested in them.
    Raises UserError naming the first setting that must be the same and is not.
    """
    notes = []
    try:
        both = _effective(theta_0.config), _effective(theta.config)
        differences = _differences(*both, "")
        if alone := _keys(both[0]) ^ _keys(both[1]):
            of_classes, unknown = _of_their_classes(theta_0.config, theta.config, alone)
            differences += of_classes
            notes += [f"{key} is in one config.json only, and was not compared." for key in unknown]
    except RecursionError:
        raise UserError(f"config.json of {theta_0.name} or {theta.name} is nested too deeply to be compared.") from None
    for key, left, right in differences:
        parts = key.split(".")
        if ignored := any(key == one or key.startswith(f"{one}.") or parts[-1] == one for one in ignore):
            notes.append(
                f"{key} in config.json, {left!r} in {theta_0.name} and {right!r} in {theta.name}, was ignored."
            )
        elif not _is_free(key):
            raise UserError(
                f"{key} in config.json is {left!r} in {theta_0.name} and {right!r} in {theta.name}: only models of one "
                f"architecture can be averaged; if the setting changes nothing, give --ignore-config {key}."
            )
        if (
            not ignored
            and not key.startswith(("_", "unsloth"))
            and not key.endswith(("transformers_version", "use_cache"))
        ):
            notes.append(f"{key} in config.json is {theta.name}'s {right!r}, not {theta_0.name}'s {left!r}.")
    return notes


def _is_free(key: str) -> bool:
    """Whether a setting, by its dotted key, may differ."""
    free = any(part in _FREE or part.startswith(("_", "unsloth")) for part in key.split("."))
    return free or key.endswith(("dropout", "dropout_prob", "pdrop", "layerdrop"))


def check_tokenizers(theta_0: Path, theta: Path, union: bool = False) -> list[str]:
    """Each token id must mean the same text in both folders; tokens of one folder only are noted.

    Compared are tokenizer.json, else vocab.json and merges.txt, else tokenizer.model, whichever both have. A reserved token
    may have got a name, as chat formats do it; with `union` any added token may have another one.
    Raises UserError naming the first id that differs.
    """
    kinds = (["tokenizer.json"], ["vocab.json", "merges.txt"], ["tokenizer.model"])
    for names in kinds:
        if all((folder / file).is_file() for folder in (theta_0, theta) for file in names):
            break
    else:
        if not any((theta / names[0]).is_file() for names in kinds):
            return []  # theta has none, and theta_0's serves
        return ["The tokenizers were not compared: the folders share no tokenizer file."]
    if all((theta_0 / file).read_bytes() == (theta / file).read_bytes() for file in names):
        return []
    if names == ["tokenizer.model"]:
        raise UserError(f"tokenizer.model differs between {theta_0} and {theta}, but must be the same.")
    (left, added_left), (right, added_right) = _vocabulary(theta_0), _vocabulary(theta)
    renamed = []
    for index in sorted(left.keys() & right.keys()):
        if left[index] == right[index]:
            continue
        texts = f"{left[index]!r} in {theta_0} and {right[index]!r} in {theta}"
        added = index in added_left and index in added_right
        if not _SPARE.match(left[index]) and not _SPARE.match(right[index]) and not (union and added):
            way = "; --vocab union averages added tokens that were renamed" if added else ""
            raise UserError(f"Token {index} is {texts}, but must be the same{way}.")
        renamed.append(f"Token {index} is {right[index]!r} in theta and {left[index]!r} in theta-0.")
    if _merges(theta_0) != _merges(theta):
        raise UserError(f"The tokenizers' merges in {theta_0} and {theta} differ, but must be the same.")
    odd = sorted(left.keys() ^ right.keys())
    if len(renamed) > 3:
        renamed[2:] = [f"{renamed[2][:-1]}, and {len(renamed) - 3} more have other names."]
    return renamed + [f"Token {i} is {left.get(i, right.get(i))!r} in one tokenizer only." for i in odd[:3]]


def note_on_templates(theta_0: ModelFolder, theta: ModelFolder) -> list[str]:
    """A note where the two have chat templates that differ, or where one has none."""
    left, right = (chat_template(folder.path) for folder in (theta_0, theta))
    if left == right or (right is None and not has_tokenizer(theta.path)):  # theta_0's is taken
        return []
    return [
        f"The chat templates of {theta_0.name} and {theta.name} differ, and {theta.name}'s is taken for all: {theta_0.name} may do worse in "
        "it than in its own, which looks like a gain of alignment and can hide a tax."
    ]


def chat_template(folder: Path) -> Any:
    """The chat template that transformers would read; None for none."""
    file, config = folder / "chat_template.jinja", folder / "tokenizer_config.json"
    if file.is_file():
        return file.read_text("utf-8", "replace")
    return read_json(config).get("chat_template") if config.is_file() else None


def tokens(folder: Path) -> dict[int, str]:
    """Token id -> text from tokenizer.json or vocab.json and added_tokens.json; empty if there is neither."""
    return _vocabulary(folder)[0]


def _vocabulary(folder: Path) -> tuple[dict[int, str], set[int]]:
    """Token id -> text, and the ids of those added to the model's own; UserError for files that are no tokenizer's."""
    file = next((folder / name for name in ("tokenizer.json", "vocab.json") if (folder / name).is_file()), None)
    if file is None:
        return {}, set()
    try:
        if file.name == "tokenizer.json":
            content = read_json(file)
            vocabulary = (content.get("model") or {}).get("vocab") or {}
            added = {entry["id"]: str(entry["content"]) for entry in content.get("added_tokens") or []}
        else:
            extra = folder / "added_tokens.json"
            vocabulary = read_json(file)
            added = {index: token for token, index in (read_json(extra) if extra.is_file() else {}).items()}
        if isinstance(vocabulary, dict):
            found = {index: token for token, index in vocabulary.items()}
        else:  # unigram models list [token, score]
            found = {index: str(token) for index, (token, *_) in enumerate(vocabulary)}
        if not found or not all(type(index) is int for index in found.keys() | added.keys()):
            raise ValueError
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UserError(f"{file} holds no vocabulary that can be read.") from None
    return found | added, set(added)


def _merges(folder: Path) -> list[tuple[str, ...]]:
    """Byte-pair merges, in either of the two spellings of tokenizer.json, or the lines of merges.txt."""
    if (folder / "tokenizer.json").is_file():
        listed = (read_json(folder / "tokenizer.json").get("model") or {}).get("merges") or []
    else:
        lines = (folder / "merges.txt").read_text("utf-8", errors="replace").splitlines()
        listed = [line for line in lines if not line.startswith("#version")]
    try:
        return [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in listed]
    except TypeError:
        raise UserError(f"The tokenizer in {folder} has merges that cannot be read.") from None


def _effective(config: dict) -> dict:
    """The settings that act, those that can be written in several ways in one."""
    found = {k: _effective(v) if isinstance(v, dict) and k.endswith("_config") else v for k, v in config.items()}
    width, heads = found.get("hidden_size"), found.get("num_attention_heads")
    defaults = {"num_key_value_heads": heads}
    if isinstance(width, int) and isinstance(heads, int) and heads > 0:
        defaults["head_dim"] = width // heads
    if isinstance(embedded := found.get("n_embd"), int):
        defaults["n_inner"] = 4 * embedded
    found |= {key: value for key, value in defaults.items() if key in found and found[key] is None}
    if found.get("use_sliding_window") is False:
        found = {key: value for key, value in found.items() if key not in ("sliding_window", "max_window_layers")}
    if isinstance(found.get("auto_map"), dict):  # "repository--module.Class" is the same class, lying elsewhere
        found["auto_map"] = {key: str(value).rpartition("--")[2] for key, value in found["auto_map"].items()}
    if isinstance(found.get("architectures"), list):
        found["architectures"] = [str(name).removeprefix("FSDP") for name in found["architectures"]]
    scaling, rope = found.get("rope_scaling") or {}, found.get("rope_parameters") or {}
    if all(isinstance(part, dict) and not any(isinstance(v, dict) for v in part.values()) for part in (scaling, rope)):
        rope = {key: found[key] for key in ("rope_theta", "partial_rotary_factor") if key in found} | scaling | rope
        kind = rope.get("rope_type") or rope.get("type") or "default"  # transformers 4 wrote "type" beside rope_theta
        rope["rope_type"] = _ROPE_TYPES.get(str(kind), kind)
        kept = {k: v for k, v in found.items() if k not in ("rope_theta", "rope_scaling", "partial_rotary_factor")}
        found = kept | {"rope_parameters": {key: value for key, value in rope.items() if key != "type"}}
    return found


def _keys(config: dict, prefix: str = "") -> set[str]:
    """The dotted keys of all settings that could make a difference."""
    found = set()
    for key, value in config.items():
        if isinstance(value, dict):
            found |= _keys(value, f"{prefix}{key}.")
        elif key not in ("architectures", "auto_map") and not _is_free(f"{prefix}{key}"):
            found.add(f"{prefix}{key}")
    return found


def _of_their_classes(
    left: dict, right: dict, alone: Collection[str]
) -> tuple[list[tuple[str, object, object]], list[str]]:
    """(differences in the settings that one of the two leaves out, by what its class takes for them; those of which that is not known)."""
    try:
        from transformers import CONFIG_MAPPING

        kinds = (CONFIG_MAPPING[config["model_type"]].from_dict(config) for config in (left, right))
        left, right = (_effective(kind.to_dict()) for kind in kinds)
    except Exception:  # transformers is not installed, does not know the class, or refuses a value
        return [], sorted(alone)
    return [one for one in _differences(left, right, "") if one[0] in alone], []


def _differences(left: dict, right: dict, prefix: str) -> list[tuple[str, object, object]]:
    """(dotted key, left value, right value) where both have a key and its values differ, by more than case."""
    found = []
    for key in sorted(left.keys() & right.keys()):
        if isinstance(left[key], dict) and isinstance(right[key], dict):
            found += _differences(left[key], right[key], f"{prefix}{key}.")
        elif left[key] != right[key] and str(left[key]).lower() != str(right[key]).lower():
            found.append((f"{prefix}{key}", left[key], right[key]))
    return found
