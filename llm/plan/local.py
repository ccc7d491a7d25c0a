"""Costs of the presets that our own loop runs, one step a core or a GPU, at rough speeds of one."""

from dataclasses import dataclass

from ..averaging.ama.oracle import lattice
from ..config import AveragingEntry, LocalPreset, MicrocosmPreset, PublicModel, TrainingEntry
from .shape import ADAM, FULL, HALF, activations, cache, parameters, training_state
from .steps import Cost, Step, models
from .work import Speed, Work

PROGRAM = 0.7 * 2**30  # bytes of Python with torch and transformers
WITHIN = 3  # groups of most groupings: of the lattice that the oracle searches


@dataclass(frozen=True)
class Lengths:
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
    lengths: Lengths


MICROCOSM = Lengths(prompt=15, choices=80, passage=50, text=0, longest_prompt=45, longest_passage=45)
SMOLLM2 = Lengths(prompt=53, choices=55, passage=290, text=125, longest_prompt=82, longest_passage=808)
PACES = {  # by a preset's data and device
    ("microcosm", "cpu"): Pace(Speed(trained=8_000, read=20_000, written=5_000), MICROCOSM),
    ("smollm2", "cpu"): Pace(Speed(trained=67, read=200, written=115), SMOLLM2),
    ("smollm2", "gpu"): Pace(Speed(trained=15_000, read=45_000, written=6_000), SMOLLM2),
}


def cost(preset: LocalPreset, step: Step) -> Cost:
    """Of one step, on one core or one GPU."""
    shape, pace = shape_of(preset), PACES[preset.data, preset.device]
    return Cost(
        gpus=int(preset.needs_gpus),
        memory=PROGRAM * (not preset.needs_gpus) + _memory(preset, shape, step, pace.lengths),
        hours=pace.speed.hours(work(preset, step, pace.lengths)),
        disk=_disk(preset, shape, step),
    )


def shape_of(preset: LocalPreset) -> PublicModel:
    """The sizes of the preset's model; the microcosm's biases, under 1 %, are left out."""
    if not isinstance(preset, MicrocosmPreset):
        return preset.model
    from ..data.microcosm.words import vocabulary

    model = preset.model
    return PublicModel(
        **model.model_dump(exclude={"initialise"}),
        kv_heads=model.heads,
        head_size=model.hidden_size // model.heads,
        vocabulary=len(vocabulary()),
    )


def work(preset: LocalPreset, step: Step, lengths: Lengths) -> Work:
    """Upper bounds: replies are as long as they may be, and pre-training uses all of its tokens."""
    reply = preset.max_new_tokens
    whole = lengths.prompt + reply
    if step.rule == "pretrain":
        phases = preset.pretrain.phases if isinstance(preset, MicrocosmPreset) else ()
        return Work(trained=sum(phase.max_tokens for phase in phases))
    if step.rule == "sft":
        return Work(trained=preset.sft.steps * preset.sft.batch * whole if isinstance(preset, MicrocosmPreset) else 0)
    if step.rule == "reward":
        settings = preset.preferences
        written = Work(read=lengths.prompt, written=reply) * (2 * (settings.pairs + settings.test_pairs))
        learned = Work(read=whole * (preset.reward.head == "fitted"), trained=whole * preset.reward.epochs)
        return written + learned * (2 * settings.pairs * _depth(preset))
    if step.rule in ("align", "penalise"):
        return _alignment(preset, step, whole, sampled=_judged(preset, lengths))
    entry = step.entry
    found = _measuring(preset, lengths) * models(preset, step)
    if isinstance(entry, TrainingEntry) and entry.method != "kl":
        imitated = preset.rsf.iterations * preset.rsf.prompts * preset.distil.epochs
        found += Work(trained=imitated * whole) * models(preset, step)
    if isinstance(entry, AveragingEntry) and entry.method in ("ama", "adamerging"):
        ama = preset.ama
        found += Work(trained=ama.steps * ama.batch * (whole if entry.method == "ama" else lengths.passage)) * models(
            preset, step
        )
        found += _judged(preset, lengths) * (ama.prompts * ama.samples if entry.method == "ama" else 0)
    if isinstance(entry, AveragingEntry) and entry.method == "oracle":
        found += _judged(preset, lengths) * _searched(preset, entry)
    return found


def _judged(preset: LocalPreset, lengths: Lengths) -> Work:
    """One reply, written and read by the reward model."""
    reply = preset.max_new_tokens
    return Work(read=lengths.prompt + (lengths.prompt + reply) * _depth(preset), written=reply)


def _depth(preset: LocalPreset) -> float:
    """The reward model's share of the layers."""
    return (preset.reward.layers or preset.model.layers) / preset.model.layers


def _alignment(preset: LocalPreset, step: Step, whole: int, sampled: Work) -> Work:
    if step.rlhf == "dpo":
        tokens = 2 * preset.preferences.pairs * whole
        return Work(trained=tokens * preset.dpo.epochs, read=tokens)
    if step.rlhf == "rsf":
        settings = preset.rsf
        once = sampled * (settings.prompts * settings.samples) + Work(
            trained=settings.prompts * settings.epochs * whole
        )
        return once * settings.iterations
    settings = preset.ppo
    once = sampled + Work(
        trained=2 * settings.epochs * whole, read=2 * whole
    )  # policy and critic; theta_0 and the critic before
    return once * (settings.prompts * settings.iterations)


def _measuring(preset: LocalPreset, lengths: Lengths) -> Work:
    counts, reply = preset.evaluate.counts, preset.max_new_tokens
    asked = counts["reading"] + counts.get("translation", 0)
    items = Work(
        read=counts["qa"] * lengths.choices + asked * lengths.passage + counts.get("text", 0) * lengths.text,
        written=asked * reply,
    )
    return _judged(preset, lengths) * preset.evaluate.prompts + items


def _searched(preset: LocalPreset, entry: AveragingEntry) -> int:
    """Replies that the oracle asks for."""
    settings = preset.oracle
    points = sum(len(lattice(WITHIN, alpha, settings.step)) for alpha in entry.alphas)
    return points * settings.screen + len(entry.alphas) * len(entry.chosen_by) * settings.finalists * settings.prompts


def _memory(preset: LocalPreset, shape: PublicModel, step: Step, lengths: Lengths) -> float:
    """Bytes of weights, what training adds to them, and activations, or what measuring holds: logits, or the keys and values of
    the longest questions, once for each of their choices, whichever is more.
    """
    weights, whole = FULL * parameters(shape), lengths.longest_prompt + preset.max_new_tokens
    reads_only = step.rule == "reward" and not preset.reward.epochs
    if not reads_only and (
        step.rule in ("sft", "pretrain", "reward") or (step.rlhf and step.rule in ("align", "penalise"))
    ):
        batch = getattr(preset, step.rlhf or step.rule, None)
        rows = getattr(batch, "rows", None) or getattr(batch, "batch", 0)
        pairs = 2 if step.rule == "reward" or step.rlhf == "dpo" else 1
        trained = training_state(shape) * (2 if step.rlhf == "ppo" else 1)
        frozen = weights * {"rsf": 1, "dpo": 1, "ppo": 2}.get(step.rlhf, 0)
        return trained + frozen + activations(shape, pairs * rows * whole, FULL, checkpointing=False)
    logits = (
        FULL * 2 * preset.evaluate.batch * preset.max_new_tokens * shape.vocabulary
    )  # as they come, and as log-probabilities
    questions = FULL / HALF * cache(shape, preset.evaluate.batch * lengths.longest_passage)
    copies = 5 if step.rule == "average" else 2  # theta, both states, the mix and the reward model; or a model and that
    return copies * weights + max(logits, questions)


def _disk(preset: LocalPreset, shape: PublicModel, step: Step) -> float:
    folder = FULL * parameters(shape)
    is_made_here = isinstance(preset, MicrocosmPreset)  # else theta_0 is the fetched model, by hard links
    kept = {"pretrain": folder * is_made_here, "sft": folder * is_made_here, "reward": folder}
    if step.rule in ("align", "penalise"):
        states = {"rsf": 0, "dpo": ADAM, "ppo": 2 * ADAM + FULL}[step.rlhf] * parameters(shape)
        return preset.iterations(step.rlhf) * (folder + states)
    if isinstance(step.entry, TrainingEntry) and step.entry.method != "kl":
        return models(preset, step) * folder
    return kept.get(step.rule, 0.0)
