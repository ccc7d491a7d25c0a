"""Bytes and operations of a Llama-like model (Llama, Mistral, Gemma), from its sizes alone, and how fast they are done."""

from dataclasses import dataclass

from ..config import PublicModel
from ..config.work import Work

ADAM = 8  # bytes a parameter: two moments in fp32
FULL, HALF = 4, 2  # bytes of a number in fp32 and bf16
HOUR = 3600.0
TRAINED = FULL + FULL + ADAM  # weights, gradients and AdamW's moments, all of them kept in fp32


def layer_parameters(shape: PublicModel) -> int:
    """Q, K, V, O, the gated MLP and two norms; without biases."""
    attention = shape.hidden_size * shape.head_size * 2 * (shape.heads + shape.kv_heads)
    return attention + 3 * shape.hidden_size * shape.intermediate_size + 2 * shape.hidden_size


def parameters(shape: PublicModel) -> int:
    """All layers, the final norm, the embeddings, and the head unless it is tied to them."""
    tables = 1 if shape.tied_embeddings else 2
    return shape.layers * layer_parameters(shape) + shape.hidden_size * (1 + tables * shape.vocabulary)


def training_state(shape: PublicModel, gpus: int = 1) -> float:
    """Bytes a GPU of weights, gradients and optimiser, sharded evenly (FSDP's full sharding, ZeRO-3): 16 bytes a parameter over all."""
    return TRAINED * parameters(shape) / gpus


def gathered(shape: PublicModel, gpus: int) -> float:
    """Bytes of whole bf16 weights while they are used: two layers (one in use, one fetched ahead), the embeddings and the head."""
    if gpus == 1:
        return 0.0
    tables = shape.vocabulary * shape.hidden_size * (1 if shape.tied_embeddings else 2)
    return HALF * (2 * layer_parameters(shape) + tables)


def layer_activations(shape: PublicModel, tokens: int, width: int) -> float:
    """Bytes that one layer keeps for its backward pass; `width`: bytes of a number.

    A token leaves six vectors of the hidden size (into both norms, out of them before and after their scale), queries and
    attention's output, keys and values, and four vectors of the MLP's width.
    """
    attention = 2 * (shape.heads + shape.kv_heads) * shape.head_size
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
    """Shares of a GPU's peak that are reached: assumptions, not measurements."""

    training: float = 0.4
    reading: float = 0.4
    writing: float = 0.1


def gpu_speed(shape: PublicModel, peak: float, checkpointing: bool, utilisation: Utilisation = Utilisation()) -> Speed:
    """By operations a token: 6 N to learn (8 N where activations are computed again), 2 N to read or write, N parameters.

    peak: operations a second of a GPU in bf16.
    """
    count = parameters(shape)
    return Speed(
        trained=peak * utilisation.training / ((8 if checkpointing else 6) * count),
        read=peak * utilisation.reading / (2 * count),
        written=peak * utilisation.writing / (2 * count),
    )
