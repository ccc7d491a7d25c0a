"""The steps of the experiment's graph (`Snakefile`) that given sweeps need, once a seed, and what a model takes in each: bytes and
operations of a Llama-like model (Llama, Mistral, Gemma, OLMo 2, Qwen 2.5), from its sizes alone, and how fast they are done.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

from ..config import AveragingEntry, Preset, PublicModel, Sweep, TrainingEntry, has_baseline, runnable
from ..config.base import Work
from ..config.trainers import Lora


@dataclass(frozen=True)
class Step:
    """One job. rule: the graph's; eta: PPO's penalty where it is not the preset's."""

    rule: str
    rlhf: str | None = None
    lr: float | None = None
    eta: float | None = None
    entry: AveragingEntry | TrainingEntry | None = None

    @property
    def name(self) -> str:
        numbers = [f"{key} {value:g}" for key, value in (("lr", self.lr), ("eta", self.eta)) if value is not None]
        words = (self.rule, self.rlhf, *numbers, self.entry and self.entry.label)
        return " ".join(word for word in words if word)

    @property
    def aligns(self) -> bool:
        return self.rule in ("align", "penalise")


@dataclass(frozen=True)
class Cost:
    """What a step takes. memory: bytes on each GPU, or of the computer where there is none. disk: bytes that it leaves behind.

    scratch: bytes of disk that it takes while it runs, beside what it leaves behind. waiting: those of its hours in which nothing is computed.
    shared: those bytes of `disk` that all seeds have in common, data sets and public models: they are fetched once, and linked.
    """

    gpus: int
    memory: float
    hours: float
    disk: float = 0.0
    scratch: float = 0.0
    waiting: float = 0.0
    shared: float = 0.0

    @property
    def gpu_hours(self) -> float:
        return self.gpus * self.hours


def steps(preset: Preset, sweeps: Iterable[Sweep]) -> list[Step]:
    """Every job of the sweeps, each once, in an order in which they can run."""
    found = [Step("pretrain"), Step("sft"), Step("reward")]
    for sweep in (runnable(sweep, preset) for sweep in sweeps):
        for rlhf, lr in product(sweep.rlhf, sweep.learning_rates):
            needed = sweep.averaging or sweep.trajectory
            found += [Step("align", "rsf-gold" if rlhf == "rsf-gold" else "rsf")] if needed and preset.stops else []
            found += [Step("align", rlhf, lr)] if needed else []
            runs = max((entry.runs for entry in sweep.averaging), default=1)
            found += [Step("align", f"{rlhf}-run{stream}", lr) for stream in range(2, runs + 1)]
            for entry in sweep.training:
                found += _before_training(preset, entry, lr)
            found += [Step("trajectory", rlhf, lr)] if sweep.trajectory else []
            found += [Step("average", rlhf, lr, entry=entry) for entry in sweep.averaging]
            found += [Step("mitigate", rlhf, lr, entry=entry) for entry in sweep.training]
        if has_baseline(sweep, preset):
            found.append(Step("baseline"))
    if any(step.aligns and getattr(preset.section(str(step.rlhf)), "starts_warm", False) for step in found):
        found.insert(3, Step("warm_start"))
    return list(dict.fromkeys(found))


def _before_training(preset: Preset, entry: TrainingEntry, lr: float | None) -> list[Step]:
    """The runs of alignment that a training entry needs: RSF at its own rate, for its samples or the common reward, or PPO at the
    sweep's rate with every penalty."""
    if entry.spec.how == "on-policy":
        return [Step("align", "rsf")] if preset.stops else []
    if entry.spec.how == "distilled":
        return [Step("align", "rsf")]
    others = [eta for eta in entry.options["strength"] if preset.section("ppo").name_of(eta) != "own"]
    return [Step("align", "ppo", lr), *(Step("penalise", "ppo", lr, eta) for eta in others)]


def models(preset: Preset, step: Step) -> int:
    """How many models a step measures."""
    if step.rule == "trajectory":
        return len(preset.measured(str(step.rlhf), preset.iterations(str(step.rlhf))))
    if step.entry is not None:
        return len(step.entry.settings()) * (len(getattr(step.entry, "alphas", ())) or 1)
    return 1 if step.rule == "baseline" else 0


ADAM = 8  # bytes a parameter: two moments in fp32
FULL, HALF = 4, 2  # bytes of a number in fp32 and bf16
HOUR = 3600.0


def layer_parameters(shape: PublicModel) -> int:
    """Q, K, V, O, the gated MLP and two norms, with norms of queries and keys, and biases of Q, K, V, where there are some."""
    attention = shape.hidden_size * shape.head_size * 2 * (shape.heads + shape.kv_heads)
    attention += shape.query_key_norms * shape.head_size * (shape.heads + shape.kv_heads)
    attention += shape.attention_biases * shape.head_size * (shape.heads + 2 * shape.kv_heads)
    return attention + 3 * shape.hidden_size * shape.intermediate_size + 2 * shape.hidden_size


def parameters(shape: PublicModel) -> int:
    """All layers, the final norm, the embeddings, and the head unless it is tied to them."""
    tables = 1 if shape.tied_embeddings else 2
    return shape.layers * layer_parameters(shape) + shape.hidden_size * (1 + tables * shape.vocabulary)


def adapters(shape: PublicModel, lora: Lora | None) -> int:
    """Parameters of LoRA's two factors of each adapted matrix, rank x (inputs + outputs); 0 without LoRA."""
    if lora is None:
        return 0
    hidden, wide = shape.hidden_size, shape.heads * shape.head_size
    ends = 3 * (hidden + shape.intermediate_size)
    if lora.targets == "mlp+attention":  # Q and O, K and V
        ends += 2 * (hidden + wide) + 2 * (hidden + shape.kv_heads * shape.head_size)
    return shape.layers * lora.rank * ends


def learned(shape: PublicModel, lora: Lora | None) -> int:
    """Parameters that change: all, or those of the adapters."""
    return adapters(shape, lora) or parameters(shape)


def saved_state(shape: PublicModel, lora: Lora | None = None) -> float:
    """Bytes of what training goes on from: weights and AdamW's moments, all of them kept in fp32."""
    return FULL * (parameters(shape) + adapters(shape, lora)) + ADAM * learned(shape, lora)


def training_state(shape: PublicModel, gpus: int = 1, lora: Lora | None = None) -> float:
    """Bytes a GPU of weights, gradients and optimiser, sharded evenly (FSDP's full sharding): 16 bytes a parameter that changes and 4
    of each other over all.
    """
    return (saved_state(shape, lora) + FULL * learned(shape, lora)) / gpus


def less_learning(shape: PublicModel, checkpointing: bool, lora: Lora | None) -> float:
    """The operations of a step with adapters over those of a step that trains all weights: 2 a parameter on the way forward, again
    where activations are computed again, and back, and 2 a parameter that changes for its gradient.
    """
    passes, count = 3 if checkpointing else 2, parameters(shape)
    return (passes * (count + adapters(shape, lora)) + learned(shape, lora)) / ((passes + 1) * count)


def gathered(shape: PublicModel, gpus: int) -> float:
    """Bytes of whole bf16 weights while they are used: two layers (one in use, one fetched ahead), the embeddings and the head."""
    if gpus == 1:
        return 0.0
    tables = shape.vocabulary * shape.hidden_size * (1 if shape.tied_embeddings else 2)
    return HALF * (2 * layer_parameters(shape) + tables)


def layer_activations(shape: PublicModel, tokens: int, width: int) -> float:
    """Bytes that one layer keeps for its backward pass; `width`: bytes of a number.

    A token leaves six vectors of the hidden size (into both norms, out of them before and after their scale), queries and
    attention's output, keys and values, and four vectors of the MLP's width. Norms of queries and keys leave both twice more.
    """
    attention = (2 + 2 * shape.query_key_norms) * (shape.heads + shape.kv_heads) * shape.head_size
    return width * tokens * (6 * shape.hidden_size + attention + 4 * shape.intermediate_size)


def activations(shape: PublicModel, tokens: int, width: int, checkpointing: bool) -> float:
    """Bytes kept from the forward to the backward pass of `tokens` tokens, the loss included.

    With checkpointing every layer keeps its input only, and one at a time is computed again. The loss keeps the
    log-probabilities in fp32, three vectors of the hidden size stand around the final norm.
    """
    layer = layer_activations(shape, tokens, width)
    inputs = width * tokens * shape.hidden_size
    layers = shape.layers * inputs + layer if checkpointing else shape.layers * layer
    return layers + 3 * inputs + FULL * tokens * shape.vocabulary


def cache(shape: PublicModel, tokens: int) -> float:
    """Bytes of keys and values of `tokens` tokens, in bf16."""
    return HALF * 2 * shape.layers * shape.kv_heads * shape.head_size * tokens


@dataclass(frozen=True)
class Speed:
    """Tokens a second of one device."""

    trained: float
    read: float
    written: float

    def hours(self, work: Work) -> float:
        seconds = work.trained / self.trained + work.read / self.read + work.written / self.written
        return seconds / HOUR


@dataclass(frozen=True)
class Utilisation:
    """Shares of a GPU's peaks that are reached. training: as measured (`llm/plan/h200.json`: OpenLLaMA-3B, four rows of 346 tokens);
    the others are assumptions. bandwidth: of its memory."""

    training: float = 0.36
    reading: float = 0.4
    bandwidth: float = 0.6


@dataclass(frozen=True)
class Together:
    """Replies that are written together. batch: how many. context: mean tokens before the one that is written.

    launches: seconds a layer and step that pass between the GPU's operations, where Python starts each of them.
    """

    batch: int
    context: float
    launches: float = 0.0


def gpu_speed(shape: PublicModel, peak: float, bandwidth: float, checkpointing: bool, together: Together) -> Speed:
    """By operations a token: 6 N to learn (8 N where activations are computed again), 2 N to read, N parameters; writing by `written`.

    peak: operations a second of a GPU in bf16. bandwidth: bytes a second of its memory.
    """
    count, utilisation = parameters(shape), Utilisation()
    return Speed(
        trained=peak * utilisation.training / ((8 if checkpointing else 6) * count),
        read=peak * utilisation.reading / (2 * count),
        written=written(shape, peak, bandwidth, together, utilisation),
    )


def written(
    shape: PublicModel, peak: float, bandwidth: float, together: Together, utilisation: Utilisation = Utilisation()
) -> float:
    """Tokens a second of replies written together. A step gives one token to each, and reads all weights and the keys and values
    of every reply so far from the GPU's memory, or computes 2 N operations a reply if that takes longer.
    """
    count = parameters(shape)
    moved = (HALF * count + cache(shape, together.batch) * together.context) / (bandwidth * utilisation.bandwidth)
    computed = 2 * count * together.batch / (peak * utilisation.reading)
    return together.batch / (max(moved, computed) + together.launches * shape.layers)
