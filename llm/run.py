"""One run: a preset, a seed, a folder, and the random streams that follow from them."""

import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from llm.config import Preset
from llm.data.microcosm.source import Microcosm


@dataclass(frozen=True)
class Run:
    """Where the outputs of (preset, seed) lie: `out/<preset>/seed<seed>/...`."""

    preset: Preset
    seed: int
    out: Path

    @property
    def folder(self) -> Path:
        return self.out / self.preset.name / f"seed{self.seed}"

    @cached_property
    def source(self) -> Microcosm:
        return Microcosm(self.seed)

    def rng(self, *purpose: str | int) -> np.random.Generator:
        """A stream of its own for each purpose, so that no stage depends on how much another has drawn."""
        return np.random.default_rng([self.seed, *map(_number, purpose)])

    def torch_rng(self, *purpose: str | int) -> torch.Generator:
        return torch.Generator().manual_seed(int(self.rng("torch", *purpose).integers(2**62)))


def _number(purpose: str | int) -> int:
    return purpose if isinstance(purpose, int) else zlib.crc32(purpose.encode())
