"""`front` on files: models, tasks and ratios in; rows, values of each item, pictures and a report out."""

import hashlib
import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ...averaging.ama.picture import save_figure
from ...averaging.ama.samples import read_samples, select, tokenise
from ...averaging.pair import Pair, hashes, load_pair
from ...errors import UserError
from ...evidence.rows import write_rows
from ...files import write_json, write_text
from ...models.batches import Tokens
from ...models.loading import device_of
from ..benchmarks.harness import manager_for
from ..tasks import Asking, Harness, Task, read_task, reward_task
from .measure import Point, Sweep, measure_front, rows_of
from .recommend import Recommendation, Series, recommend
from .report import draw_front, report, sentence

RLHF = ("none", "rsf", "dpo", "ppo")
_FILES = (".jsonl", ".json")  # of tasks that are no names of lm-eval's


@dataclass(frozen=True)
class FrontSettings:
    """What is measured, and how.

    tasks: entries PATH.jsonl, NAME=PATH.jsonl, or names of lm-eval tasks. alignment: the task that must
    not be lost, "reward" where a reward model is given. chat: local items in the model's chat format.
    task_tokens, tokens: new tokens a reply, of local items and of rewarded samples. limit, task_folder:
    of lm-eval. name, rlhf: preset and algorithm in the rows.
    """

    tasks: Sequence[str]
    alignment: str = "reward"
    chat: bool = True
    task_tokens: int = 64
    tokens: int = 196
    temperature: float = 1.0
    batch: int = 16
    limit: int | None = None
    task_folder: Path | None = None
    confidence: float = 0.95
    resamples: int = 1000
    seed: int = 0
    dtype: str = "auto"
    name: str = "models"
    rlhf: str = "none"

    def __post_init__(self) -> None:
        if self.rlhf not in RLHF:
            raise UserError(f"rlhf is {self.rlhf!r}, allowed are {', '.join(RLHF)}.")
        if not 0.5 <= self.confidence < 1:
            raise UserError(f"confidence is {self.confidence}, allowed are numbers from 0.5 to below 1.")
        for key in ("task_tokens", "tokens", "batch"):
            if getattr(self, key) < 1:
                raise UserError(f"{key.replace('_', '-')} is {getattr(self, key)}, allowed are whole numbers from 1.")
        if not self.temperature > 0:
            raise UserError(f"temperature is {self.temperature}, allowed are numbers above 0.")


@dataclass(frozen=True)
class Inputs:
    """The two models, the reward model with its prompts, and AMA's samples, where they are given."""

    theta_0: Path
    theta: Path
    reward_model: Path | None = None
    prompts: Path | None = None
    data: Path | None = None


def front_files(
    inputs: Inputs,
    out: Path,
    sweep: Sweep,
    settings: FrontSettings,
    *,
    device: str = "auto",
    progress: Callable[[str, int, int], None] = lambda label, done, total: None,
) -> str:
    """Measure the front and write `out`: rows.jsonl, points/ (a value an item), recommendation.json,
    front.pdf and .png, report.html. Returns the recommendation as a sentence.

    Raises UserError for input that is missing, damaged or does not fit; what was measured before that
    stays in `out`.
    """
    if (inputs.data is not None) != (sweep.method == "ama"):
        raise UserError("data (samples of theta) is needed with method 'ama' and allowed with it only.")
    if (inputs.reward_model is None) != (inputs.prompts is None):
        raise UserError("reward-model and prompts are allowed together only.")
    place = device_of(device)
    tasks = _tasks(inputs, settings, place)
    pair = load_pair(inputs.theta_0, inputs.theta, settings.dtype, place)
    samples = _samples(inputs, sweep, pair)
    described = _described(inputs, sweep, settings)
    points = measure_front(pair, sweep, tasks, samples, out, described, settings.seed, progress)
    found = _recommendation(points, settings)
    _write(out, points, tasks, settings, found, inputs, sweep)
    return sentence(found, settings.alignment)


def _tasks(inputs: Inputs, settings: FrontSettings, place) -> list[Task]:
    asking = Asking(settings.chat, settings.task_tokens, settings.batch)
    tasks: list[Task] = []
    if inputs.reward_model is not None:
        tasks.append(
            reward_task(
                inputs.reward_model,
                inputs.prompts,
                tokens=settings.tokens,
                device=place,
                temperature=settings.temperature,
                seed=settings.seed,
                batch=settings.batch,
                dtype=settings.dtype,
            )
        )
    named = [entry for entry in settings.tasks if not entry.endswith(_FILES)]
    manager = manager_for([entry.partition(":")[0] for entry in named], settings.task_folder) if named else None
    for entry in settings.tasks:
        name, _, path = entry.rpartition("=")
        if path.endswith(_FILES):
            tasks.append(read_task(name or Path(path).stem, Path(path), asking))
        else:
            tasks.append(Harness(entry, settings.batch, manager, settings.limit))
    names = [task.name for task in tasks]
    if len(set(names)) < len(names):
        raise UserError(f"tasks are called {', '.join(names)}; give each a name of its own, as NAME=FILE.")
    if settings.alignment not in names:
        raise UserError(
            f"alignment is {settings.alignment!r}, allowed are the tasks {', '.join(names) or '(none)'} "
            "(reward, with --reward-model and --prompts)."
        )
    if len(names) < 2:
        raise UserError("tasks has no ability beside the alignment metric; give at least one.")
    return tasks


def _samples(inputs: Inputs, sweep: Sweep, pair: Pair) -> list[Tokens]:
    if inputs.data is None:
        return []
    adapt = sweep.adapt
    drawn = select(read_samples(inputs.data), adapt.keep, adapt.draw, np.random.default_rng([adapt.seed, 0]))
    return tokenise(drawn, pair.tokenizer, adapt.max_length)[0]


def _described(inputs: Inputs, sweep: Sweep, settings: FrontSettings) -> dict:
    """All that decides the measured numbers: models and files by hash, and settings."""
    folders = {"theta_0": inputs.theta_0, "theta": inputs.theta, "reward_model": inputs.reward_model}
    files = {"prompts": inputs.prompts, "data": inputs.data}
    files |= {task: Path(task.rpartition("=")[2]) for task in settings.tasks}
    chosen = {
        key: str(value) if isinstance(value, Path) else value
        for key, value in asdict(settings).items()
        if key not in ("confidence", "resamples", "alignment")
    }
    return {
        "sources": {
            key: {"folder": path.resolve().name, "sha256": hashes(path)} for key, path in folders.items() if path
        },
        "files": {
            key: hashlib.sha256(path.read_bytes()).hexdigest() for key, path in files.items() if path and path.is_file()
        },
        "settings": chosen,
        "sweep": {**asdict(sweep), "alphas": list(sweep.alphas)},
    }


def _recommendation(points: Sequence[Point], settings: FrontSettings) -> Recommendation:
    """Over the ratios of the path below 1, and theta."""
    chosen = [point for point in points[2:] if point.alpha < 1] + [points[1]]
    series = [
        Series(name, np.stack([point.scores[name].items for point in chosen]), scores.statistic)
        for name, scores in points[0].scores.items()
    ]
    alignment = next(one for one in series if one.name == settings.alignment)
    return recommend(
        [point.alpha for point in chosen],
        alignment,
        [one for one in series if one is not alignment],
        np.random.default_rng([settings.seed, 3]),
        settings.confidence,
        settings.resamples,
    )


def _write(
    out: Path,
    points: Sequence[Point],
    tasks: Sequence[Task],
    settings: FrontSettings,
    found: Recommendation,
    inputs: Inputs,
    sweep: Sweep,
) -> None:
    write_rows(out / "rows.jsonl", rows_of(points, settings.name, settings.rlhf, settings.seed))
    write_json(out / "recommendation.json", asdict(found))
    note = f"{settings.name}, seed {settings.seed}; error bars: standard error over items"
    figure = draw_front(points, settings.alignment, found, note)
    save_figure(figure, out / "front")
    best = next((point for point in points[2:] if point.alpha == found.alpha < 1), None)
    command = None
    if best is not None and best.method == "ama":
        write_json(out / "ratios.json", {"groups": best.setting["alphas"], "grouping": asdict(sweep.grouping)})
    if best is not None:
        command = _command(inputs, out, sweep, best)
    facts = {
        "theta_0": inputs.theta_0.resolve().name,
        "theta": inputs.theta.resolve().name,
        "method": sweep.method,
        "tasks": ", ".join(
            f"{task.name} ({task.kind}, {len(points[0].scores[task.name].items)} items)" for task in tasks
        ),
        "confidence": f"{settings.confidence:.0%}",
        "seed": str(settings.seed),
    }
    kinds = {task.name: task.kind for task in tasks}
    title = f"Front of {settings.name}"
    page = report(points, kinds, settings.alignment, found, figure, title=title, facts=facts, command=command)
    write_text(out / "report.html", page)


def _command(inputs: Inputs, out: Path, sweep: Sweep, best: Point) -> str:
    """The `average` that writes the recommended model."""
    grouping = asdict(sweep.grouping)
    places = [text for key in ("parts", "embeddings", "norm", "head") for text in (f"--{key}", str(grouping[key]))]
    how = {
        "ma": ["--alpha", f"{best.alpha:g}"],
        "part": ["--part", str(sweep.part), "--alpha", f"{best.alpha:g}", *places],
        "ama": ["--alphas-file", str(out / "ratios.json")],
    }[best.method]
    sources = ["--theta-0", str(inputs.theta_0), "--theta", str(inputs.theta)]
    return shlex.join(["python", "-m", "llm", "average", *sources, *how, "--out", "averaged"])
