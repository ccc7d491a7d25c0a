"""Which values of a tensor are kept: a given share with the highest scores, exactly so many, found in a stream.

Equal scores, of which there are many in bf16, are put in an order by random numbers that follow from the tensor's name and the
value's place alone, so that no rows are preferred and the choice does not depend on the blocks, or on the order of tensors.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

_DIGITS = 16  # bits that are found in one pass over a tensor
_VALUES = 1 << _DIGITS


def noise(name: str, first: int, count: int, seed: int = 0) -> np.ndarray:
    """Random whole numbers in [0, 2^64) of the values `first` to `first + count` of the tensor `name`, (count,)."""
    key = int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest(), "little")
    return np.random.PCG64(key).advance(first).random_raw(count)


def uniform(name: str, first: int, count: int, seed: int = 0) -> np.ndarray:
    """The same as numbers in [0, 1)."""
    return (noise(name, first, count, seed) >> np.uint64(11)) * 2.0**-53


@dataclass(frozen=True)
class Cut:
    """What is kept of the tensor `name`: values of a score above `score`, and those at it whose noise is at least `tie`.

    score: as `_ordered` has it, in [0, 2^64]; 2^64 keeps nothing.
    """

    name: str
    score: int
    tie: int = 0

    def keeps(self, scores: np.ndarray, first: int) -> np.ndarray:
        """Whether values from place `first` on are kept, given their scores; (values,) each."""
        if self.score >> 64:
            return np.zeros(scores.shape, bool)
        order, least = _ordered(scores), np.uint64(self.score)
        if not self.tie:
            return order >= least
        kept, equal = order > least, order == least
        if equal.any():
            kept |= equal & (noise(self.name, first, len(scores)) >= np.uint64(self.tie))
        return kept


def highest(scores: Callable[[], Iterator[np.ndarray]], share: float, name: str) -> Cut:
    """The cut that keeps round(share * values) of a tensor.

    scores: gives all scores in order, in blocks (values,) of fp64, at every call. It is called once for each 16 bits that
    are needed to tell the last kept value from the first one that is not: two or three times where few scores are equal.
    """
    word, depth, prefix, score = 0, 0, 0, 0  # word 0: the score's bits, 1: the noise's
    left = -1  # values to be kept among those that begin with the prefix
    while True:
        counts = _count(scores(), word, depth, prefix, score, name)
        if left < 0:
            total = int(counts.sum())
            left = round(share * total)
            if not left:
                return Cut(name, 1 << 64)
        above = np.cumsum(counts[::-1])
        place = int(np.searchsorted(above, left))
        digit = _VALUES - 1 - place
        left -= int(above[place] - counts[digit])
        prefix, depth = prefix << _DIGITS | digit, depth + 1
        least = prefix << 64 - _DIGITS * depth
        if counts[digit] == left or (word and depth == 4):
            return Cut(name, score, least) if word else Cut(name, least)
        if depth == 4:
            word, depth, prefix, score = 1, 0, 0, prefix


def _count(blocks: Iterator[np.ndarray], word: int, depth: int, prefix: int, score: int, name: str) -> np.ndarray:
    """How many values have each of the next 16 bits, among those whose first bits are the prefix, (65536,)."""
    counts, first = np.zeros(_VALUES, np.int64), 0
    for scores in blocks:
        order = _ordered(scores)
        if word:
            order = noise(name, first, len(scores))[order == np.uint64(score)]
        if depth:
            order = order[order >> np.uint64(64 - _DIGITS * depth) == np.uint64(prefix)]
        digits = order >> np.uint64(64 - _DIGITS * (depth + 1)) & np.uint64(_VALUES - 1)
        counts += np.bincount(digits.astype(np.int64), minlength=_VALUES)
        first += len(scores)
    return counts


def _ordered(scores: np.ndarray) -> np.ndarray:
    """Whole numbers in [0, 2^64) in the order of the scores (fp64, no NaN), equal where these are."""
    bits = (scores + 0.0).view(np.uint64)  # -0 becomes 0
    return np.where(bits >> np.uint64(63), ~bits, bits | np.uint64(1 << 63))
