"""Averages of theta_0 and theta, mixed in memory and measured: with ratios that a sweep gives (MA, single parts, the
patterns of figure 9, any other merge), that follow from a rule (LiNeS) or that were found before (AMA, AdaMerging, the oracle) (paper.md sections 4, 5)."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..averaging.live import mix_, tied
from ..averaging.merge import Merge, merge_named, merged_methods
from ..averaging.merge.linear import LINEAR
from ..averaging.schedule import rule_named, schedules
from ..averaging.whole import Materials
from ..config import AveragingEntry
from ..errors import UserError
from ..evaluation.keeping import Keep, anew
from ..evaluation.local import Evaluator
from ..evaluation.measurement import rows_of, with_rate
from ..grouping import Grouping, assign, label_of, labels, only_linear, ratios
from ..methods import code_of
from ..models.loading import load_model
from ..training.iterations import iteration_folder
from .align import other_runs
from .samples import own_samples

# (setting, makes the model, valid until the next one), of each model; and what makes them: (evaluator, theta, entry, found)
Models = Iterator[tuple[dict[str, Any], Callable[[], torch.nn.Module]]]
ModelsOf = Callable[[Evaluator, Path, AveragingEntry, "Found"], Models]
# what a search for ratios has found: (which model it is, as the rows have it; ratio of each group)
Found = list[tuple[dict, dict[str, float]]]


@dataclass(frozen=True)
class Between:
    """theta_0 and theta side by side, and a live model for the weights between them.

    model: with theta's weights until it is mixed. theta_0, theta: state dicts that share no memory with it.
    assignment: tensor name -> group. theta_pre: a third one, for merges that take it.
    """

    model: torch.nn.Module
    theta_0: Mapping[str, torch.Tensor]
    theta: Mapping[str, torch.Tensor]
    assignment: Mapping[str, str]
    theta_pre: Mapping[str, torch.Tensor] | None = None

    def mix(self, alphas: Mapping[str, float], merge: Merge = LINEAR) -> torch.nn.Module:
        """The model, averaged with a ratio for each group."""
        return self.mix_tensors(ratios(self.assignment, alphas, merge.most), merge)

    def mix_tensors(self, alphas: Mapping[str, float], merge: Merge = LINEAR) -> torch.nn.Module:
        """The model, averaged with a ratio for each tensor."""
        mix_(self.model, self.theta_0, self.theta, alphas, merge, self.theta_pre)
        return self.model


def load_between(
    theta_0: Path, theta: Path, grouping: Grouping, device: torch.device | str = "cpu", matrices: bool = False
) -> Between:
    """Both model folders, the tensors grouped; `matrices`: embeddings and norms in no group, but theta_0's."""
    model = load_model(theta, device)
    both = load_model(theta_0, device), model
    start, end = ({name: tensor.clone() for name, tensor in one.state_dict().items()} for one in both)
    assignment = assign(end, grouping, tied(model.state_dict()))
    return Between(model, start, end, only_linear(assignment) if matrices else assignment)


def measure_averages(
    evaluator: Evaluator,
    theta: Path,
    rlhf: str,
    entry: AveragingEntry,
    lr: float | None,
    found: Found,
    keep: Keep = anew,
    models: ModelsOf | None = None,
) -> list[dict]:
    """Result rows of every setting of an entry.

    Args:
        rlhf: the algorithm that made theta.
        lr: the learning rate theta was made with, None for the preset's own; it becomes part of the setting.
        found: what a search for ratios has found; empty for methods that are given theirs.
        keep: keeps the rows of each model as they come; those that it has are not measured again.
        models: what makes the models (`models_of`).
    """
    rows = []
    for setting, build in (models or models_of)(evaluator, theta, entry, found):
        named = with_rate(setting, lr)
        rows += keep(named, lambda: rows_of(evaluator.run, rlhf, entry.method, named, *evaluator.measure(build())))
    return rows


def models_of(evaluator: Evaluator, theta: Path, entry: AveragingEntry, found: Found) -> Models:
    """Every model of an entry, mixed in memory."""
    grouping = entry.grouping.of_model(evaluator.run.preset.model)
    device, spec = evaluator.mixed_on, entry.spec
    between = load_between(evaluator.theta_0, theta, grouping, device, spec.matrices)
    if spec.theta_pre:
        before = load_model(evaluator.run.folder / "pretrained", device)
        between = replace(between, theta_pre=before.state_dict())
    if spec.whole:
        return _whole_models(evaluator, theta, entry, between)
    return _mixed_models(between, entry, grouping, found)


def _mixed_models(between: Between, entry: AveragingEntry, grouping: Grouping, found: Found) -> Models:
    for setting, alphas in settings_of(entry, grouping, labels(between.assignment), found):
        own = {key: setting[key] for key in entry.spec.options if key in setting}
        if entry.method in schedules():
            rule = rule_named(entry.method, own)
            named = rule(between.theta, tied(between.model.state_dict()), setting["alpha"])
            yield setting, partial(between.mix_tensors, {name: ratio for name, (_, ratio) in named.items()})
        else:
            merge = merge_named(entry.method, own) if entry.method in merged_methods() else LINEAR
            yield setting, partial(between.mix, alphas, merge)


def _whole_models(evaluator: Evaluator, theta: Path, entry: AveragingEntry, between: Between) -> Models:
    build = code_of(entry.spec)(_materials(evaluator, theta, between))
    for setting in whole_settings(entry):
        yield setting, partial(build, setting)


def whole_settings(entry: AveragingEntry) -> list[dict[str, Any]]:
    """The settings of an entry whose method makes whole models, as its rows have them."""
    if not entry.alphas:
        return entry.settings()
    return [{**options, "alpha": alpha} for alpha in entry.alphas for options in entry.settings()]


def _materials(evaluator: Evaluator, theta: Path, between: Between) -> Materials:
    run = evaluator.run
    folders = {"theta_0": evaluator.theta_0, "theta": theta, "pretrained": run.folder / "pretrained"}
    for iteration in range(1, int(theta.name.removeprefix("iteration")) + 1):
        folders[f"iteration{iteration}"] = iteration_folder(theta.parent, iteration)
    folders |= other_runs(run, theta)
    return Materials(
        between.model,
        evaluator.tokenizer,
        between.theta_0,
        between.theta,
        between.assignment,
        folders,
        partial(load_model, device=run.device),
        partial(own_samples, run, evaluator.theta_0, theta),
        int(run.rng("whole").integers(2**62)),
    )


def settings_of(
    entry: AveragingEntry, grouping: Grouping, groups: list[str], found: Found
) -> Iterator[tuple[dict[str, Any], dict[str, float]]]:
    """(setting as written into the rows, ratio of each group) for every alpha and options of an entry."""
    for named, alphas in found:
        yield {**named, **asdict(grouping), "alphas": alphas}, alphas
    for alpha in () if entry.spec.searches else entry.alphas:
        for options in entry.settings():
            alphas = _ratios(alpha, options, groups)
            named = {key: value for key, value in options.items() if key != "offsets"}
            if entry.spec.grouped:
                yield {**named, **asdict(grouping), "alphas": alphas}, alphas
            else:
                yield {**named, "alpha": alpha}, alphas


def _ratios(alpha: float, options: dict[str, Any], groups: list[str]) -> dict[str, float]:
    """alpha for every group; for one part alone, the others theta's; or plus each group's offset, rounded to what was meant
    (0.4 - 0.1 is 0.3)."""
    if "part" in options:
        return dict.fromkeys(groups, 1.0) | {group_named(options["part"], groups): alpha}
    if "offsets" not in options:
        return dict.fromkeys(groups, alpha)
    offsets = options["offsets"]
    if len(offsets) != len(groups):
        raise UserError(f"offsets = {list(offsets)} is not allowed; allowed is one for each of {', '.join(groups)}")
    return {group: round(alpha + offset, 12) for group, offset in zip(groups, offsets, strict=True)}


def group_named(name: str, groups: list[str]) -> str:
    """The group of a part's name ("input" is part1 of three), or the group itself ("embeddings")."""
    group = label_of(name)
    if group not in groups:
        raise UserError(f"part = {name!r} is no group of this model; allowed are {', '.join(groups)}")
    return group
