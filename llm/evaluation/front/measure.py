"""`front`: theta_0, theta and what lies between them, measured without writing a model per ratio.

Weights are mixed in place in a live model; both models stay in memory beside it. Each measured point is
kept in the output folder as soon as it is there, so a run that was stopped goes on with the next one.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from ... import version
from ...averaging.ama.optimise import optimise_ratios
from ...averaging.ama.samples import batches
from ...averaging.live import mix_, tied
from ...averaging.merge import Merge
from ...averaging.merge.linear import LINEAR
from ...averaging.pair import Pair
from ...averaging.ratios import resolve, uniform
from ...averaging.schedule import applied, setting_of
from ...errors import UserError
from ...files import read_made, remove_partial, write_json, write_text
from ...grouping import Grouping, label_of, labels, ratios
from ...methods import METHODS
from ...models.batches import Tokens
from ...models.chat import pad_id
from ..measurement import Measurement
from ..tasks import Task
from .settings import BETWEEN, FrontSettings

_SETTINGS, _POINTS = "settings.json", "points"


@dataclass(frozen=True, eq=False)
class Point:
    """A model on the front. alpha: its ratio (of the part, at method "part"). setting: as in result rows."""

    label: str
    method: str
    alpha: float
    setting: dict
    scores: dict[str, Measurement] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def measure_front(
    pair: Pair,
    settings: FrontSettings,
    tasks: Sequence[Task],
    samples: Sequence[Tokens],
    out: Path,
    described: Mapping,
    progress: Callable[[str, int, int], None],
) -> list[Point]:
    """Every point from theta_0 to theta, measured or read from what an earlier run left in `out`.

    pair.model: its weights are overwritten. samples: for method "ama". described: everything that decides the numbers; `out`
    must not hold a run that differs in it. progress: called with (label, points done, points in all).
    """
    if settings.method == "part":
        _part(pair, settings)  # raises before anything is measured
    _claim(out, described)
    theta_0 = {name: tensor.clone() for name, tensor in pair.model.state_dict().items()}
    points = [Point("theta_0", "theta_0", 0.0, {}), Point("theta", "theta", 1.0, {})]
    method = settings.method
    points += [Point(f"{method}-{alpha:.12g}", method, alpha, {"alpha": alpha}) for alpha in settings.alphas]
    measured: list[Point] = []
    for number, point in enumerate(points):
        progress(point.label, number, len(points))
        file = out / _POINTS / f"{point.label}.json"
        if not file.exists():
            per_tensor, setting, merge = _mixture(pair, theta_0, settings, point, samples)
            same = _measured_before(measured, per_tensor, merge)
            if same is None:
                mix_(pair.model, theta_0, pair.theta, per_tensor, merge)
                try:
                    scores, seconds = _measure(pair, tasks)
                except UserError:
                    if not measured:  # nothing to go on with
                        (out / _SETTINGS).unlink()
                        out.rmdir()
                    raise
            else:
                scores, seconds = same.scores, same.seconds
            write_text(file, _to_json(point, setting, scores, seconds))
        measured.append(_from_json(point, file, settings.seed, measured[:1], [task.name for task in tasks]))
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


def _claim(out: Path, described: Mapping) -> None:
    """Make `out` this run's, or go on in it; UserError if it is another's."""
    file, own = out / _SETTINGS, json.loads(json.dumps(described))
    remove_partial(file)
    if file.is_file():
        if read_made(file) != own:
            raise UserError(f"out is {str(out)!r}, which holds a run with other arguments; give a new folder.")
    elif out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"out is {str(out)!r}, which exists and holds no run; give a new folder.")
    else:
        if not out.resolve().parent.is_dir():
            raise UserError(f"out is {str(out)!r}, but the folder it is to be in does not exist.")
        write_json(file, own)


def _mixture(
    pair: Pair, theta_0: Mapping[str, torch.Tensor], settings: FrontSettings, point: Point, samples: Sequence[Tokens]
) -> tuple[float | dict[str, float], dict, Merge]:
    """(a ratio for all tensors, or one each; the setting of the point's rows; how they are merged)."""
    if point.method in ("theta_0", "theta"):
        return point.alpha, point.setting, LINEAR
    if point.method in BETWEEN:
        return *_of_groups(pair, theta_0, settings, point, samples), LINEAR
    recipe, merge = applied(point.method, settings.options, uniform(point.alpha, Grouping()))
    setting = setting_of(METHODS[point.method], settings.options) | point.setting
    if recipe.rule is None:
        return point.alpha, setting, merge
    return resolve(recipe, theta_0, tied(pair.model.state_dict())).ratios, setting, merge


def _of_groups(
    pair: Pair, theta_0: Mapping[str, torch.Tensor], settings: FrontSettings, point: Point, samples: Sequence[Tokens]
) -> tuple[dict[str, float], dict]:
    """(a ratio for each tensor; the setting of the point's rows) of AMA, or of one part alone."""
    assignment = pair.assignment(settings.groups)
    if point.method == "part":
        label = _part(pair, settings)
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
    return ratios(assignment, found), {"alpha": point.alpha, **asdict(settings.groups), "alphas": found}


def _part(pair: Pair, settings: FrontSettings) -> str:
    """The label of the part that is averaged; UserError if the grouping has none of that name."""
    label = label_of(settings.part) if settings.grouping.parts == 3 else settings.part
    label = f"part{label}" if label.isdecimal() else label
    groups = labels(pair.assignment(settings.groups))
    if label not in groups:
        raise UserError(f"part is {settings.part!r}, allowed are {', '.join(groups)}.")
    return label


def _measured_before(points: Sequence[Point], per_tensor: float | dict[str, float], merge: Merge) -> Point | None:
    """theta_0 or theta, if these ratios are theirs and they have been measured."""
    distinct = set(per_tensor.values()) if isinstance(per_tensor, dict) else {per_tensor}
    return next((point for point in points[:2] if distinct == {point.alpha} and merge.copies(point.alpha)), None)


def _measure(pair: Pair, tasks: Sequence[Task]) -> tuple[dict[str, Measurement], dict[str, float]]:
    scores, seconds = {}, {}
    for task in tasks:
        start = perf_counter()
        scores[task.name] = task.measure(pair.model, pair.tokenizer)
        if not np.isfinite(scores[task.name].items).all():
            raise UserError(f"the task {task.name} gives a model a score that is not finite; look at its weights.")
        seconds[task.name] = perf_counter() - start
    return scores, seconds


def _to_json(point: Point, setting: dict, scores: Mapping[str, Measurement], seconds: Mapping[str, float]) -> str:
    tasks = {
        name: {"statistic": one.statistic, "seconds": seconds[name], "items": one.items.tolist()}
        for name, one in scores.items()
    }
    return json.dumps({"label": point.label, "setting": setting, "tasks": tasks}) + "\n"


def _from_json(point: Point, file: Path, seed: int, first: Sequence[Point], tasks: Sequence[str]) -> Point:
    """The point as `_to_json` wrote it. first: one that was read before, whose tasks and items it must have."""

    def take(content: dict) -> Point:
        scores, seconds = {}, {}
        for name, one in content["tasks"].items():
            items, rng = np.array(one["items"], np.float64), np.random.default_rng([seed, 2])
            scores[name] = Measurement.of(items, one["statistic"], rng)
            seconds[name] = round(one["seconds"], 3)
            if not np.isfinite(items).all():
                raise ValueError(f"{name} has a score that is not finite")
            if any(items.shape != point.scores[name].items.shape for point in first):
                raise ValueError(f"{name} has another number of items")
        if list(scores) != list(tasks):
            raise ValueError("it has other tasks")
        return Point(point.label, point.method, point.alpha, content["setting"], scores, seconds)

    return read_made(file, take)


def _on(some, device: torch.device):
    return ({key: tensor.to(device) for key, tensor in batch.items()} for batch in some)
