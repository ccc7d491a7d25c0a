"""The backend of the paper's own models: each stage is one or two jobs of the distributed trainers, launched as the
preset's hardware asks. Where the models are public already, a stage takes its model instead of training it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ...config import Algorithm, AveragingEntry, HubPreset
from ...config.trainers import Trainer, Training
from ...errors import UserError
from ...evaluation.hub import HubEvaluator, accuracy, measure_baseline
from ...files import up_to_date, write_json
from ...run import Run
from ...training.distributed.data import pairs, talks
from ...training.distributed.jobs import Job
from ...training.distributed.launch import launch
from ...training.iterations import iteration_folder
from ..align import aligned_folder, number, require_known
from ..average import Found, Models, models_of
from . import regmean
from .adapt import ratios_of
from .start import take


@dataclass(frozen=True)
class HubBackend:
    """See `llm.stages.backend.Backend`."""

    run: Run[HubPreset]

    def pretrain(self, shipped: Path | None) -> None:
        """theta_pre; where there is none here, theta_0."""
        preset = self.run.preset
        if shipped is not None:
            raise UserError(
                f"shipped = {shipped} is not allowed with preset = {preset.name}; the preset names its models"
            )
        take(self.run, preset.models.pretrained or preset.models.theta_0, self.run.folder / "pretrained")

    def sft(self) -> None:
        run, theta_0 = self.run, self.run.folder / "theta_0"
        if run.preset.sft is not None:
            self._train("sft", run.preset.sft, run.folder / "pretrained", talks(run), theta_0)
        else:
            take(run, run.preset.models.theta_0, theta_0)

    def reward(self) -> None:
        """theta_0 tuned on HH-RLHF's chosen replies, then fitted to its pairs; or taken."""
        run, folder, settings = self.run, self.run.folder / "reward", self.run.preset.reward
        if settings is None:
            take(run, run.preset.models.reward, folder, "reward")
        else:
            tuned = run.folder / "reward-sft"
            self._train("sft", settings.sft, run.folder / "theta_0", pairs(run, "chosen"), tuned)
            self._train("reward", settings.bradley_terry, tuned, pairs(run, "train"), folder)
        judged = accuracy(run, folder)
        write_json(run.folder / "reward.json", judged)
        print(f"reward model: accuracy {judged['accuracy']:.3f} of {judged['n']} pairs")

    def warm_start(self) -> Path:
        run, settings, out = self.run, self.run.preset.warm_start, self.run.folder / "warm-start"
        if settings is None:
            raise UserError(
                f"preset = {run.preset.name} has no section warm_start; none of its algorithms begins with it"
            )
        self._train("sft", settings, run.folder / "theta_0", pairs(run, "chosen"), out)
        return out

    def align(self, rlhf: Algorithm, rate: str, eta: str = "own") -> None:
        run, preset, out = self.run, self.run.preset, aligned_folder(self.run, rlhf, rate, eta)
        require_known(preset, rlhf, eta)
        if rate != "own":
            raise UserError(
                f"lr = {rate!r} is not allowed with preset = {preset.name}; allowed is `own`, and a preset of yours may have another"
            )
        if not preset.is_trained:
            take(run, preset.models.theta, iteration_folder(out, 1))
            return
        settings, start = getattr(preset, rlhf), run.folder / "theta_0"
        if rlhf == "ppo":
            if eta != "own":  # of which theta alone is measured
                settings = settings.model_copy(update={"eta": number(eta), "measured_every": settings.iterations})
            start = self.warm_start()
        data = pairs(run, "train" if rlhf == "dpo" else "train-prompts")
        if rlhf == "dpo":  # RSF and PPO look iteration by iteration
            ends = (iteration_folder(out, i) / "config.json" for i in range(1, settings.iterations + 1))
            if all(up_to_date(end, start / "config.json", data) for end in ends):
                return
        self._launch(rlhf, settings, start, data, out, None if rlhf == "dpo" else run.folder / "reward")

    def evaluator(self) -> HubEvaluator:
        return HubEvaluator(self.run, self.run.folder / "theta_0", self.run.folder / "reward")

    def baseline(self) -> list[dict]:
        return measure_baseline(self.evaluator())

    def ratios(
        self, evaluator: HubEvaluator, theta: Path, rlhf: Algorithm, entry: AveragingEntry, folder: Path
    ) -> Found:
        return ratios_of(self.run, theta, rlhf, entry, folder) if entry.method == "ama" else []

    def models(self, evaluator: HubEvaluator, theta: Path, entry: AveragingEntry, found: Found) -> Models:
        if entry.method == "regmean":
            return regmean.models_of(self.run, theta, entry, theta.parent / f".{theta.name}-{entry.label}")
        return models_of(cast(Any, evaluator), theta, entry, found)

    def _train(self, trainer: str, settings: Training, model: Path, data: Path, out: Path) -> None:
        """One model, unless it is there and newer than what it is made from."""
        if not up_to_date(out / "config.json", model / "config.json", data):
            self._launch(trainer, settings, model, data, out, None)

    def _launch(
        self, trainer: str, settings: Training, model: Path, data: Path, out: Path, reward: Path | None
    ) -> None:
        job = Job(
            trainer=cast(Trainer, trainer),
            settings=json.loads(settings.model_dump_json()),
            hardware=self.run.preset.hardware.of_batch(settings.rows),
            model=str(model),
            seed=self.run.seed,
            data=data,
            reward=reward,
            out=out,
        )
        name = out.relative_to(self.run.folder).as_posix().replace("/", "-")
        launch(job, self.run.folder / "jobs" / f"{name}.json")
