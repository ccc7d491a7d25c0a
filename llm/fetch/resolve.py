"""The folder of a model that a preset names: a fetched one, a local folder, or one of the hub."""

import re
from pathlib import Path

from ..errors import UserError
from .catalogue import FETCHABLE

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
SMALL_FILES = ["*.json", "*.jinja", "*.txt", "*.model"]  # settings and tokenizers of any kind


def resolve_model(name: str, out: Path = Path("out")) -> Path:
    """A folder with the model's config, tokenizer and weights.

    Args:
        name: a name of the fetch catalogue, the path of a model folder, or a hub id `owner/model`, which is downloaded
            into the hub's own cache unless it is there; a folder goes before a hub id of the same name.
        out: where `python -m llm fetch` put its models.

    Raises UserError if there is no such folder, or the hub cannot be reached or has no such model.
    """
    if name in FETCHABLE:
        folder = out / FETCHABLE[name][0].folder
        if not (folder / "config.json").is_file():
            raise UserError(f"model = {name!r} is not at {folder}; give `python -m llm fetch {name} --to {out}` first")
        return folder
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UserError(f"model = {name!r} is a folder without a config.json; give a Hugging Face model folder")
        return folder
    if not HUB_ID.fullmatch(name):
        raise UserError(
            f"model = {name!r} is no folder; allowed are {', '.join(FETCHABLE)}, the path of a model folder, or a hub id "
            "owner/model"
        )
    return _from_hub(name)


def _from_hub(name: str) -> Path:
    """Safetensors where the model has them, else what torch has pickled."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(name, allow_patterns=[*SMALL_FILES, "*.safetensors"]))
        if not any(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(name, allow_patterns=[*SMALL_FILES, "*.bin"]))
    except Exception as error:  # the hub's client lets its own errors and those of three other libraries through
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"model = {name!r} is no folder here and cannot be had from the hub ({reason[0].rstrip('.')}); "
            "give a local folder, or check the name and the network"
        ) from None
    return folder
