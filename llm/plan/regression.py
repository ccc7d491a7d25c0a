"""Costs of regression averaging of the paper's models (`llm.stages.hub.regmean`): both models write samples once, and read them for every
setting, layer by layer, while Gram matrices are added up and solved in fp64."""

from ..config import AveragingEntry, HubPreset, PublicModel
from ..config.base import Lengths, Work
from ..config.sections import OWN_LENGTH, OWN_SAMPLES
from .costs import FULL, HALF, layer_parameters, parameters

DOUBLE = 16  # operations in bf16 that take as long as one in fp64, of an A100's and an H100's tensor cores
WIDE = 8  # bytes of a number in fp64
MATRICES = 6  # of the largest input that are there at once: both Gram matrices, their sum, its factor, what is solved, what was shrunk


def work(preset: HubPreset, entry: AveragingEntry, lengths: Lengths) -> Work:
    """Of all models of an entry, their measuring apart."""
    shape, tokens = preset.model, _tokens(preset, entry, lengths)
    written = Work(read=_samples(entry) * lengths.prompt, written=tokens - _samples(entry) * lengths.prompt)
    return written + Work(read=tokens + _operations(shape, tokens) / (2 * parameters(shape))) * len(entry.settings())


def _operations(shape: PublicModel, tokens: float) -> float:
    """In fp64, as many in bf16 as take the same time: 2 d^2 a token for the Gram matrix of an input of size d, d^3 / 3 for its factor,
    and 4 d^2 for each output that is solved.
    """
    hidden, wide = shape.hidden_size, shape.heads * shape.head_size
    inputs = [
        (hidden, wide + 2 * shape.kv_heads * shape.head_size),
        (wide, hidden),
        (hidden, 2 * shape.intermediate_size),
        (shape.intermediate_size, hidden),
    ]
    return DOUBLE * shape.layers * sum(2 * tokens * d**2 + d**3 / 3 + 4 * d**2 * outputs for d, outputs in inputs)


def memory(preset: HubPreset, entry: AveragingEntry, lengths: Lengths) -> float:
    """Bytes of the GPU: what stands outside of the layers and one layer of both models, the hidden states of all texts, and the matrices."""
    shape, tokens = preset.model, _tokens(preset, entry, lengths)
    whole = parameters(shape) - (shape.layers - 1) * layer_parameters(shape)
    largest = max(shape.hidden_size, shape.intermediate_size)
    logits = FULL * 2048 * shape.vocabulary
    return 2 * HALF * whole + HALF * tokens * shape.hidden_size + MATRICES * WIDE * largest**2 + logits


def _tokens(preset: HubPreset, entry: AveragingEntry, lengths: Lengths) -> int:
    """Of all texts of both models."""
    return _samples(entry) * (OWN_LENGTH + lengths.prompt + preset.ama.max_new_tokens)


def _samples(entry: AveragingEntry) -> int:
    """The most of each kind."""
    return max(entry.options.get("samples", (OWN_SAMPLES,)))
