"""Tax-constrained ratios against a lattice of ratios: no point of it is better by the objective, taken text by text."""

from itertools import product
from types import SimpleNamespace

import pytest
import torch
from torch.func import functional_call

from ama_models import pair
from llm.averaging.whole import Materials, constrained
from llm.grouping import Grouping, assign
from regressions import draw

GROUPS = ("part1", "part2", "embeddings")


@pytest.fixture(scope="module")
def case():
    """(materials, ratios -> the objective at lambda) of a near pair of two layers and few texts, which are all in every batch."""
    model, theta = pair(layers=2)
    theta_0 = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    texts = {"free": draw(2, 8), "replies": draw(3, 8)}
    grouping = Grouping(2, "part", "own", "first", "last")
    assignment, tokenizer = assign(theta, grouping), SimpleNamespace(pad_token_id=2, eos_token_id=1)
    given = Materials(model, tokenizer, theta_0, theta, assignment, {}, {}.__getitem__, lambda kind, _: texts[kind], 3)

    @torch.no_grad()
    def objective(ratios: tuple[float, ...], strength: float) -> float:
        at = dict(zip(GROUPS, ratios, strict=True))
        mixed = {n: (1 - at[assignment[n]]) * low + at[assignment[n]] * theta[n] for n, low in theta_0.items()}
        found = {}
        for kind, samples in texts.items():
            total = 0.0
            for one in samples:
                ids = torch.tensor([one.context + one.reply])
                logs = functional_call(model, mixed, kwargs={"input_ids": ids}).logits[0].log_softmax(-1)
                total -= sum(logs[len(one.context) + i - 1, token].item() for i, token in enumerate(one.reply))
            found[kind] = total / sum(len(one.reply) for one in samples)
        return found["replies"] + strength * found["free"]

    return given, objective


@pytest.mark.parametrize("strength", [0.5, 3.0])
def test_no_point_of_a_lattice_is_better_than_the_ratios_found(case, strength):
    given, objective = case
    found = constrained.find(given, strength)
    assert sorted(found) == sorted(GROUPS)
    lattice = {point: objective(point, strength) for point in product((0.0, 0.33, 0.67, 1.0), repeat=3)}
    best, worst = min(lattice.values()), max(lattice.values())
    reached = objective(tuple(found[group] for group in GROUPS), strength)
    assert reached <= best + 0.02 * (worst - best)
    assert reached < min(objective((alpha,) * 3, strength) for alpha in (0.0, 0.25, 0.5, 0.75, 1.0))
