"""AMA by our own loop: D_theta sampled from theta, then the ratios that make it likeliest (paper.md section 5); and
AdaMerging, the same on labelled items of one ability (paper.md section 4, figure 15).

AdaMerging is after Yang et al., "AdaMerging: adaptive model merging for multi-task learning" (ICLR 2024), who lower the entropy of
the predictions; here, as in the paper, it is the supervised loss of the right answers, and the ratios are optimised as AMA's are: with
the same exact gradient, and in Omega at every step. What differs is what is made likely, answers that are right instead of replies
that are well rewarded, and that every layer is a part.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from ..averaging.ama.optimise import optimise_ratios
from ..averaging.ama.parameterise import middle_weights, penalty
from ..averaging.ama.published import EPS, optimise_published
from ..config import AveragingEntry
from ..data.records import ChoiceItem, GenerationItem
from ..errors import UserError
from ..files import kept_answer
from ..models.batches import Batch
from ..models.chat import imitation_batch
from ..models.loading import load_model, load_reward_model, load_tokenizer
from ..models.reader import Reader
from ..models.rewards import reward_scores
from ..run import LocalRun
from .average import Found, load_between
from .rsf import sample


def ratios_of(run: LocalRun, theta: Path, entry: AveragingEntry, folder: Path) -> Found:
    """What an entry's models are called in rows, and their ratios; samples and optimises what `folder` lacks, or an older run's.

    The setting is {"alpha"}, and "samples", "eps" and "regulariser" where the entry has them.
    """
    result, ends = [], [model / "config.json" for model in (run.folder / "theta_0", theta)]
    samples = folder / ("labelled.json" if entry.method == "adamerging" else "kept.json")
    kept = _labelled(run, samples) if entry.method == "adamerging" else _sampled(run, theta, samples)
    for variant in _variants(entry, len(kept)):
        name = "-".join([entry.label, *(f"{key}{value:g}" for key, value in variant.items())])
        asked = {"entry": asked_of(entry), "settings": run.preset.ama.model_dump(mode="json"), **variant}
        search = partial(find_ratios, run, run.folder / "theta_0", theta, kept, entry, **variant)
        ratios = kept_answer(folder / f"{name}.json", asked, [samples, *ends], search)
        result += [({"alpha": float(alpha), **variant}, one["alphas"]) for alpha, one in ratios.items()]
    return result


def asked_of(entry: AveragingEntry) -> dict:
    """What of an entry decides the ratios that are found for each of its settings."""
    return entry.model_dump(mode="json", include={"method", "alphas", "grouping"})


def _variants(entry: AveragingEntry, kept: int) -> list[dict]:
    """Every combination of an entry's numbers of samples, eps and coefficients; one of nothing where it has none."""
    for count in entry.options.get("samples", ()):
        if count != "all" and count > kept:
            raise UserError(
                f"samples = {count} is not allowed; allowed are 1 to {kept}, the number of samples kept, and all"
            )
    return [{key: kept if value == "all" else value for key, value in one.items()} for one in entry.settings()]


def _sampled(run: LocalRun, theta: Path, file: Path) -> list[dict]:
    reward = run.folder / "reward"
    asked = run.preset.ama.model_dump(mode="json", include={"prompts", "samples", "keep"})
    made_from = [theta / "config.json", reward / "config.json"]
    return kept_answer(file, asked, made_from, partial(draw_samples, run, theta, reward))


def _labelled(run: LocalRun, file: Path) -> list[dict]:
    """As many training items of reading comprehension, with their answers, as AMA has samples."""
    counts = dict.fromkeys(run.preset.evaluate.counts, 0) | {"reading": run.preset.ama.draw}
    return kept_answer(file, counts, [], lambda: labelled(run.source.items("train", counts).reading))


def labelled(items: Iterable[GenerationItem | ChoiceItem]) -> list[dict]:
    """Items with their right answers in the form of AMA's samples: {"prompt", "reply", "finished"}."""
    return [{"prompt": item.prompt, "reply": item.reference, "finished": True} for item in items]


def draw_samples(run: LocalRun, theta: Path, reward: Path) -> list[dict]:
    """The `keep` samples of theta with the highest learned reward in random order, of which D_theta is the first `draw`:
    {"prompt", "reply", "finished", "reward"}.
    """
    settings, rng = run.preset.ama, run.rng("adapt")
    model, tokenizer = load_model(theta, run.device), load_tokenizer(theta)
    prompts = run.source.prompts("train", run.preset.prompts, settings.prompts, rng)
    samples = sample(run, model, tokenizer, prompts, settings.samples, 1.0, ("adapt",))
    judge = load_reward_model(reward, run.device)
    scores = reward_scores(judge, tokenizer, samples, run.preset.evaluate.batch, reader=Reader(judge)).numpy()
    best = np.argsort(-scores, kind="stable")[: settings.keep]
    keys = ("prompt", "reply", "finished")
    return [dict(zip(keys, samples[i])) | {"reward": float(scores[i])} for i in rng.permutation(best)]


def find_ratios(
    run: LocalRun,
    theta_0: Path,
    theta: Path,
    kept: list[dict],
    entry: AveragingEntry,
    samples: int | None = None,
    regulariser: float = 0.0,
    eps: float = EPS,
) -> dict[str, dict]:
    """For each mean ratio of an entry the ratios of the groups: {"<alpha>": {"alphas": {group: ratio}, "path": [..]}}.

    Args:
        kept: the samples, of which the first `samples` (None: `ama.draw`) are learned from.
        regulariser: coefficient of the penalty on ratios away from the mean (`llm.averaging.ama.parameterise`).
        eps: what "ama-published" adds to each number's sigmoid.
    """
    grouping = entry.grouping.of_model(run.preset.model)
    tokenizer, between = load_tokenizer(theta), load_between(theta_0, theta, grouping, run.device, entry.spec.matrices)
    settings = run.preset.ama
    rows = kept[: samples or settings.draw]
    axes = {name: tensor.ndim for name, tensor in between.theta.items()}
    weights = middle_weights(between.assignment, axes, regulariser)
    found = {}
    for alpha in entry.alphas:
        drawn = _batches(rows, tokenizer, settings.batch, settings.steps, run.rng("adapt", entry.label))
        batches = [batch.to(run.device).labelled() for batch in drawn]
        models = (between.model, between.theta_0, between.theta, between.assignment)
        pull = penalty(weights, alpha) if regulariser else None
        how: dict = {"steps": settings.steps, "lr": settings.lr}
        if entry.method == "ama-published":
            result = optimise_published(*models, alpha, batches, **how, eps=eps, regulariser=regulariser)
        else:
            result = optimise_ratios(*models, alpha, batches, **how, regulariser=pull)
        found[str(alpha)] = {"alphas": result.alphas, "path": result.path}
    return found


def _batches(rows: list[dict], tokenizer, size: int, steps: int, rng: np.random.Generator) -> Iterator[Batch]:
    """One batch a step; the samples in a new random order each time fewer than a batch are left, which are skipped."""
    order: list[int] = []
    for _ in range(steps):
        if len(order) < size:
            order = rng.permutation(len(rows)).tolist()
        chosen, order = order[:size], order[size:]
        replies = [(rows[i]["prompt"], rows[i]["reply"], rows[i]["finished"]) for i in chosen]
        yield imitation_batch(tokenizer, replies)
