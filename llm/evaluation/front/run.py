"""`front` on files: models, tasks and ratios in; rows, values of each item, pictures and a report out."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ...averaging.ama.picture import save_figure
from ...averaging.ama.samples import Sample, selected, tokenise
from ...averaging.ama.settings import Sources
from ...averaging.files.own_samples import FILE, Texts
from ...averaging.merge import merge_named, merged_methods
from ...averaging.pair import Pair, load_pair
from ...data.records import messages, turns_of
from ...errors import UserError
from ...evidence.rows import write_rows
from ...files import write_json, write_text
from ...models.cache import findable, shown_name
from ...models.chat import ids_of_prompts
from ...models.loading import device_of, warn
from ...models.names import check_one_by_one
from ...models.scorers import ModelScorer
from ..measuring import Progress, described_tasks, kinds_of, tasks_of, try_tasks
from ..tasks import Replies, Scorer, Task
from .claim import Claim
from .measure import measure_front
from .points import Point, file_of, own_points, points_of, rows_of
from .recommend import Recommendation, Series, check_count, recommend
from .report import draw_front, recommended, report, sentence
from .settings import BETWEEN, REGRESSION, FrontSettings
from .texts import check_regression, described_regression, own_texts

SHOWN = ("/acc_norm", "/length")  # metrics in the report's table beside the tasks' own


def front_files(
    sources: Sources,
    out: Path,
    settings: FrontSettings,
    *,
    device: str = "auto",
    progress: Progress = lambda label, done, total: None,
    scorer: Scorer | None = None,
) -> str:
    """Measure the front and write `out`: settings.json, rows.jsonl, points/ (a value an item), recommendation.json,
    front.pdf and .png, report.html; ratios.json where a model of method "ama" is recommended; with method "regmean" samples.jsonl, the
    texts of both models. Returns the recommendation as a sentence and, on a line of its own, the command that makes the model.

    sources: `data` for method "ama"; `own_samples` or `train_prompts` for "regmean", else theta replies to `prompts`; and
    `reward_model` or `reward_command` with `prompts` for the task "reward". scorer: a function that scores replies instead.
    Raises UserError for input that is missing, damaged or does not fit; what was measured before that stays in `out`.
    """
    _check_sources(sources, settings, scorer)
    place = device_of(device)
    tasks = tasks_of(sources, settings, place, scorer)
    _check_abilities(tasks, settings)
    models = sources.theta_0, sources.theta, settings.dtype, place, settings.match, sources.soup, sources.theta_pre
    pair = load_pair(*models)
    adapt = settings.adapt
    drawn = [] if sources.data is None else selected(sources.data, adapt.keep, adapt.draw, settings.seed)
    samples = tokenise(drawn, pair.tokenizer, adapt.max_length)[0] if drawn else []
    tasks = try_tasks(tasks, pair)
    groups = _groups(pair, settings)
    claim = Claim(out, _described(sources, settings, tasks))
    claim.check()
    texts: Texts = {}
    if REGRESSION in settings.method:
        progress("texts for regmean", 0, len(own_points(points_of(settings))))
        texts = own_texts(pair, sources, settings, claim)
    notes = pair.notes + (settings.adapt.too_slow(len(samples)) if samples else [])
    notes += _shared(drawn, texts, tasks, pair.tokenizer) + _kept(out, tasks, settings)
    for note in notes:
        warn(note)
    points = measure_front(pair, settings, groups, tasks, samples, texts, claim, progress)
    found = _recommendation(points, tasks, settings)
    for note in (versions := _versions(points)):
        warn(note)
    saved = _saved(points, pair, recommended(points, found))
    command = _write(out, points, tasks, settings, found, sources, notes + versions + saved)
    said = " ".join([*found.verdicts, sentence(found, settings.alignment, points), *saved])
    return "\n".join(filter(None, [said, command]))


def _check_sources(sources: Sources, settings: FrontSettings, scorer: Scorer | None) -> None:
    """UserError unless what the chosen methods and tasks need is given, and that alone."""
    if (sources.data is not None) != ("ama" in settings.method):
        raise UserError("data (samples of theta) is needed with method 'ama' and allowed with it only.")
    if (sources.theta_pre is not None) != bool(settings.thirds):
        if settings.thirds:
            raise UserError(
                f"theta-pre is missing, needed with method {settings.thirds[0]}: the model that theta-0 was tuned from."
            )
        raise UserError(f"theta-pre is {str(sources.theta_pre)!r}, which none of the chosen methods takes.")
    if scorer is None and (sources.scored_by is None) != (sources.prompts is None):
        raise UserError("reward-model (or reward-command) and prompts are allowed together only.")
    check_regression(sources, settings)


def _groups(pair: Pair, settings: FrontSettings) -> dict[str, dict[str, str]]:
    """Method -> the group of each tensor (`Pair.assignment`), of methods that have groups: found before weights are overwritten, since which
    tensors are alike in both models counts. UserError where a grouping does not fit, or `average` would see other tensors in the files
    than a chosen method sees in memory.
    """
    for method in settings.method:
        if method == REGRESSION or (method in merged_methods() and not merge_named(method).is_linear):
            check_one_by_one(pair.model, pair.names, method)
    return {method: pair.assignment(settings.groups_of(method)) for method in settings.method if method in BETWEEN}


def _check_abilities(tasks: Sequence[Task], settings: FrontSettings) -> None:
    """UserError unless there are an alignment metric and an ability, each with items enough for an interval."""
    names = [task.name for task in tasks]
    if settings.alignment not in names:
        known = f"the tasks {', '.join(names) or '(none)'}"
        if "alignment" in settings.model_fields_set:
            raise UserError(
                f"alignment = {settings.alignment!r} is not allowed; allowed are {known} (reward, with --prompts and --reward-model or "
                "--reward-command)."
            )
        raise UserError(
            "The alignment metric is missing: give --prompts with --reward-model or --reward-command for a reward, or name one of "
            f"{known} as `alignment` in the file of --config."
        )
    if len(names) < 2:
        raise UserError("tasks has no ability beside the alignment metric; give at least one.")
    for task in tasks:
        if task.count is not None:
            check_count(task.name, task.count)


def _shared(drawn: Sequence[Sample], texts: Texts, tasks: Sequence[Task], tokenizer) -> list[str]:
    """Notes where prompts that ratios are chosen on, or regressions made on, are measured on, too."""
    tested = [prompt for task in tasks if isinstance(task, Replies) for prompt in task.prompts]
    tuned = [sample.messages[:-1] for sample in drawn]
    both = sum(messages(turns_of(prompt)) in tuned for prompt in tested)
    found = []
    if both:
        found.append(
            f"{both} of {len(tested)} prompts of --prompts are prompts of --data, too: ratios chosen on them look better on them "
            "than on new prompts; give prompts of their own to test on."
        )
    replied = {tuple(one.context) for one in texts.get("theta", ())}
    both = sum(tuple(ids) in replied for ids in ids_of_prompts(tokenizer, tested)) if replied else 0
    if both:
        found.append(
            f"{both} of {len(tested)} prompts of --prompts are replied to in the texts of regmean, too, which may look better on them "
            "than on new prompts; give others by --train-prompts."
        )
    return found


def _kept(out: Path, tasks: Sequence[Task], settings: FrontSettings) -> list[str]:
    """A note where rewards of an earlier run stand whose scorer is not wholly described by files and source text."""
    if not any(
        isinstance(task, Replies) and task.scorer and not isinstance(task.scorer, ModelScorer) for task in tasks
    ):
        return []
    kept = sum(file_of(out, point).exists() for point in points_of(settings))
    return [
        f"{kept} models keep the rewards that an earlier run in {out} has measured; if what scores replies has changed in more than "
        "the files that its command names, or its own source, give a new folder."
    ] * bool(kept)


def _versions(points: Sequence[Point]) -> list[str]:
    """A note where earlier runs have measured by another version of the code."""
    found = sorted({one for point in points for one in point.versions.values()})
    return [f"Measured by several versions, {', '.join(found)}: a new folder measures all by one."] * (len(found) > 1)


def _saved(points: Sequence[Point], pair: Pair, best: Point | None = None) -> list[str]:
    """What rounding does to the recommended average, without one to the first along the front, if it is saved, in words; a warning
    where it moves one.
    """
    kinds = ", ".join(sorted({str(kind).removeprefix("torch.") for kind in pair.kinds.values()}))
    inner = sorted((point for point in points[2:] if point.alpha not in (0, 1)), key=lambda point: point is not best)
    told = inner and inner[0].saved.alpha is not None  # not where the two models are equal
    said = [f"Saved in {kinds} the average {inner[0].label} has {inner[0].saved.sentence()}."] if told else []
    warned = [(point.ratio, point.saved.warning(kinds)) for point in inner]
    return said + [f"At {name} {value:g}: {warning}" for (name, value), warning in warned if warning][:1]


def _described(sources: Sources, settings: FrontSettings, tasks: Sequence[Task]) -> dict:
    """All that decides the measured numbers: models and files by hash, and settings; of methods and tasks each its own."""
    free = {"confidence", "resamples", "keep", "alignment", "name", "rlhf", "tasks", "method", "alphas"}
    free |= {"strength", "layers", "regmean"}
    models = ("theta_0", "theta", "theta_pre", *sources.soup.names, "data")
    hashes: dict = {key: found["sha256"] for key, found in sources.described.items() if key in models}
    if sources.soup.others:
        hashes["weights"] = sources.soup.shares
    fixed = settings.model_dump(mode="json", exclude=free)
    part, adapt, grouping, _ = (fixed.pop(key) for key in ("part", "adapt", "grouping", "options"))
    own = {
        "ama": {"adapt": adapt, "grouping": grouping, "data": hashes.pop("data", None)},
        "part": {"part": part, "grouping": grouping},
        REGRESSION: described_regression(sources, settings),
    }
    third = {"theta_pre": hashes.pop("theta_pre", None)}
    own |= {method: settings.options.get(method, {}) | third for method in settings.thirds}
    methods = {method: own.get(method, settings.options.get(method, {})) for method in settings.method}
    return {
        "sources": hashes,
        "settings": fixed,
        "methods": methods,
        "tasks": described_tasks(sources, settings, tasks),
    }


def _recommendation(points: Sequence[Point], tasks: Sequence[Task], settings: FrontSettings) -> Recommendation:
    """Over all points but those at theta itself."""
    path = [point for point in points[2:] if point.end != "theta"]
    chosen = [points[0], *path, points[1]]
    series = {
        task.name: Series(
            task.name,
            np.stack([point.scores[task.name].items for point in chosen]),
            points[0].scores[task.name].statistic,
        )
        for task in tasks
    }
    alignment = series.pop(settings.alignment)
    return recommend(
        [point.key for point in path],
        alignment,
        list(series.values()),
        settings.seed,
        settings.keep,
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
) -> str | None:
    """Everything but the points; returns the command that makes the recommended model, None if that is an end."""
    name, best = settings.called(sources.theta), recommended(points, found)
    write_rows(out / "rows.jsonl", rows_of(points, name, settings.rlhf, settings.seed))
    write_json(out / "recommendation.json", asdict(found) | {"setting": best and best.setting})
    note = f"{name}, seed {settings.seed}; error bars: standard error over items"
    figure = draw_front(points, settings.alignment, found, note)
    save_figure(figure, out / "front")
    if best is not None and best.method == "ama":
        grouping = asdict(settings.groups_of("ama"))
        write_json(out / "ratios.json", {"groups": best.setting["alphas"], "grouping": grouping})
    command = None if best is None else _command(sources, out, settings, best)
    facts = {
        "theta_0": shown_name(sources.theta_0),
        "theta": _name_of_theta(sources),
        **({"theta_pre": shown_name(sources.theta_pre)} if sources.theta_pre else {}),
        "methods": ", ".join(settings.method),
        "tasks": ", ".join(
            f"{task.name} ({task.kind}, {len(points[0].scores[task.name].items)} items)" for task in tasks
        ),
        "confidence": f"{settings.confidence:.0%}",
        "seed": str(settings.seed),
        **({"notes": " ".join(notes)} if notes else {}),
    }
    shown = [key for key in points[0].scores if "/" not in key or key.endswith(SHOWN)]
    kinds = {key: kind for key, kind in kinds_of(tasks, points[0].scores).items() if key in shown}
    title = f"Front of {name}"
    page = report(points, kinds, settings.alignment, found, figure, title=title, facts=facts, command=command)
    write_text(out / "report.html", page)
    return command


def _name_of_theta(sources: Sources) -> str:
    names = [shown_name(path) for path in (sources.theta, *sources.soup.others)]
    shared = [f"{name} (share {share:.4g})" for name, share in zip(names, sources.soup.shares, strict=True)]
    return f"the mean of {' and '.join(shared)}" if sources.soup.others else names[0]


def _command(sources: Sources, out: Path, settings: FrontSettings, best: Point) -> str:
    """The `average` that writes the recommended model."""
    grouping = asdict(settings.groups_of(best.method))
    places = [text for key in ("parts", "embeddings", "norm", "head") for text in (f"--{key}", str(grouping[key]))]
    if best.method == "ama":
        how = ["--alphas-file", str(out / "ratios.json")]
    elif best.method == "part":
        how = ["--part", str(settings.part), "--alpha", f"{best.alpha:.12g}", *places]
    elif best.method == REGRESSION:
        how = ["--method", REGRESSION, "--samples", str(out / FILE)]
        how += [
            text
            for key, value in best.setting.items()
            for text in (f"--{key}", f"{value:.12g}" if isinstance(value, float) else value)
        ]
    else:
        how = ["--alpha", f"{best.alpha:.12g}", *(["--method", best.method] if best.method != "ma" else [])]
        given = settings.options.get(best.method, {})
        how += [text for key, value in given.items() for text in ("--option", f"{key}={value}")]
    models = ["--theta-0", findable(sources.theta_0), "--theta", findable(sources.theta)]
    models += [text for other in sources.soup.others for text in ("--with", findable(other))]
    models += [text for weight in sources.soup.weights for text in ("--weight", repr(weight))]
    merges = best.method in merged_methods() and not merge_named(best.method).is_linear
    full = sources.soup.others or best.method == REGRESSION or merges
    models += ["--full"] if full and (sources.theta / "adapter_config.json").is_file() else []
    models += (
        ["--theta-pre", findable(sources.theta_pre)] if sources.theta_pre and best.method in settings.thirds else []
    )
    models += ["--vocab", settings.match.vocab] if settings.match.vocab != "same" else []
    models += [text for key in settings.match.ignore_config for text in ("--ignore-config", key)]
    kept = ["--dtype", "float32"] if best.saved.warning("") else []  # else it would not be the model that was measured
    return shlex.join(["alignment-tax", "average", *models, *how, *kept, "--out", "averaged"])
