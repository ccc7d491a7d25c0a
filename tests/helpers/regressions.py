"""Texts and live regressions for tests of averages by regression."""

import numpy as np
import torch
from torch import nn

from llm.averaging.live import tied
from llm.averaging.whole.grams import equal_lengths, gather
from llm.averaging.whole.regression import Setting, regress
from llm.models.batches import Tokens


def draw(seed: int, count: int = 12, vocabulary: int = 64) -> list[Tokens]:
    rng = np.random.default_rng(seed)
    return [Tokens([0], rng.integers(vocabulary, size=rng.integers(2, 9)).tolist()) for _ in range(count)]


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Each tensor once."""
    state = model.state_dict()
    owners = tied(state)
    return {name: tensor for name, tensor in state.items() if name not in owners}


def merged(model_0, model, samples, setting: Setting) -> dict[str, torch.Tensor]:
    """What `regress` makes of two live models, in fp64."""
    start, end = weights(model_0), weights(model)
    grams = tuple(
        gather(one, equal_lengths(texts, 64, 32)) for one, texts in zip((model_0, model), samples, strict=True)
    )
    return dict(regress(dict(model.named_modules()), start, end, grams, setting))
