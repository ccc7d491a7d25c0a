"""What a measured number is, whoever measured it: F1 of words, BLEU, their errors, and result rows of them.

BLEU keeps the statistics of single sentences, so that values, errors and paired differences come from the same items.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .. import version
from ..evidence.groups import GROUPS, encode, grouped, jackknifed
from ..evidence.metrics import ABILITIES, REWARDS, SCORES
from ..evidence.rows import DECIMALS
from ..run import Run
from .scores import calibration_error

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


def bleu_statistics(replies: Sequence[str], references: Sequence[str], tokenize: str = "none") -> np.ndarray:
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


MEAN, BLEU, CALIBRATION = "mean", "bleu", "calibration"
_RESAMPLES = 200  # for the standard error of a metric that is no mean of items


@dataclass(frozen=True)
class Measurement:
    """A metric's value with its standard error over n items, None where it is not known.

    items: what each item contributed, if that is kept: (n,) values whose mean is the value; (n, 10) statistics of
    sentences whose sum makes corpus BLEU; or (n, 2) confidence and right of the expected calibration error. statistic: which
    of them, "mean", "bleu" or "calibration".
    """

    value: float
    stderr: float | None
    n: int
    items: NDArray[np.float64] | None = None
    statistic: str = MEAN

    @classmethod
    def of(
        cls, items: NDArray[np.float64], statistic: str = MEAN, rng: np.random.Generator | None = None
    ) -> "Measurement":
        """The error is not known of a single item, nor of what is no mean without random numbers for its bootstrap over items."""
        value = float(values(items[None], statistic)[0])
        return cls(value, _error(items, statistic, rng), len(items), items, statistic)

    def with_error(self, seed: int) -> "Measurement":
        """The same with its error, by draws that follow from the seed and the number of items alone; its items must be kept."""
        assert self.items is not None
        return Measurement.of(self.items, self.statistic, np.random.default_rng([seed, 2]))


def values(items: NDArray[np.float64], statistic: str) -> NDArray[np.float64]:
    """The metric of each point: (points, items), or (points, items, 10 or 2) -> (points,); BLEU in [0, 100], others in [0, 1]."""
    if statistic == MEAN:
        return items.mean(axis=1)
    return np.array([corpus_bleu(one) if statistic == BLEU else calibration_error(*one.T) for one in items])


def per_token(of_tokens: NDArray[np.float64], lengths: Sequence[int]) -> NDArray[np.float64]:
    """(texts,) whose mean is the mean of all tokens' values, and whose standard error is that of this ratio of two means over
    texts (the delta method).

    Args:
        of_tokens: a value a token, text after text, (tokens,).
        lengths: tokens of each text, at least one of them all.
    """
    counts = np.asarray(lengths, dtype=float)
    sums = np.array([part.sum() for part in np.split(of_tokens, np.cumsum(lengths)[:-1])])
    value = sums.sum() / counts.sum()
    return value + (sums - value * counts) / counts.mean()


def full_scale(statistic: str) -> float:
    """What one unit of a share of the metric's whole scale is, so that abilities can be added up."""
    return 100.0 if statistic == BLEU else 1.0


def _error(items: NDArray[np.float64], statistic: str, rng: np.random.Generator | None) -> float | None:
    count = len(items)
    if count < 2 or (statistic != MEAN and rng is None):
        return None
    if statistic == MEAN:
        return float(items.std(ddof=1) / np.sqrt(count))
    drawn = rng.integers(count, size=(_RESAMPLES, count))
    return float(np.std(values(items[drawn], statistic), ddof=1))


def rows_of(
    run: Run, rlhf: str, method: str, setting: dict, measured: dict[str, Measurement], seconds: float
) -> list[dict]:
    """One row a metric of a model of a run; `seconds` is the time of all of them together.

    Rows of presets that keep items have them; others have groups of items.
    """
    rows = named_rows(run.preset.name, run.seed, rlhf, method, setting, measured, seconds)
    whole = run.preset.keeps_items
    return [row | _items(name, found, whole) for row, (name, found) in zip(rows, measured.items(), strict=True)]


def _items(name: str, found: Measurement, whole: bool) -> dict[str, list[float] | str]:
    """What each item contributed, of a metric that is the mean of its items; or what groups of items did, of rewards, abilities
    and their scores.
    """
    if found.items is None:
        return {}
    if whole and found.statistic == MEAN:
        return {"items": found.items.round(DECIMALS).tolist()}
    if name not in (*REWARDS, *ABILITIES, *SCORES) or len(found.items) < 2:
        return {}
    if found.statistic == MEAN:
        return {"groups": encode(grouped(found.items))}
    count = min(GROUPS, len(found.items))
    group = np.arange(len(found.items)) % count
    without = [values(found.items[None, group != one], found.statistic)[0] for one in range(count)]
    return {"groups": encode(jackknifed(np.array(without)))}


def named_rows(
    preset: str, seed: int, rlhf: str, method: str, setting: dict, measured: dict[str, Measurement], seconds: float
) -> list[dict]:
    """One row a metric (schema: `llm.evidence.rows`) of any model; `preset` is the name under which it is compared."""
    common = {"preset": preset, "seed": seed, "rlhf": rlhf, "method": method, "setting": setting}
    made = {"split": "test", "seconds": round(seconds, 2), "version": version()}
    return [
        {**common, "metric": metric, "value": found.value, "stderr": found.stderr, "n": found.n, **made}
        for metric, found in measured.items()
    ]


def with_rate(setting: dict, lr: float | None) -> dict:
    """A setting with the learning rate, which is part of it where it is not the preset's own (None)."""
    return setting if lr is None else {**setting, "lr": lr}
