"""How sure a model is of its choices, and how rightly: Brier score and expected calibration error.

A model's probability of a choice is its likelihood divided by those of all choices of the item. Everything is given item by
item, so that the mean is the metric and two models can be compared item by item.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from .scores import BINS, brier


def choice_items(
    log_likelihoods: Sequence[NDArray[np.float64]], answers: Sequence[int]
) -> dict[str, NDArray[np.float64]]:
    """{"accuracy", "probability" of the right choice, "brier", "ece"} -> (items,) whose mean is the metric.

    Args:
        log_likelihoods: of each item's choices, (choices,) in nats.
        answers: the number of each item's right choice.
    """
    shares = [softmax(scores) for scores in log_likelihoods]
    right = np.array(
        [float(scores.argmax() == answer) for scores, answer in zip(log_likelihoods, answers, strict=True)]
    )
    confidence = np.array([share.max() for share in shares])
    return {
        "accuracy": right,
        "probability": np.array([share[answer] for share, answer in zip(shares, answers)]),
        "brier": np.array([brier(share, answer) for share, answer in zip(shares, answers)]),
        "ece": calibration_error_items(confidence, right),
    }


def calibration_error_items(confidence: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """(items,) whose mean is the expected calibration error (Guo et al. 2017), in [0, 1].

    The error is the mean over items of |mean confidence - accuracy| of the item's bin; confidences in (k / BINS, (k + 1) / BINS]
    are one bin. An item gives its own confidence - right, with its bin's sign. Standard errors from these items hold the signs
    fixed (the delta method): where a bin's gap is nearly zero they are too large. With few items the error itself is too
    large even of a calibrated model; that is the same for all models of about the same confidence.
    """
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    gaps = confidence - right
    return gaps * np.sign(np.bincount(bins, gaps, minlength=BINS))[bins]
