"""When does averaging two models help? The theory of section 5 of the paper, corrected, exact and fast (numpy
and scipy only).

Arrays. x, p, alpha and vote weights may be arrays, one number a question, in average, the functions of the limit of many
features, exact_accuracy, exact_task_accuracy and many_class_accuracy; n, n_o and p in proposition_5_1; S2, S4, the
dimensions and alpha in graded_effective_features and weights_help. They broadcast against each other, and the result
has their common shape. An array p is never one number a group: `Votes.p` is that. Everywhere else (Tasks, Features,
sampled and trained accuracies, front, gain, layers) these are one number each, and an array is refused by name.
"""

from . import fronts, layers, many_classes, model, monte_carlo, overlap, regression, trained
from .closed_form import F_p, clt_accuracy, clt_task_accuracy, dF_p_dx, effective_features, log_F_p, margin_accuracy
from .exact import exact_accuracy, exact_task_accuracy
from .exponents import error_exponent, harm_threshold
from .fronts import closed_form_accuracy, front, gain, hypervolume, pareto
from .layers import Layer, layered_fronts
from .many_classes import many_class_accuracy
from .model import Tasks, average, average_models, disjoint_labels, naive_bayes_weight, same_labels, single_model
from .monte_carlo import simulate_accuracy, simulate_difference, simulate_features, simulate_task_accuracy
from .overlap import (
    Overlap,
    graded_effective_features,
    graded_weights,
    overlap_of,
    principal_cosines,
    projectors,
    weights_help,
)
from .proposition import Proposition51, Terms, proposition_5_1, reversed_difference
from .regression import direction_ratios, regression_average, regression_votes, trained_regression
from .scalarised import scalarised_front
from .trained import Setting, trained_accuracies, trained_task_accuracies
from .votes import Features, Mixture, Votes

__all__ = [
    "F_p",
    "Features",
    "Layer",
    "Mixture",
    "Overlap",
    "Proposition51",
    "Setting",
    "Tasks",
    "Terms",
    "Votes",
    "average",
    "average_models",
    "closed_form_accuracy",
    "clt_accuracy",
    "clt_task_accuracy",
    "dF_p_dx",
    "direction_ratios",
    "disjoint_labels",
    "effective_features",
    "error_exponent",
    "exact_accuracy",
    "exact_task_accuracy",
    "front",
    "fronts",
    "gain",
    "graded_effective_features",
    "graded_weights",
    "harm_threshold",
    "hypervolume",
    "layered_fronts",
    "layers",
    "log_F_p",
    "many_class_accuracy",
    "many_classes",
    "margin_accuracy",
    "model",
    "monte_carlo",
    "naive_bayes_weight",
    "overlap",
    "overlap_of",
    "pareto",
    "principal_cosines",
    "projectors",
    "proposition_5_1",
    "regression",
    "regression_average",
    "regression_votes",
    "reversed_difference",
    "same_labels",
    "scalarised_front",
    "simulate_accuracy",
    "simulate_difference",
    "simulate_features",
    "simulate_task_accuracy",
    "single_model",
    "trained",
    "trained_accuracies",
    "trained_regression",
    "trained_task_accuracies",
    "weights_help",
]
