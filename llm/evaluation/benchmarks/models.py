"""A model as lm-eval wants it: from memory, or from a folder by transformers or vLLM."""

from importlib.util import find_spec
from pathlib import Path

from ...errors import UserError
from ...models.folder import read_folder
from ...models.loading import device_of, dtype_on, load_causal, load_tokenizer

BACKENDS = ("hf", "vllm")


def in_memory(model, tokenizer, batch: int):
    """lm-eval's view of a transformers model, wherever it is; `batch` sequences at a time."""
    import logging

    from lm_eval.models.huggingface import HFLM

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch)


def from_folder(folder: Path, *, batch: int, dtype: str = "auto", device: str = "auto", backend: str = "hf"):
    """lm-eval's view of the model in a local folder.

    dtype, device: as for `load_folder`; vLLM takes the accelerator that it finds, and decides on the batch itself. Raises
    UserError as `load_folder` does, and for vLLM where it is not installed.
    """
    if backend not in BACKENDS:
        raise UserError(f"backend is {backend!r}, allowed are {', '.join(BACKENDS)}.")
    if batch < 1:
        raise UserError(f"batch is {batch}, allowed are whole numbers from 1.")
    if backend == "vllm":
        return _by_vllm(folder, dtype, device)
    return in_memory(*load_folder(folder, dtype, device), batch)


def load_folder(folder: Path, dtype: str = "auto", device: str = "auto") -> tuple:
    """(model, tokenizer) of a local folder.

    dtype: one of `llm.models.loading.DTYPES`. device: auto, cpu, cuda, .. Raises UserError for a folder that holds no
    whole model, and a device that cannot be used or is too small. Never runs code from a folder.
    """
    import torch

    check_folder(folder)
    place = device_of(device)
    try:
        model = load_causal(folder, dtype_on(dtype, place), "model").to(place)
    except torch.OutOfMemoryError:
        raise UserError(f"model is {str(folder)!r}, which is too large for the memory of {place}.") from None
    return model, load_tokenizer(folder)


def check_folder(folder: Path) -> None:
    """UserError unless the folder holds a whole model, as far as can be told without reading its weights."""
    if read_folder(folder, "model").is_adapter:
        raise UserError(f"model is {str(folder)!r}, an adapter; put it into its model first (`average`, alpha 1).")


def _by_vllm(folder: Path, dtype: str, device: str):
    if find_spec("vllm") is None:
        raise UserError("backend is 'vllm', which is not installed; install the extra `gpu`, or take hf.")
    if device != "auto":
        raise UserError(f"device is {device!r}, allowed with backend vllm is auto.")
    check_folder(folder)
    from lm_eval.models.vllm_causallms import VLLM

    return VLLM(pretrained=str(folder), dtype=dtype, batch_size="auto")
