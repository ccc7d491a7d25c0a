"""What decides AMA's ratios: where models and samples come from, and the settings of `adapt` (docs/adapt.yaml)."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from math import ceil, cos, pi
from os.path import isfile
from pathlib import Path
from typing import Annotated, Self

import torch
from pydantic import Field, model_validator

from ...config.base import Count, Items, Positive, Settings, Share, refused
from ...errors import UserError
from ...files import described_file
from ...grouping import Grouping
from ...models.cache import model_name, shown_name
from ...models.scorers import CommandScorer, ModelScorer, words_of
from ..pair import Match, hashes
from ..soup import Soup
from .parameterise import middle_weights, penalty, placement


@dataclass(frozen=True)
class Sources:
    """Two model folders; samples of theta, or prompts and a reward model, or a command, to make and to score them.

    `front` alone has these: soup, other runs, whose mean with theta takes its place; theta_pre, the model that theta_0 was tuned from;
    own_samples, of both models, or train_prompts, that theta replies to, for averages by regression.
    """

    theta_0: Path
    theta: Path
    data: Path | None = None
    prompts: Path | None = None
    reward_model: Path | None = None
    reward_command: str | None = None
    soup: Soup = Soup()
    theta_pre: Path | None = None
    own_samples: tuple[Path, ...] = ()
    train_prompts: Path | None = None

    def __post_init__(self) -> None:
        for name in ("theta_0", "theta", "data", "prompts", "reward_model", "theta_pre", "train_prompts"):
            if isinstance(given := getattr(self, name), str):
                object.__setattr__(self, name, Path(given))
        if self.reward_model is not None and self.reward_command is not None:
            raise UserError("reward-model and reward-command are both given; allowed is one of them.")

    @property
    def scored_by(self) -> Path | str | None:
        return self.reward_model or self.reward_command

    def scorer(self, device: torch.device, dtype: str, batch: int) -> ModelScorer | CommandScorer | None:
        """What gives replies their reward; None where nothing does."""
        if self.reward_model is not None:
            return ModelScorer.load(self.reward_model, device, dtype, batch)
        return CommandScorer(self.reward_command) if self.reward_command is not None else None

    @property
    def models(self) -> dict[str, Path]:
        """The model folders that are given, by what they are here."""
        found = {
            "theta_0": self.theta_0,
            "theta": self.theta,
            "reward_model": self.reward_model,
            "theta_pre": self.theta_pre,
        }
        found |= dict(zip(self.soup.names, self.soup.others, strict=True))
        return {key: path for key, path in found.items() if path}

    @cached_property
    def described(self) -> dict:
        """Names without their folders, with SHA-256 of the files that matter, those that the reward command names included.

        Read once, when it is first asked for: models are gigabytes.
        """
        folders = {key: {"folder": model_name(path), "sha256": hashes(path)} for key, path in self.models.items()}
        files = {"data": self.data, "prompts": self.prompts}
        described: dict = folders | {key: described_file(path) for key, path in files.items() if path}
        if self.reward_command is None:
            return described
        named = [Path(word) for word in words_of(self.reward_command) if isfile(word)]
        programs = {"reward_command_files": list(map(described_file, named))} if named else {}
        return described | {"reward_command": self.reward_command} | programs

    @property
    def shown(self) -> dict:
        """`described` with models as pages name them (`models.cache.shown_name`)."""
        return self.described | {
            key: self.described[key] | {"folder": shown_name(path)} for key, path in self.models.items()
        }


SLOW = 0.5  # of s, which moves a ratio of 0.5 to 0.62


class Search(Settings):
    """How ratios are found from samples.

    keep, draw: D_theta is `draw` samples out of the `keep` best. max_length: tokens of prompt and reply; longer replies are
    cut. epochs: passes over D_theta. batch: samples a step. lr: Adam's rate on s; it warms up over the share `warmup` of the
    steps and falls to 0 by a cosine. parameterisation, eps: `parameterise.placement`. regulariser: the coefficient of the
    middle's penalty, 0 for none, `squared` for its squares (`parameterise.py`).
    """

    keep: Count = 5000
    draw: Count = 2000
    max_length: Count = 512
    epochs: Positive = 1.0
    batch: Count = 8
    lr: Positive = 0.05
    warmup: Share = 0.03
    parameterisation: str = "sigmoid"
    eps: float = 0.0
    regulariser: Annotated[float, Field(ge=0)] = 0.0
    squared: bool = False

    @model_validator(mode="after")
    def _fits(self) -> Self:
        placement(self.parameterisation, self.eps, alpha=1.0)  # raises where they do not fit
        if self.squared and not self.regulariser:
            raise refused("squared is set, but regulariser is 0; allowed is with a regulariser above 0 only")
        return self

    def steps(self, count: int) -> int:
        """The number of steps for `count` samples."""
        return ceil(self.epochs * count / self.batch)

    def rate(self, step: int, steps: int) -> float:
        """Adam's rate in step 0 .. steps - 1."""
        warm = ceil(self.warmup * steps)
        if step < warm:
            return self.lr * (step + 1) / warm
        return self.lr * (1 + cos(pi * (step - warm) / (steps - warm))) / 2

    def too_slow(self, count: int) -> list[str]:
        """A warning if Adam, which moves s by about its rate in a step at most, cannot move it by 1/2 with `count` samples."""
        steps = self.steps(count)
        total = sum(self.rate(step, steps) for step in range(steps))
        if total >= SLOW:
            return []
        return [
            f"Adam moves the numbers behind the ratios by about {total:.2g} at most, the sum of its rates over {steps} steps, "
            "so that the ratios stay near their mean: give a larger lr or more epochs."
        ]

    def penalty(
        self, assignment: Mapping[str, str], theta: Mapping[str, torch.Tensor], alpha: float
    ) -> Callable[[torch.Tensor], torch.Tensor] | None:
        """(ratios of the groups,) -> what is added to the loss at the mean `alpha`; None without a regulariser."""
        if not self.regulariser:
            return None
        dimensions = {name: tensor.dim() for name, tensor in theta.items()}
        return penalty(middle_weights(assignment, dimensions, self.regulariser), alpha, self.squared)


class AdaptSettings(Search):
    """All settings of `adapt`.

    alpha: mean ratio of the groups. check: how many of the samples that the ratios are fitted to the found and equal ratios are compared on. samples, tokens,
    temperature: of the sampling of replies, where there are prompts to reply to. save_every: steps between two saved states.
    match: how far the models may differ.
    """

    alpha: Share
    grouping: Grouping = Grouping()
    match: Match = Match()
    check: Items = 256
    seed: Annotated[int, Field(ge=0)] = 0
    dtype: str = "auto"
    samples: Count = 8
    tokens: Count = 196
    temperature: Positive = 1.0
    save_every: Count = 10

    def described(self) -> dict:
        """What decides the result beside `alpha` and `grouping`, as plain values: all but `save_every`."""
        return self.model_dump(mode="json", exclude={"alpha", "grouping", "save_every"})

    def are_of(self, written: Mapping) -> bool:
        """Whether what `adapt` has written was found with these settings."""
        grouping = json.loads(json.dumps(asdict(self.grouping)))
        return (written["alpha"], written["settings"], written["grouping"]) == (self.alpha, self.described(), grouping)
