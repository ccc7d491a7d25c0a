"""`tax` on files: two models and tasks in, a page and a JSON file out. No model is averaged, and neither is copied."""

from collections.abc import Sequence
from math import isfinite
from pathlib import Path

from ... import version
from ...averaging.ama.settings import Sources
from ...averaging.displacement import what_moved
from ...averaging.pair import Pair, load_pair
from ...averaging.precision import Effect
from ...errors import UserError
from ...files import require_place, write_json, written
from ...models.cache import shown_name
from ...models.loading import device_of, warn
from ..changes import LOWER_IS_BETTER, Change, flips, paired_change, shared, verdicts
from ..measurement import Measurement
from ..measuring import Measuring, Progress, kinds_of, measure_tasks, tasks_of, try_tasks
from ..tasks import WORDS, Replies, Scorer, Task
from .divergence import divergences
from .page import page

NO_DIRECTION = ("length", WORDS)  # kinds of metrics of which neither more nor less is better
SHOWN = 10  # prompts of lost items on the page
FEW = 20  # items or prompts of which an interval is not to be relied on


class TaxSettings(Measuring):
    """All settings of `tax` (docs/tax.yaml): those of measuring, and tasks may be none."""

    tasks: tuple[str, ...] = ()


def tax_files(
    sources: Sources,
    out: Path,
    settings: TaxSettings,
    *,
    device: str = "auto",
    progress: Progress = lambda label, done, total: None,
    scorer: Scorer | None = None,
) -> list[str]:
    """Write the folder `out`: report.html and tax.json; returns the verdicts and what an average would be, sentences.

    scorer: a function that scores replies, in place of the sources' reward model or command. Raises UserError, with nothing
    written, for input that is missing, damaged or does not fit.
    """
    if out.exists():
        raise UserError(f"out is {str(out)!r}, which exists; give a new folder.")
    require_place(out)
    place = device_of(device)
    tasks = tasks_of(sources, settings, place, scorer)
    names = [task.name for task in tasks]
    if "alignment" in settings.model_fields_set and settings.alignment not in names:
        raise UserError(
            f"alignment = {settings.alignment!r} is not allowed; allowed are the tasks {', '.join(names) or '(none)'}."
        )
    pair = load_pair(sources.theta_0, sources.theta, settings.dtype, place, settings.match)
    for note in pair.notes:
        warn(note)
    tasks = try_tasks(tasks, pair)
    content = measured_tax(pair, tasks, settings, progress)
    few = _few(content["tasks"])
    content = {
        "theta_0": shown_name(sources.theta_0),
        "theta": settings.called(sources.theta),
        "version": version(),
        "sources": sources.shown,
        "settings": settings.model_dump(mode="json"),
        **content,
        "notes": pair.notes + few,
    }
    with written(out) as aside:
        aside.mkdir()
        write_json(aside / "tax.json", content)
        (aside / "report.html").write_text(page(content), "utf-8")
    return content["verdicts"] + few + _of_averages(content["moved"])


def _few(tasks: list[dict]) -> list[str]:
    """A sentence on each task whose intervals rest on fewer than `FEW` items or prompts."""
    counts = {task["name"]: max(one["n"] for one in task["metrics"].values()) for task in tasks}
    return [
        f"{name} has {count} items or prompts: with fewer than {FEW} an interval may be far too narrow."
        for name, count in counts.items()
        if count < FEW
    ]


def _of_averages(moved: dict) -> list[str]:
    """What saving an average would do, in words, and the first warning."""
    effects = {alpha: Effect.of(one) for alpha, one in moved["saved"].items()}
    alpha, first = next(iter(effects.items()))
    if first.alpha is None:
        return ["The two models are equal, and so is every average of them."]
    warnings = [warning for one in effects.values() if (warning := one.warning(moved["dtype"]))]
    return [f"An average at alpha {alpha} saved in {moved['dtype']} has {first.sentence()}.", *warnings[:1]]


def measured_tax(pair: Pair, tasks: Sequence[Task], settings: Measuring, progress: Progress) -> dict:
    """All numbers of the tax of a pair, as tax.json has them. The pair is left as it was."""
    prompts = next((task.prompts for task in tasks if isinstance(task, Replies)), [])
    steps = [f"{label}: {task.name}" for label in ("theta_0", "theta") for task in tasks] + ["what moved"]
    steps += ["divergence"] if prompts else []

    def show(label: str) -> None:
        progress(label, steps.index(label), len(steps))

    before, _ = measure_tasks(pair, tasks, "theta_0", show)
    pair.exchange()
    after, _ = measure_tasks(pair, tasks, "theta", show)
    pair.exchange()
    show("what moved")
    moved = what_moved(pair)
    kl = {}
    if prompts:
        show("divergence")
        kl = divergences(pair, prompts, settings.batch)
    progress("done", len(steps), len(steps))
    kinds = kinds_of(tasks, before)
    metrics, changes = _compared(before, after, kinds, settings)
    abilities = {task.name: changes[task.name] for task in tasks if _is_ability(task, settings)}
    each = shared(settings.confidence, len(abilities))
    clear = {
        name: paired_change(before[name], after[name], settings.seed, each, settings.resamples) for name in abilities
    }
    rise = changes.get(settings.alignment)
    return {
        "verdicts": verdicts(abilities, rise, settings.alignment, clear),
        "tasks": [_task(task, metrics, before, after, kinds) for task in tasks],
        "divergence": {name: {"value": one.value, "stderr": one.stderr, "n": one.n} for name, one in kl.items()},
        "moved": moved,
    }


def _is_ability(task: Task, settings: Measuring) -> bool:
    return task.name != settings.alignment and not isinstance(task, Replies)


def _compared(
    before: dict[str, Measurement], after: dict[str, Measurement], kinds: dict[str, str], settings: Measuring
) -> tuple[dict[str, dict], dict[str, Change]]:
    """(metric -> both values with their errors and the change with its interval, metric -> change)."""
    metrics, changes = {}, {}
    for key in before:
        low, high = (side[key].with_error(settings.seed) for side in (before, after))
        changes[key] = change = paired_change(low, high, settings.seed, settings.confidence, settings.resamples)
        sides = {name: {"value": one.value, "stderr": one.stderr} for name, one in (("theta_0", low), ("theta", high))}
        bounds = {side: bound if isfinite(bound := getattr(change, side)) else None for side in ("low", "high")}
        better = "lower" if key.rpartition("/")[2] in LOWER_IS_BETTER else "higher"
        better = "neither" if kinds[key] in NO_DIRECTION else better
        metrics[key] = {**sides, "change": change.value, **bounds, "n": low.n, "better": better}
    return metrics, changes


def _task(task: Task, metrics: dict, before: dict, after: dict, kinds: dict[str, str]) -> dict:
    """A task's part of the JSON: its metrics, the items that it lost and gained by its own metric, prompts of those lost; no items by
    a metric of which neither more nor less is better.
    """
    own = [key for key in metrics if key == task.name or key.startswith(f"{task.name}/")]
    directed = metrics[task.name]["better"] != "neither"
    lost, gained = flips(before[task.name], after[task.name]) if directed else ([], [])
    items = getattr(task, "items", None) or [{"prompt": prompt} for prompt in getattr(task, "prompts", [])]
    shown = [_shown(items[item]["prompt"]) for item in lost[:SHOWN]] if items else []
    return {
        "name": task.name,
        "kind": task.kind,
        "metrics": {kinds[key]: metrics[key] for key in own},
        "lost": lost,
        "gained": gained,
        "lost_prompts": shown,
    }


def _shown(prompt) -> str:
    text = prompt if isinstance(prompt, str) else prompt[-1].content
    return text if len(text) <= 200 else f"{text[:197]}..."
