"""What is measured: choice by log-likelihood, F1 of words, BLEU. Each comes with a value an item, for paired tests."""

import re
import string
from collections import Counter

import numpy as np
import torch
import torch.nn.functional as F

from ..models.batches import left_pad, positions

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


def bleu(replies: list[str], references: list[str]) -> float:
    """Corpus BLEU by sacrebleu, in [0, 100]; texts are already separated into words."""
    return corpus_bleu(bleu_statistics(replies, references))


def bleu_with_error(
    replies: list[str], references: list[str], rng: np.random.Generator, resamples: int = 200
) -> tuple[float, float]:
    """(BLEU, its standard error by bootstrap over sentences)."""
    statistics = bleu_statistics(replies, references)
    rows = rng.integers(len(replies), size=(resamples, len(replies)))
    return corpus_bleu(statistics), float(np.std([corpus_bleu(statistics[r]) for r in rows], ddof=1))


def bleu_statistics(replies: list[str], references: list[str], tokenize: str = "none") -> np.ndarray:
    """(sentences, 2 + 4 + 4): lengths of reply and reference, matching and possible n-grams for n = 1..4.

    tokenize: sacrebleu's way to separate words, "13a" for text as people write it, "none" where spaces do it already.
    """
    from sacrebleu.metrics import BLEU

    metric = BLEU(tokenize=tokenize, effective_order=True)
    scores = [metric.sentence_score(reply, [reference]) for reply, reference in zip(replies, references, strict=True)]
    return np.array([[s.sys_len, s.ref_len, *s.counts, *s.totals] for s in scores])


def corpus_bleu(statistics: np.ndarray) -> float:
    """sacrebleu's corpus BLEU, in [0, 100], from the statistics (sentences, 10) of its sentences."""
    from sacrebleu.metrics import BLEU

    reply, reference, *grams = (int(total) for total in statistics.sum(axis=0))
    return BLEU.compute_bleu(grams[:4], grams[4:], reply, reference, smooth_method="exp").score


@torch.no_grad()
def log_likelihoods(model, pairs: list[tuple[list[int], list[int]]], pad_id: int, batch_size: int) -> np.ndarray:
    """Sum of log p(continuation | context) in nats for each (context ids, continuation ids); both at least one token."""
    order = sorted(range(len(pairs)), key=lambda i: len(pairs[i][0]) + len(pairs[i][1]))
    result = np.empty(len(pairs))
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        ids, mask = left_pad([pairs[i][0] + pairs[i][1] for i in rows], pad_id, model.device)
        lengths = torch.tensor([len(pairs[i][1]) for i in rows])
        longest = int(lengths.max())
        logits = model(
            input_ids=ids, attention_mask=mask, position_ids=positions(mask), logits_to_keep=longest + 1
        ).logits[:, :-1]
        counted = (torch.arange(longest) >= longest - lengths[:, None]).to(model.device)
        scores = token_log_likelihoods(logits[counted], ids[:, -longest:][counted])
        result[rows] = sums_of(scores, lengths.tolist())
    return result


def token_log_likelihoods(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """log p of each token in nats, from the logits before it, (tokens, vocabulary); double, on the processor, (tokens,)."""
    return -F.cross_entropy(logits.float(), ids, reduction="none").double().cpu()


def sums_of(values: torch.Tensor, lengths: list[int]) -> np.ndarray:
    """Sums over one stretch of values after the other."""
    return np.array([stretch.sum().item() for stretch in values.split(lengths)])


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """(mean, standard error of the mean); the error of a single value is not known and raises."""
    if len(values) < 2:
        raise ValueError(f"values has {len(values)} items; at least 2 are needed for a standard error")
    return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))
