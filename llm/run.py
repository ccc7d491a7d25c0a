"""One run: a preset, a seed, a folder, and the random streams that follow from them."""

import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import torch

from .config import LocalPreset, MicrocosmPreset, Preset
from .data.records import Source
from .models.loading import require_gpu

AnyKind = TypeVar("AnyKind", bound=Preset, covariant=True)  # the kind of preset that a stage takes


@dataclass(frozen=True)
class Run(Generic[AnyKind]):
    """Where the outputs of (preset, seed) lie: `out/<preset>/seed<seed>/...`."""

    preset: AnyKind
    seed: int
    out: Path

    @property
    def folder(self) -> Path:
        return self.out / self.preset.name / f"seed{self.seed}"

    @cached_property
    def source(self: "LocalRun") -> Source:
        """The data of this seed, which the preset's kind decides; the same object at every use."""
        return self.preset.source(self.seed, self.out)

    @cached_property
    def device(self: "LocalRun") -> torch.device:
        """Where the models of the run are trained and measured; UserError if the preset asks for a GPU and there is none."""
        if self.preset.device == "cpu":
            return torch.device("cpu")
        require_gpu(f"device = 'gpu' of preset {self.preset.name}")
        torch.set_float32_matmul_precision("high")  # TF32: a small model in fp32 is otherwise bound by its products
        return torch.device("cuda")

    def rng(self, *purpose: str | int) -> np.random.Generator:
        """A stream of its own for each purpose, so that no stage depends on how much another has drawn."""
        return np.random.default_rng([self.seed, *map(_number, purpose)])

    def torch_rng(self, *purpose: str | int) -> torch.Generator:
        return torch.Generator().manual_seed(int(self.rng("torch", *purpose).integers(2**62)))


LocalRun = Run[LocalPreset]
MicrocosmRun = Run[MicrocosmPreset]


def _number(purpose: str | int) -> int:
    return purpose if isinstance(purpose, int) else zlib.crc32(purpose.encode())
