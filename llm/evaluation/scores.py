"""Formulas of single scores, pure functions of numbers and texts: calibration, divergence, diversity, pass@k."""

from collections.abc import Sequence
from math import comb

import numpy as np
from numpy.typing import ArrayLike

BINS = 10  # of the calibration error


def brier(probabilities: ArrayLike, answer: int) -> float:
    """Sum over the choices of (p - 1 for the right one, p for another)^2, in [0, 2], 0 is best (Brier 1950)."""
    p = np.asarray(probabilities, np.float64)
    return float(((p - (np.arange(p.size) == answer)) ** 2).sum())


def calibration_error(confidence: ArrayLike, right: ArrayLike, bins: int = BINS) -> float:
    """Expected calibration error in [0, 1], 0 is best (Guo et al., arXiv 1706.04599, equation 3).

    confidence: (items,) probability of the choice that was made, in [0, 1]. right: (items,) 0 or 1. Bins are equally wide,
    closed on the right, the first on both sides; each counts |mean confidence - mean right| by its share of the items.
    """
    p, hit = np.asarray(confidence, np.float64), np.asarray(right, np.float64)
    edges = np.linspace(0, 1, bins + 1)[1:-1]
    place = np.searchsorted(edges, p, side="left")
    gaps = np.bincount(
        place, hit - p, minlength=bins
    )  # of each bin: its share of the items times its gap, times the items
    return float(np.abs(gaps).sum() / p.size)


def kl_per_token(logits, other):
    """KL(p || q) in nats at each position, (..., vocabulary) tensors of logits -> (...), p = softmax(logits); computed in fp64."""
    log_p, log_q = (scores.double().log_softmax(dim=-1) for scores in (logits, other))
    return (log_p.exp() * (log_p - log_q)).sum(dim=-1)


def self_bleu(texts: Sequence[str]) -> float:
    """Mean over the texts of sentence BLEU against all others, in [0, 100]: 100 where all are the same (Zhu et al.,
    arXiv 1802.01886). sacrebleu's words (13a), exponential smoothing, effective order. At least two texts.
    """
    from sacrebleu.metrics import BLEU

    metric = BLEU(effective_order=True)
    others = [[*texts[:place], *texts[place + 1 :]] for place in range(len(texts))]
    return float(np.mean([metric.sentence_score(*pair).score for pair in zip(texts, others, strict=True)]))


def pass_at(samples: int, right: int, k: int) -> float:
    """Probability that at least one of k replies drawn from `samples`, of which `right` are right, is right: the unbiased
    estimate 1 - C(samples - right, k) / C(samples, k) (Chen et al., arXiv 2107.03374).
    """
    return 1 - comb(samples - right, k) / comb(samples, k)
