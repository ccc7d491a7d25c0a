"""PPO on accelerate (`llm.stages.ppo` is the microcosm's): from theta_0 to theta.

Replies, rewards with their KL penalty, advantages, clipping, and the restarts after a collapse are those of `llm.training.rlhf.ppo`. An iteration follows
from the training state and the model folder before it and from how many restarts there were, so a killed run goes on at the first one
that is not there. The state holds policy and critic in fp32, since what an iteration changes is less than bf16 can tell. With LoRA the
policy has adapters; the critic is trained whole.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from ...config.trainers import Hardware, PpoSettings
from ...errors import UserError
from ...files import write_json
from ...models.chat import Message, context_of
from ..iterations import is_made, iteration_folder, log_file, read_log
from ..rlhf.ppo.restarts import Trail, walk
from .batches import Split, split
from .models import Start, load_tokenizer, write_model
from .ppo_learner import PpoLearner, fresh_learner, take_fresh_critic
from .ppo_replies import collect
from .processes import make_accelerator, require_device
from .sampling import fitting, samples_folder


@dataclass(frozen=True)
class Inputs:
    """What stays the same from iteration to iteration."""

    accelerator: object
    split: Split
    start: Start
    reward: Path
    prompts: list[list[Message]]
    settings: PpoSettings
    hardware: Hardware
    out: Path

    def before(self, iteration: int) -> str:
        """The model that an iteration starts from."""
        return self.start.model if iteration == 1 else str(iteration_folder(self.out, iteration - 1))


@dataclass
class _Run:
    """One learner at a time, that of the iteration that was made last."""

    inputs: Inputs
    learner: PpoLearner

    def iterate(self, iteration: int, restarts: int) -> None:
        if self.learner.after != iteration - 1:
            if iteration == 1:
                self.inputs.accelerator.free_memory()
                self.learner = fresh_learner(self.inputs)
            else:
                self.learner.load(_training(self.inputs.out, iteration - 1), iteration - 1)
        _iterate(self.inputs, self.learner, iteration, restarts)
        self.learner.after = iteration


def ppo(
    start: Start, reward: Path, prompts: list[list[Message]], settings: PpoSettings, hardware: Hardware, out: Path
) -> None:
    """Run all iterations; `out/iteration<i>` is the model after iteration i = 1, 2, ...

    Beside each lies `iteration<i>.json`, with what `llm.stages.ppo.ppo` says there, except for the gold reward, which real data
    lack. Beside the last few lies `training<i>`, the state that training may have to go on or start again from.

    Args:
        reward: the folder of the reward model, which the critic begins as.
        prompts: those to draw from; too long ones are left out.
    """
    from transformers import AutoConfig

    require_device(hardware)
    if hardware.launcher == "zero3":
        raise UserError(
            "launcher = 'zero3' is not allowed with ppo, whose critic is put in place anew after a collapse; allowed are none, ddp, fsdp"
        )
    made, tokenizer = split(settings.batch, hardware), load_tokenizer(start.model)
    short = fitting(tokenizer, prompts, settings.writing, context_of(AutoConfig.from_pretrained(start.model)))
    if len(short) < settings.prompts:
        raise UserError(
            f"prompts = {settings.prompts} is not allowed: there are {len(short)}; allowed are 1 to {len(short)}"
        )
    inputs = Inputs(make_accelerator(hardware, made), made, start, reward, short, settings, hardware, out)
    run = _Run(inputs, fresh_learner(inputs))
    trail = Trail(
        is_current=lambda iteration, restarts: _is_current(inputs, iteration, restarts),
        has_training=lambda iteration: _training(out, iteration).is_dir(),
        make=run.iterate,
        log=lambda iteration: read_log(out, iteration),
        forget=lambda iteration: _forget(inputs, iteration),
    )
    for _ in walk(settings.iterations, settings.collapse, trail):
        inputs.accelerator.wait_for_everyone()


def _training(out: Path, iteration: int) -> Path:
    return out / f"training{iteration:02d}"


def _is_current(inputs: Inputs, iteration: int, restarts: int) -> bool:
    made_from = [
        path for model in (inputs.before(iteration), inputs.reward) if (path := Path(model) / "config.json").is_file()
    ]
    return is_made(inputs.out, iteration, *made_from) and read_log(inputs.out, iteration)["restarts"] >= restarts


def _forget(inputs: Inputs, before: int) -> None:
    """Remove the states of iterations 1 to `before` - 1; the models and logs stay."""
    inputs.accelerator.wait_for_everyone()
    if inputs.accelerator.is_main_process:
        for iteration in range(1, before):
            shutil.rmtree(_training(inputs.out, iteration), ignore_errors=True)


def _iterate(inputs: Inputs, learner: PpoLearner, iteration: int, restarts: int) -> None:
    """One iteration, of a learner that stands behind the one before.

    Where `restarts` has grown since then, it is done with a fresh critic, and the policy is left alone.
    """
    from ..rlhf.ppo.collapse import collapse

    settings, _accelerator = inputs.settings, inputs.accelerator
    logs = [read_log(inputs.out, i) for i in range(1, iteration)]
    restarted = restarts > (logs[-1]["restarts"] if logs else 0)
    if restarted:
        take_fresh_critic(learner, inputs.reward, settings.baseline)
    told = (inputs.settings, inputs.start, inputs.prompts, restarts)
    folder = samples_folder(inputs.out, inputs.before(iteration), iteration, told)
    replies = collect(inputs, learner, inputs.before(iteration), [iteration, restarts], folder)
    policy, critic = learner.improve(inputs, replies.experience, [iteration, restarts], iteration, frozen=restarted)
    log = replies.log | {
        "iteration": iteration,
        "lr": settings.optimiser.lr,
        "eta": settings.eta,
        "restarts": restarts,
        "fresh_critic": restarted or iteration == 1,
        "policy_loss": None if restarted else policy,
        "critic_loss": critic,
    }
    log["collapse"] = collapse([*logs, log], settings.collapse)
    _leave(inputs, learner, iteration, log, folder)


def _leave(inputs: Inputs, learner: PpoLearner, iteration: int, log: dict, samples: Path) -> None:
    """Write what an iteration leaves behind, the model last; everything appears whole."""
    accelerator, training = inputs.accelerator, _training(inputs.out, iteration)
    aside = training.with_name(f".{training.name}.partial")
    if accelerator.is_main_process:
        write_json(log_file(inputs.out, iteration), log)
        for old in (aside, training):
            shutil.rmtree(old, ignore_errors=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(aside))
    accelerator.wait_for_everyone()
    weights = learner.policy()
    if accelerator.is_main_process:
        os.replace(aside, training)
        write_model(weights, learner.origin, inputs.hardware.dtype, iteration_folder(inputs.out, iteration))
        shutil.rmtree(samples)
    accelerator.wait_for_everyone()
