"""Averages of theta_0 and theta, mixed in memory and measured: MA, single parts, AMA (paper.md sections 4, 5)."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from llm.averaging.average import mix_, tied
from llm.averaging.groups import PART_NAMES, Grouping, assign, labels, ratios
from llm.config import Algorithm, AveragingEntry
from llm.errors import UserError
from llm.model import load_model
from llm.stages.evaluate import Evaluator
from llm.stages.rows import rows_of


def measure_averages(
    evaluator: Evaluator,
    theta: Path,
    rlhf: Algorithm,
    entry: AveragingEntry,
    lr: float | None,
    found: dict[float, dict[str, float]],
) -> list[dict]:
    """Result rows of every setting of an entry.

    Args:
        rlhf: the algorithm that made theta.
        lr: the learning rate theta was made with, None for the preset's own; it becomes part of the setting.
        found: mean ratio -> ratios of the groups, as AMA found them; empty for other methods.
    """
    model = load_model(theta)
    state_0 = {name: tensor.clone() for name, tensor in load_model(evaluator.theta_0).state_dict().items()}
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    grouping = Grouping(**entry.grouping.model_dump())
    assignment = assign(state, grouping, tied(model.state_dict()))
    rows = []
    for setting, alphas in settings_of(entry, labels(assignment), found):
        mix_(model, state_0, state, ratios(assignment, alphas))
        measured, seconds = evaluator.measure(model)
        setting = setting if lr is None else {**setting, "lr": lr}
        rows += rows_of(evaluator.run, rlhf, entry.method, setting, measured, seconds)
    return rows


def settings_of(
    entry: AveragingEntry, groups: list[str], found: dict[float, dict[str, float]]
) -> Iterator[tuple[dict, dict[str, float]]]:
    """(setting as written into the rows, ratio of each group) for every setting of an entry."""
    for alpha in entry.alphas:
        if entry.method == "ma":
            yield {"alpha": alpha}, dict.fromkeys(groups, alpha)
        elif entry.method == "part":
            for name in entry.part_names:
                group = group_named(name, groups)
                yield {"part": name, "alpha": alpha}, {g: alpha if g == group else 1.0 for g in groups}
        else:
            alphas = found[alpha]
            yield {"alpha": alpha, **asdict(Grouping(**entry.grouping.model_dump())), "alphas": alphas}, alphas


def group_named(name: str, groups: list[str]) -> str:
    """The group of a part's name ("input" is part1 of three), or the group itself ("embeddings")."""
    group = next((label for label, part in PART_NAMES.items() if part == name), name)
    if group not in groups:
        raise UserError(f"part_names = {name!r} is no group of this model; allowed are {', '.join(groups)}")
    return group
