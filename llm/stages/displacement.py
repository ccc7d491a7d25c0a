"""How far alignment has moved a model: every group of weights, and every row of the embeddings."""

from collections import Counter
from collections.abc import Mapping

import numpy as np
import torch

from ..grouping import Grouping, assign

Weights = Mapping[str, torch.Tensor]
BY_LAYER = Grouping(level="layer", embeddings="own", norm="own", head="own")
TABLE = "model.embed_tokens.weight"  # a row a token


def group_movement(theta_0: Weights, theta: Weights) -> dict[str, dict[str, float]]:
    """Group (each layer, embeddings, norm, head unless it is tied) -> {"relative": ||theta - theta_0|| / ||theta_0||, "share": of
    ||theta - theta_0||^2 over all groups}. Both zero where nothing has moved.
    """
    squares: dict[str, list[float]] = {}
    for name, group in assign(list(theta), BY_LAYER).items():
        before, after = theta_0[name].double(), theta[name].double()
        square = squares.setdefault(group, [0.0, 0.0])
        square[0] += (after - before).square().sum().item()
        square[1] += before.square().sum().item()
    total = sum(moved for moved, _ in squares.values()) or 1.0
    return {
        group: {"relative": (moved / size) ** 0.5, "share": moved / total} for group, (moved, size) in squares.items()
    }


def row_movement(theta_0: Weights, theta: Weights) -> np.ndarray:
    """For each token ||e - e_0|| / ||e_0|| of its embedding, (vocabulary,); 0 for a row that was 0 and stays so."""
    before, after = theta_0[TABLE].double(), theta[TABLE].double()
    moved, size = (after - before).norm(dim=1), before.norm(dim=1)
    return (moved / size.clamp(min=torch.finfo(torch.float64).tiny)).numpy()


def counts(sequences: list[list[int]], vocabulary: int) -> np.ndarray:
    """How often each token occurs in some texts, (vocabulary,)."""
    found = np.zeros(vocabulary, dtype=int)
    for token, count in Counter(token for ids in sequences for token in ids).items():
        found[token] = count
    return found


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's; NaN where one of them is the same everywhere."""
    from scipy.stats import spearmanr

    if len(set(first)) < 2 or len(set(second)) < 2:
        return float("nan")
    return float(spearmanr(first, second).statistic)
