"""What theta_0 and theta write by themselves, for averages that need to know what their inputs are like
(`llm.averaging.whole`); drawn once a model and kept beside it, so that every method learns from the same samples."""

from pathlib import Path

from ..errors import UserError
from ..models.batches import Tokens
from ..run import LocalRun

KINDS = ("free", "replies")
BLOCK = 256  # samples are drawn in blocks, so that the first ones do not depend on how many are asked for


def own_samples(run: LocalRun, theta_0: Path, theta: Path, kind: str, count: int) -> list[Tokens]:
    """The first `count` samples: "free" ones of theta_0, or "replies" of theta to training prompts."""
    raise UserError(f"kind = {kind!r} is unknown; allowed are {', '.join(KINDS)}")
