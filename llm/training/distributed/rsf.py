"""RSF (`llm.training.rlhf.rsf`) on accelerate: from theta_0 to theta.

Every iteration begins from the model folder that the one before has left, so a killed run goes on at the first iteration
that is not there, and within it with the replies that are not there. With LoRA every iteration merges its adapters and
the next begins new ones.
"""

import shutil
from pathlib import Path

import numpy as np

from ...config.trainers import Hardware, RsfSettings
from ...files import up_to_date, write_json
from ...models.batches import pad_replies
from ...models.chat import Message, end_id, prompt_ids
from ..iterations import chosen_file, iteration_folder, log_file
from ..loop import count_minibatches, minibatches, token_loss
from ..rlhf.rsf import best_of, log_of, rewards_of
from .loop import Inputs, Objective, fit, learner_of, prepared
from .models import Start, load_tokenizer, write_model
from .processes import release
from .sampling import Sample, rewards, samples_folder, write_samples


def rsf(
    start: Start, reward: Path, prompts: list[list[Message]], settings: RsfSettings, hardware: Hardware, out: Path
) -> None:
    """Run all iterations; `out/iteration<i>` is the model after iteration i = 1, 2, ...

    Beside each model lie `iteration<i>.json`, its log, and `chosen<i>.json`, the samples that it imitated, a list of
    [prompt (messages), reply, finished].

    Args:
        reward: the folder, or id, of the reward model.
        prompts: those to draw from; too long ones are left out.
    """
    inputs, before = prepared(start, reward, prompts, settings, settings.descent.batch, hardware, out), start.model
    for iteration in range(1, settings.iterations + 1):
        after = iteration_folder(out, iteration)
        made_from = [path for model in (before, reward) if (path := Path(model) / "config.json").is_file()]
        if not up_to_date(after / "config.json", *made_from):
            _iterate(inputs, before, after, iteration)
        inputs.accelerator.wait_for_everyone()
        before = str(after)


def _iterate(inputs: Inputs[RsfSettings], before: str, after: Path, iteration: int) -> None:
    settings, accelerator, seed = inputs.settings, inputs.accelerator, [inputs.start.seed, iteration]
    order = np.random.default_rng(seed).permutation(len(inputs.prompts))
    drawn = [inputs.prompts[i] for i in order[: settings.prompts]]
    tokenizer = load_tokenizer(before)
    folder = samples_folder(inputs.out, before, iteration, inputs.told, inputs.hardware)
    ids = [prompt_ids(tokenizer, prompt) for prompt in drawn]
    samples = write_samples(accelerator, before, ids, settings.samples, settings.writing, inputs.hardware, seed, folder)
    scores = np.array(rewards(accelerator, inputs.reward, samples, inputs.hardware))
    best = best_of(scores.reshape(len(drawn), settings.samples))
    chosen = [samples[i] for i in best]
    losses, state, origin = _imitate(inputs, before, chosen, iteration)
    release(accelerator)
    if accelerator.is_main_process:
        log = log_of(iteration, settings.descent.optimiser.lr, rewards_of(scores, best), losses)
        log["unfinished"] = float(np.mean([not sample.finished for sample in samples]))
        write_json(chosen_file(inputs.out, iteration), [[drawn[s.prompt], s.text, s.finished] for s in chosen])
        write_json(log_file(inputs.out, iteration), log)
        write_model(state, origin, inputs.hardware.dtype, after)
        shutil.rmtree(folder)


def _imitate(inputs: Inputs[RsfSettings], before: str, chosen: list[Sample], iteration: int):
    """(losses, the trained model's weights, its origin); the weights are whole in the main process only."""
    descent, accelerator, seed = inputs.settings.descent, inputs.accelerator, inputs.start.seed
    steps = count_minibatches(len(chosen), descent.batch, descent.epochs)
    start = Start(before, int(np.random.default_rng([seed, iteration, 3]).integers(2**62)))
    learner, origin = learner_of(accelerator, start, "causal", token_loss, inputs.settings, steps, inputs.hardware)
    end, pad = end_id(origin.tokenizer), origin.tokenizer.pad_token_id
    objective = Objective(
        collate=lambda rows: pad_replies([(row.prompt_ids, row.with_end(end)) for row in rows], pad),
        count=lambda row: len(row.with_end(end)),
        loss=lambda module, batch: module(batch)[None],
    )
    batches = minibatches(chosen, descent.batch, descent.epochs, np.random.default_rng([seed, iteration, 1]))
    losses = [loss for (loss,) in fit(learner, batches, objective, inputs.split, steps=steps)]
    weights = learner.weights("model")
    return losses, weights, origin
