"""How much a model's replies differ from one another: distinct bigrams and self-BLEU. Words are what spaces separate.

Both are given reply by reply, so that the mean is the metric.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

ORDER = 2  # of the n-grams that are counted as distinct
LONGEST = 4  # n-grams of BLEU


def distinct_items(replies: Sequence[str], order: int = ORDER) -> NDArray[np.float64]:
    """(replies,) whose mean is distinct-n (Li et al. 2016): different n-grams of all replies over n-grams, in [0, 1].

    They are the jackknife's pseudo-values, moved to have the metric as their mean: their standard error is that of the
    jackknife over replies. 0 where there are no n-grams.
    """
    grams = [ngrams(reply.split(), order) for reply in replies]
    sizes, count = np.array([of_reply.total() for of_reply in grams]), len(replies)
    holders = Counter(gram for of_reply in grams for gram in of_reply)
    alone = np.array([sum(holders[gram] == 1 for gram in of_reply) for of_reply in grams])
    total, value = sizes.sum(), len(holders) / max(1, sizes.sum())
    without = (len(holders) - alone) / np.maximum(1, total - sizes)
    pseudo = count * value - (count - 1) * without
    return pseudo - pseudo.mean() + value


def self_bleu_items(replies: Sequence[str]) -> NDArray[np.float64]:
    """(replies,): sacrebleu's sentence BLEU, in [0, 100], of each reply with all others as its references (Zhu et al. 2018).

    An n-gram counts as often as the other reply that has it most often, which of all replies is the one with the largest
    count, or for that one itself the second largest: so it takes one pass, not one for each pair. 0 of a reply alone.
    """
    from sacrebleu.metrics import BLEU

    texts = [reply.split() for reply in replies]
    lengths = Counter(map(len, texts))
    clipped = [np.zeros(LONGEST, dtype=int) for _ in texts]
    for order in range(1, LONGEST + 1):
        counts = [ngrams(words, order) for words in texts]
        first, second = _largest(counts)
        for found, own in zip(clipped, counts, strict=True):
            found[order - 1] = sum(
                min(count, second[gram] if count == first[gram] else first[gram]) for gram, count in own.items()
            )
    scores = []
    for words, matches in zip(texts, clipped, strict=True):
        totals = [max(0, len(words) - order) for order in range(LONGEST)]
        sizes = len(words), _closest(len(words), lengths)
        made = BLEU.compute_bleu(matches.tolist(), totals, *sizes, smooth_method="exp", effective_order=True)
        scores.append(made.score if len(texts) > 1 else 0.0)
    return np.array(scores)


def ngrams(words: Sequence[str], n: int) -> Counter:
    """How often each sequence of n words occurs."""
    return Counter(tuple(words[start : start + n]) for start in range(len(words) - n + 1))


def _largest(counts: Sequence[Counter]) -> tuple[Counter, Counter]:
    """The largest and the second largest count of each n-gram over the replies (equal ones count twice)."""
    first: Counter = Counter()
    second: Counter = Counter()
    for own in counts:
        for gram, count in own.items():
            if count > first[gram]:
                first[gram], second[gram] = count, first[gram]
            elif count > second[gram]:
                second[gram] = count
    return first, second


def _closest(length: int, lengths: Counter) -> int:
    """The length of another reply that is nearest, the shorter of two; its own where there is no other."""
    others = [other for other, count in lengths.items() if count > (other == length)]
    return min(others, key=lambda other: (abs(other - length), other), default=length)
