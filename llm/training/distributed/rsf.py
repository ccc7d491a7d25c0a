"""RSF on accelerate (best of n, iterated; `llm.stages.rsf` is the microcosm's): from theta_0 to theta.

Each iteration samples n replies to fresh prompts, keeps the best of each n by the learned reward, and imitates them (paper.md section 3).
It begins from the model folder that the one before has left, so a killed run goes on at the first iteration that is not there, and
within it with the replies that are not there. With LoRA every iteration merges its adapters and the next begins new ones.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from ...config.trainers import Hardware, RsfSettings
from ...errors import UserError
from ...files import up_to_date, write_json
from ...models.chat import Message, context_of, prompt_ids
from ..iterations import iteration_folder, log_file
from .batches import Split, split
from .judging import rewards
from .loop import Learner, Objective, fit
from .models import Start, load_tokenizer, load_trained, write_model
from .processes import make_accelerator, require_device
from .sampling import Sample, fitting, samples_folder, write_samples


@dataclass(frozen=True)
class Inputs:
    """What stays the same from iteration to iteration."""

    accelerator: object
    split: Split
    start: Start
    reward: str
    prompts: list[list[Message]]
    settings: RsfSettings
    hardware: Hardware
    out: Path


def rsf(
    start: Start, reward: str, prompts: list[list[Message]], settings: RsfSettings, hardware: Hardware, out: Path
) -> None:
    """Run all iterations; `out/iteration<i>` is the model after iteration i = 1, 2, ...

    Beside each model lie `iteration<i>.json`, mean reward of all samples and of the chosen ones, and `chosen<i>.json`, the samples that
    it imitated, a list of [prompt (messages), reply, finished].

    Args:
        reward: the folder, or id, of the reward model.
        prompts: those to draw from; too long ones are left out.
    """
    from transformers import AutoConfig

    require_device(hardware)
    made = split(settings.descent.batch, hardware)
    tokenizer = load_tokenizer(start.model)
    short = fitting(tokenizer, prompts, settings.writing, context_of(AutoConfig.from_pretrained(start.model)))
    if len(short) < settings.prompts:
        raise UserError(
            f"prompts = {settings.prompts} is not allowed: there are {len(short)}; allowed are 1 to {len(short)}"
        )
    inputs = Inputs(make_accelerator(hardware, made), made, start, reward, short, settings, hardware, out)
    before = start.model
    for iteration in range(1, settings.iterations + 1):
        after = iteration_folder(out, iteration)
        made_from = [path for model in (before, reward) if (path := Path(model) / "config.json").is_file()]
        if not up_to_date(after / "config.json", *made_from):
            _iterate(inputs, before, after, iteration)
        inputs.accelerator.wait_for_everyone()
        before = str(after)


def _iterate(inputs: Inputs, before: str, after: Path, iteration: int) -> None:
    import numpy as np

    from ...stages.rsf import best_of

    settings, accelerator = inputs.settings, inputs.accelerator
    rng = np.random.default_rng([inputs.start.seed, iteration])
    drawn = [inputs.prompts[i] for i in rng.permutation(len(inputs.prompts))[: settings.prompts]]
    tokenizer = load_tokenizer(before)
    folder = samples_folder(inputs.out, before, iteration, (settings, inputs.start, inputs.prompts))
    asked, seed = [prompt_ids(tokenizer, prompt) for prompt in drawn], [inputs.start.seed, iteration]
    samples = write_samples(
        accelerator, before, asked, settings.samples, settings.writing, inputs.hardware, seed, folder
    )
    scores = np.array(rewards(accelerator, inputs.reward, samples, inputs.hardware))
    best = best_of(scores.reshape(len(drawn), settings.samples))
    chosen = [samples[i] for i in best]
    losses, state, origin = _imitate(inputs, before, chosen, iteration)
    if accelerator.is_main_process:
        log = {
            "iteration": iteration,
            "lr": settings.descent.optimiser.lr,
            "reward": float(scores.mean()),
            "reward_chosen": float(scores[best].mean()),
            "unfinished": float(np.mean([not sample.finished for sample in samples])),
            "loss": float(np.mean(losses)),
        }
        write_json(inputs.out / f"chosen{iteration:02d}.json", [[drawn[s.prompt], s.text, s.finished] for s in chosen])
        write_json(log_file(inputs.out, iteration), log)
        write_model(state, origin, inputs.hardware.dtype, after)
        shutil.rmtree(folder)


def _imitate(inputs: Inputs, before: str, chosen: list[Sample], iteration: int):
    """(losses, the trained model's weights, its origin); the weights are whole in the main process only."""
    import numpy as np

    from ...models.batches import pad_replies
    from ...models.chat import end_id
    from ..loop import count_minibatches, minibatches
    from .modules import part

    descent, accelerator = inputs.settings.descent, inputs.accelerator
    steps = count_minibatches(len(chosen), descent.batch, descent.epochs)
    learner, origin = _learner(inputs, before, steps, iteration)
    end, pad = end_id(origin.tokenizer), origin.tokenizer.pad_token_id
    objective = Objective(
        collate=lambda rows: pad_replies([(row.prompt_ids, row.with_end(end)) for row in rows], pad).to(
            accelerator.device
        ),
        count=lambda row: len(row.with_end(end)),
        loss=lambda module, batch: module(batch),
    )
    rng = np.random.default_rng([inputs.start.seed, iteration, 1])
    batches = minibatches(chosen, descent.batch, descent.epochs, rng)
    losses = [loss for (loss,) in fit(learner, batches, objective, inputs.split, steps=steps)]
    state = accelerator.get_state_dict(learner.module)
    accelerator.free_memory()
    return losses, part(state, "model"), origin


def _learner(inputs: Inputs, before: str, steps: int, iteration: int):
    """A fresh learner at the model of the iteration before, and its origin."""
    from ..loop import optimiser_for
    from .modules import Imitator

    model, origin = load_trained(Start(before, inputs.start.seed + iteration), "causal", inputs.settings.lora)
    if inputs.hardware.checkpointing:
        model.gradient_checkpointing_enable()
    schedule, module = inputs.settings.descent.optimiser.optimiser(steps), Imitator(model)
    module, optimiser = inputs.accelerator.prepare(module, optimiser_for(module, schedule))
    return Learner(inputs.accelerator, module, optimiser, (schedule,)), origin
