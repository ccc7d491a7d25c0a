"""What the log-likelihoods of an item's choices say: accuracy, calibration and the right choice's own likelihood."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from .measurement import CALIBRATION, Measurement
from .scores import brier


def of_choices(found: Iterable[tuple[NDArray[np.float64], dict, int]]) -> dict[str, Measurement]:
    """What `tasks.Choice` measures, of items as (log-likelihoods of the choices, item, tokens of the right choice)."""
    of_items = np.array([_choice_scores(*one) for one in found])  # (items, 6)
    right, normed, squares, likelihood, *_ = of_items.T
    return {
        "accuracy": Measurement.of(right),
        "acc_norm": Measurement.of(normed),
        "brier": Measurement.of(squares),
        "calibration_error": Measurement.of(of_items[:, 4:], CALIBRATION),
        "log_likelihood": Measurement.of(likelihood),
    }


def _choice_scores(sums: NDArray[np.float64], item: dict, tokens: int) -> tuple[float, ...]:
    """(right, right when normalised, Brier score, nats a token of the right choice, confidence, right)."""
    answer, chosen, p = item["answer"], int(sums.argmax()), softmax(sums)
    normed = sums / np.array([len(choice) for choice in item["choices"]])
    nats = sums[answer] / tokens
    return chosen == answer, int(normed.argmax()) == answer, brier(p, answer), nats, p[chosen], chosen == answer
