"""theta_0 and theta from two model folders, checked and loaded for `adapt` and `front`."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch

from ..errors import UserError, first_line
from ..grouping import Grouping, assign
from ..models.folder import read_folder
from ..models.loading import dtype_on, load_model, load_tokenizer
from .files.compatible import check_config, check_tokenizers
from .live import tied


@dataclass(frozen=True)
class Pair:
    """model: theta_0's, in evaluation mode. theta: the other's state dict. tokenizer: theta's. notes: sentences."""

    model: torch.nn.Module
    theta: dict[str, torch.Tensor]
    tokenizer: object
    notes: list[str]

    def assignment(self, grouping: Grouping) -> dict[str, str]:
        """Tensor name -> group, a tied head with the embeddings."""
        return assign(self.theta, grouping, tied(self.model.state_dict(keep_vars=True)))


def load_pair(theta_0: Path, theta: Path, dtype: str, device: torch.device) -> Pair:
    """Check that the two folders belong together and load both; theta may be a LoRA adapter on theta_0.

    dtype: as for `dtype_on`. Raises UserError for folders that are missing, damaged or do not fit; never runs code from
    a folder.
    """
    wanted = dtype_on(dtype, device)
    base, other = read_folder(theta_0, "theta-0"), read_folder(theta, "theta")
    if base.is_adapter:
        raise UserError(f"theta-0 is {str(theta_0)!r}, which is an adapter; give the model it belongs to.")
    if other.is_adapter:
        notes, aligned = [], _with_adapter(theta_0, theta, wanted)
    else:
        notes = check_config(base, other) + check_tokenizers(theta_0, theta)
        aligned = load_model(theta, dtype=wanted, name="theta")
    state = {name: tensor.detach().to(device) for name, tensor in _once(aligned.state_dict()).items()}
    del aligned
    model = load_model(theta_0, device, wanted, "theta-0")
    _check_shapes(model.state_dict(), state)
    has_own = any(theta.glob("tokenizer*"))
    return Pair(model, state, load_tokenizer(theta if has_own else theta_0), notes)


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of each weight file of a model folder or adapter."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _with_adapter(theta_0: Path, theta: Path, dtype: str):
    from peft import PeftModel

    base = load_model(theta_0, dtype=dtype, name="theta-0")
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
