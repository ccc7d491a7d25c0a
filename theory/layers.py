r"""The layered model: one ratio per layer, and when unequal ratios beat equal ones. The theory beside AMA.

A model has L layers; layer l has its own features and its own block (w^l, Phi^l), averaged with its own ratio
alpha_l, and the layers' scores add up: score(k) = sum_l w^l(k)^T sum_i Phi^l_i x_i. Orthonormality keeps the
layers apart, so theory.model's vote weights hold layer by layer with alpha_l for alpha. Within a layer a part
q_l of the features reads concepts that both tasks have (there Y_a = Y_b), the rest reads each task's own
(Y_a, Y_b disjoint). With weights

    common part, both tasks: a's own (1 - alpha)^2, b's own alpha^2, shared 1;
    own part, task a: a's own (1 - alpha)^2, shared 1 - alpha, b's own 0;
    own part, task b: b's own alpha^2, shared alpha, a's own 0.

The factor (1 - alpha) that drops out for one layer does not between layers. "Low layers share, high ones do not" is q_1 >= .. >= q_L. Accuracy is F_p((1 - p) sqrt(n_eff)) with one n_eff per
task (theory.closed_form).

**When unequal ratios win.** F_p rises, so whether one choice of ratios beats another on both tasks depends on
(n_eff_a, n_eff_b) alone: *neither on p nor on K*. Let g_a, g_b in R^L be the gradients of n_eff_a, n_eff_b at
an inner point. Some direction raises both unless g_b = -c g_a for some c >= 0 or one of them is 0 (two
half-spaces meet unless they are opposite). At equal ratios this asks that every layer trades a for b at the
same rate, (d n_eff_b / d alpha_l) / (d n_eff_a / d alpha_l) the same for all l. Layers alike in overlap do so
by symmetry; layers that differ in overlap generally do not, and then *every such equal-ratio point is beaten
on both tasks by unequal ones* (at alpha = 1/2 with tasks of one size, g_b = -g_a by symmetry, and equal
ratios are critical). At a fixed mean ratio, AMA's constraint, the same holds for the gradients with their
means over layers removed. If layers differ in q_l alone, a layer's gradient is affine in q_l; what is left of
g_a and g_b is then parallel, and whether unequal ratios of the same mean help both is one sign. In the tables
they never do: what one task gains the other pays. In general they do, seldom and little (`theory.statements`).
An exception with equal ratios best of all: no shared
features, q_l arbitrary, alpha = 1/2, where all features that serve a task carry the same
weight and both n_eff reach their maximum at once.

Assumed: scores of layers add (features of later layers do not depend on earlier ones), every feature fails
with the same p, classifiers of all layers have the same scale, and many features. The last one matters: with
averaged weights and 24 features the limit's error is as large as what unequal ratios gain, and one task loses by them; with some
hundred features both gain (results/theory/layered_sampled.csv).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize

from . import validation
from .closed_form import F_p, dF_p_dx
from .fronts import hypervolume, pareto
from .model import MEMBERSHIP, OWN_CLASS, Task, vote_weight
from .validation import Number
from .votes import Averaging

MAX_POINTS = 4_000_000  # choices of ratios that a grid may have: half a gigabyte
CHUNK_POINTS = 1000  # of these at a time: what is known of them fits the cache
COMPLEX_STEP = 1e-30  # derivatives of polynomials along the imaginary axis have no cancellation
# Of a layer's six groups, first those on common concepts: who uses them, (model, group, 1), and for each tested task
# who knows its classes, (model, task, 1, group, 1).
PARTS = (
    np.array(MEMBERSHIP * 2).T[..., None],
    np.array([[(1, 1)] * 3 + [own] * 3 for own in OWN_CLASS.values()]).transpose(2, 0, 1)[:, :, None, :, None],
)


@dataclass(frozen=True)
class Layer:
    """n features per task in this layer, a part `shared` of them used by both, a part `common` on common
    concepts.

    n > 0 (need not be whole: only the limit of many features is used); shared, common in [0, 1].
    """

    n: float
    shared: float
    common: float

    def __post_init__(self) -> None:
        validation.real("n", self.n, np.nextafter(0, 1), np.finfo(float).max)
        validation.real("shared", self.shared, 0, 1)
        validation.real("common", self.common, 0, 1)

    @property
    def counts(self) -> tuple[float, float, float]:
        """Features of a only, of b only, of both."""
        own = self.n * (1 - self.shared)
        return own, own, self.n * self.shared


def falling_layers(
    n_layers: int, n: float, common: tuple[float, float], shared: tuple[float, float]
) -> tuple[Layer, ...]:
    """n_layers >= 2 layers of n features whose overlaps go in equal steps from a first to a last value."""
    n_layers = validation.integer("n_layers", n_layers, 2)
    steps = np.linspace(0, 1, n_layers)
    return tuple(
        Layer(n, float((1 - t) * shared[0] + t * shared[1]), float((1 - t) * common[0] + t * common[1])) for t in steps
    )


def layer_votes(
    layers: Sequence[Layer], alphas: Sequence[Number | NDArray], averaging: Averaging, tested_on: Task
) -> tuple[list, list]:
    """(group,) counts and vote weights of all layers' features for one task, alphas[l] the ratio (or ratios)
    of layer l, in [0, 1]; tested_on: "a" or "b". ValueError or TypeError for anything else.

    Counts that are whole numbers are ints, so that the groups can be handed to simulate_accuracy.
    """
    _check(layers, len(alphas))
    alphas = [validation.reals("alphas", alpha, 0, 1) for alpha in alphas]
    if tested_on not in OWN_CLASS:
        raise ValueError(f"tested_on must be 'a' or 'b', not {tested_on!r}.")
    vote, counts, weights = vote_weight(averaging), [], []
    for layer, alpha in zip(layers, alphas, strict=True):
        for part, classes in ((layer.common, (1, 1)), (1 - layer.common, OWN_CLASS[tested_on])):
            for count, member in zip(layer.counts, MEMBERSHIP):
                number = float(part * count)
                counts.append(int(number) if number.is_integer() else number)
                weights.append(vote(alpha, member, classes))
    return counts, weights


def _check(layers: Sequence[Layer], n_ratios: int) -> None:
    if not layers:
        raise ValueError("layers must be one or more Layers, not none.")
    if n_ratios != len(layers):
        raise ValueError(f"alphas must have {len(layers)} ratios, one per layer, not {n_ratios}.")


def effective_features_by_task(layers: Sequence[Layer], alphas: ArrayLike, averaging: Averaging) -> NDArray:
    """(.., 2) n_eff for tasks a and b at ratios alphas, (.., layer), each in [0, 1]."""
    _check(layers, len(layers))
    alphas = np.asarray(alphas)
    if alphas.shape[-1:] != (len(layers),):
        raise ValueError(
            f"alphas must have {len(layers)} ratios, one per layer, in the last axis; shape: {alphas.shape}."
        )
    if not np.all((alphas.real >= 0) & (alphas.real <= 1)):
        raise ValueError(f"alphas must be numbers in [0, 1], not {alphas}.")
    choices = alphas.reshape(-1, len(layers)).T[:, None]  # (layer, 1, choice)
    weights = vote_weight(averaging)(choices, *PARTS)  # (task, layer, group, choice)
    weights = weights.reshape(2, -1, choices.shape[-1])
    common, whole = np.array([[layer.common] for layer in layers]), np.array([layer.counts for layer in layers])
    counts = np.hstack([common * whole, (1 - common) * whole]).reshape(-1, 1)  # the groups of layer_votes, in its order
    total, squares = ((counts * each).sum(axis=1) for each in (weights, weights**2))
    n_eff = total**2 / np.where(squares == 0, 1, squares)
    return n_eff.T.reshape(*alphas.shape[:-1], 2)


def accuracies(layers: Sequence[Layer], alphas: ArrayLike, p: float, n_classes: int, averaging: Averaging) -> NDArray:
    """(.., 2) accuracies on a and b in the limit of many features, at ratios alphas, (.., layer), in [0, 1]; 1/K without votes.

    p: one number in [0, 1]; n_classes: K >= 2. ValueError or TypeError for anything else.
    """
    p = validation.probability("p", p)
    n_eff = effective_features_by_task(layers, alphas, averaging)
    found = np.asarray(F_p((1 - p) * np.sqrt(n_eff), p, n_classes))
    return np.where(n_eff == 0, 1 / n_classes, found)


def effective_gradients(layers: Sequence[Layer], alphas: ArrayLike, averaging: Averaging) -> NDArray:
    """(2, layer) gradients of n_eff_a and n_eff_b in the ratios, by complex steps: exact to rounding.

    alphas: (layer,) one choice of ratios, each in [0, 1]; ValueError otherwise.
    """
    return effective_with_gradients(layers, alphas, averaging)[1]


def effective_with_gradients(
    layers: Sequence[Layer], alphas: ArrayLike, averaging: Averaging
) -> tuple[NDArray, NDArray]:
    """(2,) n_eff for tasks a and b, and `effective_gradients`; arguments and errors as there."""
    _check(layers, len(layers))
    if np.shape(alphas) != (len(layers),):
        raise ValueError(f"alphas must have {len(layers)} ratios, one per layer, not the shape {np.shape(alphas)}.")
    steps = np.asarray(alphas, dtype=float) + 1j * COMPLEX_STEP * np.eye(len(layers))
    found = effective_features_by_task(layers, steps, averaging)
    return found[0].real, found.imag.T / COMPLEX_STEP


def accuracies_with_gradients(
    layers: Sequence[Layer], alphas: ArrayLike, p: float, n_classes: int, averaging: Averaging
) -> tuple[NDArray, NDArray]:
    """(2,) accuracies on a and b in the limit of many features, and their (2, layer) gradients in the ratios alphas, (layer,).

    p in (0, 1]. A task without votes gets F_p(0), the limit, not 1/K. The rest as in `accuracies`.
    """
    n_eff, gradients = effective_with_gradients(layers, alphas, averaging)
    root = np.sqrt(n_eff)
    steep = dF_p_dx((1 - p) * root, p, n_classes) * (1 - p) / (2 * np.where(root == 0, 1, root))
    return np.asarray(F_p((1 - p) * root, p, n_classes)), steep[:, None] * gradients


def raising_direction(layers: Sequence[Layer], alpha: float, averaging: Averaging, fixed_mean: bool) -> NDArray | None:
    """(layer,) unit direction from equal ratios alpha in (0, 1) along which both n_eff rise at first; None if
    there is none.

    The bisector of the gradients; with fixed_mean, of their projections on directions that keep the mean
    ratio. ValueError for alpha outside (0, 1): at the ends a ratio can go one way only.
    """
    alpha = validation.inside("alpha", alpha)
    gradients = effective_gradients(layers, np.full(len(layers), alpha), averaging)
    size = np.linalg.norm(gradients, axis=1)
    if fixed_mean:
        gradients = gradients - gradients.mean(axis=1, keepdims=True)
    length = np.linalg.norm(gradients, axis=1)
    if np.any(length <= 1e-9 * size) or not size.all():
        return None
    bisector = (gradients / length[:, None]).sum(axis=0)
    norm = float(np.linalg.norm(bisector))
    return bisector / norm if norm > 1e-6 else None


def best_ratios(
    layers: Sequence[Layer], mean: float, p: float, n_classes: int, averaging: Averaging, weight_b: float
) -> NDArray:
    """(layer,) ratios in [0, 1] of the given mean that maximise (1 - weight_b) accuracy_a + weight_b
    accuracy_b.

    weight_b = 1 is AMA's aim (the new model's task), 1/2 the paper's xi. p in (0, 1). Sequential quadratic
    programming from the equal ratios and from every layer pushed up or down; the best end point is taken.
    """
    mean, p = float(validation.real("mean", mean, 0, 1)), validation.inside("p", p)
    weight = np.array([1 - validation.real("weight_b", weight_b, 0, 1), weight_b], dtype=float)

    def loss(alphas):
        found, gradients = accuracies_with_gradients(layers, np.clip(alphas, 0, 1), p, n_classes, averaging)
        return -weight @ found, -weight @ gradients

    room = min(mean, 1 - mean)
    starts = [np.full(len(layers), mean)]
    for signs in product((-1, 1), repeat=min(len(layers), 4)):
        if len(set(signs)) == 1:  # no push: the first start once more
            continue
        push = np.resize(signs, len(layers)) - np.mean(np.resize(signs, len(layers)))
        starts.append(mean + 0.5 * room * push)
    ends = [_descend(loss, start, mean) for start in starts]
    return min((end for end in ends if abs(end.mean() - mean) < 1e-9), key=lambda end: loss(end)[0])


def _descend(loss, start: NDArray, mean: float) -> NDArray:
    constraint = {"type": "eq", "fun": lambda a: a.mean() - mean, "jac": lambda a: np.full(len(a), 1 / len(a))}
    found = minimize(
        loss,
        start,
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * len(start),
        constraints=constraint,
        options={"ftol": 1e-12},
    )
    return np.clip(found.x, 0, 1)


@dataclass(frozen=True)
class LayeredFronts:
    """The fronts over one ratio and over a ratio per layer.

    equal, unequal: (point, 2) accuracies on a and b, Pareto points only, a falling; *_ratios: (point, layer).
    equal_area, unequal_area: hypervolumes above (a's accuracy at alpha = 1, b's at alpha = 0).
    """

    equal: NDArray
    equal_ratios: NDArray
    unequal: NDArray
    unequal_ratios: NDArray
    equal_area: float
    unequal_area: float


def layered_fronts(
    layers: Sequence[Layer], p: float, n_classes: int, averaging: Averaging, steps: int = 40
) -> LayeredFronts:
    """Both fronts on a grid of `steps` intervals a layer; equal ratios are among the unequal ones, so the
    area never falls.

    The work is steps^L: meant for two or three layers (more: group layers into parts, as AMA does). p: one number in [0, 1];
    steps >= 2. ValueError or TypeError otherwise, and for more than `MAX_POINTS` choices of ratios.
    """
    steps = validation.integer("steps", steps, 2)
    _check(layers, len(layers))
    if (steps + 1) ** len(layers) > MAX_POINTS:
        raise ValueError(
            f"steps = {steps} with {len(layers)} layers makes {steps + 1}^{len(layers)} ratios; at most {MAX_POINTS} fit: "
            "use fewer steps, or group layers into parts."
        )
    line = np.repeat(np.linspace(0, 1, 20 * steps + 1)[:, None], len(layers), axis=1)
    ticks = np.linspace(0, 1, steps + 1)
    grid = np.vstack([np.stack(np.meshgrid(*[ticks] * len(layers)), axis=-1).reshape(-1, len(layers)), line])
    parts = np.array_split(grid, 1 + len(grid) // CHUNK_POINTS)
    n_eff = np.vstack([effective_features_by_task(layers, part, averaging) for part in parts])
    grid = grid[pareto(n_eff)]  # F_p rises: the accuracies' front as well
    on_line, on_grid = (accuracies(layers, ratios, p, n_classes, averaging) for ratios in (line, grid))
    reference = on_line[-1, 0], on_line[0, 1]
    kept_line, kept_grid = pareto(on_line), pareto(on_grid)
    equal_area = hypervolume(on_line, reference)
    return LayeredFronts(
        equal=on_line[kept_line],
        equal_ratios=line[kept_line],
        unequal=on_grid[kept_grid],
        unequal_ratios=grid[kept_grid],
        equal_area=equal_area,
        unequal_area=max(equal_area, hypervolume(on_grid, reference)),  # but for rounding
    )


def largest_lift(fronts: LayeredFronts) -> tuple[float, NDArray, NDArray]:
    """How far unequal ratios rise above the equal front: (lift, equal ratios, unequal ratios) where it is
    largest.

    lift: the smaller of the two tasks' gains in accuracy, maximal over pairs of points; 0 if no point is
    beaten.
    """
    gains = np.minimum(*(fronts.unequal[:, None, task] - fronts.equal[None, :, task] for task in (0, 1)))
    unequal, equal = np.unravel_index(np.argmax(gains), gains.shape)
    return max(float(gains[unequal, equal]), 0.0), fronts.equal_ratios[equal], fronts.unequal_ratios[unequal]
