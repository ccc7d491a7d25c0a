"""Tax-constrained ratios: a ratio for each group of tensors, learned from both models' own samples.

AMA (the paper, section 5) makes theta's best replies likeliest at a given mean ratio. Here nothing is fixed but what must not change:

    min over ratios  KL(pi_theta || pi_ratios) on theta's replies + lambda KL(pi_theta0 || pi_ratios) on theta_0's free samples,

each a mean over tokens of cross-entropy on what the model itself wrote, which is its divergence up to a constant. The gradient by the
ratios is AMA's exact one (`..ama.gradient`); a ratio is sigmoid(s), and Adam works on s.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from ...grouping import labels, ratios
from ...models.batches import Tokens, pad_replies
from ...models.chat import pad_id
from ..ama.gradient import ratio_gradient
from ..ama.optimise import AmaState, descend
from ..live import mix_
from . import Build, Materials

SAMPLES, STEPS, BATCH, RATE = 256, 60, 32, 0.15
START = 2.0  # of s: a ratio of .88


def make(materials: Materials) -> Build:
    """{"strength": lambda} -> the model at the ratios found for it."""

    def build(setting: Mapping[str, Any]) -> nn.Module:
        found = find(materials, setting["strength"])
        mix_(materials.model, materials.theta_0, materials.theta, ratios(materials.assignment, found))
        return materials.model

    return build


def find(materials: Materials, strength: float, steps: int = STEPS) -> dict[str, float]:
    """Group -> its ratio. strength: lambda >= 0. The model ends with the weights of the last step."""
    groups = labels(materials.assignment)
    ends = materials.theta_0, materials.theta, materials.assignment
    sides = [_batches(materials, kind, steps) for kind in ("replies", "free")]
    materials.model.requires_grad_(True)

    def gradient(alphas: Mapping[str, float], pair: tuple[dict, dict]) -> tuple[float, torch.Tensor]:
        (reached, up), (kept, back) = (ratio_gradient(materials.model, *ends, alphas, batch) for batch in pair)
        return reached + strength * kept, up + strength * back

    start = AmaState([START] * len(groups))
    pairs = zip(*sides, strict=True)
    return descend(gradient, groups, pairs, torch.sigmoid, steps=steps, lr=RATE, state=start).alphas


def _batches(materials: Materials, kind: str, steps: int) -> Iterator[dict[str, torch.Tensor]]:
    samples: list[Tokens] = [one for one in materials.samples(kind, SAMPLES) if one.reply]
    rng, padding = np.random.default_rng([materials.seed, len(kind)]), pad_id(materials.tokenizer)
    for _ in range(steps):
        chosen = rng.choice(len(samples), min(BATCH, len(samples)), replace=False)
        yield pad_replies([samples[i] for i in chosen], padding).to(materials.model.device).labelled()
