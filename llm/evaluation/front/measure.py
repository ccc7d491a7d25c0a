"""`front`: theta_0, theta and what lies between them, measured without writing a model per ratio.

Weights are mixed in place in a live model; both models stay in memory beside it. Each measured point is
kept in the output folder as soon as it is there, so a run that was stopped goes on with the next one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
import torch

from ...averaging.ama.optimise import optimise_ratios
from ...averaging.ama.samples import batches
from ...averaging.displacement import saved_effect
from ...averaging.files.own_samples import Texts
from ...averaging.live import mix_, tied
from ...averaging.merge import Merge
from ...averaging.merge.linear import LINEAR
from ...averaging.pair import Pair
from ...averaging.ratios import resolve, uniform
from ...averaging.schedule import applied, setting_of
from ...averaging.whole import Build, Materials, regmean
from ...files import read_made, write_text
from ...grouping import Grouping, label_of, labels, ratios
from ...methods import METHODS
from ...models.batches import Tokens
from ...models.chat import pad_id
from ..measuring import Progress, measure_tasks
from ..tasks import Task
from .claim import Claim
from .points import Point, file_of, from_json, known_of, own_points, points_of, to_json
from .settings import BETWEEN, REGRESSION, FrontSettings


def measure_front(
    pair: Pair,
    settings: FrontSettings,
    groups: Mapping[str, Mapping[str, str]],
    tasks: Sequence[Task],
    samples: Sequence[Tokens],
    texts: Texts,
    claim: Claim,
    progress: Progress,
) -> list[Point]:
    """Every point from theta_0 to theta, measured or read from what an earlier run left; of a point that lacks a task only that is
    measured.

    pair.model: its weights are overwritten. groups: method -> the group of each tensor, of methods that have groups. samples: for method
    "ama"; texts: for "regmean". claim: on the folder to write, already checked. progress: called with (label, points done, points in all).
    """
    theta_0 = {name: tensor.clone() for name, tensor in pair.model.state_dict().items()}
    regression = _regression(pair, theta_0, texts, settings.seed)
    points, names = points_of(settings), [task.name for task in tasks]
    own = own_points(points)
    measured: list[Point] = []
    for point in points:
        number = own.index(point) if point in own else 0
        file = file_of(claim.out, point)
        known = read_made(file, lambda content: known_of(content, names)) if file.exists() else None
        missing = [task for task in tasks if known is None or task.name not in known["tasks"]]
        if missing:
            setting = known["setting"] if known else None
            per_tensor, setting, merge = _mixture(
                pair, theta_0, settings, groups.get(point.method, {}), point, samples, setting
            )
            same = _measured_before(measured, per_tensor, merge)
            if same is None:
                if per_tensor is None:
                    regression(setting)
                else:
                    mix_(pair.model, theta_0, pair.theta, per_tensor, merge, pair.theta_pre, pair.names)
                known_ratios = per_tensor if merge.is_linear else None
                saved = saved_effect(pair, theta_0, pair.model.state_dict(), known_ratios)
                scores, seconds = measure_tasks(
                    pair, missing, point.label, lambda label: progress(label, number, len(own))
                )
            else:
                scores, seconds, saved = same.scores, same.seconds, same.saved
            claim.make()
            write_text(file, to_json(point, setting, scores, seconds, saved, missing, known))
        measured.append(from_json(point, file, settings.seed, measured[:1], names))
    progress("done", len(own), len(own))
    return measured


def _mixture(
    pair: Pair,
    theta_0: Mapping[str, torch.Tensor],
    settings: FrontSettings,
    assignment: Mapping[str, str],
    point: Point,
    samples: Sequence[Tokens],
    known: dict | None,
) -> tuple[float | dict[str, float] | None, dict, Merge]:
    """(a ratio for all tensors, or one each, None for a regression; the setting of the point's rows; how they are merged). assignment:
    of methods that have groups. known: the setting that an earlier run has found.
    """
    if point.method == REGRESSION:
        return (1.0 if point.alpha == 1 else None), point.setting, LINEAR
    if point.method in ("theta_0", "theta"):
        return point.alpha, point.setting, LINEAR
    if point.method in BETWEEN:
        return *_of_groups(pair, theta_0, settings, assignment, point, samples, known), LINEAR
    given = settings.options.get(point.method, {})
    recipe, merge = applied(point.method, given, uniform(point.alpha, Grouping(), METHODS[point.method].most))
    setting = setting_of(METHODS[point.method], given) | point.setting
    if recipe.rule is None:
        return point.alpha, setting, merge
    return resolve(recipe, theta_0, tied(pair.model.state_dict())).ratios, setting, merge


def _of_groups(
    pair: Pair,
    theta_0: Mapping[str, torch.Tensor],
    settings: FrontSettings,
    assignment: Mapping[str, str],
    point: Point,
    samples: Sequence[Tokens],
    known: dict | None,
) -> tuple[dict[str, float], dict]:
    """(a ratio for each tensor; the setting of the point's rows) of AMA, or of one part alone."""
    described = asdict(settings.groups_of(point.method))
    if known is not None and point.method == "ama":
        return ratios(assignment, known.get("alphas") or {}), known
    if point.method == "part":
        label = label_of(str(settings.part), settings.grouping.parts)
        alphas = {group: point.alpha if group == label else 1.0 for group in labels(assignment)}
        return ratios(assignment, alphas), {"part": settings.part, "alpha": point.alpha}
    if point.alpha in (0, 1):  # the only ratios of that mean
        alphas = dict.fromkeys(labels(assignment), point.alpha)
        return ratios(assignment, alphas), {"alpha": point.alpha, **described, "alphas": alphas}
    adapt = settings.adapt
    steps, rng = adapt.steps(len(samples)), np.random.default_rng([settings.seed, 1])
    order = batches(samples, adapt.batch, steps, rng, pad_id(pair.tokenizer), pair.model.device)
    found = optimise_ratios(
        pair.model,
        theta_0,
        pair.theta,
        assignment,
        point.alpha,
        order,
        steps=steps,
        lr=lambda step: adapt.rate(step, steps),
        parameterisation=adapt.parameterisation,
        eps=adapt.eps,
        regulariser=adapt.penalty(assignment, pair.theta, point.alpha),
    ).alphas
    return ratios(assignment, found), {"alpha": point.alpha, **described, "alphas": found}


def _regression(pair: Pair, theta_0: Mapping[str, torch.Tensor], texts: Texts, seed: int) -> Build:
    """setting -> its model, in pair.model. Gram matrices stay in memory, from the first call on, for all settings."""
    written = lambda kind, _count: texts["theta" if kind == "replies" else "theta_0"]
    load = lambda folder: pair.model  # no other models are needed
    return regmean.make(Materials(pair.model, pair.tokenizer, theta_0, pair.theta, {}, {}, load, written, seed))


def _measured_before(
    points: Sequence[Point], per_tensor: float | dict[str, float] | None, merge: Merge
) -> Point | None:
    """theta_0 or theta, if these ratios are theirs and they have been measured."""
    distinct = set(per_tensor.values()) if isinstance(per_tensor, dict) else {per_tensor}
    return next((point for point in points[:2] if distinct == {point.alpha} and merge.copies(point.alpha)), None)
