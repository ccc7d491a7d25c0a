"""PPO (`llm.training.rlhf.ppo`) on accelerate: from theta_0 to theta.

An iteration follows from the training state and the model folder before it and from how many restarts there were, so a
killed run goes on at the first one that is not there. The state holds policy and critic in fp32, since what an iteration
changes is less than bf16 can represent. With LoRA the policy has adapters; the critic is trained whole.
"""

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ...config.trainers import Hardware, PpoSettings
from ...files import write_json
from ...models.chat import Message
from ..iterations import forget_weights, iteration_folder, log_file, model_before, read_log
from ..rlhf.ppo.restarts import Trail, complete_log, is_restart, walk
from .loop import Inputs, prepared
from .models import Start, write_model
from .ppo_learner import PpoLearner, collect, fresh_learner, take_fresh_critic
from .processes import release
from .sampling import samples_folder
from .states import save_state


@dataclass
class _Run:
    """One learner at a time, that of the iteration that was made last."""

    inputs: Inputs[PpoSettings]
    learner: PpoLearner

    def iterate(self, iteration: int, restarts: int) -> None:
        if self.learner.after != iteration - 1:
            if iteration == 1:
                del self.learner
                release(self.inputs.accelerator)
                self.learner = fresh_learner(self.inputs)
            else:
                self.learner.load(_training(self.inputs.out, iteration - 1), iteration - 1)
        _iterate(self.inputs, self.learner, iteration, restarts)
        self.learner.after = iteration


def ppo(
    start: Start, reward: Path, prompts: list[list[Message]], settings: PpoSettings, hardware: Hardware, out: Path
) -> None:
    """Run all iterations; `out/iteration<i>` is the model after iteration i = 1, 2, ...

    Beside each lies `iteration<i>.json`, with what `llm.stages.ppo.ppo` writes there, except for the gold reward, which
    real data lack. Beside the last few lies `training<i>`, the state that training may have to go on or start again from, until all are
    made. Of models that are not to be measured (`settings.measured_every`) the weights go with these states.

    Args:
        reward: the folder of the reward model, which the critic begins as.
        prompts: those to draw from; too long ones are left out.
    """
    inputs = prepared(start, reward, prompts, settings, settings.batch, hardware, out)
    run = _Run(inputs, fresh_learner(inputs))
    training, forget = partial(_training, out), partial(_forget, inputs)
    trail = Trail(start.model, reward, out, training, make=run.iterate, forget=forget)
    for _ in walk(settings.iterations, settings.collapse, trail):
        inputs.accelerator.wait_for_everyone()
    forget(settings.iterations + 1)


def _training(out: Path, iteration: int) -> Path:
    return out / f"training{iteration:02d}"


def _forget(inputs: Inputs[PpoSettings], before: int) -> None:
    """Remove the states of iterations 1 to `before` - 1, and the weights of those that are not measured; the logs stay."""
    inputs.accelerator.wait_for_everyone()
    if inputs.accelerator.is_main_process:
        last, every = inputs.settings.iterations, inputs.settings.measured_every
        for iteration in range(1, before):
            shutil.rmtree(_training(inputs.out, iteration), ignore_errors=True)
            if iteration % every and iteration != last:
                forget_weights(iteration_folder(inputs.out, iteration))


def _iterate(inputs: Inputs[PpoSettings], learner: PpoLearner, iteration: int, restarts: int) -> None:
    """One iteration, of a learner that stands behind the one before.

    Where `restarts` has grown since then, it is done with a fresh critic, and the policy is left alone.
    """
    logs = [read_log(inputs.out, i) for i in range(1, iteration)]
    restarted, before = is_restart(logs, restarts), str(model_before(inputs.start.model, inputs.out, iteration))
    if restarted:
        take_fresh_critic(learner, inputs.reward, inputs.settings.baseline)
    folder = samples_folder(inputs.out, before, iteration, (inputs.told, restarts), inputs.hardware)
    collected, found = collect(inputs, learner, before, [iteration, restarts], folder)
    losses = learner.improve(inputs, collected, [iteration, restarts], iteration, frozen=restarted)
    log = complete_log(found, logs, restarts, inputs.settings, *losses)
    _leave(inputs, learner, iteration, log, folder)


def _leave(inputs: Inputs[PpoSettings], learner: PpoLearner, iteration: int, log: dict, samples: Path) -> None:
    """Write what an iteration leaves behind, atomically and the model last."""
    accelerator = inputs.accelerator
    if accelerator.is_main_process:
        write_json(log_file(inputs.out, iteration), log)
    save_state(accelerator, _training(inputs.out, iteration))
    weights = learner.policy()
    if accelerator.is_main_process:
        write_model(weights, learner.origin, inputs.hardware.dtype, iteration_folder(inputs.out, iteration))
        shutil.rmtree(samples)
    accelerator.wait_for_everyone()
