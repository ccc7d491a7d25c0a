"""What `front` measures, and how (docs/front.yaml)."""

from pathlib import Path
from typing import Annotated, Self

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from ...averaging.ama.settings import Search
from ...averaging.pair import Match
from ...averaging.ratios import for_one_part
from ...averaging.schedule import checked, one_ratio_methods
from ...config.base import Count, Items, Positive, Settings, refused
from ...errors import UserError
from ...grouping import Grouping
from ...methods import METHODS, names

BETWEEN = ("ama", "part")  # methods that have ratios of groups


def parse_alphas(given: str | list[float]) -> list[float]:
    """ "0:1:0.1" (first, last, step), "0,0.5,1" or a list as rising ratios in [0, 1], each once; UserError if they are not."""
    wrong = UserError(f"alphas is {given!r}, allowed are FIRST:LAST:STEP or numbers and commas, from 0 to 1.")
    try:
        if isinstance(given, str) and ":" in given:
            first, last, step = (float(number) for number in given.split(":"))
            count = int(np.floor((last - first) / step + 1e-9)) + 1 if step > 0 else 0
            found = [round(first + k * step, 12) for k in range(min(count, 100_001))]
        else:
            found = sorted(
                {round(float(number), 12) for number in (given.split(",") if isinstance(given, str) else given)}
            )
    except (ValueError, OverflowError):
        raise wrong from None
    if not 1 <= len(found) <= 1000 or not all(0 <= alpha <= 1 for alpha in found):
        raise wrong
    return found


class FrontSearch(Search):
    """AMA's settings (`adapt`), with larger batches."""

    batch: Count = 16


class FrontSettings(Settings):
    """All settings of `front`.

    tasks: entries PATH.jsonl, NAME=PATH.jsonl, or names of lm-eval tasks. method, alphas: the models between the ends: a
    method that takes one ratio, "ama" or "part", at each ratio. options: the method's own, such as keep; its source's by default.
    part: of "part", its name or number. adapt: of "ama".
    match: how far the models may differ. alignment: the task that must not be lost, "reward" where a reward model is given.
    chat: local items in the model's chat format. task_tokens, tokens: new tokens a reply, of local items and of rewarded
    samples. limit, task_folder: of lm-eval. confidence, resamples: of the recommendation. name, rlhf: preset and algorithm
    in the rows; theta's folder by default.
    """

    tasks: tuple[str, ...]
    method: str = "ma"
    alphas: Annotated[tuple[float, ...], BeforeValidator(parse_alphas)] = tuple(parse_alphas("0:1:0.1"))
    options: dict[str, float | str] = Field(default={})
    part: str | None = None
    grouping: Grouping = Grouping()
    adapt: FrontSearch = FrontSearch()
    match: Match = Match()
    alignment: str = "reward"
    chat: bool = True
    task_tokens: Count = 64
    tokens: Count = 196
    temperature: Positive = 1.0
    batch: Count = 16
    limit: Count | None = None
    task_folder: Path | None = None
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    resamples: Items = 1000
    seed: Annotated[int, Field(ge=0)] = 0
    dtype: str = "auto"
    name: str | None = None
    rlhf: str = "none"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        allowed = {"method": [*_of_two_models(), *BETWEEN], "rlhf": ["none", *names("alignment")]}
        for key, values in allowed.items():
            if getattr(self, key) not in values:
                raise refused(f"{key} is {getattr(self, key)!r}, allowed are {', '.join(values)}")
        if self.options and self.method in BETWEEN:
            raise refused(f"options = {self.options} are not allowed with method {self.method!r}; allowed is none")
        if self.method not in BETWEEN:
            checked(METHODS[self.method], self.options)
        if (self.part is not None) != (self.method == "part"):
            raise refused(f"part is {self.part!r}, needed with method 'part' and allowed with it only")
        return self

    @property
    def groups(self) -> Grouping:
        """The grouping as it is used: with a single part the rest stays theta's."""
        return for_one_part(self.grouping) if self.method == "part" else self.grouping


def _of_two_models() -> list[str]:
    """The methods that lie between theta_0 and theta and need no third model."""
    return [name for name in one_ratio_methods() if METHODS[name].most == 1 and not METHODS[name].theta_pre]
