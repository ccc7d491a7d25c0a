"""Costs of the presets that our own loop runs, one step a core or a GPU, at rough speeds of one."""

from dataclasses import dataclass, replace
from operator import attrgetter
from typing import cast

from ..config import AveragingEntry, LocalPreset, MicrocosmPreset, PublicModel, TrainingEntry
from ..config.base import Lengths, Work
from .costs import ADAM, FULL, HALF, Cost, Speed, Step, activations, cache, models, parameters, training_state

PROGRAM = 0.7 * 2**30  # bytes of Python with torch and transformers


@dataclass(frozen=True)
class Sizes:
    """Tokens, typical ones. choices: of an item's question with all of its choices. passage: of an item's text and question.
    The longest ones decide what must be held at a time.
    """

    prompt: int
    choices: int
    passage: int
    text: int
    longest_prompt: int
    longest_passage: int


@dataclass(frozen=True)
class Pace:
    """speed: roughly one thread's of a server processor, or an H100's, for an estimate; SmolLM2's was measured (docs/log.md), the
    microcosm's is a guess near what its stages take."""

    speed: Speed
    sizes: Sizes


MICROCOSM = Sizes(prompt=20, choices=110, passage=50, text=0, longest_prompt=45, longest_passage=95)
SMOLLM2 = Sizes(prompt=53, choices=55, passage=290, text=125, longest_prompt=82, longest_passage=808)
PACES = {  # by a preset's data and device
    ("microcosm", "cpu"): Pace(Speed(trained=8_000, read=20_000, written=5_000), MICROCOSM),
    ("smollm2", "cpu"): Pace(Speed(trained=67, read=200, written=115), SMOLLM2),
    ("smollm2", "gpu"): Pace(Speed(trained=19_000, read=45_000, written=20_000), SMOLLM2),  # `h200.json`, but for read
}


def cost(preset: LocalPreset, step: Step) -> Cost:
    """Of one step, on one core or one GPU."""
    shape, pace = shape_of(preset), PACES[preset.data, preset.device]
    memory = PROGRAM * (not preset.needs_gpus) + _memory(preset, shape, step, pace.sizes)
    hours = pace.speed.hours(work(preset, step, pace.sizes))
    return Cost(int(preset.needs_gpus), memory, hours, disk=_disk(preset, shape, step))


def shape_of(preset: LocalPreset) -> PublicModel:
    """The sizes of the preset's model; the microcosm's biases, under 1 %, are left out."""
    if not isinstance(preset, MicrocosmPreset):
        return cast(PublicModel, preset.model)
    from ..data.microcosm.words import vocabulary

    model = preset.model
    sizes, head_size = model.model_dump(exclude={"initialise"}), model.hidden_size // model.heads
    return PublicModel(
        **sizes, kv_heads=model.heads, head_size=head_size, vocabulary=len(vocabulary(preset.world.size))
    )


def work(preset: LocalPreset, step: Step, sizes: Sizes) -> Work:
    """Upper bounds: replies are as long as they may be, and pre-training uses all of its tokens."""
    tokens = {"prompt": sizes.prompt, "reply": preset.max_new_tokens, "passage": sizes.passage}
    depth = (preset.reward.layers or preset.model.layers) / preset.model.layers
    lengths = Lengths(**tokens, pairs=preset.preferences.pairs, depth=depth)
    if step.rule in ("pretrain", "sft"):
        return getattr(preset, step.rule).work(lengths) if isinstance(preset, MicrocosmPreset) else Work()
    if step.rule == "reward":
        return preset.preferences.work(lengths) + preset.reward.work(lengths) + _renewal(preset, lengths)
    if step.aligns:
        return _aligning(preset, step.rlhf, lengths)
    entry, count = step.entry, models(preset, step)
    found = _measuring(preset, sizes, lengths) * count
    if isinstance(entry, TrainingEntry):
        found += _training(preset, step.rlhf, entry, lengths)
    if isinstance(entry, AveragingEntry) and entry.spec.searches:
        found += attrgetter(entry.spec.searches)(preset)(lengths, entry.alphas, len(entry.settings()))
    return found


def _renewal(preset: LocalPreset, lengths: Lengths) -> Work:
    """RSF and pairs in every round, and the reward model fitted once more to all pairs."""
    found, settings = Work(), preset.renewal
    if settings is None:
        return found
    rsf = preset.rsf.model_copy(update={"iterations": settings.iterations})
    for number in range(1, settings.rounds + 1):
        more = replace(lengths, pairs=lengths.pairs + number * settings.pairs)
        found += rsf.work(lengths) + settings.work(lengths) + preset.reward.work(more)
    return found


def _aligning(preset: LocalPreset, rlhf: str, lengths: Lengths) -> Work:
    """One run to its last iteration, and what looks for the common reward."""
    watched = preset.until.work(lengths, preset.iterations(rlhf)) if preset.until else Work()
    return preset.section(rlhf).work(lengths) + watched


def _training(preset: LocalPreset, rlhf: str, entry: TrainingEntry, lengths: Lengths) -> Work:
    """All trainings of an entry: each imitates RSF's samples, or is a run of alignment, or several ones (WARP). What penalties, documents
    and projections add to a step is not counted."""
    if entry.spec.how == "penalty":
        return Work()
    if entry.spec.how == "on-policy":
        return _aligning(preset, rlhf, lengths) * sum(setting.get("runs", 1) for setting in entry.trainings())
    samples = preset.rsf.iterations * preset.rsf.prompts
    return cast(MicrocosmPreset, preset).distil.work(samples, lengths) * len(entry.settings())


def _measuring(preset: LocalPreset, sizes: Sizes, lengths: Lengths) -> Work:
    counts = preset.evaluate.counts
    answered = counts["reading"] + counts.get("translation", 0)
    items = Work(
        read=counts["qa"] * sizes.choices + answered * sizes.passage + counts.get("text", 0) * sizes.text,
        written=answered * lengths.reply,
    )
    return lengths.sampled * preset.evaluate.prompts + items


def _memory(preset: LocalPreset, shape: PublicModel, step: Step, sizes: Sizes) -> float:
    """Bytes of weights, what training adds to them, and activations, or what measuring holds: logits, or the keys and values of
    the longest questions, once for each of their choices, whichever is more.
    """
    weights, whole = FULL * parameters(shape), sizes.longest_prompt + preset.max_new_tokens
    reads_only = step.rule == "reward" and not preset.reward.epochs
    trains = step.aligns or (isinstance(step.entry, TrainingEntry) and step.entry.spec.how == "on-policy")
    if (trains or step.rule in ("pretrain", "sft", "reward")) and not reads_only:
        section = preset.section(step.rlhf) if step.rlhf else getattr(preset, step.rule, None)
        if section is None:  # a model that is there already
            return training_state(shape)
        kept = activations(shape, section.batch * section.sequences * whole, FULL, checkpointing=False)
        return section.trained_at_once * training_state(shape) + section.frozen_beside * weights + kept
    # logits as they come, and as log-probabilities
    logits = FULL * 2 * preset.evaluate.batch * preset.max_new_tokens * shape.vocabulary
    questions = FULL / HALF * cache(shape, preset.evaluate.batch * sizes.longest_passage)
    copies = (
        6 if step.rule == "average" else 3
    )  # theta, both states, the mix, theta_0 and the reward model; or a model and those
    prompts = 3 * FULL / HALF * cache(shape, preset.evaluate.prompts * sizes.prompt)  # as the last three have read them
    return copies * weights + prompts + max(logits, questions)


KEPT_WEIGHTS = 2  # copies of the weights in the memory of a method, at most: BEMA's average and its result


def _run_disk(preset: LocalPreset, rlhf: str, count: int) -> float:
    """Bytes of one run of alignment, of a model of so many parameters."""
    section = preset.section(rlhf)
    state = section.kept_optimisers * ADAM + (section.trained_at_once - 1) * FULL
    return preset.iterations(rlhf) * (FULL + state) * count


def _disk(preset: LocalPreset, shape: PublicModel, step: Step) -> float:
    count = parameters(shape)
    folder = FULL * count
    if step.aligns:  # a model an iteration, and what it goes on from: optimisers, and models beside the policy
        return _run_disk(preset, step.rlhf, count)
    if isinstance(step.entry, TrainingEntry) and step.entry.spec.how == "on-policy":
        return len(step.entry.trainings()) * (
            _run_disk(preset, step.rlhf, count) + KEPT_WEIGHTS * folder * preset.iterations(step.rlhf)
        )
    if isinstance(step.entry, TrainingEntry) and step.entry.spec.how == "distilled":
        return models(preset, step) * folder
    made_here = isinstance(preset, MicrocosmPreset)  # else theta_0 is the fetched model, by hard links
    return folder * {"pretrain": made_here, "sft": made_here, "reward": True}.get(step.rule, False)
