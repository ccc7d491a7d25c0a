"""Two model folders loaded for `adapt` and `front`: weights, tokenizer, and a view of a model from the
processor.
"""

import hashlib
import inspect
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import torch

from ..averaging.files.compatible import check_config, check_tokenizers
from ..averaging.live import tied
from ..errors import UserError, first_line
from ..grouping import Grouping, assign
from .folder import read_folder

DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Pair:
    """model: theta_0's, in evaluation mode. theta: the other's state dict. tokenizer: theta's. notes:
    sentences.
    """

    model: torch.nn.Module
    theta: dict[str, torch.Tensor]
    tokenizer: object
    notes: list[str]

    def assignment(self, grouping: Grouping) -> dict[str, str]:
        """Tensor name -> group, a tied head with the embeddings."""
        return assign(self.theta, grouping, tied(self.model.state_dict(keep_vars=True)))


def device_of(name: str) -> torch.device:
    """ "auto" is the accelerator if there is one, else the processor; UserError for a device that cannot
    be used.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError):
        raise UserError(f"device is {name!r}, allowed are auto, cpu and the accelerators of this computer.") from None


def dtype_on(dtype: str, device: torch.device) -> str:
    """What transformers is told: "auto" is fp32 on a processor, which has no fast arithmetic for less, and
    what is stored on an accelerator. UserError for a type that is not in `DTYPES`.
    """
    if dtype not in DTYPES:
        raise UserError(f"dtype is {dtype!r}, allowed are {', '.join(DTYPES)}.")
    return dtype if dtype != "auto" else "float32" if device.type == "cpu" else "auto"


def load_pair(theta_0: Path, theta: Path, dtype: str, device: torch.device) -> Pair:
    """Check that the two folders belong together and load both; theta may be a LoRA adapter on theta_0.

    dtype: as for `dtype_on`. Raises UserError for folders that are missing, damaged or do not fit; never
    runs code from a folder.
    """
    wanted = dtype_on(dtype, device)
    base, other = read_folder(theta_0, "theta-0"), read_folder(theta, "theta")
    if base.is_adapter:
        raise UserError(f"theta-0 is {str(theta_0)!r}, which is an adapter; give the model it belongs to.")
    if other.is_adapter:
        notes, aligned = [], _with_adapter(theta_0, theta, wanted)
    else:
        notes = check_config(base, other) + check_tokenizers(theta_0, theta)
        aligned = load_causal(theta, wanted, "theta")
    state = {name: tensor.detach().to(device) for name, tensor in _once(aligned.state_dict()).items()}
    del aligned
    model = load_causal(theta_0, wanted, "theta-0").to(device)
    _check_shapes(model.state_dict(), state)
    has_own = any(theta.glob("tokenizer*"))
    return Pair(model, state, load_tokenizer(theta if has_own else theta_0), notes)


def load_causal(folder: Path, dtype: str, name: str):
    """A causal language model in evaluation mode; `name` is the option that gave the folder."""
    from transformers import AutoModelForCausalLM

    return _load(AutoModelForCausalLM, folder, dtype, name)


def load_scorer(folder: Path, dtype: str, device: torch.device):
    """(reward model, its tokenizer): a sequence classifier with one output; UserError for any other
    folder.
    """
    from transformers import AutoModelForSequenceClassification

    from .conversations import pad_id

    config = read_folder(folder, "reward-model").config
    kind = ", ".join(config.get("architectures") or ["no architecture"])
    if "SequenceClassification" not in kind:
        raise UserError(f"reward-model is {str(folder)!r}, a {kind}; allowed are sequence classifiers.")
    model, tokenizer = (
        _load(AutoModelForSequenceClassification, folder, dtype_on(dtype, device), "reward-model"),
        load_tokenizer(folder),
    )
    if model.config.num_labels != 1:
        raise UserError(f"reward-model is {str(folder)!r} with {model.config.num_labels} outputs, allowed is 1.")
    if model.config.pad_token_id is None:
        model.config.pad_token_id = pad_id(tokenizer)
    return model.to(device), tokenizer


def load_tokenizer(folder: Path):
    """The folder's tokenizer; UserError if there is none that loads."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"the tokenizer in {str(folder)!r} cannot be loaded ({first_line(error)}).") from None


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of each weight file of a model folder or adapter."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


class OnProcessor:
    """A model called with tensors of the processor, wherever it is, and whatever of these arguments it knows.

    Attributes are not passed on; it is made for `llm.models.generate` and `llm.evaluation.metrics`, which think on the
    processor.
    """

    device = torch.device("cpu")  # where tensors come from and go to

    def __init__(self, model) -> None:
        self._model = model
        self._known = set(inspect.signature(model.forward).parameters)
        self._device = next(model.parameters()).device

    def __call__(self, *, logits_to_keep: int | None = None, **arguments) -> SimpleNamespace:
        """`logits` (rows, last `logits_to_keep` positions, vocabulary) and `past_key_values`, if there
        are any.
        """
        known = {key: value for key, value in arguments.items() if key in self._known}
        if logits_to_keep is not None and "logits_to_keep" in self._known:
            known["logits_to_keep"] = logits_to_keep
        moved = {key: v.to(self._device) if isinstance(v, torch.Tensor) else v for key, v in known.items()}
        output = self._model(**moved)
        logits = output.logits if logits_to_keep is None else output.logits[:, -logits_to_keep:]
        return SimpleNamespace(logits=logits.cpu(), past_key_values=getattr(output, "past_key_values", None))


def _load(kind, folder: Path, dtype: str, name: str):
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        return kind.from_pretrained(folder, dtype=dtype, local_files_only=True, trust_remote_code=False).eval()
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(f"{name} is {str(folder)!r}, which transformers cannot load ({first_line(error)}).") from None


def _with_adapter(theta_0: Path, theta: Path, dtype: str):
    from peft import PeftModel

    base = load_causal(theta_0, dtype, "theta-0")
    try:
        return PeftModel.from_pretrained(base, theta).merge_and_unload().eval()
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(f"theta is {str(theta)!r}, an adapter that does not fit ({first_line(error)}).") from None


def _once(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state dict whose tied tensors are one object, so that moving it to a device keeps them one."""
    owners = tied(state)
    return {name: state[owners.get(name, name)] for name in state}


def _check_shapes(theta_0: dict[str, torch.Tensor], theta: dict[str, torch.Tensor]) -> None:
    for name in sorted(theta_0.keys() | theta.keys()):
        shapes = [tuple(state[name].shape) if name in state else None for state in (theta_0, theta)]
        if shapes[0] != shapes[1]:
            raise UserError(f"{name} has shape {shapes[0]} in theta-0 and {shapes[1]} in theta; they must be equal.")
