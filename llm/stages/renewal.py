"""Preference pairs drawn anew from aligned models, so that the reward model knows the replies that its mistakes lead to.

A reward model fitted to theta_0's replies alone is over-optimised early: RSF soon writes replies unlike any that it was
fitted to. So each round lets RSF run by the reward model so far, compares replies of theta_0 and of all its iterations to
fresh prompts, and fits the reward model anew to all pairs (iterated RLHF; Bai et al., arXiv 2204.05862, section 4.5).
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from ..files import up_to_date, write_json
from ..models.chat import generate_replies
from ..models.loading import load_model, load_tokenizer
from ..run import LocalRun
from ..training.iterations import iteration_folder
from .reward import label, preferences, read_pairs, train_reward
from .rsf import rsf


def renew(run: LocalRun, theta_0: Path, out: Path) -> None:
    """Write the pairs of all rounds to `out`, as rows of `llm.stages.reward.preferences`; what is up to date is kept.

    Models and pairs of round r = 0, 1, ... lie in the run's folder `renewal`; round 0 has those of theta_0 and the writers.
    """
    folder, settings = run.folder / "renewal", run.preset.renewal
    own = run.preset.rsf.model_copy(update={"iterations": settings.iterations})
    aligned = replace(run, preset=run.preset.model_copy(update={"rsf": own}))
    pairs = folder / "pairs0.json"
    if not up_to_date(pairs, theta_0 / "config.json"):
        preferences(run, theta_0, pairs)
    for number in range(1, settings.rounds + 1):
        before, reward, policies = pairs, folder / f"reward{number - 1}", folder / f"rsf{number}"
        if not up_to_date(reward / "config.json", before):
            train_reward(run, theta_0, before, reward)
        rsf(aligned, theta_0, reward, policies, None)
        last = iteration_folder(policies, settings.iterations)
        pairs = folder / f"pairs{number}.json"
        if not up_to_date(pairs, before, last / "config.json"):
            models = [theta_0, *(iteration_folder(policies, i) for i in range(1, settings.iterations + 1))]
            write_json(pairs, read_pairs(before) + _drawn(run, models, number))
    if not up_to_date(out, pairs):
        write_json(out, read_pairs(pairs))


def _drawn(run: LocalRun, models: list[Path], number: int) -> list[dict]:
    """The round's new pairs: each reply is by one of the models, drawn at random."""
    preset, rng = run.preset, run.rng("renewal", number)
    prompts = run.source.prompts("train", preset.prompts, preset.renewal.pairs, rng)
    sides = [_replies(run, models, prompts, rng, number, side) for side in range(2)]
    return label(run, ["train"] * len(prompts), prompts, sides, rng)


def _replies(run: LocalRun, models: list[Path], prompts: list, rng: np.random.Generator, *purpose: int) -> list:
    """(reply, finished) to each prompt by a model drawn for it."""
    by = rng.integers(len(models), size=len(prompts))
    replies: list[tuple[str, bool]] = [("", False)] * len(prompts)
    for model, path in enumerate(models):
        chosen = np.flatnonzero(by == model)
        written = generate_replies(
            load_model(path, run.device),
            load_tokenizer(path),
            [prompts[i].text for i in chosen],
            max_new_tokens=run.preset.max_new_tokens,
            temperature=run.preset.rsf.temperature,
            rng=run.torch_rng("renewal", *purpose, model),
            batch_size=run.preset.generation_batch,
        )
        for i, reply in zip(chosen, written):
            replies[i] = reply
    return replies
