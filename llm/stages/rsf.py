"""RSF (`llm.training.rlhf.rsf`) by our own loop: from theta_0 to theta.

Every iteration is a fine-tuning run of its own, with a fresh optimiser, and a pure function of the model before it, so a
killed run goes on at the first iteration that is missing or older than what it was made from.
"""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..config import Optimiser
from ..files import up_to_date, write_json
from ..models.chat import generate_replies, imitation_batch
from ..models.loading import load_model, load_reward_model, load_tokenizer, require_model
from ..models.reader import Reader
from ..models.rewards import reward_scores
from ..models.save import save_model
from ..run import LocalRun
from ..training.iterations import iteration_folder, log_file
from ..training.loop import count_minibatches, fit, minibatches, token_loss
from ..training.rlhf.rsf import best_of, log_of


def rsf(run: LocalRun, theta_0: Path, reward: Path, out: Path, lr: float | None) -> None:
    """Run all iterations at rate `lr` (None: the preset's); `out/iteration<i>` is the model after iteration i = 1, 2, ...

    Beside each model lie `iteration<i>.json`, mean learned and gold reward of all samples and of the chosen ones, and
    `chosen<i>.json`, the samples that it imitated, as a list of [prompt, reply, finished].
    """
    settings = run.preset.rsf
    optimiser = settings.optimiser if lr is None else settings.optimiser.model_copy(update={"lr": lr})
    before = require_model(theta_0)
    require_model(reward)
    for iteration in tqdm(range(1, settings.iterations + 1), desc=f"rsf, lr {optimiser.lr:g}", unit="iteration"):
        after = iteration_folder(out, iteration)
        if not up_to_date(after / "config.json", before / "config.json", reward / "config.json"):
            _iterate(run, before, reward, after, iteration, optimiser)
        before = after


def chosen_file(out: Path, iteration: int) -> Path:
    return out / f"chosen{iteration:02d}.json"


def _iterate(run: LocalRun, before: Path, reward: Path, after: Path, iteration: int, optimiser: Optimiser) -> None:
    settings = run.preset.rsf
    model, tokenizer = load_model(before, run.device), load_tokenizer(before)
    rng = run.rng("rsf", iteration)
    prompts = run.source.prompts("train", run.preset.prompts, settings.prompts, rng)
    samples = sample(run, model, tokenizer, prompts, settings.samples, settings.temperature, ("rsf", iteration))
    judge = load_reward_model(reward, run.device)
    scores = reward_scores(judge, tokenizer, samples, run.preset.evaluate.batch, reader=Reader(judge)).numpy()
    best = best_of(scores.reshape(len(prompts), settings.samples))
    chosen = [samples[i] for i in best]
    batches = (imitation_batch(tokenizer, batch) for batch in minibatches(chosen, settings.batch, settings.epochs, rng))
    steps = count_minibatches(len(chosen), settings.batch, settings.epochs)
    losses = list(fit(model, batches, token_loss, optimiser, steps=steps))
    of = [prompts[i // settings.samples] for i in range(len(samples))]
    gold = np.array([run.source.gold_reward(prompt, r, f) for prompt, (_, r, f) in zip(of, samples)])
    log = log_of(iteration, optimiser.lr, scores, best, losses)
    log |= {"gold_reward": float(gold.mean()), "gold_reward_chosen": float(gold[best].mean())}
    write_json(chosen_file(after.parent, iteration), chosen)
    write_json(log_file(after.parent, iteration), log)
    save_model(model, tokenizer, after)


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
