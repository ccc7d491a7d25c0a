"""The policy and the critic of PPO on accelerate: how they begin, go on from a state, learn, and say what is in them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ...config.trainers import PpoSettings
from ...models.batches import Batch
from ..loop import count_minibatches, minibatches
from ..rlhf.ppo.critic import fresh_critic
from ..rlhf.ppo.experience import Experience
from ..rlhf.ppo.losses import policy_loss, value_loss
from .loop import Learner, Objective, fit
from .models import Origin, load_trained
from .modules import ActorCritic, part


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
        """The policy's weights, whole in the main process only; every process must ask."""
        return part(self.learner.accelerator.get_state_dict(self.learner.module), "actor")

    def improve(
        self, inputs, replies: Experience, seed: list[int], iteration: int, frozen: bool
    ) -> tuple[float, float]:
        """Learn from the replies of an iteration; mean losses of policy and critic. frozen: leave the policy as it is."""
        settings: PpoSettings = inputs.settings
        device = self.learner.accelerator.device
        objective = Objective(
            collate=lambda rows: _on(replies.rows(rows), device),
            count=lambda row: float(replies.mask[row].sum()),
            loss=lambda module, e: _losses(module, e, settings, frozen),
        )
        rng = np.random.default_rng([inputs.start.seed, *seed, 1])
        batches = minibatches(list(range(len(replies.log_probs))), settings.batch, settings.epochs, rng)
        steps = count_minibatches(settings.prompts, settings.batch, settings.epochs)
        span = {"steps": steps * settings.iterations, "first_step": steps * (iteration - 1)}
        fixed = self.learner.optimiser.param_groups[0]["params"] if frozen else ()
        losses = list(fit(self.learner, batches, objective, inputs.split, frozen=fixed, **span))
        policy, critic = np.mean(losses, axis=0)
        return float(policy), float(critic)


def fresh_learner(inputs) -> PpoLearner:
    """At theta_0, with a critic that has seen nothing yet."""
    settings: PpoSettings = inputs.settings
    actor, origin = load_trained(inputs.start, "causal", settings.lora)
    module = ActorCritic(actor, fresh_critic(inputs.reward, settings.baseline).float())
    if inputs.hardware.checkpointing:
        actor.gradient_checkpointing_enable()
        module.critic.body.gradient_checkpointing_enable()
    steps = count_minibatches(settings.prompts, settings.batch, settings.epochs) * settings.iterations
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
    """(policy, critic); of a policy that is left alone nothing is learned, but it takes part, as sharing out gradients wants it."""
    log_probs, values = module(e.batch)
    of_policy = policy_loss(log_probs, e.log_probs, e.advantages, e.mask, settings.clip)
    of_critic = value_loss(values, e.values, e.returns, e.mask, settings.value_clip)
    return torch.stack([of_policy * (not frozen), of_critic])


def _on(e: Experience, device) -> Experience:
    batch = Batch(e.batch.ids.to(device), e.batch.mask.to(device), e.batch.weights.to(device))
    others = (e.log_probs, e.reference, e.values, e.advantages, e.returns)
    return Experience(batch, *(tensor.to(device) for tensor in others))
