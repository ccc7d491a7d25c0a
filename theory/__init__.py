"""When does averaging two models help? The theory of section 5 of the paper, corrected, exact and fast (numpy
and scipy only).
"""

from .closed_form import F_p, clt_accuracy, dF_p_dx, effective_features, log_F_p
from .exact import exact_accuracy
from .monte_carlo import simulate_accuracy
from .proposition import proposition_5_1

__all__ = [
    "F_p",
    "clt_accuracy",
    "dF_p_dx",
    "effective_features",
    "exact_accuracy",
    "log_F_p",
    "proposition_5_1",
    "simulate_accuracy",
]
