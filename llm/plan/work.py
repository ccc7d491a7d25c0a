"""Work, in tokens, and how fast it is done."""

from dataclasses import dataclass

from ..config import PublicModel
from .shape import parameters

HOUR = 3600.0


@dataclass(frozen=True)
class Work:
    """Tokens that are learned from (forward and backward), read (forward), and written one after the other."""

    trained: float = 0.0
    read: float = 0.0
    written: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(self.trained + other.trained, self.read + other.read, self.written + other.written)

    def __mul__(self, times: float) -> "Work":
        return Work(times * self.trained, times * self.read, times * self.written)


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
