"""PPO (`llm.training.rlhf.ppo`) by our own loop: from theta_0 to theta.

Each iteration lets the model reply to fresh prompts, rewards each reply (learned reward less a baseline, and a penalty
for every token by how much likelier it is than under theta_0), and improves the policy and the critic on them. When
iteration i looks like a collapse, training starts again from the model of iteration i - `back` with a fresh critic,
which learns alone for one iteration before the policy is updated again (paper.md section 3).

An iteration is a pure function of the model and the training file before it and of how many restarts there were, which
its log says. So a killed run goes on at the first iteration that is missing or older than what it was made from, and
ends with the same bytes.
"""

from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from ..config import Optimiser, Ppo
from ..files import write_json
from ..models.chat import imitation_batch
from ..models.likelihood import token_log_probs
from ..models.loading import load_model, load_reward_model, load_tokenizer, require_model
from ..models.rewards import reward_scores
from ..models.save import save_model
from ..run import MicrocosmRun
from ..training.iterations import (
    forget_training,
    iteration_folder,
    log_file,
    model_before,
    read_log,
    read_training,
    training_file,
    write_training,
)
from ..training.loop import fit, minibatches, optimiser_for
from ..training.rlhf.ppo.experience import Critic, Experience, experience, fresh_critic, span_of
from ..training.rlhf.ppo.restarts import Trail, complete_log, is_restart, walk
from .rsf import sample
from .stopping import Reached, never


@dataclass(frozen=True)
class Inputs:
    """What stays the same from iteration to iteration."""

    run: MicrocosmRun
    settings: Ppo
    theta_0: Path
    reward: Path
    out: Path
    baseline: float

    @cached_property
    def start(self) -> torch.nn.Module:
        return load_model(self.theta_0)

    @cached_property
    def judge(self) -> torch.nn.Module:
        return load_reward_model(self.reward)


@dataclass(frozen=True)
class Learner:
    """A policy or a critic with its optimiser."""

    model: torch.nn.Module
    optimiser: torch.optim.Optimizer
    settings: Optimiser


def ppo(
    run: MicrocosmRun,
    theta_0: Path,
    reward: Path,
    out: Path,
    lr: float | None,
    eta: float | None = None,
    *,
    reached: Reached = never,
) -> None:
    """Run all iterations, the policy at rate `lr` and with the KL penalty `eta` (None: the preset's).

    `out/iteration<i>` is the model after iteration i = 1, 2 ... Beside each lies `iteration<i>.json`: mean learned and gold
    reward, length (tokens) and share of unfinished replies, and KL from theta_0 (nats a reply), all of the replies that the
    model before it wrote; the losses; how many "restarts" there have been so far; whether it began with a "fresh_critic";
    and, where it looks like a "collapse", by what. Beside the last few, which training may have to go on or start again
    from, lies `training<i>.safetensors` too, the critic and both optimisers. reached: (iteration) -> whether to stop after it.
    """
    settings = run.preset.ppo
    settings = settings.model_copy(update={"optimiser": settings.optimiser.at(lr)})
    if eta is not None:
        settings = settings.model_copy(update={"eta": eta})
    require_model(theta_0)
    require_model(reward)
    inputs = Inputs(run, settings, theta_0, reward, out, _baseline(run, theta_0, reward))
    training, forget = partial(training_file, out), partial(forget_training, out)
    trail = Trail(theta_0, reward, out, training, make=partial(_iterate, inputs), forget=forget)
    what = f"ppo, lr {settings.optimiser.lr:g}, eta {settings.eta:g}"
    with tqdm(total=settings.iterations, desc=what, unit="iteration") as bar:
        for made in walk(settings.iterations, settings.collapse, trail):
            bar.update(made - bar.n)
            if reached(made):
                break


def _baseline(run: MicrocosmRun, theta_0: Path, reward: Path) -> float:
    """What is taken from every reward: the setting, or the mean learned reward of replies by theta_0."""
    settings = run.preset.ppo
    if settings.baseline != "theta_0":
        return settings.baseline
    prompts = run.source.prompts("train", run.preset.prompts, settings.prompts, run.rng("ppo", "baseline"))
    tokenizer = load_tokenizer(theta_0)
    replies = sample(run, load_model(theta_0), tokenizer, prompts, 1, 1.0, ("ppo", "baseline"))
    return float(reward_scores(load_reward_model(reward), tokenizer, replies, run.preset.evaluate.batch).mean())


def _iterate(inputs: Inputs, iteration: int, restarts: int) -> None:
    """One iteration; where `restarts` has grown since the one before, with a fresh critic and the policy left alone."""
    logs = [read_log(inputs.out, i) for i in range(1, iteration)]
    restarted = is_restart(logs, restarts)
    actor, critic = _learners(inputs, iteration, restarted)
    tokenizer, rng = load_tokenizer(inputs.theta_0), inputs.run.rng("ppo", iteration, restarts)
    collected, found = _collect(inputs, actor.model, critic.model, tokenizer, rng, ("ppo", iteration, restarts))
    settings = inputs.settings
    replies = list(range(len(collected.log_probs)))
    batches = [collected.rows(chosen) for chosen in minibatches(replies, settings.batch, settings.epochs, rng)]
    of_policy = 0.0 if restarted else _update(settings, actor, batches, _policy_loss(settings), iteration)
    of_critic = _update(settings, critic, batches, _critic_loss(settings), iteration)
    log = complete_log(found, logs, restarts, settings, of_policy, of_critic)
    write_json(log_file(inputs.out, iteration), log)
    kept = {"actor": actor.optimiser, "critic": critic.model, "critic_optimiser": critic.optimiser}
    write_training(training_file(inputs.out, iteration), **kept)
    save_model(actor.model, tokenizer, iteration_folder(inputs.out, iteration))


def _learners(inputs: Inputs, iteration: int, restarted: bool) -> tuple[Learner, Learner]:
    """Policy and critic as the iteration before left them; the critic is a fresh one after a restart."""
    model, critic = (
        load_model(Path(model_before(inputs.theta_0, inputs.out, iteration))),
        fresh_critic(inputs.reward, inputs.baseline),
    )
    settings = inputs.settings
    actor = Learner(model, optimiser_for(model, settings.optimiser), settings.optimiser)
    judge = Learner(critic, optimiser_for(critic, settings.critic_optimiser), settings.critic_optimiser)
    if iteration > 1:
        before = training_file(inputs.out, iteration - 1)
        read_training(before, actor=actor.optimiser)
        if not restarted:
            read_training(before, critic=judge.model, critic_optimiser=judge.optimiser)
    return actor, judge


def _collect(
    inputs: Inputs, actor, critic: Critic, tokenizer, rng: np.random.Generator, purpose: tuple
) -> tuple[Experience, dict]:
    """The policy's replies to fresh prompts, and what goes into the log about them."""
    run, settings = inputs.run, inputs.settings
    prompts = run.source.prompts("train", run.preset.prompts, settings.prompts, rng)
    replies = sample(run, actor, tokenizer, prompts, 1, 1.0, purpose)
    scores = reward_scores(inputs.judge, tokenizer, replies, run.preset.evaluate.batch)
    gold = [run.source.gold_reward(prompt, reply, done) for prompt, (_, reply, done) in zip(prompts, replies)]
    scored = imitation_batch(tokenizer, replies), scores - inputs.baseline
    collected = experience(actor, critic, inputs.start, *scored, settings, run.preset.evaluate.batch)
    log = collected.log(scores, [done for _, _, done in replies])
    return collected, log | {"gold_reward": float(np.mean(gold))}


def _update(settings: Ppo, learner: Learner, batches: list[Experience], loss, iteration: int) -> float:
    """Train on every batch; the mean loss."""
    span = span_of(settings, iteration)
    losses = fit(
        learner.model,
        batches,
        loss,
        learner.settings,
        optimiser=learner.optimiser,
        steps=span["steps"],
        first_step=span["first_step"],
    )
    return float(np.mean(list(losses)))


def _policy_loss(settings: Ppo):
    def loss(actor, e: Experience) -> torch.Tensor:
        return e.policy_loss(token_log_probs(actor, e.batch), settings)

    return loss


def _critic_loss(settings: Ppo):
    def loss(critic: Critic, e: Experience) -> torch.Tensor:
        return e.value_loss(critic(e.batch), settings)

    return loss
