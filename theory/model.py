r"""Two tasks, their feature sets, and how each feature votes in an averaged model (section 5, appendix F).

The model of the data. A label y of M has N weak features x_i | y ~ N(mu_i Q_i y, sigma^2 I): feature i shows
class q_i = Q_i y, which is y itself with probability 1 - p and a class drawn uniformly with probability p;
the mu_i(k) are orthonormal over all (i, k). So, without noise, x_i = mu_i(q_i): *feature i votes for class
q_i*.

Which classes a failed vote is drawn from. The paper's text draws it from all M labels, its covariance Sigma
from the K classes of the task itself: Sigma_ii = p (K + 2 - pK) / K follows from P(right) = 1 - p + p/K and
P(wrong class) = p/K. Sigma is what Proposition 5.1 uses, so K is the default; everywhere `n_labels = M` gives
the text's reading, with p/M in place of p/K and p (M - K) / M of the votes lost to classes that do not
compete.

The classifier. f = (w, Phi): score of class k is w(k)^T sum_i Phi_i x_i. Training a task with classes Y on
the features Phi in {0, 1}^N gives w(k) = sum_{i: Phi_i = 1} mu_i(k) for k in Y (a factor and a term common to
all classes of Y do not change which class is highest) and w(k) = 0 for other k. By orthonormality

    score(k) = sum_i v_i(k) [q_i = k],    v_i(k) = w_i(k) Phi_i,

where w_i(k) is the coefficient of mu_i(k) in w(k). `v_i(k)` is the *vote weight* of feature i for class k.

The averages, ratio alpha the share of b, a_i and b_i in {0, 1} for "i belongs to task a's (b's) features":

    weights:  w = (1 - alpha) w_a + alpha w_b and Phi = (1 - alpha) Phi_a + alpha Phi_b, so
              v_i(k) = ((1 - alpha) a_i [k in Y_a] + alpha b_i [k in Y_b]) ((1 - alpha) a_i + alpha b_i);
    outputs:  score = (1 - alpha) score_a + alpha score_b, so
              v_i(k) = (1 - alpha) a_i a_i [k in Y_a] + alpha b_i b_i [k in Y_b].

At alpha = 1/2, Y_a = Y_b (case 1; times 4, or 2 for outputs): the weight average gives shared features 4 and
others 1, the output average 2 and 1. With Y_a, Y_b disjoint (case 2) and k in Y_a: the weight average gives
shared features 2 and a's own 1 (b's own 0), since Phi_a + Phi_b doubles the shared ones; the output average
leaves a's scores as they were.

With partly overlapping label sets, 0 < |Y_a and Y_b| < K, v_i(k) differs between classes of both tasks and
classes of one. The term common to all classes of Y then matters: it is taken to be 0, as in the paper's
formula for w.

**Why every used feature has the same say.** As the ridge tends to 0 the cross-entropy tends to its minimum over
all w, which is the true posterior. The votes q_i are independent given y, so the posterior is naive Bayes,
log P(y = k | q) = const + sum_i beta_i [q_i = k] with beta_i = log P(right) - log P(one wrong class) =
log(1 + K (1 - p_i) / p_i) (`naive_bayes_weight`). It is linear in x, hence reached: w(k) = sum_i beta_i mu_i(k), with
one beta for all features of one p, whatever n is. Two models of different size thus have the same scale, and only
features with their own p differ in their say.

**If all M labels compete** (a test over Y_a and Y_b together), classes of b collect votes too when a is tested:
every class is then one that the other model may vote for. `average(.., all_labels=True)` answers that exactly and by
sampling, with failed votes on all M labels: b's classes are a third kind that competes and is never right. Output
averaging in case 2 then hurts (results/theory/trained.csv). Between classes of different models, though, a head's term
common to all its classes matters. The formula for w leaves it out; a trained head has it, -beta / K for each vote that
any class of its own gets, since the ridge makes w(k) add up to 0 over k (theory.trained).

**Priority.** The vote weights (1, 4) of the weight average for two models of one task, as the denominator
n_s + n_s* + 14 n_so, are in Lin et al., "Spurious feature diversification improves out-of-distribution
generalization" (arXiv 2309.17230). New here: disjoint and partly overlapping label sets, every ratio, the threshold
r = 1/2, finite n, T models, and a ratio per feature (theory.regression).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, log, log1p
from typing import Literal

from . import validation
from .validation import Number
from .votes import Averaging, Features, Mixture, Votes

Task = Literal["a", "b"]

TASKS: tuple[Task, Task] = ("a", "b")

MEMBERSHIP = ((1, 0), (0, 1), (1, 1))  # (a_i, b_i) of a's own, b's own and the shared features
OWN_CLASS: dict[Task, tuple[int, int]] = {
    "a": (1, 0),
    "b": (0, 1),
}  # ([k in Y_a], [k in Y_b]) of a class that only the tested task has


@dataclass(frozen=True)
class Tasks:
    """Two classification tasks.

    n_classes: K >= 2, classes of each task. n_a, n_b: number of features of each task's classifier, >= 0.
    n_o: features that both use, 0 <= n_o <= min(n_a, n_b). n_classes_o: classes that both tasks have, in [0,
    K]; K is the paper's case 1 (Y_a = Y_b), 0 its case 2 (disjoint).
    """

    n_classes: int
    n_a: int
    n_b: int
    n_o: int
    n_classes_o: int

    def __post_init__(self) -> None:
        validation.integer("n_classes", self.n_classes, 2)
        validation.integer("n_a", self.n_a, 0)
        validation.integer("n_b", self.n_b, 0)
        validation.integer("n_o", self.n_o, 0, min(self.n_a, self.n_b))
        validation.integer("n_classes_o", self.n_classes_o, 0, self.n_classes)

    @property
    def counts(self) -> tuple[int, int, int]:
        """Number of features of a only, b only, and of both: the order of the groups everywhere."""
        return self.n_a - self.n_o, self.n_b - self.n_o, self.n_o


def same_labels(n: int, n_o: int, n_classes: int) -> Tasks:
    """The paper's case 1: Y_a = Y_b, n features each, n_o of them shared."""
    return Tasks(n_classes, n, n, n_o, n_classes)


def disjoint_labels(n: int, n_o: int, n_classes: int) -> Tasks:
    """The paper's case 2: no class in common, n features each, n_o of them shared."""
    return Tasks(n_classes, n, n, n_o, 0)


def single_model(tasks: Tasks, trained_on: Task, tested_on: Task, all_labels: bool = False) -> Votes:
    """Votes of the classifier trained on one task alone (alpha = 0 or 1), tested on either task.

    trained_on, tested_on: "a" or "b", else ValueError; all_labels as in `average`.
    """
    return average(tasks, "outputs", {"a": 0, "b": 1}[_task("trained_on", trained_on)], tested_on, all_labels)


def average(tasks: Tasks, averaging: Averaging, alpha: Number, tested_on: Task, all_labels: bool = False) -> Votes:
    """Votes of (1 - alpha) a + alpha b, averaged in weights or in outputs, tested on one task.

    alpha in [0, 1] is the share of b. An int or Fraction alpha gives exact weights, a float alpha floats, an array
    of ratios arrays of its shape. averaging: "weights" or "outputs"; tested_on: "a" or "b". all_labels: the classes
    that only the other task has compete as well. ValueError or TypeError for anything else.
    """
    alpha = validation.reals("alpha", alpha, 0, 1)
    vote_weight(averaging)
    own_class = OWN_CLASS[_task("tested_on", tested_on)]
    groups = tuple(Features(count, member) for count, member in zip(tasks.counts, MEMBERSHIP))
    n_own = tasks.n_classes - tasks.n_classes_o
    n_others = n_own if all_labels else 0
    knows = ((1, 1), own_class, own_class[::-1])[: 3 if n_others else 2]
    return _votes(Mixture(groups, (1 - alpha, alpha), averaging, knows), (tasks.n_classes_o, n_own, n_others))


def _votes(mixture: Mixture, numbers: tuple[int, int, int]) -> Votes:
    """The votes of a mixture, numbers (common, own, other) of classes; other ones only where the mixture knows of them."""
    (_, common, of_common), (_, own, of_own), *more = mixture.kinds(numbers[: len(mixture.knows)])
    rates = [group.p for group in mixture.groups]
    return Votes(
        counts=tuple(group.count for group in mixture.groups),
        common=common,
        own=own,
        n_common=numbers[0],
        n_own=numbers[1],
        p=None if None in rates else tuple(float(rate or 0) for rate in rates),
        noise=(of_common, of_own, *(noise for _, _, noise in more)),
        others=more[0][1] if more else None,
        n_others=numbers[2],
        mixture=mixture,
    )


def average_models(
    groups: Sequence[Features],
    ratios: Sequence[Number],
    averaging: Averaging,
    n_classes: int,
    has_classes: Sequence[int] | None = None,
) -> Votes:
    """Votes of sum_m ratios[m] model m of T models, tested on K classes that has_classes (default: all) know.

    ratios: (model,) numbers in [0, 1] that add up to 1. Feature i carries, with weights averaged,
    say_i (sum_m ratios[m] used[m] has[m]) (sum_m ratios[m] used[m]): m^2 / T^2 at equal ratios for a feature of m
    models. With outputs averaged, say_i sum_m ratios[m] used[m] has[m]: m / T.
    """
    shares = tuple(validation.real("ratios", ratio, 0, 1) for ratio in ratios)
    if not groups or any(len(group.used_by) != len(shares) for group in groups):
        raise ValueError(f"groups must each say for {len(shares)} models whether they use them, not {list(groups)}.")
    if abs(sum(float(share) for share in shares) - 1) > 1e-12:
        raise ValueError(f"ratios must be numbers that add up to 1, not {list(ratios)}.")
    has = tuple(1 for _ in shares) if has_classes is None else tuple(has_classes)
    if len(has) != len(shares) or not set(has) <= {0, 1}:
        raise ValueError(f"has_classes must be {len(shares)} numbers 0 or 1, one a model, not {list(has)}.")
    if len({group.p is None for group in groups}) > 1:
        raise ValueError("p must be given for every group of features or for none.")
    vote_weight(averaging)
    n_classes = validation.integer("n_classes", n_classes, 2)
    return _votes(Mixture(tuple(groups), shares, averaging, (has, has)), (n_classes, 0, 0))


def naive_bayes_weight(p: float, n_classes: int) -> float:
    """beta = log(1 + K (1 - p) / p): the say of a feature of failure probability p in the trained head, M = K; inf at 0."""
    p, k = validation.probability("p", p), validation.integer("n_classes", n_classes, 2)
    return log1p((k - 1) * (1 - p)) - log(p) if p else inf


def vote_weight(averaging: Averaging) -> Callable:
    """The function (alpha, (a_i, b_i), ([k in Y_a], [k in Y_b])) -> v_i(k); alpha may be an array."""
    if averaging not in ("weights", "outputs"):
        raise ValueError(f"averaging must be 'weights' or 'outputs', not {averaging!r}.")
    return {"weights": _weight_average, "outputs": _output_average}[averaging]


def _weight_average(alpha: Number, member: tuple[int, int], class_in: tuple[int, int]) -> Number:
    """v_i(k) = w_i(k) Phi_i with both factors averaged; class_in = ([k in Y_a], [k in Y_b])."""
    (a, b), (in_a, in_b) = member, class_in
    return ((1 - alpha) * a * in_a + alpha * b * in_b) * ((1 - alpha) * a + alpha * b)


def _output_average(alpha: Number, member: tuple[int, int], class_in: tuple[int, int]) -> Number:
    """v_i(k) with the products w_i(k) Phi_i averaged; a * a = a for a in {0, 1}."""
    (a, b), (in_a, in_b) = member, class_in
    return (1 - alpha) * a * in_a + alpha * b * in_b


def _task(name: str, task: Task) -> Task:
    if task not in TASKS:
        raise ValueError(f"{name} must be 'a' or 'b', not {task!r}.")
    return task
