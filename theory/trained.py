"""Classifiers really fitted to sampled features, then averaged: how near training comes to the vote weights.

Each task's classifier minimises mean cross-entropy + ridge ||w||^2 over samples of its own classes, on x Phi;
then w and Phi are averaged (weights), or the scores (outputs), and tested on fresh samples. Nothing here knows the vote
weights: only Tasks, or the Mixture behind Votes, says which features and classes a model has.

A trained head adds up to 0 over its classes (the ridge sees to it), so it is the formula's head less its mean. Between a
model's own classes this changes nothing; where classes of different models compete, a vote for one of a model's classes
counts -1/K against the others of them, which theory.model's vote weights leave out.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize

from . import validation
from .closed_form import votes_p
from .model import MEMBERSHIP, Tasks, naive_bayes_weight
from .monte_carlo import credit, label_count, shown_labels
from .votes import Averaging, Votes

TEST_CHUNK = 20_000
CHUNK_VALUES = 50_000  # numbers of one chunk of samples: they fit the cache
Average = tuple[Averaging, NDArray]  # of what, and the (model,) ratios
MAX_VALUES = 250_000_000  # numbers of one array: two gigabytes


@dataclass(frozen=True)
class Setting:
    """p in [0, 1], or None where votes have their own; sigma >= 0 the noise of each x_i; n_train >= 1 samples a task;
    ridge > 0 its penalty. ValueError or TypeError otherwise.
    """

    p: float | None
    sigma: float
    n_train: int
    ridge: float = 1e-3

    def __post_init__(self) -> None:
        if self.p is not None:
            validation.probability("p", self.p)
        validation.real("sigma", self.sigma, 0, 1e6)
        validation.integer("n_train", self.n_train, 1)
        validation.real("ridge", self.ridge, 1e-12, 1e6)


def _log_sum_exp(scores: NDArray) -> NDArray:
    """(sample,) log sum exp over classes, scores (class, sample): scipy.special.logsumexp to the last bit, without what it
    takes to allow for complex and infinite numbers, which is most of its time at this size.
    """
    top = scores.max(axis=0)
    level = scores == top
    number = level.sum(axis=0, dtype=float)
    rest = np.exp(scores - top)
    rest *= ~level
    return np.log1p(rest.sum(axis=0) / number) + np.log(number) + top


@dataclass(frozen=True)
class World:
    """Where samples come from: groups of counts features that fail with probabilities rates, of n_labels labels each.

    A failed feature shows one of the n_classes labels of its sample's task, or of all labels. sigma: as in Setting.
    ValueError where `rows` vectors of features times labels would take gigabytes.
    """

    counts: tuple[int, ...]
    rates: tuple[float, ...]
    n_classes: int
    n_labels: int
    sigma: float
    all_labels: bool
    rows: int

    def __post_init__(self) -> None:
        if self.rows * self.dimension > MAX_VALUES:
            raise ValueError(
                f"samples times features times labels must be at most {MAX_VALUES} numbers at a time, not {self.rows} "
                f"times {self.dimension}: use fewer of them."
            )

    @property
    def dimension(self) -> int:
        """Of x: features times labels."""
        return sum(self.counts) * self.n_labels

    @staticmethod
    def of(tasks: Tasks, setting: Setting, rows: int, all_labels: bool = False) -> "World":
        """The samples of two tasks, whose features all fail with the setting's p."""
        p, n_labels = validation.probability("p", setting.p), label_count(tasks)
        return World(tasks.counts, (p,) * 3, tasks.n_classes, n_labels, setting.sigma, all_labels, rows)


def fit_classifier(x: NDArray, y: NDArray, n_classes: int, ridge: float) -> NDArray:
    """(class, dimension) weights minimising mean cross-entropy + ridge ||w||^2 (paper, Definition F.1), by
    L-BFGS.

    x: (sample, dimension); y: (sample,) in [0, n_classes). Convex, so the start (zero) does not matter.
    """
    rows, dimension = np.arange(len(y)), x.shape[1]

    def loss(flat):
        w = flat.reshape(n_classes, dimension)
        scores = np.ascontiguousarray((x @ w.T).T)  # classes are few: sums over them are faster along the first axis
        log_share = scores - _log_sum_exp(scores)
        slope = np.exp(log_share)
        slope[y, rows] -= 1
        gradient = np.ascontiguousarray(slope.T).T @ x / len(y) + 2 * ridge * w
        return -log_share[y, rows].mean() + ridge * flat @ flat, gradient.reshape(-1)

    found = minimize(loss, np.zeros(n_classes * dimension), jac=True, method="L-BFGS-B", options={"maxiter": 500})
    return found.x.reshape(n_classes, dimension)


def fit_head(world: World, phi: NDArray, first: int, setting: Setting, rng: np.random.Generator) -> NDArray:
    """(label, dimension) head fitted to samples of the task whose labels begin at `first`; 0 for other labels.

    phi: (group,) shares of the groups in the body.
    """
    right, own = rng.integers(world.n_classes, size=setting.n_train), slice(first, first + world.n_classes)
    (x,) = sample_sums(world, first + right, first, phi[None], rng)
    w = np.zeros((world.n_labels, world.dimension))
    w[own] = fit_classifier(x, right, world.n_classes, setting.ridge)
    return w


def trained_accuracies(
    tasks: Tasks, setting: Setting, alpha: float, n_test: int, rng: np.random.Generator, all_labels: bool = False
) -> dict[str, tuple[float, float]]:
    """{"single", "weights", "outputs"}: (accuracy, standard error), mean over both tasks on n_test samples
    each.

    alpha in [0, 1]; n_test >= 2; the setting's p is one number. all_labels: the classes of both tasks compete, and failed
    features show any of them. The standard error is that of the test samples; training's own spread is seen by calling
    with other generators. ValueError or TypeError for numbers out of range, and for sizes that take gigabytes; TypeError
    unless rng is a numpy Generator.
    """
    n_test = validation.integer("n_test", n_test, 2)
    alpha = float(validation.real("alpha", alpha, 0, 1))
    validation.generator(rng)
    rows = max(setting.n_train, drawn_rows(n_test, label_count(tasks)), 2 * label_count(tasks))
    world = World.of(tasks, setting, rows, all_labels)
    masks, mix = np.array(MEMBERSHIP, dtype=float).T, np.array([1 - alpha, alpha])  # (task, group): Phi_a and Phi_b
    starts = (0, world.n_labels - world.n_classes)
    heads = np.stack([fit_head(world, phi, first, setting, rng) for phi, first in zip(masks, starts)])
    credits = defaultdict(list)
    for first, alone in zip(starts, np.eye(2)):
        own = slice(None) if all_labels else slice(first, first + world.n_classes)
        averages: dict[str, Average] = {
            "single": ("outputs", alone),
            "weights": ("weights", mix),
            "outputs": ("outputs", mix),
        }
        for name, values in tested(world, first, masks, heads[:, own], averages, n_test, rng).items():
            credits[name].append(values)
    return {name: mean_and_error(np.concatenate(values)) for name, values in credits.items()}


def trained_task_accuracies(
    votes: Mapping[str, Votes], setting: Setting, n_test: int, rng: np.random.Generator
) -> dict[str, tuple[float, float]]:
    """name -> (accuracy, standard error) of averages of the same T models, each fitted once: what exact_task_accuracy
    says of the votes, found without their weights.

    votes: name -> votes of `average` or `average_models` that differ in ratios and averaging alone. setting: its p is
    None where the votes have their own. n_test >= 2. ValueError for votes without models behind them, of different
    models, or whose classes are not all of one kind; for a say that training does not find (it finds a multiple of
    `naive_bayes_weight` of the group's p); for sizes that take gigabytes. TypeError for numbers or an rng of other types.
    """
    n_test = validation.integer("n_test", n_test, 2)
    validation.generator(rng)
    shares = {name: _ratios(name, each) for name, each in votes.items()}
    if len({(each.counts, each.p, each.n_classes, _models(each)) for each in votes.values()}) != 1:
        raise ValueError(f"votes must be one or more averages of the same models, not those of {sorted(votes)}.")
    one = next(iter(votes.values()))
    (groups, knows), k = _models(one), one.n_classes
    rates = tuple(np.broadcast_to(votes_p(one, setting.p), len(groups)).tolist())
    _check_says(rates, [say for _, say in groups], k)
    masks = np.array([used_by for used_by, _ in groups], dtype=float).T
    rows = max(setting.n_train, drawn_rows(n_test, k), len(masks) * k)
    world = World(one.counts, rates, k, k, setting.sigma, False, rows)
    heads = np.stack(
        [
            fit_head(world, phi, 0, setting, rng) if has else np.zeros((k, world.dimension))
            for phi, has in zip(masks, knows)
        ]
    )
    averages = {name: (each.mixture.averaging, shares[name]) for name, each in votes.items() if each.mixture}
    credits = tested(world, 0, masks, heads, averages, n_test, rng)
    return {name: mean_and_error(values) for name, values in credits.items()}


def tested(
    world: World,
    first: int,
    masks: NDArray,
    heads: NDArray,
    averages: Mapping[str, Average],
    n_test: int,
    rng: np.random.Generator,
) -> dict[str, NDArray]:
    """name -> (n_test,) credits, on fresh samples of the task whose labels begin at `first`, of averages of models: of weights (the
    averaged head on the averaged body) or of outputs (each model's own scores).

    masks: (model, group) the bodies; heads: (model, class, dimension), of the classes that compete.
    """
    merged = [name for name, (averaging, _) in averages.items() if averaging == "weights"]
    bodies = np.vstack([masks, *(averages[name][1] @ masks for name in merged)])

    def scores_of(sums: NDArray) -> dict[str, NDArray]:
        body = dict(zip(merged, sums[len(masks) :]))
        return {
            name: body[name] @ np.tensordot(ratios, heads, 1).T
            if name in body
            else sum(ratio * x @ head.T for ratio, x, head in zip(ratios, sums, heads) if ratio)
            for name, (_, ratios) in averages.items()
        }

    return credited(world, first, bodies, scores_of, n_test, rng)


def credited(
    world: World,
    first: int,
    bodies: NDArray,
    scores_of: Callable[[NDArray], Mapping[str, NDArray]],
    n_test: int,
    rng: np.random.Generator,
) -> dict[str, NDArray]:
    """name -> (n_test,) credits, on fresh samples of the task whose labels begin at `first`, of what `scores_of` makes of the
    (body, sample, dimension) sums: name -> (sample, class) scores of the classes that compete.
    """
    found, offset = defaultdict(list), first if world.all_labels else 0
    for start in range(0, n_test, TEST_CHUNK):
        right = rng.integers(world.n_classes, size=min(TEST_CHUNK, n_test - start))
        for part, sums in sample_parts(world, first + right, first, bodies, rng):
            for name, scores in scores_of(sums).items():
                found[name].append(credit(scores, offset + right[part]))
    return {name: np.concatenate(values) for name, values in found.items()}


def _models(votes: Votes) -> tuple[tuple[tuple[tuple[int, ...], float], ...], tuple[int, ...]]:
    """((group,) (which models use it, its say), (model,) whether it has the tested classes)."""
    mixture = votes.mixture
    assert mixture is not None, "_ratios has looked at it"
    groups = tuple((group.used_by, float(group.say)) for group in mixture.groups)
    return groups, mixture.knows[0 if votes.n_own == 0 else 1]


def _ratios(name: str, votes: Votes) -> NDArray:
    """(model,) the ratios of an average whose votes the models behind it explain."""
    if votes.mixture is None:
        raise ValueError(
            f"votes must come from average or average_models to be trained; {name!r} have no models behind them."
        )
    _ = votes.weights  # refuses label sets that overlap in part, and others that compete
    ratios = [float(validation.real("ratios", ratio, 0, 1)) for ratio in votes.mixture.ratios]
    if votes.kinds != votes.mixture.kinds([number for number, *_ in votes.kinds]):
        raise ValueError(f"votes must be those of the models behind them to be trained; {name!r} were changed.")
    return np.array(ratios)


def _check_says(rates: tuple[float, ...], says: list[float], k: int) -> None:
    betas = [naive_bayes_weight(rate, k) for rate in rates]
    same = len(set(rates)) == 1
    ideal = np.ones(len(says)) if same else np.array(betas)
    factor = says @ ideal / (ideal @ ideal) if np.isfinite(ideal).all() and ideal.any() else np.nan
    if not np.allclose(says, factor * ideal, rtol=1e-6, atol=0):
        raise ValueError(
            f"say must be one multiple of naive_bayes_weight(p, {k}) in every group, which is what training finds, here of "
            f"{[round(beta, 6) for beta in betas]}, not {says}."
        )


def drawn_rows(n_test: int, n_labels: int) -> int:
    """As how many vectors of features times labels the labels that test samples show count (`World`): all of a chunk are drawn at once."""
    return -(-min(n_test, TEST_CHUNK) // n_labels)


def sample_sums(world: World, right: NDArray, first: int, shares: ArrayLike, rng: np.random.Generator) -> NDArray:
    """(model, sample, dimension) sums of x_i, all of `sample_parts` together."""
    sums = np.empty((len(np.asarray(shares)), len(right), world.dimension))
    for part, found in sample_parts(world, right, first, shares, rng):
        sums[:, part] = found
    return sums


def sample_parts(
    world: World, right: NDArray, first: int, shares: ArrayLike, rng: np.random.Generator
) -> Iterator[tuple[slice, NDArray]]:
    """(which samples, (model, sample, dimension) sums of x_i over the features, each times its group's share in a model's
    body), a few samples at a time: all at once they are a hundred megabytes.

    right: (sample,) labels; first: the first label of their task; shares: (model, group). mu_i(k) is a unit vector of the
    standard basis: training and testing are the same in any orthonormal basis. The sum of n_g noises is one noise of
    sqrt(n_g) times the size.
    """
    n_features, size = sum(world.counts), len(right)
    classes = np.arange(world.n_labels) if world.all_labels else first + np.arange(world.n_classes)
    shown = shown_labels(right, classes, np.repeat(world.rates, world.counts), rng)
    group = np.repeat(np.arange(len(world.counts)), world.counts)
    place = group * world.dimension + np.arange(n_features) * world.n_labels + shown  # in a sample's (group, dimension)
    scale, shares = world.sigma * np.sqrt(world.counts)[:, None], np.asarray(shares, dtype=float)
    rows = max(1, CHUNK_VALUES // (len(world.counts) * world.dimension))
    buffer = np.zeros((min(rows, size), len(world.counts), world.dimension))
    for start in range(0, size, rows):
        part = slice(start, min(start + rows, size))
        x = buffer[: part.stop - start]
        if world.sigma:
            rng.standard_normal(out=x)
            x *= scale
        else:
            x[...] = 0.0
        x.reshape(-1)[np.arange(0, x.size, x[0].size)[:, None] + place[part]] += 1.0
        sums = np.zeros((len(shares), len(x), world.dimension))
        for total, share in zip(sums, shares):
            for g, s in enumerate(share):
                if s:
                    total += x[:, g] if s == 1 else s * x[:, g]
        yield part, sums


def mean_and_error(values: NDArray) -> tuple[float, float]:
    """The mean of (sample,) values, two or more, and its standard error."""
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))
