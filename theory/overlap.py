r"""Graded overlap: the feature spaces of two models as subspaces, with principal cosines between 0 and 1.

Two models of the same classes (case 1) use subspaces of a space of independent, equally weak features, with
projectors P_a and P_b of rank n_a and n_b. Model m reads P_m x, its head is w_m = P_m 1 (every feature it sees gets
the same say, theory.model). Averaged weights read M = (1 - alpha) P_a + alpha P_b in the body and in the head: the
vote operator is V = M^2. Averaged outputs: V = (1 - alpha) P_a + alpha P_b. The features' vote weights are V s, where s
are the features' signs, +1 or -1 (a feature votes for the right class whichever of the two its basis vector has), and
mean margin and variance are s^T V s and |V s|^2. **In the mean over signs** that have nothing to do with the subspaces these are
tr V and tr V^2, and with many features nearly every random choice of signs is near its mean, so

    n_eff = (tr V)^2 / tr V^2.

An unlucky choice is not, however many planes there are: of one cosine, all signs minus (`theory.statements`). Planes in pairs of equal cosine and opposite signs have it exactly (`graded_weights`).
So what follows is about means over signs and many features, or about such pairs.

**Principal planes.** P_a and P_b split into planes with principal cosines c_j. In each, at alpha = 1/2, P_a + P_b has
the eigenvalues 1 + c_j and 1 - c_j, so V, but for a factor, (1 +- c_j)^2 (weights) and 1 +- c_j (outputs). With
S2 = sum c_j^2 = tr P_a P_b and S4 = sum c_j^4 = tr (P_a P_b)^2, and n_a = n_b = n,

    n_eff(weights) = 2 (n + S2)^2 / (n + 6 S2 + S4),    n_eff(outputs) = 2 n^2 / (n + S2).

**When averaging weights helps (raises this n_eff).** n_eff(weights) > n iff 2 (n + S2)^2 - n (n + 6 S2 + S4) > 0. Divide by n^2 and write
m = S2 / n, the mean of c^2, and Var(c^2) = S4 / n - m^2: the left side is 1 + 4 m + 2 m^2 - 6 m - S4 / n =
(1 - m)^2 - Var(c^2). Hence

    averaging weights helps iff Var(c^2) < (1 - mean c^2)^2.

So overlap itself does no harm (equal cosines below 1 always help); *unequal* overlap does. Discrete overlap,
c in {0, 1} with a part r of ones, has Var = r (1 - r) and the criterion reads r < 1/2.

Case 2 (no class in common), tested on a: V = P_a M, n_eff = (n_a + S2)^2 / (n_a + 3 S2) at alpha = 1/2, which knows S2
only and never exceeds n_a.
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import orth, svdvals

from . import validation
from .model import vote_weight
from .monte_carlo import MAX_DIMENSION
from .votes import Averaging


@dataclass(frozen=True)
class Overlap:
    """What the average needs to know of two subspaces: n_a, n_b their dimensions, S2 and S4 (numbers or arrays).

    n_a, n_b >= 1; S2 and S4 the sums of m = min(n_a, n_b) squared cosines and of their squares, so that
    S2^2 / m <= S4 <= S2 <= m; ValueError otherwise.
    """

    n_a: ArrayLike
    n_b: ArrayLike
    s2: ArrayLike
    s4: ArrayLike

    def __post_init__(self) -> None:
        n_a, n_b, s2, s4 = (np.asarray(each, dtype=float) for each in (self.n_a, self.n_b, self.s2, self.s4))
        m = np.minimum(n_a, n_b)
        slack = 1e-9 * (1 + m)
        good = (m >= 1) & np.isfinite(n_a + n_b) & (s4 <= s2 + slack) & (s2 <= m + slack) & (s2 >= -slack)
        if not np.all(good & (s4 >= s2**2 / np.maximum(m, 1) - slack)):
            raise ValueError(
                "n_a, n_b, s2, s4 must be finite with 1 <= n, 0 <= s4 <= s2 <= min(n_a, n_b) and "
                f"s2^2 / min(n_a, n_b) <= s4, not {self}."
            )


def principal_cosines(a: ArrayLike, b: ArrayLike) -> NDArray:
    """(min(rank a, rank b),) cosines of the principal angles between the column spaces of a and b, falling, in [0, 1].

    a, b: (dimension, vector) any spanning vectors; ValueError for different dimensions or a space without vectors.
    """
    spans = [np.asarray(each, dtype=float) for each in (a, b)]
    shapes = [each.shape for each in spans]
    if any(len(shape) != 2 for shape in shapes) or shapes[0][0] != shapes[1][0]:
        raise ValueError(f"a and b must be matrices with equally many rows, not of shapes {shapes[0]}, {shapes[1]}.")
    if not all(np.isfinite(each).all() for each in spans):
        raise ValueError("a and b must be finite numbers.")
    first, second = (orth(each) for each in spans)
    if not (first.shape[1] and second.shape[1]):
        raise ValueError("a and b must span at least one dimension each.")
    return np.clip(svdvals(first.T @ second), 0.0, 1.0)


def overlap_of(cosines: ArrayLike, n_a: int | None = None, n_b: int | None = None) -> Overlap:
    """The overlap of subspaces with these principal cosines, each in [0, 1]; n_a, n_b: their dimensions, at least as many
    as cosines (default: as many). ValueError or TypeError otherwise.
    """
    c = np.asarray(validation.reals("cosines", list(np.ravel(cosines)), 0, 1), dtype=float)
    n_a, n_b = (validation.integer(name, len(c) if n is None else n, 1) for name, n in (("n_a", n_a), ("n_b", n_b)))
    if len(c) > min(n_a, n_b):
        raise ValueError(f"cosines must be at most {min(n_a, n_b)} numbers, the smaller dimension, not {len(c)}.")
    return Overlap(n_a, n_b, float((c**2).sum()), float((c**4).sum()))


def graded_effective_features(
    overlap: Overlap, averaging: Averaging, alpha: ArrayLike = 0.5, same_classes: bool = True
) -> NDArray | float:
    """n_eff on task a of the average with ratio alpha in [0, 1], the share of b; all arrays broadcast.

    From tr M^2 = x^2 n_a + y^2 n_b + 2 x y S2 and tr M^4, x = 1 - alpha, y = alpha (words in P_a and P_b, counted
    with P^2 = P). same_classes False is case 2, where alpha < 1. ValueError for another averaging or ratio.
    """
    vote_weight(averaging)
    y = np.asarray(validation.reals("alpha", alpha, 0, 1), dtype=float)
    x = 1 - y
    a, b, s2, s4 = (np.asarray(each, dtype=float) for each in (overlap.n_a, overlap.n_b, overlap.s2, overlap.s4))
    square = x**2 * a + y**2 * b + 2 * x * y * s2
    if same_classes and averaging == "weights":
        fourth = x**4 * a + y**4 * b + 4 * (x**3 * y + x * y**3) * s2 + x**2 * y**2 * (4 * s2 + 2 * s4)
        found = square**2 / fourth
    elif same_classes:
        found = (x * a + y * b) ** 2 / square
    elif np.any(y == 1):
        raise ValueError("alpha must be below 1 where no class is in common: b's head has no score for a's classes.")
    elif averaging == "weights":
        found = (x * a + y * s2) ** 2 / (x**2 * a + (2 * x * y + y**2) * s2)
    else:
        found = a + 0 * square
    return found if np.ndim(found) else float(found)


def weights_help(overlap: Overlap) -> NDArray | bool:
    """Whether averaging the weights of two models of n features half and half raises n_eff: Var(c^2) < (1 - mean c^2)^2.

    A bool, or an array of the overlap's shape. ValueError where n_a and n_b differ.
    """
    n, s2, s4 = (np.asarray(each, dtype=float) for each in (overlap.n_a, overlap.s2, overlap.s4))
    if not np.array_equal(overlap.n_a, overlap.n_b):
        raise ValueError(f"n_a and n_b must be equal for the criterion, not {overlap.n_a!r} and {overlap.n_b!r}.")
    helps = s4 / n - (s2 / n) ** 2 < (1 - s2 / n) ** 2
    return helps if np.ndim(helps) else bool(helps)


def projectors(cosines: ArrayLike) -> tuple[NDArray, NDArray]:
    """(2 plane, 2 plane) P_a and P_b in the basis of principal planes: a's feature is the first of each plane, b's is
    c times the first plus (or, in every second plane, minus) sqrt(1 - c^2) times the second. cosines: (plane,) in
    [0, 1], at most `MAX_DIMENSION` / 2 of them; ValueError or TypeError otherwise.
    """
    if np.size(cosines) > MAX_DIMENSION // 2:
        raise ValueError(
            f"cosines must be at most {MAX_DIMENSION // 2} numbers for projectors, not {np.size(cosines)}."
        )
    c = np.asarray(validation.reals("cosines", list(np.ravel(cosines)), 0, 1), dtype=float)
    signs = np.where(np.arange(len(c)) % 2, -1.0, 1.0)
    p_a, p_b = np.zeros((2, 2 * len(c), 2 * len(c)))
    for j, (cosine, sign) in enumerate(zip(c, signs)):
        direction = np.array([cosine, sign * np.sqrt(1 - cosine**2)])
        p_a[2 * j, 2 * j] = 1.0
        p_b[2 * j : 2 * j + 2, 2 * j : 2 * j + 2] = np.outer(direction, direction)
    return p_a, p_b


def graded_weights(cosines: ArrayLike, averaging: Averaging, alpha: float | Fraction) -> NDArray:
    """(2 plane,) vote weights of the single features behind `projectors`, V 1: for exact and sampled accuracies.

    Their Kish number is graded_effective_features' exactly where planes come in pairs of equal cosines, so that the
    two signs cancel. alpha: one ratio in [0, 1]; cosines, errors as in `projectors`.
    """
    vote_weight(averaging)
    alpha = float(validation.real("alpha", alpha, 0, 1))
    p_a, p_b = projectors(cosines)
    mixed = (1 - alpha) * p_a + alpha * p_b
    operator = mixed @ mixed if averaging == "weights" else mixed
    return operator @ np.ones(len(mixed))
