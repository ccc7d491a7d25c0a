"""The policy and the critic of PPO on accelerate: how they begin, go on from a state, collect replies, and learn."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ...config.trainers import PpoSettings
from ...models.batches import Batch, pad_replies
from ...models.chat import end_id, prompt_ids
from ...models.likelihood import token_log_probs
from ..loop import minibatches
from ..rlhf.ppo.experience import Experience, evaluated, fresh_critic, span_of
from .loop import ActorCritic, Inputs, Learner, Objective, fit
from .models import Origin, load_frozen, load_tokenizer, load_trained
from .processes import read_together
from .sampling import Sample, in_shares, rewards, write_samples


@dataclass
class PpoLearner:
    """learner: of an `ActorCritic`, the optimiser's first group being the policy's, its second the critic's.

    after: the iteration that it stands behind, 0 for none.
    """

    learner: Learner
    origin: Origin  # of the policy
    after: int = 0

    def load(self, state: Path, iteration: int) -> None:
        """Go on from the state that `accelerator.save_state` has written after an iteration."""
        self.learner.accelerator.load_state(str(state))
        self.after = iteration

    def policy(self) -> dict:
        """The policy's weights, whole in the main process only; a collective operation."""
        return self.learner.weights("actor")

    def improve(
        self, inputs: Inputs[PpoSettings], replies: Experience, seed: list[int], iteration: int, frozen: bool
    ) -> tuple[float, float]:
        """Learn from the replies of an iteration; mean losses of policy and critic. frozen: leave the policy as it is."""
        settings, device = inputs.settings, self.learner.accelerator.device
        objective = Objective(
            collate=lambda rows: replies.rows(rows).to(device),
            count=lambda row: float(replies.mask[row].sum()),
            loss=lambda module, e: _losses(module, e, settings, frozen),
        )
        rng = np.random.default_rng([inputs.start.seed, *seed, 1])
        batches = minibatches(list(range(len(replies.log_probs))), settings.batch, settings.epochs, rng)
        fixed = self.learner.optimiser.param_groups[0]["params"] if frozen else ()
        losses = list(fit(self.learner, batches, objective, inputs.split, frozen=fixed, **span_of(settings, iteration)))
        policy, critic = np.mean(losses, axis=0)
        return float(policy), float(critic)


def fresh_learner(inputs: Inputs[PpoSettings]) -> PpoLearner:
    """At theta_0, with a critic that has seen nothing yet."""
    settings = inputs.settings
    actor, origin = load_trained(inputs.start, "causal", settings.lora)
    module = ActorCritic(actor, fresh_critic(inputs.reward, settings.baseline).float())
    if inputs.hardware.checkpointing:
        actor.gradient_checkpointing_enable()
        module.critic.body.gradient_checkpointing_enable()
    steps = span_of(settings, 1)["steps"]
    schedules = (settings.optimiser.optimiser(steps), settings.critic_optimiser.optimiser(steps))
    optimiser = torch.optim.AdamW(list(_groups(module, schedules)), fused=True)
    module, optimiser = inputs.accelerator.prepare(module, optimiser)
    return PpoLearner(Learner(inputs.accelerator, module, optimiser, schedules), origin)


def _groups(module: ActorCritic, schedules: tuple) -> Iterator[dict]:
    for model, schedule in zip((module.actor, module.critic), schedules, strict=True):
        learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
        yield {"params": learned, "lr": schedule.lr, "betas": schedule.betas, "weight_decay": schedule.weight_decay}


@torch.no_grad()
def take_fresh_critic(learner: PpoLearner, reward: Path, baseline: float) -> None:
    """Put the critic that has seen nothing yet in the place of the trained one, and forget what the optimiser knew of that."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    fresh = dict(fresh_critic(reward, baseline).float().named_parameters())
    module = learner.learner.accelerator.unwrap_model(learner.learner.module)
    for name, parameter in module.critic.named_parameters():
        value = fresh[name].to(parameter.device)
        if isinstance(parameter, DTensor):
            value = distribute_tensor(value, parameter.device_mesh, parameter.placements)
        parameter.copy_(value)
    remembered = learner.learner.optimiser.optimizer.state
    for parameter in learner.learner.optimiser.param_groups[1]["params"]:
        for tensor in remembered.get(parameter, {}).values():
            tensor.zero_()


def _losses(module, e: Experience, settings: PpoSettings, frozen: bool) -> torch.Tensor:
    """(policy, critic); a frozen policy learns nothing, but takes part, as the exchange of gradients needs."""
    log_probs, values = module(e.batch)
    return torch.stack([e.policy_loss(log_probs, settings) * (not frozen), e.value_loss(values, settings)])


def collect(
    inputs: Inputs[PpoSettings], learner: PpoLearner, before: str, seed: list[int], folder: Path
) -> tuple[Experience, dict[str, float]]:
    """Replies to fresh prompts by the model of the iteration before, and their log; the same in every process, on the CPU.

    Args:
        seed: (iteration, restarts), by which the random streams of collections differ.
        folder: where the replies lie until the iteration is done.
    """
    accelerator, settings, hardware = inputs.accelerator, inputs.settings, inputs.hardware
    longest, vocabulary = settings.writing.tokens, learner.origin.config.vocab_size
    size = read_together(hardware.generation_batch, longest, settings.writing.max_new_tokens * vocabulary)
    tokenizer, numbers = load_tokenizer(inputs.start.model), [inputs.start.seed, *seed]
    drawn = np.random.default_rng(numbers).permutation(len(inputs.prompts))[: settings.prompts]
    prompts = [prompt_ids(tokenizer, inputs.prompts[i]) for i in drawn]
    samples = write_samples(accelerator, before, prompts, 1, settings.writing, hardware, numbers, folder)
    scores = torch.tensor(rewards(accelerator, inputs.reward, samples, hardware))
    end, pad = end_id(tokenizer), tokenizer.pad_token_id
    pairs = [(sample.prompt_ids, sample.with_end(end)) for sample in samples]
    batch = pad_replies(pairs, pad)
    read = zip(*learner.learner.outputs(pairs, pad, size), strict=True)
    log_probs, values = (_table(rows, batch) for rows in read)
    reference = _by_theta_0(inputs, samples, end, pad, batch, size)
    found = evaluated(batch, log_probs, reference, values, scores - settings.baseline, settings)
    return found, found.log(scores, [sample.finished for sample in samples])


def _by_theta_0(
    inputs: Inputs[PpoSettings], samples: list[Sample], end: int, pad: int, batch: Batch, size: int
) -> torch.Tensor:
    """log p of every token of ids[:, 1:], (rows, length - 1)."""
    accelerator = inputs.accelerator
    theta_0 = load_frozen(inputs.start.model, "causal", inputs.hardware, accelerator.device)

    @torch.no_grad()
    def log_probs(some: list[Sample]) -> list[list[float]]:
        pairs = [(sample.prompt_ids, sample.with_end(end)) for sample in some]
        return token_log_probs(theta_0, pad_replies(pairs, pad).to(accelerator.device)).tolist()

    return _table(in_shares(accelerator, samples, log_probs, size), batch)


def _table(rows: Sequence[list[float]], batch: Batch) -> torch.Tensor:
    """Rows of different lengths as one table as long as the batch, 0 beyond and outside of replies."""
    length = batch.ids.shape[1] - 1
    return torch.tensor([(row + [0.0] * length)[:length] for row in rows])
