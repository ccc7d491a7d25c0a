"""What goes wrong outside of this program, as one sentence each."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llm.errors import UserError
from llm.trainers.settings import Hardware


@contextmanager
def sentences(hardware: Hardware) -> Iterator[None]:
    """Turn a GPU that is full into a UserError that says what to lower."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        lower = ["per_device_batch" if hardware.per_device_batch > 1 else "", "generation_batch" if hardware.generation_batch > 1 else ""]
        advice = " or ".join(filter(None, lower)) or "the length of the texts"
        more = "" if hardware.checkpointing else ", set checkpointing"
        raise UserError(
            f"per_device_batch = {hardware.per_device_batch} with generation_batch = {hardware.generation_batch} does not fit "
            f"into the memory of the GPU ({' '.join(str(error).split())[:120]}); lower {advice}{more}, or shard over more processes"
        ) from None


def find_model(model: str | Path) -> str:
    """A folder, or the id of a model on the hub; UserError if it is neither here nor can be had."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    if (Path(model) / "config.json").is_file():
        return str(model)
    try:
        hf_hub_download(str(model), "config.json")
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(
            f"model = {str(model)!r} is no folder with a config.json and could not be had from the hub ({type(error).__name__}); "
            "allowed are a model folder, or the id of a model that is public or already downloaded"
        ) from None
    return str(model)
