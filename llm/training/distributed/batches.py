"""How a global batch is split: rows a process sees at once, times accumulated passes, times processes."""

from dataclasses import dataclass

from ...config.trainers import Hardware
from ...errors import UserError


@dataclass(frozen=True)
class Split:
    """per_device: rows that go through the model together. accumulation: such passes a step, in every process."""

    per_device: int
    accumulation: int


def split(batch: int, hardware: Hardware) -> Split:
    """per_device * accumulation * processes = batch; UserError if it does not divide.

    A share of the batch that is smaller than `per_device_batch` goes through the model at once.
    """
    processes = hardware.processes
    if batch % processes:
        raise UserError(
            f"processes = {processes} is not allowed with batch = {batch}, the global batch; allowed are {_divisors(batch)}"
        )
    share = batch // processes
    per_device = min(hardware.per_device_batch, share)
    if share % per_device:
        raise UserError(
            f"per_device_batch = {per_device} is not allowed with batch = {batch} and processes = {processes}, where each "
            f"has {share} rows; allowed are {_divisors(share)}"
        )
    return Split(per_device, share // per_device)


def _divisors(number: int) -> str:
    return ", ".join(str(k) for k in range(1, number + 1) if number % k == 0)
