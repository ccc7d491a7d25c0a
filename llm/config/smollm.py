"""The kind of preset `data: smollm2`: one small public model that has been instruction-tuned already, trained and measured by
the same loop as the microcosm's, on fetched data (`python -m llm fetch`)."""

from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator

from ..data.smollm.source import KINDS, SmollmSource, smollm_source
from .base import Items, refused
from .preset import Evaluate, LocalPreset, PublicModel, check_kinds


class SmollmEvaluate(Evaluate):
    text: Items  # pieces of ordinary text


class SmollmPreset(LocalPreset):
    """Everything about the size of a run on a public model. It is theta_0 as it is: there is no pre-training and no tuning."""

    data: Literal["smollm2"]
    pretrained: str  # the model: a name of `python -m llm fetch`, a local folder, or a hub id (`llm.fetch.resolve`)
    model: PublicModel
    evaluate: SmollmEvaluate

    def source(self, seed: int, out: Path) -> SmollmSource:
        return smollm_source(seed, out)

    @model_validator(mode="after")
    def _kinds_are_known(self) -> Self:
        check_kinds("prompts", self.prompts, KINDS["prompt"])
        return self

    @model_validator(mode="after")
    def _theta_0_writes_every_reply(self) -> Self:
        if self.preferences.written_share:
            raise refused(
                f"preferences.temperatures = {self.preferences.temperatures} is not allowed: the shares sum to "
                f"{1 - self.preferences.written_share:g}; allowed is 1, since only theta_0 writes replies"
            )
        return self
