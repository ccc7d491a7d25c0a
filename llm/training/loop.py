"""The training loop that every stage of the microcosm shares, and the losses on tokens."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F

from ..config import Optimiser
from ..models.batches import Batch
from ..models.likelihood import counted_logits


def token_loss(model, batch: Batch) -> torch.Tensor:
    """Weighted mean of -log p(token | those before it), in nats; logits are made only where the weight is not 0."""
    batch = batch.to(model.device)
    logits, weights = counted_logits(model, batch), counted_weights(batch)
    losses = F.cross_entropy(logits, batch.ids[:, 1:][batch.weights[:, 1:] > 0], reduction="none")
    return (losses * weights).sum() / batch.weights[:, 1:].sum()


def counted_weights(batch: Batch) -> torch.Tensor:
    """The weights that `counted_logits` go with; (counted tokens,)."""
    weights = batch.weights[:, 1:]
    return weights[weights > 0]


def optimiser_for(model, settings: Optimiser) -> torch.optim.AdamW:
    adam = {"lr": settings.lr, "betas": settings.betas, "weight_decay": settings.weight_decay}
    return torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), **adam, fused=True)


def rate_at(step: int, steps: int | None, settings: Optimiser) -> float:
    """The learning rate of a step (0, 1, ...) out of `steps`; without an end it stays at `lr` after the warm-up."""
    if step < settings.warmup_steps:
        return settings.lr * (step + 1) / settings.warmup_steps
    if steps is None:
        return settings.lr
    progress = (step - settings.warmup_steps) / max(1, steps - settings.warmup_steps)
    return settings.lr * (settings.final_share + (1 - settings.final_share) * (1 + math.cos(math.pi * progress)) / 2)


def fit(
    model,
    batches: Iterable,
    loss: Callable,
    settings: Optimiser,
    *,
    steps: int | None,
    optimiser: torch.optim.Optimizer | None = None,
    first_step: int = 0,
    gradients: Callable = lambda model: None,
) -> Iterator[float]:
    """Train on one batch after the other, yielding each loss; the caller shows progress and may stop at any time.

    Args:
        model: trained in place; in training mode while this runs, in evaluation mode after it.
        loss: (model, batch) -> scalar tensor.
        steps: how long the cosine lasts, None for a constant rate.
        optimiser, first_step: to go on where an earlier call stopped.
        gradients: (model), before each step, when the loss's gradients are there and have not been clipped.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    optimiser = optimiser or optimiser_for(model, settings)
    model.train()
    for step, batch in enumerate(batches, start=first_step):
        for group in optimiser.param_groups:
            group["lr"] = rate_at(step, steps, settings)
        value = loss(model, batch)
        if not torch.isfinite(value):
            raise FloatingPointError(f"loss = {value.item()} at step {step}; allowed are finite numbers")
        value.backward()
        gradients(model)
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        optimiser.step()
        optimiser.zero_grad()
        yield value.item()
    model.eval()


def minibatches(
    examples: Sequence, size: int, epochs: int, rng: np.random.Generator, length: Callable | None = None
) -> Iterator[list]:
    """Every example once an epoch, in random order; one batch of an epoch may be smaller.

    With `length` (example -> number of tokens), batches are made of examples of similar length and then shuffled: less
    padding, at the price of batches that are not quite independent of length.
    """
    for _ in range(epochs):
        order = rng.permutation(len(examples))
        if length is not None:
            order = order[np.argsort([length(examples[i]) for i in order], kind="stable")]
        starts = np.arange(0, len(order), size)
        for start in starts if length is None else rng.permutation(starts):
            yield [examples[i] for i in order[start : start + size]]


def count_minibatches(examples: int, size: int, epochs: int) -> int:
    return epochs * math.ceil(examples / size)
