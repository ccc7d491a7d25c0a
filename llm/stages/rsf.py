"""RSF (`llm.training.rlhf.rsf`) by our own loop: from theta_0 to theta.

Every iteration is a fine-tuning run of its own, with a fresh optimiser, and a pure function of the model before it (and of what a method
that changes training has kept in the training file beside that), so a killed run goes on at the first iteration that is missing or older
than what it was made from. Where another run has sampled from the same model already, its samples are taken (`_plain_run`).
"""

from dataclasses import dataclass
from filecmp import cmp
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from tqdm import tqdm

from ..config import Optimiser
from ..files import read_made, up_to_date, write_json
from ..models.batches import pad_right
from ..models.chat import generate_replies, imitation_example
from ..models.loading import load_model, load_reward_model, load_tokenizer, require_model
from ..models.reader import Reader
from ..models.rewards import reward_scores
from ..models.save import save_model
from ..run import LocalRun
from ..training.iterations import chosen_file, iteration_folder, log_file, model_before, training_file, write_training
from ..training.loop import count_minibatches, minibatches, token_loss
from ..training.mitigated import Change, fit_mitigated, mitigation_at
from ..training.mitigations.mitigation import Mitigation
from ..training.rlhf.rsf import best_of, log_of, rewards_of
from .stopping import Reached, never

Sample = tuple[str, str, bool]  # prompt, reply, finished
REWARDS = "reward", "reward_chosen", "gold_reward", "gold_reward_chosen"  # of an iteration's log


@dataclass(frozen=True)
class Inputs:
    """What stays the same from iteration to iteration. judge: the reward that chooses, learned or gold. stream: which of several
    runs that differ by their prompts and random numbers, from 1.
    """

    run: LocalRun
    reward: Path
    out: Path
    optimiser: Optimiser
    judge: Literal["learned", "gold"]
    stream: int
    change: Change | None

    @cached_property
    def reward_model(self) -> torch.nn.Module:
        return load_reward_model(self.reward, self.run.device)


def rsf(
    run: LocalRun,
    theta_0: Path,
    reward: Path,
    out: Path,
    lr: float | None,
    *,
    judge: Literal["learned", "gold"] = "learned",
    stream: int = 1,
    change: Change | None = None,
    reached: Reached = never,
) -> None:
    """Run all iterations at rate `lr` (None: the preset's); `out/iteration<i>` is the model after iteration i = 1, 2, ...

    Beside each model lie `iteration<i>.json`, mean rewards of all samples and of the chosen ones ("reward": by the judge), and
    `chosen<i>.json`, the samples that it imitated, as a list of [prompt, reply, finished].

    Args:
        change: a method that changes every iteration, which samples from the model that the method has made so far.
        reached: (iteration) -> whether to stop after it.
    """
    settings = run.preset.rsf
    optimiser = settings.optimiser.at(lr)
    before = require_model(theta_0)
    require_model(reward)
    inputs = Inputs(run, reward, out, optimiser, judge, stream, change)
    for iteration in tqdm(range(1, settings.iterations + 1), desc=f"rsf, lr {optimiser.lr:g}", unit="iteration"):
        after = iteration_folder(out, iteration)
        kept = [training_file(out, iteration)] if change is not None and change.remembers else []
        if not up_to_date(after / "config.json", before / "config.json", reward / "config.json", *kept):
            _iterate(inputs, before, after, iteration)
        before = after
        if reached(iteration):
            break


def samples_of(rows: list) -> list[Sample]:
    """What a `chosen_file` holds."""
    return [(str(prompt), str(reply), bool(finished)) for prompt, reply, finished in rows]


def _iterate(inputs: Inputs, before: Path, after: Path, iteration: int) -> None:
    """All runs of an iteration, of which there is one unless a method has more; what is logged and kept is of the first."""
    mitigations = [mitigation_at(inputs.change, iteration, inputs.out)]
    mitigations += [mitigation_at(inputs.change, iteration, inputs.out, m) for m in range(2, mitigations[0].runs + 1)]
    models, found = [], []
    for place, mitigation in enumerate(mitigations):
        model, *of_run = _learned(inputs, before, iteration, mitigation, inputs.stream + place)
        models.append(model)
        found.append(of_run)
    start = load_model(before, inputs.run.device) if inputs.change else models[0]
    model = mitigations[0].combine(start, models)
    chosen, log = found[0]
    write_json(chosen_file(after.parent, iteration), chosen)
    write_json(log_file(after.parent, iteration), log)
    if mitigations[0].memory is not None:
        write_training(training_file(after.parent, iteration), memory=mitigations[0].memory)
    save_model(model, load_tokenizer(before), after)


def _learned(inputs: Inputs, before: Path, iteration: int, mitigation: Mitigation, stream: int):
    """(the model that one run makes of the one before, the samples that it imitated, its log)."""
    run, settings = inputs.run, inputs.run.preset.rsf
    model, tokenizer = load_model(before, run.device), load_tokenizer(before)
    purpose = ("rsf", iteration) if stream == 1 else ("rsf", iteration, "run", stream)
    rng = run.rng(*purpose)
    prompts = run.source.prompts("train", run.preset.prompts, settings.prompts, rng)
    plain = _plain_run(inputs, before, iteration, stream)
    if plain is None:
        chosen, rewards = _chosen(inputs, model, tokenizer, prompts, purpose)
    else:
        chosen = read_made(chosen_file(plain, iteration), samples_of)
        rewards = read_made(log_file(plain, iteration), lambda log: {name: log[name] + 0.0 for name in REWARDS})
    trained, losses = _imitated(inputs, model, tokenizer, chosen, mitigation, rng)
    return trained, chosen, log_of(iteration, inputs.optimiser.lr, rewards, losses)


def _plain_run(inputs: Inputs, before: Path, iteration: int, stream: int) -> Path | None:
    """The preset's own RSF of the same stream, if it has sampled from the same model, bit for bit; None if samples have to be drawn.

    The same model writes the same replies. So the first iterations of all methods and rates share theirs, and a method that changes
    only what is made of the weights afterwards (`bema`) has all of them.
    """
    folder = inputs.run.folder
    plain = folder / ("rsf" if stream == 1 else f"rsf-run{stream}") / "own"
    theta_0, reward = folder / "theta_0", folder / "reward"
    if inputs.judge != "learned" or inputs.reward != reward or inputs.out == plain:
        return None
    model = Path(model_before(theta_0, plain, iteration))
    needed = [made / "config.json" for made in (theta_0, reward, model)]
    files = chosen_file(plain, iteration), log_file(plain, iteration)
    there = all(up_to_date(file, *needed) for file in files)
    return plain if there and _same_weights(model, before) else None


def _same_weights(left: Path, right: Path) -> bool:
    pairs = [(file, right / file.name) for file in left.glob("*.safetensors")]
    return bool(pairs) and all(other.is_file() and cmp(file, other, shallow=False) for file, other in pairs)


def _chosen(inputs: Inputs, model, tokenizer, prompts: list, purpose: tuple) -> tuple[list[Sample], dict[str, float]]:
    """(the best of each prompt's samples, mean rewards of all and of these)."""
    run, settings = inputs.run, inputs.run.preset.rsf
    samples = sample(run, model, tokenizer, prompts, settings.samples, settings.temperature, purpose)
    of = [prompts[i // settings.samples] for i in range(len(samples))]
    gold = np.array([run.source.gold_reward(prompt, r, f) for prompt, (_, r, f) in zip(of, samples)])
    scores = gold
    if inputs.judge == "learned":
        judge = inputs.reward_model
        scores = reward_scores(judge, tokenizer, samples, run.preset.evaluate.batch, reader=Reader(judge)).numpy()
    best = best_of(scores.reshape(len(prompts), settings.samples))
    rewards = rewards_of(scores, best) | {f"gold_{name}": value for name, value in rewards_of(gold, best).items()}
    return [samples[i] for i in best], rewards


def _imitated(
    inputs: Inputs, model, tokenizer, chosen: list[Sample], mitigation: Mitigation, rng: np.random.Generator
) -> tuple[Any, list[float]]:
    """(the model after it has imitated the samples, the loss of every step)."""
    settings, change = inputs.run.preset.rsf, inputs.change
    trained = mitigation.wrap(model)
    batches = (
        pad_right(mitigation.mix([imitation_example(tokenizer, *one) for one in batch]), tokenizer.pad_token_id)
        for batch in minibatches(chosen, settings.batch, settings.epochs, rng)
    )
    steps = count_minibatches(len(chosen), settings.batch, settings.epochs)
    theta_0 = None if change is None else change.theta_0
    losses = list(fit_mitigated(mitigation, trained, theta_0, batches, token_loss, inputs.optimiser, steps=steps))
    return mitigation.merge(trained), losses


def sample(
    run: LocalRun, model, tokenizer, prompts, count: int, temperature: float, purpose: tuple
) -> list[tuple[str, str, bool]]:
    """`count` replies to each prompt, prompt by prompt: (prompt, reply, finished)."""
    texts = [prompt.text for prompt in prompts for _ in range(count)]
    replies = generate_replies(
        model,
        tokenizer,
        texts,
        max_new_tokens=run.preset.max_new_tokens,
        temperature=temperature,
        rng=run.torch_rng(*purpose),
        batch_size=run.preset.generation_batch,
    )
    return [(text, reply, finished) for text, (reply, finished) in zip(texts, replies)]
