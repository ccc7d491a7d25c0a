"""`front`: theta_0, theta and what lies between them, measured without writing a model per ratio.

Weights are mixed in place in a live model; both models stay in memory beside it. Each measured point is
kept in the output folder as soon as it is there, so a run that was stopped goes on with the next one.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from ... import version
from ...averaging.ama.optimise import optimise_ratios
from ...averaging.ama.samples import batches
from ...averaging.displacement import saved_effect
from ...averaging.files.own_samples import Texts
from ...averaging.live import mix_, tied
from ...averaging.merge import Merge
from ...averaging.merge.linear import LINEAR
from ...averaging.pair import Pair
from ...averaging.precision import Effect
from ...averaging.ratios import resolve, uniform
from ...averaging.schedule import applied, setting_of
from ...averaging.whole import Build, Materials, regmean
from ...averaging.whole.regression import Setting
from ...errors import UserError
from ...files import read_made, write_text
from ...grouping import Grouping, label_of, labels, ratios
from ...methods import METHODS, family
from ...models.batches import Tokens
from ...models.chat import pad_id
from ..measurement import Measurement
from ..measuring import Progress, measure_tasks
from ..tasks import Task
from .claim import Claim
from .settings import BETWEEN, REGRESSION, FrontSettings

_POINTS = "points"


@dataclass(frozen=True, eq=False)
class Point:
    """A model on the front. alpha: its ratio (of the part, at method "part"; 1 / (1 + lambda) at "regmean"). setting: as in result
    rows. scores: metric -> measurement, as `measuring.measure_tasks` has it. saved: what rounding to the type it would be saved in
    makes of it.
    """

    label: str
    method: str
    alpha: float
    setting: dict
    scores: dict[str, Measurement] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    saved: Effect = field(default_factory=Effect)

    @property
    def curve(self) -> str:
        """What it is compared with others as: its method, or of "regmean" the family, since the layers' lambdas make two."""
        return family(REGRESSION, self.setting) if self.method == REGRESSION else self.method

    @property
    def key(self) -> tuple[str, float]:
        return self.curve, self.alpha

    @property
    def ratio(self) -> tuple[str, float]:
        """What it is told from the others of its curve by: ("alpha", its ratio), or ("lambda", its strength)."""
        return ("lambda", self.setting["strength"]) if self.method == REGRESSION else ("alpha", self.alpha)


def points_of(settings: FrontSettings) -> list[Point]:
    """theta_0, theta, and each method at each ratio; nothing is measured yet."""
    found = [Point("theta_0", "theta_0", 0.0, {}), Point("theta", "theta", 1.0, {})]
    for method in settings.method:
        if method == REGRESSION:
            for setting in settings.regressions:
                label = f"{family(method, setting)}-{setting['strength']:.12g}"
                found.append(Point(label, method, Setting.of(setting).alpha, setting))
        else:
            found += [
                Point(f"{method}-{alpha:.12g}", method, alpha, {"alpha": alpha}) for alpha in settings.ratios_of(method)
            ]
    return found


def file_of(out: Path, point: Point) -> Path:
    """Where a run keeps what it has measured of a point."""
    return out / _POINTS / f"{point.label}.json"


def measure_front(
    pair: Pair,
    settings: FrontSettings,
    tasks: Sequence[Task],
    samples: Sequence[Tokens],
    texts: Texts,
    claim: Claim,
    progress: Progress,
) -> list[Point]:
    """Every point from theta_0 to theta, measured or read from what an earlier run left; of a point that lacks a task only that is
    measured.

    pair.model: its weights are overwritten. samples: for method "ama"; texts: for "regmean". claim: on the folder to write, already
    checked. progress: called with (label, points done, points in all).
    """
    theta_0 = {name: tensor.clone() for name, tensor in pair.model.state_dict().items()}
    regression = _regression(pair, theta_0, texts, settings.seed)
    points, names = points_of(settings), [task.name for task in tasks]
    measured: list[Point] = []
    for number, point in enumerate(points):
        file = file_of(claim.out, point)
        known = read_made(file, lambda content: _known(content, names)) if file.exists() else None
        missing = [task for task in tasks if known is None or task.name not in known["tasks"]]
        if missing:
            setting = known["setting"] if known else None
            per_tensor, setting, merge = _mixture(pair, theta_0, settings, point, samples, setting)
            same = _measured_before(measured, per_tensor, merge)
            if same is None:
                if per_tensor is None:
                    regression(setting)
                else:
                    mix_(pair.model, theta_0, pair.theta, per_tensor, merge, pair.theta_pre)
                known_ratios = per_tensor if merge.is_linear else None
                saved = saved_effect(pair, theta_0, pair.model.state_dict(), known_ratios)
                scores, seconds = measure_tasks(
                    pair, missing, point.label, lambda label: progress(label, number, len(points))
                )
            else:
                scores, seconds, saved = same.scores, same.seconds, same.saved
            claim.make()
            write_text(file, _to_json(point, setting, scores, seconds, saved, missing, known))
        measured.append(_from_json(point, file, settings.seed, measured[:1], names))
    progress("done", len(points), len(points))
    return measured


def rows_of(points: Sequence[Point], name: str, rlhf: str, seed: int) -> list[dict]:
    """Result rows (`llm.evidence.rows`) of all points: one a task, `name` as preset."""
    return [
        {
            "preset": name,
            "seed": seed,
            "rlhf": "none" if point.label == "theta_0" else rlhf,
            "method": point.method,
            "setting": point.setting,
            "metric": task,
            "value": scores.value,
            "stderr": scores.stderr,
            "n": scores.n,
            "split": "test",
            "seconds": point.seconds[task],
            "version": version(),
        }
        for point in points
        for task, scores in point.scores.items()
    ]


def _mixture(
    pair: Pair,
    theta_0: Mapping[str, torch.Tensor],
    settings: FrontSettings,
    point: Point,
    samples: Sequence[Tokens],
    known: dict | None,
) -> tuple[float | dict[str, float] | None, dict, Merge]:
    """(a ratio for all tensors, or one each, None for a regression; the setting of the point's rows; how they are merged). known: the
    setting that an earlier run has found.
    """
    if point.method == REGRESSION:
        return (1.0 if point.alpha == 1 else None), point.setting, LINEAR
    if point.method in ("theta_0", "theta"):
        return point.alpha, point.setting, LINEAR
    if point.method in BETWEEN:
        return *_of_groups(pair, theta_0, settings, point, samples, known), LINEAR
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
    point: Point,
    samples: Sequence[Tokens],
    known: dict | None,
) -> tuple[dict[str, float], dict]:
    """(a ratio for each tensor; the setting of the point's rows) of AMA, or of one part alone."""
    groups = settings.groups_of(point.method)
    assignment = pair.assignment(groups)
    if known is not None and point.method == "ama":
        return ratios(assignment, known.get("alphas") or {}), known
    if point.method == "part":
        label = part_of(pair, settings)
        alphas = {group: point.alpha if group == label else 1.0 for group in labels(assignment)}
        return ratios(assignment, alphas), {"part": settings.part, "alpha": point.alpha}
    adapt = settings.adapt
    steps, rng = adapt.steps(len(samples)), np.random.default_rng([settings.seed, 1])
    order = batches(samples, adapt.batch, steps, rng, pad_id(pair.tokenizer))
    found = optimise_ratios(
        pair.model,
        theta_0,
        pair.theta,
        assignment,
        point.alpha,
        _on(order, pair.model.device),
        steps=steps,
        lr=lambda step: adapt.rate(step, steps),
        parameterisation=adapt.parameterisation,
        eps=adapt.eps,
        regulariser=adapt.penalty(assignment, pair.theta, point.alpha),
    ).alphas
    return ratios(assignment, found), {"alpha": point.alpha, **asdict(groups), "alphas": found}


def _regression(pair: Pair, theta_0: Mapping[str, torch.Tensor], texts: Texts, seed: int) -> Build:
    """setting -> its model, in pair.model. Gram matrices stay in memory, from the first call on, for all settings."""
    written = lambda kind, _count: texts["theta" if kind == "replies" else "theta_0"]
    load = lambda folder: pair.model  # no other models are needed
    return regmean.make(Materials(pair.model, pair.tokenizer, theta_0, pair.theta, {}, {}, load, written, seed))


def part_of(pair: Pair, settings: FrontSettings) -> str:
    """The label of the part that is averaged; UserError if the grouping has none of that name."""
    label = label_of(settings.part) if settings.grouping.parts == 3 else settings.part
    label = f"part{label}" if label.isdecimal() else label
    groups = labels(pair.assignment(settings.groups_of("part")))
    if label not in groups:
        raise UserError(f"part is {settings.part!r}, allowed are {', '.join(groups)}.")
    return label


def _measured_before(
    points: Sequence[Point], per_tensor: float | dict[str, float] | None, merge: Merge
) -> Point | None:
    """theta_0 or theta, if these ratios are theirs and they have been measured."""
    distinct = set(per_tensor.values()) if isinstance(per_tensor, dict) else {per_tensor}
    return next((point for point in points[:2] if distinct == {point.alpha} and merge.copies(point.alpha)), None)


def _known(content: dict, names: Sequence[str]) -> dict:
    """What a point's file holds, its metrics by task; those of a task that is not measured now are left out."""
    if not isinstance(content["setting"], dict) or not isinstance(content["saved"], dict):
        raise ValueError("it has no setting")
    tasks: dict[str, dict] = {}
    for key, found in content["tasks"].items():
        task = key.partition("/")[0]
        if task in names:
            tasks.setdefault(task, {})[key] = found
    return content | {"tasks": tasks}


def _to_json(
    point: Point,
    setting: dict,
    scores: Mapping[str, Measurement],
    seconds: Mapping[str, float],
    saved: Effect,
    missing: Sequence[Task],
    known: dict | None,
) -> str:
    """A point's file: what an earlier run has measured, and the missing tasks' metrics."""
    before = {key: one for found in known["tasks"].values() for key, one in found.items()} if known else {}
    new = {
        key: {"statistic": one.statistic, "seconds": seconds[key], "items": one.items.tolist()}
        for key, one in scores.items()
        if key.partition("/")[0] in {task.name for task in missing}
    }
    content = {"label": point.label, "setting": setting, "saved": asdict(saved), "tasks": before | new}
    return json.dumps(content) + "\n"


def _from_json(point: Point, file: Path, seed: int, first: Sequence[Point], names: Sequence[str]) -> Point:
    """The point as `_to_json` wrote it, tasks in the order of `names`. first: one that was read before, whose metrics and items it
    must have.
    """

    def take(content: dict) -> Point:
        scores, seconds, known = {}, {}, _known(content, names)["tasks"]
        for task in names:
            for key, one in known[task].items():
                items, rng = np.array(one["items"], np.float64), np.random.default_rng([seed, 2])
                scores[key] = Measurement.of(items, one["statistic"], rng)
                seconds[key] = round(one["seconds"], 3)
                if not np.isfinite(items).all():
                    raise ValueError(f"{key} has a score that is not finite")
                if any(items.shape != point.scores[key].items.shape for point in first):
                    raise ValueError(f"{key} has another number of items")
        if any(list(scores) != list(point.scores) for point in first):
            raise ValueError("it has other metrics")
        saved = Effect.of(content["saved"])
        return Point(point.label, point.method, point.alpha, content["setting"], scores, seconds, saved)

    return read_made(file, take)


def _on(some, device: torch.device):
    return ({key: tensor.to(device) for key, tensor in batch.items()} for batch in some)
