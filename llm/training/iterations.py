"""What the stages of alignment leave behind: a model an iteration, and beside it what training needs to go on."""

from pathlib import Path
from typing import TypeAlias

import torch

from ..errors import UserError, first_line
from ..files import read_made, up_to_date, written


def iteration_folder(out: Path, iteration: int) -> Path:
    """The model after iteration 1, 2, ..."""
    return out / f"iteration{iteration:02d}"


def model_before(start: Path | str, out: Path, iteration: int) -> Path | str:
    """The model that an iteration is made from: of the first, where training starts."""
    return start if iteration == 1 else iteration_folder(out, iteration - 1)


def log_file(out: Path, iteration: int) -> Path:
    return out / f"iteration{iteration:02d}.json"


def chosen_file(out: Path, iteration: int) -> Path:
    """Of RSF: the samples that an iteration imitated."""
    return out / f"chosen{iteration:02d}.json"


def training_file(out: Path, iteration: int) -> Path:
    """Optimisers and what else is trained besides the model."""
    return out / f"training{iteration:02d}.safetensors"


def read_log(out: Path, iteration: int) -> dict:
    """The log of an iteration of PPO; UserError where it lacks a number by which training goes on."""

    def take(log: dict) -> dict:
        for key in ("reward", "length", "unfinished", "critic_loss", "restarts"):
            if not isinstance(log[key], int | float):
                raise TypeError(key)
        return log | {key: log[key] for key in ("collapse", "fresh_critic")}

    return read_made(log_file(out, iteration), take)


def is_made(out: Path, iteration: int, *inputs: Path) -> bool:
    """Whether an iteration's model is there, with its log, all from `inputs` as they now are.

    The model is written last, so one that is older than its log belongs to an earlier, replaced iteration.
    """
    return up_to_date(iteration_folder(out, iteration) / "config.json", log_file(out, iteration), *inputs)


def forget_training(out: Path, before: int) -> None:
    """Remove the training files of iterations 1 to `before` - 1; the models and logs stay."""
    for iteration in range(1, before):
        training_file(out, iteration).unlink(missing_ok=True)


def forget_weights(model: Path) -> None:
    """Remove the weights of a model folder that nothing needs any more; what says that the iteration was made stays."""
    for file in model.glob("*.safetensors*"):
        file.unlink()


Part: TypeAlias = torch.nn.Module | torch.optim.Optimizer | dict[str, torch.Tensor]


def write_training(path: Path, **parts: Part) -> None:
    """Write the named modules, optimisers and dicts of tensors into one file, atomically."""
    from safetensors.torch import save_file

    tensors = {
        f"{name}.{key}": tensor.detach().clone()
        for name, part in parts.items()
        for key, tensor in _tensors(part).items()
    }
    with written(path) as aside:
        save_file(tensors, aside)


def read_training(path: Path, **parts: Part) -> None:
    """Give modules and optimisers, made anew for the same parameters, the state that `write_training` wrote; dicts get the tensors.

    Raises UserError for a file that is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
        for name, part in parts.items():
            mine = {key.removeprefix(f"{name}."): t for key, t in tensors.items() if key.startswith(f"{name}.")}
            if isinstance(part, torch.nn.Module):
                part.load_state_dict(mine)
            elif isinstance(part, dict):
                part.update(mine)
            else:
                part.load_state_dict({"state": _nested(mine), "param_groups": part.state_dict()["param_groups"]})
    except (SafetensorError, RuntimeError, ValueError, KeyError) as error:
        raise UserError(
            f"{path} is damaged ({first_line(error)}); remove it and give the same command again."
        ) from None


def _tensors(part: Part) -> dict[str, torch.Tensor]:
    if isinstance(part, torch.nn.Module):
        return part.state_dict()
    if isinstance(part, dict):
        return part
    return {f"{i}.{key}": tensor for i, kept in part.state_dict()["state"].items() for key, tensor in kept.items()}


def _nested(tensors: dict[str, torch.Tensor]) -> dict[int, dict[str, torch.Tensor]]:
    """{"3.exp_avg": tensor} -> {3: {"exp_avg": tensor}}"""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        index, key = name.split(".")
        state.setdefault(int(index), {})[key] = tensor
    return state
