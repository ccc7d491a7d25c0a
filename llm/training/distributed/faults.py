"""What goes wrong outside of this program, as one sentence each."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...config.trainers import Hardware
from ...errors import UserError


@contextmanager
def sentences(hardware: Hardware) -> Iterator[None]:
    """Turn a GPU that is full into a UserError that says what to lower."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        lower = [key for key in ("per_device_batch", "generation_batch") if getattr(hardware, key) > 1]
        advice = " or ".join(lower) or "the length of the texts"
        more = "" if hardware.checkpointing else ", set checkpointing"
        raise UserError(
            f"per_device_batch = {hardware.per_device_batch} with generation_batch = {hardware.generation_batch} does not fit "
            f"into the memory of the GPU ({' '.join(str(error).split())[:120]}); lower {advice}{more}, or shard over more processes"
        ) from None


def find_model(model: str | Path) -> str:
    """A folder, or the id of a model on the hub; UserError if it is neither here nor can be had."""
    from transformers import AutoConfig

    if (Path(model) / "config.json").is_file():
        return str(model)
    try:
        AutoConfig.from_pretrained(str(model))
    except (OSError, ValueError) as error:
        raise UserError(
            f"model = {str(model)!r} is no folder with a config.json and could not be had from the hub ({type(error).__name__}); "
            "allowed are a model folder, or the id of a model that is public or already downloaded"
        ) from None
    return str(model)
