"""theta_0 and theta from two model folders, checked, loaded and made alike for `adapt` and `front`."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from ..config.base import Settings
from ..errors import UserError, first_line
from ..files import described_file
from ..grouping import Grouping, assign, role
from ..models.folder import ModelFolder, notes_on_base, read_folder
from ..models.loading import dtype_on, load_model, load_tokenizer, require_finite
from ..models.names import stored_names
from .files.compatible import chat_template, check_config, check_tokenizers, note_on_templates
from .files.copies import decides, has_tokenizer
from .live import tied
from .soup import Soup, mean, repeated

# Of safetensors, the types that averages are stored in
TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclass(frozen=True)
class Pair:
    """model: theta_0's, in evaluation mode. theta: the other's state dict. tokenizer: theta's. notes: sentences. kinds: stored tensor ->
    the type that an average of it is saved in, theta's (with an adapter theta_0's). names: tensor -> what it is called there;
    missing where the folders have it in another way. theta_pre: the state dict of the model that theta_0 was tuned from, if it was
    asked for.
    """

    model: torch.nn.Module
    theta: dict[str, torch.Tensor]
    tokenizer: Any
    notes: list[str]
    kinds: Mapping[str, torch.dtype] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    theta_pre: Mapping[str, torch.Tensor] | None = None

    def kind(self, name: str) -> torch.dtype:
        """The type that an average of a tensor is saved in: its own in memory where the folders have it in another way."""
        return self.kinds.get(self.names.get(name, name), self.theta[name].dtype)

    def exchange(self) -> None:
        """Give the model theta's weights and the state dict theta_0's, without copying any; and back again."""
        live = self.model.state_dict(keep_vars=True)
        owners = tied(live)
        for name, one in live.items():
            if one is live.get(owners.get(name, "")):
                continue  # a second name; a head of its own that only shares theta's memory is given back like all others
            one.data, self.theta[name] = self.theta[name], one.data

    @contextmanager
    def holding(self, side: int) -> Iterator[torch.nn.Module]:
        """The model with theta_0's weights, its own (0), or with theta's (1)."""
        if side:
            self.exchange()
        try:
            yield self.model
        finally:
            if side:
                self.exchange()

    def tensors(self) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
        """(name, the model's, the state dict's) of each floating tensor, a tied one once."""
        live = self.model.state_dict()
        owners = tied(live)
        for name in live:
            if name not in owners and live[name].is_floating_point():
                yield name, live[name], self.theta[name]

    def assignment(self, grouping: Grouping) -> dict[str, str]:
        """Tensor name -> group; a head whose values are the embeddings' in both models goes with them."""
        both = [_same_matrices(state) for state in (self.model.state_dict(), self.theta)]
        return assign(self.theta, grouping, dict(both[0].items() & both[1].items()))


class Match(Settings):
    """How far two folders may differ, as `average`'s options of the same names have it.

    vocab: "union" allows different numbers of tokens: shared rows are averaged, and those that theta adds are theirs in both.
    ignore_config: keys of config.json that may differ. strict: what is doubtful about the tokenizers, or about an adapter's base,
    is refused instead of noted.
    """

    vocab: Literal["same", "union"] = "same"
    ignore_config: tuple[str, ...] = ()
    strict: bool = False


def load_pair(
    theta_0: Path,
    theta: Path,
    dtype: str,
    device: torch.device,
    match: Match = Match(),
    soup: Soup = Soup(),
    theta_pre: Path | None = None,
) -> Pair:
    """Check that the folders belong together and load them; theta may be a LoRA adapter on theta_0.

    A head that one of them ties to its embeddings is these, and free where the other has one of its own. dtype: as for
    `dtype_on`. soup: other models or adapters, whose mean with theta is rounded to that type and takes theta's place. theta_pre: a model
    of theta's shape. Raises UserError for folders that are missing, damaged or do not fit; never runs code from a folder.
    """
    wanted = dtype_on(dtype, device)
    base, other = _full_model(theta_0, "theta-0"), read_folder(theta, "theta")
    notes = repeated(theta, soup)
    state = _state(base, other, wanted, match, notes)
    if soup.others:
        folders = [read_folder(path, name) for path, name in zip(soup.others, soup.names, strict=True)]
        state = _soup([state, *(_state(base, folder, wanted, match, notes, state) for folder in folders)], soup)
    state = _moved(state, device)
    before = None
    if theta_pre is not None:
        pre = _state(base, _full_model(theta_pre, "theta-pre"), wanted, match, notes, state)
        before = _moved(pre, device)
    model = load_model(theta_0, device, wanted, "theta-0", notes.append)
    name, own = next(iter(_per_token(model).items()))
    old = _resize(model, len(state.get(name, own)), match.vocab == "union", notes)
    if tied(model.state_dict()).keys() - _same_matrices(state).keys():
        notes.append("theta-0's head is its embeddings and theta's is not: the average has a head of its own.")
        _untie(model)
    _check_shapes(model.state_dict(), state, ("theta-0", "theta"))
    for name, tensor in _per_token(model).items():
        tensor[old:] = state[name][old:]
    kinds = {
        name: kind
        for folder in ((base,) if other.is_adapter else (base, other))
        for name, one in folder.tensors.items()
        if (kind := TYPES.get(one.dtype))
    }
    names = stored_names(model, kinds)
    tokenizer = load_tokenizer(theta if has_tokenizer(theta) else theta_0)
    if not has_tokenizer(theta) and (template := chat_template(theta)) is not None:
        tokenizer.chat_template = template  # as `average` has it
    return Pair(model, state, tokenizer, list(dict.fromkeys(notes)), kinds, names, before)


def _full_model(path: Path, name: str) -> ModelFolder:
    folder = read_folder(path, name)
    if folder.is_adapter:
        raise UserError(f"{name} is {str(path)!r}, which is an adapter; give the model it belongs to.")
    return folder


def _state(
    base: ModelFolder,
    other: ModelFolder,
    dtype: torch.dtype,
    match: Match,
    notes: list[str],
    like: Mapping[str, torch.Tensor] | None = None,
) -> dict[str, torch.Tensor]:
    """The weights of a model or of an adapter on theta_0, which must be of the names and shapes of `like`, theta's."""
    union = match.vocab == "union"
    doubts = check_tokenizers(base.path, other.path, union) + (notes_on_base(base, other) if other.is_adapter else [])
    if match.strict and doubts:
        raise UserError(f"strict is set, but: {doubts[0]}")
    notes += doubts + base.notes + other.notes + note_on_templates(base, other)
    notes += [] if other.is_adapter else check_config(base, other, match.ignore_config)
    if other.is_adapter:
        model = _with_adapter(base, other, dtype, union)
        require_finite(dict(model.named_parameters()), f"{other.name} ({str(other.path)!r})")
    else:
        model = load_model(other.path, dtype=dtype, name=other.name, note=notes.append)
    state = model.state_dict()
    if like is not None:
        _check_shapes(like, state, ("theta", other.name))
    return state


def _soup(states: list[dict[str, torch.Tensor]], soup: Soup) -> dict[str, torch.Tensor]:
    """The weighted mean, a tied tensor once; UserError where heads are tied in some of the models only."""
    if len({len(tied(state)) for state in states}) > 1:
        raise UserError(
            "The head is a matrix of its own in some of the models only; allowed with --with are heads of one kind."
        )
    found, owners = mean(states, soup.weights), tied(states[0])
    return {name: found[owners.get(name, name)] for name in found}


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a model folder or adapter that decides what the model is: weights, configurations, tokenizer, chat template."""
    files = (path for path in sorted(folder.iterdir()) if path.is_file() and decides(path.name))
    return {path.name: described_file(path)["sha256"] for path in files}


def _with_adapter(base: ModelFolder, adapter: ModelFolder, dtype: str, union: bool):
    """theta_0 with the adapter merged into it by peft."""
    from peft import PeftModel

    model = load_model(base.path, dtype=dtype, name="theta-0", note=lambda sentence: None)  # it is noted with theta_0
    modules = {f".{name}".rpartition(".")[0].rpartition(".")[2] for name in _per_token(model)}
    stored = [
        tensor.shape[0]
        for name, tensor in adapter.tensors.items()
        if name.endswith(".weight") and ".lora_" not in name and modules & {*name.split(".")}
    ]
    old = _resize(model, max(stored, default=len(next(iter(_per_token(model).values())))), union, [])
    for tensor in _per_token(model).values():
        tensor[old:] = torch.nan  # to see whether the adapter has them
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of tied heads, which are seen to here
            wrapped = PeftModel.from_pretrained(model, adapter.path)
        report = wrapped.load_adapter(adapter.path, "default")  # from_pretrained keeps it to itself
        for key in [*report.missing_keys, *(key for key in report.unexpected_keys if "lora_" in key)]:
            raise ValueError(f"{key} is in one of them only")
        if any(hasattr(part, "base_layer") for part in (model.get_input_embeddings(), model.get_output_embeddings())):
            _untie(model)  # else peft adds to both what it adds to one
        merged = wrapped.merge_and_unload().eval()
    except Exception as error:  # peft's are of any kind
        why = f"an adapter that does not fit theta-0 ({first_line(error)})"
        raise UserError(f"theta is {str(adapter.path)!r}, {why}.") from None
    for name, tensor in _per_token(merged).items():
        if tensor[old:].isnan().any():
            raise UserError(
                f"theta's adapter lacks rows {old} to {len(tensor) - 1} of {name}, which theta-0 does not have."
            )
    return merged


def _per_token(model) -> dict[str, torch.Tensor]:
    """The tensors with a row a token: the embeddings, and the head's if it is not these."""
    found = [model.get_input_embeddings().weight, *(model.get_output_embeddings() or model).parameters(recurse=False)]
    return {name: tensor.data for name, tensor in model.named_parameters() if any(tensor is one for one in found)}


def _resize(model, rows: int, union: bool, notes: list[str]) -> int:
    """How many tokens the model has of those that it gets, `rows`, which is noted if it changes."""
    own = len(next(iter(_per_token(model).values())))
    if own != rows:
        counts = f"The embeddings have {own} rows in theta-0 and {rows} in theta"
        if not union:
            raise UserError(f"{counts}; match: {{vocab: union}} in the --config averages those of both.")
        model.resize_token_embeddings(rows, mean_resizing=False)
        notes.append(
            f"{counts}: those of theta{'' if rows > own else '-0'} only were {'kept' if rows > own else 'left out'}."
        )
    return min(own, rows)


def _untie(model) -> None:
    """Give a head that is the embeddings memory of its own."""
    head = model.get_output_embeddings()
    head = getattr(head, "base_layer", head)
    head.weight = torch.nn.Parameter(head.weight.detach().clone())
    model.config.tie_word_embeddings = False


def _same_matrices(state: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """Head -> the embeddings that it is, or whose values it has; other tied tensors -> their first name."""
    found = tied(state)
    embeddings = [name for name in state if role(name) == "embeddings"]
    for head in [name for name in state if role(name) == "head" and name not in found]:
        equal = [name for name in embeddings if torch.equal(state[name], state[head])]
        if equal:
            found[head] = equal[0]
    return found


def _moved(state: Mapping[str, torch.Tensor], device: torch.device) -> dict[str, torch.Tensor]:
    """A state dict on a device, on which tied tensors are one, too."""
    owners = tied(state)
    moved = {name: tensor.detach().to(device) for name, tensor in state.items() if name not in owners}
    return {name: moved[owners.get(name, name)] for name in state}


def _check_shapes(low: Mapping[str, torch.Tensor], high: Mapping[str, torch.Tensor], owners: tuple[str, str]) -> None:
    for name in sorted(low.keys() | high.keys()):
        shapes = [tuple(state[name].shape) if name in state else None for state in (low, high)]
        if shapes[0] != shapes[1]:
            both = f"{shapes[0]} in {owners[0]} and {shapes[1]} in {owners[1]}"
            raise UserError(f"{name} has shape {both}; they must be equal.")
