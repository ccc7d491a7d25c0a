"""How the reward model begins: theta_0's body, or its first layers, with a new head of one output."""

from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize

from ..config.sections import Reward
from ..models.loading import fresh_reward_model
from ..models.rewards import batched_outputs

Pair = tuple[
    tuple[list[int], list[int]], tuple[list[int], list[int]]
]  # (prompt, reply) chosen, and rejected, as token ids


def load_fresh_reward_model(theta_0: Path, settings: Reward, seed: int):
    """A reward model that has seen no pair; a drawn head is drawn from `seed`, any other is zero (`fit_head`)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = fresh_reward_model(theta_0, settings.layers)
    model.config.reward_pooling = settings.pooling
    if settings.head != "drawn":
        torch.nn.init.zeros_(model.score.weight)
    return model


def fit_head(model, pairs: list[Pair], pad_id: int, penalty: float, batch_size: int) -> None:
    """Give the model the head w that orders the pairs best while its body stays as it is.

    w minimises the mean of -log sigmoid(w . (h(chosen) - h(rejected))) + penalty |w|^2 / 2, the features h pooled as the
    reward is, and each in units of its standard deviation over all replies.
    """
    features = _features(model, [reply for pair in pairs for reply in pair], pad_id, batch_size)
    spread = features.std(axis=0) + np.finfo(np.float32).eps
    scaled = (features[::2] - features[1::2]) / spread

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        lead = scaled @ w
        slope = -scaled.T @ (1 / (1 + np.exp(lead))) / len(scaled)
        return np.logaddexp(0, -lead).mean() + penalty * (w @ w) / 2, slope + penalty * w

    found = minimize(loss, np.zeros(features.shape[1]), jac=True, method="L-BFGS-B").x / spread
    with torch.no_grad():
        model.score.weight.copy_(torch.from_numpy(found)[None])


def _features(model, replies: list[tuple[list[int], list[int]]], pad_id: int, batch_size: int) -> np.ndarray:
    """What the head is to read of each reply; (replies, hidden size)."""
    head, model.score = model.score, torch.nn.Identity()
    found = batched_outputs(model, replies, pad_id, batch_size, bar="reward, head")
    model.score = head
    return found.double().numpy()
