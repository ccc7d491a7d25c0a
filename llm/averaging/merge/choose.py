"""Which values of a tensor are kept: a given share with the highest scores, exactly so many, found in a stream.

Equal scores, of which there are many in bf16, are put in an order by random numbers that follow from the tensor's name and the
value's place alone, so that no rows are preferred and the choice does not depend on the blocks, or on the order of tensors.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

_DIGITS = 16  # bits that are found in one pass over a tensor
_VALUES = 1 << _DIGITS
_TOGETHER = 1 << 20  # candidates that are held in memory, 20 bytes each


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
        least = _score(self.score)
        if not self.tie:
            return ~(scores < least)
        kept, equal = ~(scores <= least), scores == least
        if equal.any():
            kept |= equal & (noise(self.name, first, len(scores)) >= np.uint64(self.tie))
        return kept


def highest(scores: Callable[[], Iterator[np.ndarray]], share: float, name: str) -> Cut:
    """The cut that keeps round(share * values) of a tensor.

    scores: gives all scores in order, in blocks (values,) of fp64, at every call: once for each 16 bits that are needed to have
    few candidates for the last value that is kept, and once for these; up to five times more where very many scores are equal.
    """
    counts = _first_count(scores())
    left = round(share * int(counts.sum()))
    if not left:
        return Cut(name, 1 << 64)
    words = lambda: map(_ordered, scores())
    found = _search(words, counts, left)
    if found.equal == found.left:
        return Cut(name, found.least)
    if found.places:
        drawn = np.concatenate([noise(name, first, count)[equal] for first, count, equal in found.places])
        drawn.partition(len(drawn) - found.left)
        return Cut(name, found.least, int(drawn[-found.left]))
    noises = lambda: _noise_at(name, np.uint64(found.least), words())
    return Cut(name, found.least, _search(noises, _count(noises(), 0, 0), found.left).least)


@dataclass(frozen=True)
class _Found:
    """least: of the words that are kept. equal: how many are as large as it, or all begin with the bits of it that are not 0 and are
    kept. left: how many of these are kept. places: where the equal ones lie, where that is known: (place of a block's first value,
    its length, places in it).
    """

    least: int
    equal: int
    left: int
    places: Sequence[tuple[int, int, np.ndarray]] = ()


def _search(words: Callable[[], Iterator[np.ndarray]], counts: np.ndarray, left: int) -> _Found:
    """The `left` largest of whole numbers in [0, 2^64). counts: how many begin with each 16 bits, (65536,)."""
    depth = prefix = 0
    while True:
        above = np.cumsum(counts[::-1])
        place = int(np.searchsorted(above, left))
        candidates = int(counts[_VALUES - 1 - place])
        left -= int(above[place]) - candidates
        depth, prefix = depth + 1, prefix << _DIGITS | (_VALUES - 1 - place)
        least = prefix << 64 - _DIGITS * depth
        if candidates == left or depth == 4:
            return _Found(least, candidates, left)
        if candidates <= _TOGETHER:
            break
        counts = _count(words(), depth, prefix)
    first, blocks = 0, []
    for block in words():
        places = np.flatnonzero(
            block - np.uint64(least) < np.uint64(1 << 64 - _DIGITS * depth)
        )  # unsigned: those below wrap
        if len(places):
            blocks.append((first, len(block), places.astype(np.uint32), block[places]))
        first += len(block)
    found = np.concatenate([own for *_, own in blocks])
    found.partition(len(found) - left)
    least = found[-left]
    equal, left = int((found == least).sum()), left - int((found > least).sum())
    where = [(start, count, places[own == least]) for start, count, places, own in blocks if (own == least).any()]
    return _Found(int(least), equal, left, where)


def _first_count(blocks: Iterator[np.ndarray]) -> np.ndarray:
    """`_count` of the scores' words at depth 0, by the upper 16 bits of the scores themselves."""
    counts = np.zeros(_VALUES, np.int64)
    for scores in blocks:
        counts += np.bincount((scores + 0.0).view(np.uint16)[3::4], minlength=_VALUES)
    return np.concatenate(
        [counts[: _VALUES // 2 - 1 : -1], counts[: _VALUES // 2]]
    )  # negative ones come first, in reverse


def _count(blocks: Iterator[np.ndarray], depth: int, prefix: int) -> np.ndarray:
    """How many of the words that begin with `prefix`, 16 bits for each of `depth`, go on with each 16 bits, (65536,)."""
    counts, shift = np.zeros(_VALUES, np.int64), np.uint64(64 - _DIGITS * (depth + 1))
    for words in blocks:
        if depth:
            words = words[words >> np.uint64(64 - _DIGITS * depth) == np.uint64(prefix)]
        if len(words):
            digits = words >> shift & np.uint64(_VALUES - 1)
            counts += np.bincount(digits.view(np.int64), minlength=_VALUES)
    return counts


def _noise_at(name: str, score: np.uint64, blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The noise of the values whose word is `score`, block by block."""
    first = 0
    for words in blocks:
        equal = words == score
        yield noise(name, first, len(words))[equal] if equal.any() else words[:0]
        first += len(words)


_SIGN = np.uint64(1 << 63)


def _ordered(scores: np.ndarray) -> np.ndarray:
    """Whole numbers in [0, 2^64) in the order of the scores (fp64, no NaN), equal where these are."""
    bits = (scores + 0.0).view(np.uint64)  # -0 becomes 0
    return bits ^ ((bits.view(np.int64) >> 63).view(np.uint64) | _SIGN)  # all bits of negative scores, else the sign


def _score(word: int) -> np.float64:
    """The score that `_ordered` has as `word`."""
    return np.uint64(word ^ (1 << 63) if word >> 63 else word ^ ((1 << 64) - 1)).view(np.float64)
