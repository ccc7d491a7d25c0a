"""F1 of words, and BLEU with the statistics of single sentences, for paired tests."""

import re
import string
from collections import Counter

import numpy as np

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text: str) -> list[str]:
    """Words in lower case without articles and punctuation (SQuAD's normalisation)."""
    return _ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split()


def f1(reply: str, reference: str) -> float:
    """Harmonic mean of precision and recall of the words of the whole reply, in [0, 1] (SQuAD).

    Without any words it is 1 if both have none, else 0 (as in SQuAD v2).
    """
    said, wanted = normalise(reply), normalise(reference)
    if not said or not wanted:
        return float(said == wanted)
    shared = sum((Counter(said) & Counter(wanted)).values())
    return 2 * shared / (len(said) + len(wanted))


def bleu_statistics(replies: list[str], references: list[str], tokenize: str = "none") -> np.ndarray:
    """What corpus BLEU is made of, (sentences, 2 + 4 + 4): lengths of reply and reference, matching and possible n-grams for
    n = 1..4.

    tokenize: sacrebleu's way to separate words, "13a" for text as people write it, "none" where spaces do it already.
    """
    from sacrebleu.metrics import BLEU

    metric = BLEU(tokenize=tokenize, effective_order=True)
    scores = [metric.sentence_score(reply, [reference]) for reply, reference in zip(replies, references, strict=True)]
    return np.array([[s.sys_len, s.ref_len, *s.counts, *s.totals] for s in scores], dtype=np.float64)


def corpus_bleu(statistics: np.ndarray) -> float:
    """sacrebleu's corpus BLEU, in [0, 100], from the statistics (sentences, 10) of its sentences."""
    from sacrebleu.metrics import BLEU

    reply, reference, *grams = (int(total) for total in statistics.sum(axis=0))
    return BLEU.compute_bleu(grams[:4], grams[4:], reply, reference, smooth_method="exp").score
