"""`front` on files: models, tasks and ratios in; rows, values of each item, pictures and a report out."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ...averaging.ama.picture import save_figure
from ...averaging.ama.samples import read_samples, select, tokenise
from ...averaging.ama.settings import Sources, described_file
from ...averaging.pair import Pair, load_pair
from ...errors import UserError
from ...evidence.rows import write_rows
from ...files import write_json, write_text
from ...models.batches import Tokens
from ...models.loading import device_of, warn
from ..benchmarks.harness import manager_for
from ..tasks import Asking, Harness, Task, read_task, reward_task
from .measure import Point, measure_front, rows_of
from .recommend import Recommendation, Series, recommend
from .report import draw_front, report, sentence
from .settings import FrontSettings

_FILES = (".jsonl", ".json")  # of tasks that are no names of lm-eval's


def front_files(
    sources: Sources,
    out: Path,
    settings: FrontSettings,
    *,
    device: str = "auto",
    progress: Callable[[str, int, int], None] = lambda label, done, total: None,
) -> str:
    """Measure the front and write `out`: rows.jsonl, points/ (a value an item), recommendation.json,
    front.pdf and .png, report.html. Returns the recommendation as a sentence.

    sources: `data` for method "ama", and `reward_model` with `prompts` for the task "reward".
    Raises UserError for input that is missing, damaged or does not fit; what was measured before that stays in `out`.
    """
    if (sources.data is not None) != (settings.method == "ama"):
        raise UserError("data (samples of theta) is needed with method 'ama' and allowed with it only.")
    if (sources.reward_model is None) != (sources.prompts is None):
        raise UserError("reward-model and prompts are allowed together only.")
    place = device_of(device)
    tasks = _tasks(sources, settings, place)
    pair = load_pair(sources.theta_0, sources.theta, settings.dtype, place, settings.match)
    samples = _samples(sources, settings, pair)
    notes = pair.notes + (settings.adapt.too_slow(len(samples)) if samples else [])
    for note in notes:
        warn(note)
    points = measure_front(pair, settings, tasks, samples, out, _described(sources, settings), progress)
    found = _recommendation(points, settings)
    _write(out, points, tasks, settings, found, sources, notes)
    return sentence(found, settings.alignment)


def _tasks(sources: Sources, settings: FrontSettings, place) -> list[Task]:
    asking = Asking(settings.chat, settings.task_tokens, settings.batch)
    tasks: list[Task] = []
    if sources.reward_model is not None:
        tasks.append(
            reward_task(
                sources.reward_model,
                sources.prompts,
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


def _samples(sources: Sources, settings: FrontSettings, pair: Pair) -> list[Tokens]:
    if sources.data is None:
        return []
    adapt, rng = settings.adapt, np.random.default_rng([settings.seed, 0])
    drawn = select(read_samples(sources.data), adapt.keep, adapt.draw, rng)
    return tokenise(drawn, pair.tokenizer, adapt.max_length)[0]


def _described(sources: Sources, settings: FrontSettings) -> dict:
    """All that decides the measured numbers: models and files by hash, and settings."""
    files = {task: Path(task.rpartition("=")[2]) for task in settings.tasks}
    of_the_report = {"confidence", "resamples", "alignment", "name", "rlhf"}
    return {
        "sources": {key: found["sha256"] for key, found in sources.described().items()},
        "tasks": {task: described_file(file)["sha256"] if file.is_file() else None for task, file in files.items()},
        "settings": settings.model_dump(mode="json", exclude=of_the_report),
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
    sources: Sources,
    notes: Sequence[str],
) -> None:
    name = settings.name or sources.theta.resolve().name
    write_rows(out / "rows.jsonl", rows_of(points, name, settings.rlhf, settings.seed))
    write_json(out / "recommendation.json", asdict(found))
    note = f"{name}, seed {settings.seed}; error bars: standard error over items"
    figure = draw_front(points, settings.alignment, found, note)
    save_figure(figure, out / "front")
    best = next((point for point in points[2:] if point.alpha == found.alpha < 1), None)
    command = None
    if best is not None and best.method == "ama":
        write_json(out / "ratios.json", {"groups": best.setting["alphas"], "grouping": asdict(settings.groups)})
    if best is not None:
        command = _command(sources, out, settings, best)
    facts = {
        "theta_0": sources.theta_0.resolve().name,
        "theta": sources.theta.resolve().name,
        "method": settings.method,
        "tasks": ", ".join(
            f"{task.name} ({task.kind}, {len(points[0].scores[task.name].items)} items)" for task in tasks
        ),
        "confidence": f"{settings.confidence:.0%}",
        "seed": str(settings.seed),
        **({"notes": " ".join(notes)} if notes else {}),
    }
    kinds = {task.name: task.kind for task in tasks}
    title = f"Front of {name}"
    page = report(points, kinds, settings.alignment, found, figure, title=title, facts=facts, command=command)
    write_text(out / "report.html", page)


def _command(sources: Sources, out: Path, settings: FrontSettings, best: Point) -> str:
    """The `average` that writes the recommended model."""
    grouping = asdict(settings.groups)
    places = [text for key in ("parts", "embeddings", "norm", "head") for text in (f"--{key}", str(grouping[key]))]
    if best.method == "ama":
        how = ["--alphas-file", str(out / "ratios.json")]
    elif best.method == "part":
        how = ["--part", str(settings.part), "--alpha", f"{best.alpha:g}", *places]
    else:
        how = ["--alpha", f"{best.alpha:g}", *(["--method", best.method] if best.method != "ma" else [])]
        how += [text for key, value in settings.options.items() for text in ("--option", f"{key}={value}")]
    models = ["--theta-0", str(sources.theta_0), "--theta", str(sources.theta)]
    models += ["--vocab", settings.match.vocab] if settings.match.vocab != "same" else []
    models += [text for key in settings.match.ignore_config for text in ("--ignore-config", key)]
    return shlex.join(["alignment-tax", "average", *models, *how, "--out", "averaged"])
