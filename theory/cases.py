"""What the tables of the theory have in common: the two cases, the two exact routes, the models that are compared."""

from collections.abc import Iterator
from fractions import Fraction

from .exact import exact_task_accuracy
from .fronts import closed_form_accuracy
from .model import Tasks, average, disjoint_labels, same_labels, single_model
from .votes import AVERAGINGS, Votes

Rows = Iterator[dict]
HALF = Fraction(1, 2)
LABELS = {"identical": same_labels, "disjoint": disjoint_labels}
ROUTES = {"closed-form": closed_form_accuracy, "exact": exact_task_accuracy}


def models_of(tasks: Tasks, all_labels: bool = False) -> dict[str, Votes]:
    """Votes on task a of its own model and of both averages at alpha = 1/2."""
    averages = {averaging: average(tasks, averaging, HALF, "a", all_labels) for averaging in AVERAGINGS}
    return {"single": single_model(tasks, "a", "a", all_labels)} | averages
