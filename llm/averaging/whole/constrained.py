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
    s = torch.full((len(groups),), START, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([s], RATE)
    ends = materials.theta_0, materials.theta, materials.assignment
    sides = [_batches(materials, kind, steps) for kind in ("replies", "free")]
    materials.model.requires_grad_(True)
    for batches in zip(*sides, strict=True):
        place = torch.sigmoid(s)
        alphas = dict(zip(groups, place.tolist(), strict=True))
        slopes = [ratio_gradient(materials.model, *ends, alphas, batch)[1] for batch in batches]
        optimiser.zero_grad()
        place.backward(slopes[0] + strength * slopes[1])
        optimiser.step()
    return dict(zip(groups, torch.sigmoid(s).tolist(), strict=True))


def _batches(materials: Materials, kind: str, steps: int) -> Iterator[dict[str, torch.Tensor]]:
    samples: list[Tokens] = [one for one in materials.samples(kind, SAMPLES) if one.reply]
    rng, padding = np.random.default_rng([materials.seed, len(kind)]), pad_id(materials.tokenizer)
    for _ in range(steps):
        chosen = rng.choice(len(samples), min(BATCH, len(samples)), replace=False)
        batch = pad_replies([samples[i] for i in chosen], padding).labelled()
        yield {key: tensor.to(materials.model.device) for key, tensor in batch.items()}
