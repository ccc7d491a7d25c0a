"""From theta_pre to theta: each stage is one or two jobs of the trainers, launched as the preset's hardware says.

Where the models are public already, a stage takes its model instead of training it.
"""

import json
from pathlib import Path

from ...config import Algorithm, HubPreset
from ...config.base import Settings
from ...errors import UserError
from ...files import up_to_date, write_json
from ...run import Run
from ...training.distributed.data import pairs, talks
from ...training.distributed.jobs import Job
from ...training.distributed.launch import launch
from ...training.iterations import iteration_folder
from ..align import aligned_folder, number
from .start import take


def pretrain(run: Run[HubPreset], shipped: Path | None) -> None:
    """theta_pre; of public models, which have none here, theta_0."""
    if shipped is not None:
        raise UserError(
            f"shipped = {shipped} is not allowed with preset = {run.preset.name}; the preset names its models"
        )
    models = run.preset.models
    take(run, models.pretrained or models.theta_0, run.folder / "pretrained")


def sft(run: Run[HubPreset]) -> None:
    """theta_0."""
    if run.preset.is_trained:
        _train(run, "sft", run.preset.sft, run.folder / "pretrained", talks(run), run.folder / "theta_0")
    else:
        take(run, run.preset.models.theta_0, run.folder / "theta_0")


def reward(run: Run[HubPreset]) -> None:
    """The reward model: theta_0 tuned on HH-RLHF's chosen replies, then fitted to its pairs; and its accuracy on held-out ones."""
    from ...evaluation.hub import accuracy

    folder, settings = run.folder / "reward", run.preset.reward
    if settings is None:
        take(run, run.preset.models.reward, folder, "reward")
    else:
        tuned = run.folder / "reward-sft"
        _train(run, "sft", settings.sft, run.folder / "theta_0", pairs(run, "chosen"), tuned)
        _train(run, "reward", settings.bradley_terry, tuned, pairs(run, "train"), folder)
    judged = accuracy(run, folder)
    write_json(run.folder / "reward.json", judged)
    print(f"reward model: accuracy {judged['accuracy']:.3f} of {judged['n']} pairs")


def align(run: Run[HubPreset], rlhf: Algorithm, rate: str, eta: str = "own") -> None:
    """theta, and a model after every iteration."""
    preset, out = run.preset, aligned_folder(run, rlhf, rate, eta)
    preset.iterations(rlhf)  # refuses an algorithm that the preset has no section for
    if rate != "own":
        raise UserError(
            f"lr = {rate!r} is not allowed with preset = {preset.name}; allowed is `own`, and a preset of yours may have another"
        )
    if eta != "own" and rlhf != "ppo":
        raise UserError(
            f"eta = {eta!r} is not allowed with rlhf = {rlhf}; allowed is `own`, since only ppo has a penalty"
        )
    if not preset.is_trained:
        take(run, preset.models.theta, iteration_folder(out, 1))
        return
    settings, start = getattr(preset, rlhf), run.folder / "theta_0"
    if rlhf == "ppo":
        settings = settings if eta == "own" else settings.model_copy(update={"eta": number(eta)})
        start = run.folder / "warm-start"
        _train(run, "sft", preset.warm_start, run.folder / "theta_0", pairs(run, "chosen"), start)
    data = pairs(run, "train" if rlhf == "dpo" else "train-prompts")
    _launch(run, rlhf, settings, start, data, out, None if rlhf == "dpo" else run.folder / "reward")


def _train(run: Run[HubPreset], trainer: str, settings: Settings, model: Path, data: Path, out: Path) -> None:
    """One model, unless it is there and newer than what it is made from."""
    if not up_to_date(out / "config.json", model / "config.json", data):
        _launch(run, trainer, settings, model, data, out, None)


def _launch(
    run: Run[HubPreset], trainer: str, settings: Settings, model: Path, data: Path, out: Path, reward: Path | None
) -> None:
    job = Job(
        trainer=trainer,
        settings=json.loads(settings.model_dump_json()),
        hardware=run.preset.hardware,
        model=str(model),
        seed=run.seed,
        data=data,
        reward=reward,
        out=out,
    )
    name = out.relative_to(run.folder).as_posix().replace("/", "-")
    launch(job, run.folder / "jobs" / f"{name}.json")
