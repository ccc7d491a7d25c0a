r"""The limit of many classes, K -> infinity at fixed n: wrong votes never agree.

A failed feature then votes for a class of its own, so the highest wrong score is the largest weight among the features
that failed, and the right class has the sum of the weights of those that did not. With weights (1, 4) of case 1 and
X ~ Bin(2 (n - n_o), 1 - p), Y ~ Bin(n_o, 1 - p) right votes: the right class wins iff X + 4 Y > 4 while a shared feature
has failed (Y < n_o), iff X + 4 Y > 1 while only others have, and always when none has; ties are split evenly among the
failed features of that weight. Beside the limit of many features (theory.closed_form) it is the other end of the map
over (n, K): with many classes a shared feature that fails ties with four others that are right, and averaging weights hurts most.
"""

from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from . import validation
from .closed_form import votes_p
from .exact import each_question, integer_weights
from .votes import Votes

MAX_CELLS = 20_000_000


def many_class_accuracy(votes: Votes, p: ArrayLike | None = None) -> Any:  # a float, or an array of them
    """Accuracy of votes (all classes of one kind, weights >= 0) as K -> infinity; p as in exact_task_accuracy.

    Exact to rounding, without noise. Without any vote it is 0, a guess among infinitely many. ValueError for classes of
    two kinds, for negative weights, or for more than 20 million combinations of right votes.
    """
    if (p is not None and np.ndim(p)) or validation.many(votes.weights):
        return each_question(many_class_accuracy, votes, p)
    from scipy.stats import binom  # half a second to import, so only where it is used

    counts, exact = validation.groups(votes.counts, votes.weights)
    (weights,) = integer_weights([exact])
    if any(weight < 0 for weight in weights):
        raise ValueError(f"weights must be at least 0 for many classes, not {[str(each) for each in exact]}.")
    rates = np.broadcast_to(votes_p(votes, p), len(counts))
    used = [(count, weight, rate) for count, weight, rate in zip(counts, weights, rates) if count and weight]
    if not used:
        return 0.0
    if np.prod([float(count + 1) for count, _, _ in used]) > MAX_CELLS:
        raise ValueError(f"counts must make at most {MAX_CELLS} combinations of votes, not {counts}.")
    numbers = [np.arange(count + 1) for count, _, _ in used]
    chance = reduce(np.multiply.outer, [binom.pmf(n, count, 1 - rate) for n, (count, _, rate) in zip(numbers, used)])
    score = reduce(np.add.outer, [n * float(weight) for n, (_, weight, _) in zip(numbers, used)])
    best, level = np.zeros_like(score), np.zeros_like(score)
    for weight in sorted({weight for _, weight, _ in used}):
        failed = reduce(np.add.outer, [(c - n) * float(w == weight) for n, (c, w, _) in zip(numbers, used)])
        best, level = np.where(failed > 0, float(weight), best), np.where(failed > 0, failed, level)
    right = np.where(score > best, 1.0, np.where(score == best, 1 / (1 + level), 0.0))
    return float(min((chance * right).sum(), 1.0))
