"""The optional penalty sum_k w_k |alpha_k - alpha| of AMA, which lets the middle of the network move little."""

import re
from collections.abc import Callable, Mapping

import torch

from ...grouping import labels, layer_index, layer_list
from .parameterise import shares


def middle_weights(assignment: Mapping[str, str], dimensions: Mapping[str, int], coefficient: float) -> torch.Tensor:
    """w_k of each group, (groups,): the authors' weights of the linear layers that take its ratio, added up.

    A linear layer in transformer layer l = 0 .. L - 1 weighs coefficient (L - 1) / (|l - L / 2| + 1):
    for L = 26 the authors' 25 / (|l - 13| + 1). assignment, dimensions: tensor name -> label, number of
    axes; linear layers are the weights of two axes in layers.
    """
    groups = labels(assignment)
    share, layers = shares(assignment, groups), layer_list(assignment)
    indices = {name: layer_index(name, layers) for name in assignment}
    count = len({index for index in indices.values() if index is not None})
    weights = torch.zeros(len(groups), dtype=torch.float64)
    for name, label in assignment.items():
        linear = dimensions[name] == 2 and re.search(r"weight$", name)
        if indices[name] is not None and linear and label in share:
            weights += coefficient * (count - 1) / (abs(indices[name] - count / 2) + 1) * share[label]
    return weights


def penalty(weights: torch.Tensor, alpha: float, squared: bool = False) -> Callable[[torch.Tensor], torch.Tensor]:
    """(ratios of the groups,) -> sum_k w_k |alpha_k - alpha|, or of the squares."""
    power = 2 if squared else 1
    return lambda ratios: (weights * (ratios - alpha).abs() ** power).sum()
