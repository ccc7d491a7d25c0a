"""A training run as one file, so that every process of a launch reads the same."""

import json
from pathlib import Path

from pydantic import ValidationError

from ...config.base import Settings, short
from ...config.trainers import DpoSettings, Hardware, PpoSettings, RewardSettings, RsfSettings, SftSettings, Trainer
from ...errors import UserError

KINDS = {"sft": SftSettings, "reward": RewardSettings, "dpo": DpoSettings, "rsf": RsfSettings, "ppo": PpoSettings}


class Job(Settings):
    """Who trains what on which data. settings: of the class that `KINDS` names; its keys are checked when it runs."""

    trainer: Trainer
    settings: dict
    hardware: Hardware
    model: str
    seed: int
    data: Path  # JSON lines: {"messages"}, {"prompt", "chosen", "rejected"} or {"prompt"}
    reward: Path | None  # the reward model's folder, for rsf and ppo
    out: Path


def read_job(path: Path) -> Job:
    """UserError for a file that is missing, no JSON, or has keys or values that are not allowed."""
    try:
        return Job.model_validate(_json(path.read_text(), f"job {path}"))
    except FileNotFoundError:
        raise UserError(f"job {path} is missing; give the file that `llm.training.distributed.launch` writes") from None
    except ValidationError as error:
        raise UserError(f"{path}: {sentence(error)}") from None


def _json(text: str, what: str):
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{what} is not valid JSON: {error}") from None


def sentence(error: ValidationError) -> str:
    """The first problem: key, value, what is allowed."""
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"])) or "the whole"
    if first["type"] == "missing":
        return f"the key {key} is missing; every key must be given"
    return (
        first["msg"]
        if first["type"] == "refused"
        else f"{key} = {short(first['input'])} is not allowed: {first['msg']}"
    )


def run_job(job: Job) -> None:
    """Train; every process of a launch calls this."""
    from .faults import sentences
    from .models import Start
    from .processes import require_device

    try:
        settings = KINDS[job.trainer].model_validate(job.settings)
    except ValidationError as error:
        raise UserError(f"settings of {job.trainer}: {sentence(error)}") from None
    require_device(job.hardware)
    start, rows = Start(job.model, job.seed), _rows(job)
    with sentences(job.hardware):
        _trainer(job)(start, *_reward(job), rows, settings, job.hardware, job.out)


def _trainer(job: Job):
    from importlib import import_module

    return getattr(import_module(f".{job.trainer}", __package__), job.trainer)


def _reward(job: Job) -> tuple[Path, ...]:
    if (job.reward is not None) != (job.trainer in ("rsf", "ppo")):
        raise UserError(
            f"reward = {str(job.reward)!r} is not allowed with trainer = {job.trainer}; rsf and ppo need one, the others have none"
        )
    return () if job.reward is None else (job.reward,)


def _rows(job: Job) -> list:
    """What the trainer takes: conversations, pairs, or prompts."""
    key = {"sft": "messages", "reward": None, "dpo": None, "rsf": "prompt", "ppo": "prompt"}[job.trainer]
    if not job.data.is_file():
        raise UserError(f"data = {job.data} is missing; give a file of JSON lines")
    wanted = {key} if key else {"prompt", "chosen", "rejected"}
    rows = []
    for number, line in enumerate(job.data.read_text().splitlines(), 1):
        row = _json(line, f"data = {job.data}, line {number}")
        if not wanted <= row.keys():
            names = ", ".join(sorted(wanted))
            raise UserError(f"data = {job.data}, line {number} has the keys {', '.join(row)}; allowed are {names}")
        rows.append(row[key] if key else row)
    return rows
