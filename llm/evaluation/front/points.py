"""A point of the front: what it is, the file of the run that keeps what was measured of it, and its rows."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from ... import version
from ...averaging.precision import Effect
from ...averaging.whole.regression import Setting
from ...files import read_made
from ...methods import METHODS, family
from ..measurement import Measurement
from ..tasks import Task
from .settings import REGRESSION, FrontSettings

_POINTS = "points"


@dataclass(frozen=True, eq=False)
class Point:
    """A model on the front. alpha: its ratio (of the part, at method "part"; 1 / (1 + lambda) at "regmean"). setting: as in result
    rows. scores: metric -> measurement, as `measuring.measure_tasks` has it; versions: by which version of the code. saved: what rounding
    to the type it would be saved in makes of it.
    """

    label: str
    method: str
    alpha: float
    setting: dict
    scores: dict[str, Measurement] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
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

    @property
    def end(self) -> str | None:
        """Which end a point between the ends is nevertheless, so that it is not measured again: "theta_0" or "theta"."""
        return end_of(self.method, self.alpha)


def end_of(method: str, alpha: float) -> str | None:
    """Which end a method's model at a ratio is: "theta_0", "theta" or None."""
    order = METHODS[method].order if method in METHODS else None
    if order is None or alpha not in (0, 1):
        return None
    found = order.ends if alpha else order.starts
    return found if found in ("theta_0", "theta") else None


def in_words(points: Sequence[Point]) -> str:
    """How many models are measured, and what they are: both ends, and what is no end of each curve."""
    measured = own_points(points)
    counts = dict.fromkeys([point.curve for point in points[2:]], 0)
    for point in measured[2:]:
        counts[point.curve] += 1
    between = ", ".join(f"{count} of {curve}" for curve, count in counts.items())
    return f"{len(measured)} models: both ends (theta_0 and theta), {between}"


def own_points(points: Sequence[Point]) -> list[Point]:
    """Those that are measured: theta_0, theta, and what is neither again."""
    return [point for point in points if point.end is None]


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
            "version": point.versions[task],
        }
        for point in points
        for task, scores in point.scores.items()
    ]


def known_of(content: dict, names: Sequence[str]) -> dict:
    """What a point's file holds, its metrics by task, but for tasks that are not measured now; "kept" are all, as the file has them."""
    if not isinstance(content["setting"], dict) or not isinstance(content["saved"], dict):
        raise ValueError("it has no setting")
    tasks: dict[str, dict] = {}
    for key, found in content["tasks"].items():
        task = key.partition("/")[0]
        if task in names:
            tasks.setdefault(task, {})[key] = found
    return content | {"tasks": tasks, "kept": content["tasks"]}


def to_json(
    point: Point,
    setting: dict,
    scores: Mapping[str, Measurement],
    seconds: Mapping[str, float],
    saved: Effect,
    missing: Sequence[Task],
    known: dict | None,
) -> str:
    """A point's file: what earlier runs have measured, of tasks that are not asked for now, too, and the missing tasks' metrics."""
    new = {
        key: {"statistic": one.statistic, "seconds": seconds[key], "version": version(), "items": one.items.tolist()}
        for key, one in scores.items()
        if key.partition("/")[0] in {task.name for task in missing}
    }
    content = {
        "label": point.label,
        "setting": setting,
        "saved": asdict(saved),
        "tasks": (known["kept"] if known else {}) | new,
    }
    return json.dumps(content) + "\n"


def from_json(point: Point, file: Path, seed: int, first: Sequence[Point], names: Sequence[str]) -> Point:
    """The point as `to_json` wrote it, tasks in the order of `names`. first: one that was read before, whose metrics and items it
    must have.
    """

    def take(content: dict) -> Point:
        scores, seconds, versions, known = {}, {}, {}, known_of(content, names)["tasks"]
        for task in names:
            for key, one in known[task].items():
                items = np.array(one["items"], np.float64)
                scores[key] = Measurement.of(items, one["statistic"]).with_error(seed)
                seconds[key], versions[key] = round(one["seconds"], 3), str(one["version"])
                if not np.isfinite(items).all():
                    raise ValueError(f"{key} has a score that is not finite")
                if any(items.shape != point.scores[key].items.shape for point in first):
                    raise ValueError(f"{key} has another number of items")
        if any(list(scores) != list(point.scores) for point in first):
            raise ValueError("it has other metrics")
        saved = Effect.of(content["saved"])
        return Point(point.label, point.method, point.alpha, content["setting"], scores, seconds, versions, saved)

    return read_made(file, take)
