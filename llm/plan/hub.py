"""Costs of the paper's models on GPUs: by operations and bytes a parameter, from assumed lengths of their data."""

from dataclasses import dataclass, replace
from math import ceil
from operator import attrgetter
from typing import Literal

from ..config import AveragingEntry, HubPreset, PublicModel
from ..config.base import Lengths, Work
from ..config.hub import RANDOM
from ..config.trainers import Hardware, Training, Writing
from ..training.distributed.processes import read_together, split
from ..training.distributed.vllm_writer import is_installed
from . import regression
from .costs import (
    FULL,
    HALF,
    HOUR,
    Cost,
    Step,
    Together,
    activations,
    cache,
    gathered,
    gpu_speed,
    layer_activations,
    less_learning,
    models,
    parameters,
    saved_state,
    training_state,
)

PEAK = 312e12  # operations a second in bf16 of an A100, the default of `plan --tflops`
BANDWIDTH = 2.0e12  # bytes a second of an A100's memory (80 GB), the default of `plan --bandwidth`
TUNED = ("sft", "warm_start")  # rules that tune a model on conversations, by the preset's section of that name
LAUNCHES = 1.5e-3  # seconds a layer and step of transformers, as measured (`h200.json`); vLLM replays recorded steps
SAVED = 1.5e9  # bytes a second that a disk takes, assumed
STARTED = 90.0  # seconds until an engine of vLLM has read a model and recorded its steps, assumed


@dataclass(frozen=True)
class Sizes:
    """Rows of the data sets, and mean tokens: assumed, to the nearest round number."""

    conversations: int = 94_000  # ShareGPT
    conversation: int = 1_500
    pairs: int = 161_000  # HH-RLHF, helpful and harmless
    test_pairs: int = 8_500
    prompt: int = 150
    reply: int = 80
    # lm-eval's tasks in all: the seven tasks' items with all of their choices, and answers that are written
    benchmark_read: int = 14_000_000
    benchmark_written: int = 800_000
    longest_item: int = 1_000  # of the tasks whose choices are read
    documents: float = 2e10  # bytes of all data sets as fetched: WMT14's 41 million pairs, downloaded and as `datasets` keeps them, and little else


SIZES = Sizes()
LENGTHS = Lengths(prompt=SIZES.prompt, reply=SIZES.reply, pairs=SIZES.pairs)


def cost(preset: HubPreset, step: Step, peak: float = PEAK, bandwidth: float = BANDWIDTH) -> Cost:
    """Of one step, on the GPUs that it uses: training on all of them, everything after it on one."""
    gpus = [preset.hardware.of_batch(settings.rows).processes for settings in _trainings(preset, step)] or [1]
    taken, shared = _taken(preset, step)
    if (
        step.rule == "pretrain"
        or (step.rule == "sft" and preset.sft is None)
        or (step.aligns and not preset.is_trained)
    ):
        return Cost(gpus=0, memory=0.0, hours=0.0, disk=taken, shared=shared)
    speed = gpu_speed(preset.model, peak, bandwidth, preset.hardware.checkpointing, together(preset, step))
    computed = speed.hours(work(preset, step)) / min(gpus)
    waited = waiting(preset, step, computed)
    return Cost(max(gpus), memory(preset, step), computed + waited, *_disk(preset, step), waited, shared)


def waiting(preset: HubPreset, step: Step, computed: float) -> float:
    """Hours in which a step computes nothing: models and states are written, engines of vLLM start. computed: hours in which it does.

    A descent leaves a state now and then, PPO one in every iteration. What vLLM measures is written aside first, each with an engine.
    """
    hardware, folder, trainings = preset.hardware, HALF * parameters(preset.model), _trainings(preset, step)
    made, states, engines = len(trainings), 0, 0
    if step.aligns and hasattr(trainings[0], "writing"):
        made = preset.iterations(step.rlhf)
        by_vllm = getattr(preset, step.rlhf).on(hardware).sampler == "vllm"
        states, engines = made * (trainings[0].kept_optimisers > 0), made * by_vllm
    elif trainings and hardware.checkpoint_minutes:
        states = int(60 * computed / hardware.checkpoint_minutes)
    state = max((_saved(preset, settings) for settings in trainings), default=0.0)
    if measured_by_vllm(preset):
        made, engines = made + models(preset, step), engines + models(preset, step)
    return ((made * folder + states * state) / SAVED + engines * STARTED) / HOUR


def _saved(preset: HubPreset, settings: Training) -> float:
    """Bytes of a training's state. Of models that learn together the first may have adapters, the others are trained whole."""
    others = settings.trained_at_once - 1
    return saved_state(preset.model, settings.lora) + others * saved_state(preset.model)


def measured_by_vllm(preset: HubPreset) -> bool:
    """Whether models are measured by vLLM here."""
    return preset.measured_by_vllm(is_installed())


def together(preset: HubPreset, step: Step) -> Together:
    """How a step writes: RSF as the hardware says, PPO by transformers, measuring by vLLM where it is taken."""
    hardware = preset.hardware
    if not step.aligns:
        context = SIZES.prompt + preset.evaluate.max_new_tokens / 2
        by_vllm = measured_by_vllm(preset)
        return Together(
            *((hardware.generation_batch, context) if by_vllm else (preset.evaluate.batch, context, LAUNCHES))
        )
    section = getattr(preset, step.rlhf)
    if not hasattr(section, "writing"):  # DPO
        return Together(hardware.generation_batch, SIZES.prompt)
    replies = section.prompts * getattr(section, "samples", 1)
    share = ceil(replies / hardware.of_batch(section.rows).processes)
    context, by_vllm = SIZES.prompt + section.writing.max_new_tokens / 2, section.on(hardware).sampler == "vllm"
    return Together(min(hardware.generation_batch, share), context, LAUNCHES * (not by_vllm))


def _trainings(preset: HubPreset, step: Step) -> list[Training]:
    """The trainings of a step, one after the other."""
    if not preset.is_trained:
        return []
    if step.aligns:
        section = getattr(preset, step.rlhf)
        return [section]
    if step.rule == "reward":
        return [preset.reward.sft, preset.reward.bradley_terry]
    settings = getattr(preset, step.rule) if step.rule in TUNED else None
    return [] if settings is None else [settings]


def work(preset: HubPreset, step: Step) -> Work:
    """In tokens, over all GPUs; of those that are learned from, as many as take the same time where all weights are trained."""
    if step.rule in TUNED:
        settings = getattr(preset, step.rule)
        tokens = SIZES.conversations * SIZES.conversation if step.rule == "sft" else SIZES.pairs * LENGTHS.whole
        return _learning(preset, settings, Work(trained=tokens * settings.descent.epochs))
    if step.rule == "reward":
        found, settings = Work(read=2 * SIZES.test_pairs * LENGTHS.whole), preset.reward
        for sides, part in ((1, settings.sft), (2, settings.bradley_terry)) if settings else ():
            tokens = SIZES.pairs * LENGTHS.whole * sides * part.descent.epochs
            found += _learning(preset, part, Work(trained=tokens))
        return found
    if step.aligns:
        section = getattr(preset, step.rlhf)
        return _learning(preset, section, section.work(LENGTHS))
    found = _measuring(preset) * models(preset, step)
    if isinstance(step.entry, AveragingEntry) and step.entry.spec.searches:
        search = attrgetter(step.entry.spec.searches)(preset)
        found += search(LENGTHS, step.entry.alphas, len(step.entry.settings()))
    entry = _regressed(step)
    return found + regression.work(preset, entry, LENGTHS) if entry else found


def _learning(preset: HubPreset, settings: Training, given: Work) -> Work:
    """The work of a training, of which adapters save a part: that of the first of the models that learn together."""
    share = less_learning(preset.model, preset.hardware.checkpointing, settings.lora)
    models = settings.trained_at_once
    return replace(given, trained=given.trained * (share + models - 1) / models)


def _regressed(step: Step) -> AveragingEntry | None:
    """The step's entry if it is one of regression averaging."""
    return step.entry if isinstance(step.entry, AveragingEntry) and step.entry.method == "regmean" else None


def _measuring(preset: HubPreset) -> Work:
    settings = preset.evaluate
    replies = LENGTHS.replying(settings.max_new_tokens).sampled * settings.prompts
    compared = LENGTHS.replying(settings.compared.max_new_tokens).sampled * settings.alpaca_prompts
    return replies + compared + Work(read=SIZES.benchmark_read, written=SIZES.benchmark_written)


def memory(preset: HubPreset, step: Step) -> float:
    """Bytes on each GPU: training with what stands beside it, or writing, whichever takes more."""
    shape = preset.model
    whole = HALF * parameters(shape)  # a copy that only reads or writes
    if step.rule in TUNED:
        settings = getattr(preset, step.rule)
        return _training(preset, settings, settings.block)
    if step.rule == "reward":
        settings = preset.reward
        if settings is None:
            kept = activations(preset.judge, preset.evaluate.batch * SIZES.prompt, HALF, checkpointing=True)
            return HALF * parameters(preset.judge) + kept
        tuned = _training(preset, settings.sft, settings.sft.block)
        return max(tuned, _training(preset, settings.bradley_terry, 2 * settings.bradley_terry.length))
    if step.aligns:
        return _aligning(preset, step)
    measuring = whole + HALF * parameters(preset.judge) + _measuring_room(preset)
    if step.rule == "average" and step.entry.spec.searches:
        mixed = 0.14 * whole  # beside both models, and one sample's activations
        learning = activations(shape, preset.ama.batch * preset.ama.block, HALF, False)
        return max(measuring, 2 * whole + mixed + learning)
    entry = _regressed(step)
    return max(measuring, regression.memory(preset, entry, LENGTHS)) if entry else measuring


def _measuring_room(preset: HubPreset) -> float:
    """Bytes beside the weights: keys and values of replies, or, by transformers, all logits of the tasks' items and their log-probabilities."""
    shape, settings = preset.model, preset.evaluate
    longest = SIZES.prompt + max(settings.max_new_tokens, settings.compared.max_new_tokens)
    if measured_by_vllm(preset):
        return cache(shape, max(preset.hardware.generation_batch * longest, preset.context))
    logits = 2 * HALF * settings.batch * SIZES.longest_item * shape.vocabulary
    return max(cache(shape, settings.batch * longest), logits)


def _training(preset: HubPreset, settings: Training, tokens: int) -> float:
    """tokens: of an example. With adapters activations are counted as without."""
    hardware, shape = preset.hardware.of_batch(settings.rows), preset.model
    rows, gpus = split(settings.rows, hardware).per_device, hardware.processes
    states = training_state(shape, gpus, settings.lora) + (settings.trained_at_once - 1) * training_state(shape, gpus)
    return states + gathered(shape, gpus) + activations(shape, rows * tokens, HALF, hardware.checkpointing)


def _aligning(preset: HubPreset, step: Step) -> float:
    shape, hardware, section = preset.model, preset.hardware, getattr(preset, step.rlhf)
    whole, writing = HALF * parameters(shape), getattr(section, "writing", None)
    room = cache(shape, hardware.generation_batch * section.longest)
    return section.memory(
        learning=_training(preset, section, section.longest),
        sampling=2 * whole + (max(room, reading(shape, hardware, writing)) if writing else room),
        model=whole,
    )


def reading(shape: PublicModel, hardware: Hardware, writing: Writing) -> float:
    """Bytes of what stands between a model's weights when it reads its replies: one layer's numbers, and logits as they come, in fp32 and
    as log-probabilities.
    """
    logits = writing.max_new_tokens * shape.vocabulary
    rows = read_together(hardware.generation_batch, writing.tokens, logits)
    return layer_activations(shape, rows * writing.tokens, HALF) + (HALF + 2 * FULL) * rows * logits


def _disk(preset: HubPreset, step: Step) -> tuple[float, float]:
    """(bytes left behind, bytes beside them while it runs): bf16 models; states of fp32 weights with both moments, and the models that
    training may go on from.
    """
    folder = HALF * parameters(preset.model)
    if step.rule == "reward" and not preset.is_trained:
        return _taken(preset, step)[0], 0.0
    if step.rule in TUNED or step.rule == "reward":
        trainings = _trainings(preset, step)
        return len(trainings) * folder, 2 * max(_saved(preset, settings) for settings in trainings)
    if step.aligns:
        section, last = getattr(preset, step.rlhf), preset.iterations(step.rlhf)
        kept = len(preset.measured(step.rlhf, last)) if step.eta is None else 1
        return kept * folder, section.states * (_saved(preset, section) + folder)
    written = (
        2 if _regressed(step) else 1
    )  # folders: an average is measured and removed, one by regression is made beside it first
    return 0.0, written * folder


def _taken(preset: HubPreset, step: Step) -> tuple[float, float]:
    """(bytes of what a step takes instead of making it, those of them that all seeds share): the data sets with the first step, unless they
    are in `data_dir`, and each public model with the step that it stands for. A random model is made anew for each seed.
    """
    named = preset.models
    names = {"pretrain": named.pretrained, "sft": named.theta_0, "reward": named.reward}
    name = named.theta if step.aligns else names.get(step.rule)
    folder = HALF * parameters(preset.judge if step.rule == "reward" else preset.model) * (name is not None)
    documents = SIZES.documents * (step.rule == "pretrain" and preset.data_dir is None)
    return documents + folder, documents + folder * (name != RANDOM)


def with_gpus(preset: HubPreset, gpus: int) -> HubPreset:
    """The preset trained on another number of GPUs. Those that train nothing, on the CPU, or in one process (launcher `none`) stay as they
    are, and of several GPUs only the jobs that measure take more than one.
    """
    if not preset.is_trained or preset.hardware.device == "cpu" or preset.hardware.launcher == "none":
        return preset
    hardware = Hardware.model_validate(preset.hardware.model_dump() | {"processes": gpus})
    return preset.model_copy(update={"hardware": hardware})


def with_sampler(preset: HubPreset, sampler: Literal["auto", "transformers", "vllm"]) -> HubPreset:
    """The preset measured by it."""
    return preset.model_copy(update={"evaluate": preset.evaluate.model_copy(update={"sampler": sampler})})
