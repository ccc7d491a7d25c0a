"""A backend runs the stages of one run, as the commands call them: by our own loop, or, for the paper's own models
(`llm.stages.hub.backend`), by the distributed trainers. What the stages mean, and their folders and rows, are the same."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..config import Algorithm, AveragingEntry, HubPreset, MicrocosmPreset, SmollmPreset
from ..errors import UserError
from ..evaluation.local import Evaluator
from ..fetch.catalogue import resolve_model
from ..files import up_to_date, write_json
from ..models.loading import require_model
from ..models.save import link_folder
from ..run import Run
from .adapt import ratios_of
from .align import align
from .average import Found, Models, models_of
from .oracle import oracle_ratios
from .pretrain import pretrain, take_shipped
from .renewal import renew
from .reward import preferences, train_reward
from .sft import sft
from .trajectory import measure_baseline


class Backend(Protocol):
    """The stages up to theta, each of which writes into the run's folder, and what measures and averages need of a run."""

    @property
    def run(self) -> Run: ...

    def pretrain(self, shipped: Path | None) -> None:
        """`pretrained`: theta_pre, trained, or a public model; or copied from the folder `shipped`, if the preset allows it."""

    def sft(self) -> None:
        """`theta_0`."""

    def reward(self) -> None:
        """The model `reward`, and `reward.json` with its accuracy on held-out pairs, which is printed too."""

    def warm_start(self) -> Path:
        """The model that PPO begins with, where the preset has a section of that name; its folder."""

    def align(self, rlhf: Algorithm, rate: str, eta: str = "own") -> None:
        """theta, and a model after every iteration (`llm.stages.align.align`)."""

    def evaluator(self) -> Any:
        """What measures models: `llm.evaluation.local.Evaluator`, or one with the same methods."""

    def baseline(self) -> list[dict]:
        """Rows of theta_0, of the chance floors and of the reward model."""

    def ratios(self, evaluator: Any, theta: Path, rlhf: Algorithm, entry: AveragingEntry, folder: Path) -> Found:
        """What a method that searches for its ratios finds, kept in `folder`; empty for the others."""

    def models(self, evaluator: Any, theta: Path, entry: AveragingEntry, found: Found) -> Models:
        """The models of an entry (`llm.stages.average.models_of`)."""


def backend_of(run: Run) -> Backend:
    """The backend for the run's kind of preset."""
    if isinstance(run.preset, HubPreset):
        from .hub.backend import HubBackend

        return HubBackend(run)
    return LocalBackend(run)


@dataclass(frozen=True)
class LocalBackend:
    """Our own loop in this process: the microcosm, and small public models."""

    run: Run  # of a `LocalPreset`

    def pretrain(self, shipped: Path | None) -> None:
        run, out = self.run, self.run.folder / "pretrained"
        if isinstance(run.preset, SmollmPreset):
            if shipped is not None:
                raise UserError(
                    f"shipped = {shipped} is not allowed with preset = {run.preset.name}; its weights are fetched"
                )
            link_folder(resolve_model(run.preset.pretrained, run.out), out)
        elif shipped is None:
            write_json(run.folder / "pretrained.json", pretrain(run, out))
        else:
            take_shipped(run, shipped, out)

    def sft(self) -> None:
        """Tuned here, or, where the preset has no section `sft`, the pretrained model itself (hard links, no second copy)."""
        pretrained, theta_0 = self.run.folder / "pretrained", self.run.folder / "theta_0"
        if isinstance(self.run.preset, MicrocosmPreset):
            sft(self.run, pretrained, theta_0)
        else:
            link_folder(require_model(pretrained), theta_0)

    def reward(self) -> None:
        """`preferences.json` too, unless it is there and newer than theta_0."""
        run, theta_0, pairs = self.run, self.run.folder / "theta_0", self.run.folder / "preferences.json"
        if run.preset.renewal:
            renew(run, theta_0, pairs)
        elif not up_to_date(pairs, theta_0 / "config.json"):
            preferences(run, theta_0, pairs)
        judged = train_reward(run, theta_0, pairs, run.folder / "reward")
        write_json(run.folder / "reward.json", judged)
        print(f"reward model: accuracy {judged['accuracy']:.3f}, correlation with gold {judged['correlation']:.3f}")

    def warm_start(self) -> Path:
        raise UserError(f"preset = {self.run.preset.name} has no section warm_start; its PPO begins with theta_0")

    def align(self, rlhf: Algorithm, rate: str, eta: str = "own") -> None:
        align(self.run, rlhf, rate, eta)

    def evaluator(self) -> Evaluator:
        return Evaluator(self.run, self.run.folder / "theta_0", self.run.folder / "reward")

    def baseline(self) -> list[dict]:
        return measure_baseline(self.evaluator())

    def ratios(self, evaluator: Evaluator, theta: Path, rlhf: Algorithm, entry: AveragingEntry, folder: Path) -> Found:
        if entry.method in ("ama", "ama-published", "adamerging"):
            return ratios_of(self.run, theta, entry, folder)
        return oracle_ratios(evaluator, theta, entry, folder) if entry.method == "oracle" else []

    def models(self, evaluator: Evaluator, theta: Path, entry: AveragingEntry, found: Found) -> Models:
        return models_of(evaluator, theta, entry, found)
