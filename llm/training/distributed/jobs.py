"""A training run as one file, so that every process of a launch reads the same."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError

from ...config.base import Settings
from ...config.trainers import DpoSettings, Hardware, PpoSettings, RewardSettings, RsfSettings, SftSettings, Trainer
from ...config.words import sentence
from ...errors import UserError
from ...files import parse_json
from .rows import Lines


class Kind(NamedTuple):
    """A trainer: its settings, the module of this package with the function of its name, and the rows that it takes."""

    settings: type[Settings]
    module: str
    columns: tuple[str, ...]  # as `llm.training.distributed.rows.Lines` takes them
    reward: bool = False  # whether it needs a reward model


PAIRS = ("prompt", "chosen", "rejected")
KINDS: dict[Trainer, Kind] = {
    "sft": Kind(SftSettings, "trainers", ("messages",)),
    "reward": Kind(RewardSettings, "trainers", PAIRS),
    "dpo": Kind(DpoSettings, "trainers", PAIRS),
    "rsf": Kind(RsfSettings, "rsf", ("prompt",), reward=True),
    "ppo": Kind(PpoSettings, "ppo", ("prompt",), reward=True),
}


class Job(Settings):
    """Who trains what on which data. settings: of the class that `KINDS` names; its keys are checked when it runs."""

    trainer: Trainer
    settings: dict
    hardware: Hardware
    model: str
    seed: int
    data: Path  # JSON lines with the columns that `KINDS` names
    reward: Path | None  # the reward model's folder, for rsf and ppo
    out: Path


def refusal_file(job: Path) -> Path:
    """Where a process leaves the sentence by which it refuses a job."""
    return job.with_name(f"{job.name}.refused")


def read_job(path: Path) -> Job:
    """UserError for a file that is missing, no JSON, or has keys or values that are not allowed."""
    try:
        return Job.model_validate(parse_json(path.read_bytes()))
    except FileNotFoundError:
        raise UserError(f"job {path} is missing; give the file that `{__package__}.launch` writes") from None
    except ValidationError as error:
        raise UserError(f"{path}: {sentence(error, TypeAdapter(Job))}") from None
    except ValueError as error:
        raise UserError(f"job {path} is not valid JSON: {error}") from None


def run_job(job: Job) -> None:
    """Train; every process of a launch calls this."""
    from .models import Start
    from .processes import require_device

    kind = KINDS[job.trainer]
    try:
        settings = kind.settings.model_validate(job.settings)
    except ValidationError as error:
        raise UserError(f"settings of {job.trainer}: {sentence(error, TypeAdapter(kind.settings))}") from None
    require_device(job.hardware)
    if (job.reward is not None) != kind.reward:
        raise UserError(
            f"reward = {str(job.reward)!r} is not allowed with trainer = {job.trainer}; rsf and ppo need one, the others have none"
        )
    if not job.data.is_file():
        raise UserError(f"data = {job.data} is missing; give a file of JSON lines")
    lines, models = Lines(job.data, kind.columns), () if job.reward is None else (job.reward,)
    rows = list(lines) if kind.reward else lines  # prompts are few, and drawn from
    trainer = getattr(import_module(f".{kind.module}", __package__), job.trainer)
    with full_memory_refused(job.hardware):
        trainer(Start(job.model, job.seed), *models, rows, settings, job.hardware, job.out)


@contextmanager
def full_memory_refused(hardware: Hardware) -> Iterator[None]:
    """Turn a GPU that is full into a UserError that names what to lower."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        lower = [key for key in ("per_device_batch", "generation_batch") if getattr(hardware, key) > 1]
        advice = " or ".join(lower) or "the length of the texts"
        more = "" if hardware.checkpointing else ", set checkpointing"
        raise UserError(
            f"per_device_batch = {hardware.per_device_batch} with generation_batch = {hardware.generation_batch} does not fit "
            f"into the memory of the GPU ({' '.join(str(error).split())[:120]}); lower {advice}{more}, or shard over more processes"
        ) from None
