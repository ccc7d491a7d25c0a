"""The one type that every route to an accuracy takes: vote weights, failure rates and noise, and the models behind them.

Closed form, exact, sampled and many-class accuracies read the vote weights of `Votes`; trained classifiers read its
`Mixture`, which says what is fitted and how it is averaged, and know nothing of the weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from . import validation
from .validation import Number

Averaging = Literal["weights", "outputs"]
AVERAGINGS: tuple[Averaging, Averaging] = ("weights", "outputs")
Kind = tuple[int, tuple[Number, ...], Number]  # number of classes, (group,) vote weights for one, noise of its score


@dataclass(frozen=True)
class Features:
    """A group of features of T models: how many, which models use them, how often they fail, what say they have.

    count >= 0. used_by: (model,) 0 or 1. p in [0, 1], None where one p is given with the question. say: the
    coefficient of mu_i(k) in the head of a model that uses the feature (`naive_bayes_weight` of the p that it was
    trained at; 1 for features of one p), a finite number. ValueError or TypeError for anything else.
    """

    count: int
    used_by: tuple[int, ...]
    p: float | None = None
    say: Number = 1

    def __post_init__(self) -> None:
        validation.integer("count", self.count, 0)
        if self.p is not None:
            validation.probability("p", self.p)
        for member in self.used_by:
            validation.integer("used_by", member, 0, 1)
        validation.finite("say", self.say)


@dataclass(frozen=True)
class Mixture:
    """sum_m ratios[m] model m, in weights or in outputs: made, and its numbers checked, by theory.model.

    groups: (group,) features of the models; ratios: (model,) numbers, or arrays of them; knows: for each kind of class
    (model,) 0 or 1, whether the model has such classes.
    """

    groups: tuple[Features, ...]
    ratios: tuple[Number, ...]
    averaging: Averaging
    knows: tuple[tuple[int, ...], ...]

    def kinds(self, numbers: Sequence[int]) -> tuple[Kind, ...]:
        """The kinds of classes, numbers[kind] of each: a feature carries say (sum of ratios of the models that use it and
        know the class) (sum of ratios of the models that use it), without the last factor where outputs are averaged.
        """
        bodies = [sum(r for r, used in zip(self.ratios, group.used_by) if used) for group in self.groups]
        found = []
        for number, knows in zip(numbers, self.knows, strict=True):
            heads = [
                group.say * sum(r for r, used, has in zip(self.ratios, group.used_by, knows) if used and has)
                for group in self.groups
            ]
            if self.averaging == "weights":
                weights = tuple(head * body for head, body in zip(heads, bodies))
                parts = zip((group.count for group in self.groups), heads, bodies)
                of_head, of_body = (sum(term) for term in zip(*((n * h**2, n * b**2) for n, h, b in parts)))
                found.append((number, weights, of_head * of_body))
            else:
                found.append((number, tuple(heads), self._noise_of_outputs(knows)))
        return tuple(found)

    def _noise_of_outputs(self, knows: tuple[int, ...]) -> Number:
        """Variance of a class's score in units of sigma^2, (sum w_i^2) (sum Phi_i^2), here over pairs of models."""
        known = [m for m, has in enumerate(knows) if has]

        def both(m: int, n: int, power: int) -> Number:
            return sum(g.count * g.say**power for g in self.groups if g.used_by[m] and g.used_by[n])

        return sum(self.ratios[m] * self.ratios[n] * both(m, n, 2) * both(m, n, 0) for m in known for n in known)


@dataclass(frozen=True)
class Votes:
    """How the features vote when a model is tested on one task: what every route to an accuracy takes.

    counts: (group,) number of features. common: (group,) their vote weight for a class that both tasks have;
    own: (group,) for a class that only the tested task has. n_common, n_own: how many such classes; their sum
    is K. p: (group,) own failure probabilities, or None where one p is given with the question. noise: variance of
    the score of a class of the common and of the own kind, in units of sigma^2: each x_i carries noise of variance
    sigma^2 in every direction, and a class's score carries sigma^2 (sum w_i^2) (sum Phi_i^2), independently of
    the others (output averages: the same with both models' cross terms). Weights and noise may be arrays, one
    number for each of many questions. n_others >= 0 classes that the tested task does not have compete as well, none
    of them right, with the vote weights `others` and a third number in noise. mixture: the models behind the votes, which
    trained classifiers need; None where there are none. ValueError or TypeError for other lengths than that of counts,
    negative counts or noise, weights that are not finite, p outside [0, 1], or K < 2.
    """

    counts: tuple[int, ...]
    common: tuple[Number, ...]
    own: tuple[Number, ...]
    n_common: int
    n_own: int
    p: tuple[float, ...] | None = None
    noise: tuple[Number, ...] = (0, 0)
    others: tuple[Number, ...] | None = None
    n_others: int = 0
    mixture: Mixture | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        vectors = [self.common, self.own, self.counts if self.p is None else self.p, self.others or self.counts]
        sizes = [len(each) for each in (self.counts, *vectors)]
        n_others = validation.integer("n_others", self.n_others, 0)
        if len(set(sizes)) > 1 or len(self.noise) != 2 + (n_others > 0) or (self.others is None) != (n_others == 0):
            raise ValueError(
                "counts, common, own, p and others must have one number per group, and noise two, or three where others "
                f"compete, not {(*sizes, len(self.noise))}."
            )
        for count in self.counts:
            validation.integer("counts", count, 0)
        for weight in (*self.common, *self.own, *(self.others or ())):
            validation.finite("weights", weight)
        for each in self.noise:
            if np.any(np.asarray(validation.finite("noise", each)) < 0):
                raise ValueError(f"noise must be at least 0, not {each!r}.")
        if self.p is not None:
            validation.probabilities("p", list(self.p))
        n_common = validation.integer("n_common", self.n_common, 0)
        validation.integer("n_own", self.n_own, max(0, 2 - n_common))

    @property
    def n_classes(self) -> int:
        """K: classes of the tested task."""
        return self.n_common + self.n_own

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of classes that compete: of both tasks, of the tested one, of others (absent without any)."""
        others = [(self.n_others, self.others, self.noise[2])] if self.others is not None else []
        return (self.n_common, self.common, self.noise[0]), (self.n_own, self.own, self.noise[1]), *others

    @property
    def weights(self) -> tuple[Number, ...]:
        """(group,) the one vote weight per group, if all classes are of one kind; else ValueError."""
        if self.n_others:
            raise ValueError(f"weights differ between the task's {self.n_classes} classes and {self.n_others} others.")
        if self.n_own == 0 or _same(self.common, self.own):
            return self.common
        if self.n_common == 0:
            return self.own
        raise ValueError(
            f"weights differ between the {self.n_common} classes of both tasks and the {self.n_own} of one; "
            "one weight per group exists only for identical or disjoint label sets."
        )


def _same(first: Sequence, second: Sequence) -> bool:
    return all(np.array_equal(np.asarray(x, dtype=object), np.asarray(y, dtype=object)) for x, y in zip(first, second))
