"""Which values of a tensor are kept: a given share with the highest scores, exactly so many, found in a stream.

Equal scores, of which there are many in bf16, are put in an order by random numbers that follow from the tensor's name and the
value's place alone, so that no rows are preferred and the choice does not depend on the blocks, or on the order of tensors.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

_DIGITS = 16  # bits that are found in one pass over a tensor
_VALUES = 1 << _DIGITS
_TOGETHER = 1 << 20  # candidates that are sorted in memory


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

    scores: gives all scores in order, in blocks (values,) of fp64, at every call: once for each 16 bits that are needed to have
    few candidates for the last value that is kept, and once for these; twice more where equal scores are parted.
    """
    found = _Search(0, 0, name)
    counts = _count(found, scores())
    left = round(share * int(counts.sum()))  # values to be kept among those that begin with the prefix
    if not left:
        return Cut(name, 1 << 64)
    while True:
        above = np.cumsum(counts[::-1])
        place = int(np.searchsorted(above, left))
        candidates = int(counts[_VALUES - 1 - place])
        left -= int(above[place]) - candidates
        found = replace(found, depth=found.depth + 1, prefix=found.prefix << _DIGITS | (_VALUES - 1 - place))
        least, equal = found.prefix << 64 - _DIGITS * found.depth, candidates
        if candidates != left and candidates <= _TOGETHER:
            words = np.sort(np.concatenate(list(found.candidates(scores()))))
            least = int(words[-left])
            left -= int((words > words[-left]).sum())
            equal = int((words == words[-left]).sum())
        elif candidates != left and found.depth < 4:
            counts = _count(found, scores())
            continue
        if found.score is not None:
            return Cut(name, found.score, least)
        if equal == left:
            return Cut(name, least)
        found = _Search(0, 0, name, least)
        counts = _count(found, scores())


@dataclass(frozen=True)
class _Search:
    """Which values may be the last one that is kept: those whose word begins with `prefix`, 16 bits for each of `depth`.

    The word is the score's, as `_ordered` has it; once that is known (`score`), the noise of the values that have it.
    """

    depth: int
    prefix: int
    name: str
    score: int | None = None

    def candidates(self, blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """Their words, block by block."""
        first = 0
        for scores in blocks:
            words = _ordered(scores)
            if self.score is not None:
                equal = words == np.uint64(self.score)
                words = noise(self.name, first, len(scores))[equal] if equal.any() else words[:0]
            if self.depth:
                words = words[words >> np.uint64(64 - _DIGITS * self.depth) == np.uint64(self.prefix)]
            yield words
            first += len(scores)


def _count(search: _Search, blocks: Iterator[np.ndarray]) -> np.ndarray:
    """How many candidates have each of the next 16 bits, (65536,)."""
    counts, shift = np.zeros(_VALUES, np.int64), np.uint64(64 - _DIGITS * (search.depth + 1))
    for words in search.candidates(blocks):
        if len(words):
            digits = words >> shift & np.uint64(_VALUES - 1)
            counts += np.bincount(digits.astype(np.int64), minlength=_VALUES)
    return counts


def _ordered(scores: np.ndarray) -> np.ndarray:
    """Whole numbers in [0, 2^64) in the order of the scores (fp64, no NaN), equal where these are."""
    bits = (scores + 0.0).view(np.uint64)  # -0 becomes 0
    return np.where(bits >> np.uint64(63), ~bits, bits | np.uint64(1 << 63))
