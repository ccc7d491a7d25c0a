"""When does averaging two models help? The theory of section 5 of the paper, corrected, exact and fast (numpy
and scipy only).

Arguments that are numbers (p, n, n_o, alpha, x) may be arrays in the functions of the limit of many features and in
exact_accuracy; they broadcast against each other, and the result has their common shape.
"""

from . import fronts, layers, many_classes, model, monte_carlo, overlap, regression, trained
from .closed_form import F_p, clt_accuracy, clt_task_accuracy, dF_p_dx, effective_features, log_F_p, margin_accuracy
from .exact import exact_accuracy, exact_task_accuracy
from .fronts import front, gain, hypervolume, pareto
from .many_classes import many_class_accuracy, many_class_gain
from .model import (
    Features,
    Tasks,
    Votes,
    average,
    average_models,
    disjoint_labels,
    naive_bayes_weight,
    same_labels,
    single_model,
)
from .monte_carlo import simulate_accuracy, simulate_difference, simulate_features, simulate_task_accuracy
from .overlap import Overlap, graded_effective_features, overlap_of, principal_cosines, weights_help
from .proposition import proposition_5_1
from .regression import direction_ratios, regression_average, regression_votes

__all__ = [
    "F_p",
    "Features",
    "Overlap",
    "Tasks",
    "Votes",
    "average",
    "average_models",
    "clt_accuracy",
    "clt_task_accuracy",
    "dF_p_dx",
    "direction_ratios",
    "disjoint_labels",
    "effective_features",
    "exact_accuracy",
    "exact_task_accuracy",
    "front",
    "fronts",
    "gain",
    "graded_effective_features",
    "hypervolume",
    "layers",
    "log_F_p",
    "many_class_accuracy",
    "many_class_gain",
    "many_classes",
    "margin_accuracy",
    "model",
    "monte_carlo",
    "naive_bayes_weight",
    "overlap",
    "overlap_of",
    "pareto",
    "principal_cosines",
    "proposition_5_1",
    "regression",
    "regression_average",
    "regression_votes",
    "same_labels",
    "simulate_accuracy",
    "simulate_difference",
    "simulate_features",
    "simulate_task_accuracy",
    "single_model",
    "trained",
    "weights_help",
]
