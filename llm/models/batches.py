"""Token ids of several texts as one batch of tensors."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple, TypeVar

import torch

from ..errors import UserError, first_line

T = TypeVar("T")
IGNORED = -100  # the label of a token that is not learned, in transformers


class Tokens(NamedTuple):
    """Token ids of what a model is given, and of its reply, the end token included if it ended by itself."""

    context: list[int]
    reply: list[int]


@dataclass(frozen=True)
class Batch:
    """Token ids, and how much the prediction of each counts; all (rows, length)."""

    ids: torch.Tensor
    mask: torch.Tensor
    weights: torch.Tensor

    def to(self, device: torch.device | str) -> "Batch":
        return Batch(self.ids.to(device), self.mask.to(device), self.weights.to(device))

    def labelled(self) -> dict[str, torch.Tensor]:
        """{"input_ids", "attention_mask", "labels"} as transformers' models take them; labels where weights are above 0."""
        labels = torch.where(self.weights > 0, self.ids, IGNORED)
        return {"input_ids": self.ids, "attention_mask": self.mask, "labels": labels}


def pad_right(examples: list[tuple[list[int], list[float]]], pad_id: int) -> Batch:
    """Examples of (ids, weights) as one batch; padding on the right has weight 0 and is masked."""
    longest = max(len(ids) for ids, _ in examples)
    ids = torch.full((len(examples), longest), pad_id)
    mask = torch.zeros((len(examples), longest), dtype=torch.long)
    weights = torch.zeros((len(examples), longest))
    for row, (tokens, weight) in enumerate(examples):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        mask[row, : len(tokens)] = 1
        weights[row, : len(tokens)] = torch.tensor(weight)
    return Batch(ids, mask, weights)


def pad_replies(pairs: Sequence[tuple[list[int], list[int]]], pad_id: int) -> Batch:
    """(context, reply) ids as one batch, padded on the right, in which the replies' tokens alone have weight 1."""
    return pad_right([(context + reply, [0.0] * len(context) + [1.0] * len(reply)) for context, reply in pairs], pad_id)


def left_pad(
    sequences: list[list[int]], pad_id: int, device: torch.device | str = "cpu"
) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids, mask), each (rows, longest); the padding stands on the left."""
    longest = max(map(len, sequences))
    ids = torch.full((len(sequences), longest), pad_id)
    mask = torch.zeros((len(sequences), longest), dtype=torch.long)
    for row, sequence in enumerate(sequences):
        ids[row, longest - len(sequence) :] = torch.tensor(sequence)
        mask[row, longest - len(sequence) :] = 1
    return ids.to(device), mask.to(device)


def batches_of(lengths: list[int], size: int, equal: bool = False) -> Iterator[list[int]]:
    """Which texts are read together, `size` at most: those of similar length, or of equal length."""
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    for _, group in groupby(order, key=lambda i: lengths[i] if equal else 0):
        rows = list(group)
        yield from (rows[start : start + size] for start in range(0, len(rows), size))


def fitting(size: int, work: Callable[[int], T]) -> T:
    """work(size), with half as many rows where the device's memory is full, and so on; UserError where one row is too many."""
    while True:
        try:
            return work(size)
        except torch.OutOfMemoryError as error:
            if size == 1:
                raise UserError(
                    f"batch = 1 does not fit into the device's memory ({first_line(error)}); take a device with more"
                ) from None
        size //= 2  # only here, where the error no longer holds what the work had made
        torch.cuda.empty_cache()
        logging.getLogger(__name__).warning(f"the device's memory is full; goes on with {size} rows at a time")


def positions(mask: torch.Tensor) -> torch.Tensor:
    """Positions that count only real tokens; (rows, length)."""
    return (mask.cumsum(dim=1) - 1).clamp(min=0)


WORTH = 0.8  # rows are read apart if that leaves at most this share of the tokens


def similar_rows(mask: torch.Tensor) -> list[tuple[torch.Tensor | slice, int]]:
    """(rows, tokens of the longest of them) of a batch that is padded on the right: all of it, or, on a CPU, the short rows and
    the long ones, parted where least padding is left. Several processes, which must read a shared model equally often, part nothing.
    """
    whole: list[tuple[torch.Tensor | slice, int]] = [(slice(None), mask.shape[1])]
    shared = torch.distributed.is_available() and torch.distributed.is_initialized()
    if shared or mask.device.type != "cpu" or len(mask) < 2:
        return whole
    lengths, order = mask.sum(dim=1).sort(stable=True)
    shorter = torch.arange(1, len(mask))
    tokens = shorter * lengths[:-1] + (len(mask) - shorter) * lengths[-1]
    cut = int(tokens.argmin()) + 1
    if int(lengths[0]) < 2 or tokens[cut - 1] > WORTH * mask.numel():
        return whole
    return [(order[:cut], int(lengths[cut - 1])), (order[cut:], int(lengths[-1]))]
