"""What a regression of two folders has made: the merged tensors, how far they have moved, and what the model card says of it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ...models.safetensors import TensorInfo, read_header
from ..displacement import labels_of
from ..precision import Effect
from ..whole.regression import Setting
from .chunks import Chunk

Tensors = Mapping[str, TensorInfo]


class Moved(NamedTuple):
    """How far what was merged of a part lies from theta_0, D being theta - theta_0: |W - W_0| / |D| of what is stored; its rounding;
    and how many weights were to move by how many units in the last place (`displacement.in_steps`).
    """

    distance: float
    effect: Effect
    steps: list[float]

    @property
    def share(self) -> float:
        """<W - W_0, D> / |D|^2."""
        return self.effect.alpha or 0.0

    def to_json(self) -> str:
        """As `from_json` reads it."""
        return json.dumps([self.distance, asdict(self.effect), self.steps])

    @classmethod
    def from_json(cls, text: str) -> "Moved":
        distance, effect, steps = json.loads(text)
        return cls(distance, Effect.of(effect), steps)


@dataclass(frozen=True)
class Made:
    """What a regression has made. tensors: name in the output -> where it lies; part_of: name -> its part of the network ("first", a
    layer's number, "last"); parts: part -> how far it has moved. texts: who wrote them -> numbers of samples and of tokens.
    """

    tensors: Tensors
    part_of: dict[str, str]
    parts: dict[str, Moved]
    texts: dict[str, dict[str, int]]
    setting: Setting

    _FORMULA: ClassVar[str] = (
        "W_0 + (W - W_0) G_1 (lambda G_0 + G_1)^-1, G_0 and G_1 the Gram matrices of the layer's inputs on theta_0's own text and on "
        "prompts with theta's own replies to them (regression averaging, arXiv 2212.09849, on the two models' own samples), with a ridge towards\n"
        "(1 - alpha) theta_0 + alpha theta, alpha = 1 / (1 + lambda), which is also what all other tensors are"
    )

    @property
    def formula(self) -> str:
        """In words, for the model card."""
        if self.setting.layers == "equal":
            return self._FORMULA
        return (
            f"{self._FORMULA}, but for the layers: alpha rises in equal steps from 1 / (1 + lambda) in the first one to 1 in the last, and a "
            "layer's lambda is that of its alpha"
        )

    @property
    def details(self) -> dict[str, Any]:
        """For the report."""
        moved = {
            part: {"distance": one.distance, "share": one.share, "steps": one.steps} for part, one in self.parts.items()
        }
        return {"texts": self.texts, "moved": moved}

    def chunks(self, name: str) -> Iterator[Chunk]:
        """A merged tensor as it goes into the output."""
        yield Chunk(None, None, lambda *_: self.tensors[name].read())

    def notes(self, all_of_them: Tensors) -> list[str]:
        """On the texts, and on matrices that none of them came to."""
        counts = [f"{one['samples']} samples ({one['tokens']} tokens) of {who}" for who, one in self.texts.items()]
        found = [
            f"Merged by regression at lambda {self.setting.strength:g} on {' and '.join(counts)}; alpha is then the share of theta - theta_0 that "
            "the merged tensors have along it."
        ]
        steps = np.sum([one.steps for one in self.parts.values()], axis=0)
        kinds = ", ".join(sorted({tensor.dtype for tensor in self.tensors.values()}))
        if steps.any():
            shares = (f"{share:.1%} {label}" for label, share in zip(labels_of(), steps / steps.sum(), strict=True))
            found.append(
                f"Before rounding the merged weights differ from theta_0, in units of the last place of {kinds}, by: {', '.join(shares)}."
            )
        if self.setting.layers == "increasing":
            found.append(
                "That is the lambda of the first layer and of all outside the layers; it falls from layer to layer, and the last of several "
                "layers is theta's."
            )
        unseen = [n for n, tensor in all_of_them.items() if len(tensor.shape) > 1 and n not in self.tensors]
        if unseen:
            more = f" and {len(unseen) - 1} more matrices" * (len(unseen) > 1)
            found.append(f"No text came to {unseen[0]}{more}, or no linear layer has it: averaged at its alpha.")
        return found


def of_folder(work: Path, texts: dict[str, dict[str, int]], setting: Setting) -> Made:
    """What lies in a folder, a file a part, with how it has moved (`Moved.to_json`) under "moved" of its metadata."""
    tensors: dict[str, TensorInfo] = {}
    part_of: dict[str, str] = {}
    parts: dict[str, Moved] = {}
    for file in sorted(work.glob("*.safetensors")):
        header, found, _ = read_header(file)
        tensors |= {tensor.name: tensor for tensor in found}
        part_of |= {tensor.name: file.stem for tensor in found}
        parts[file.stem] = Moved.from_json(json.loads(header[8:])["__metadata__"]["moved"])
    return Made(tensors, part_of, parts, texts, setting)
