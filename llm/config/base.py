"""What presets and sweeps are made of: frozen models that refuse unknown keys in one sentence, and common types."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError


def refused(sentence: str) -> PydanticCustomError:
    return PydanticCustomError("refused", "{sentence}", {"sentence": sentence})


def _with_weight(mixture: dict[str, float]) -> dict[str, float]:
    if sum(mixture.values()) == 0:
        raise refused("all weights are 0; allowed are weights of which at least one is above 0")
    return mixture


Algorithm = Literal["rsf", "dpo", "ppo"]  # of alignment: `llm.stages.align`
AveragingMethod = Literal["ma", "part", "pattern", "ama", "adamerging", "oracle"]
TrainingMethod = Literal["distilled", "l1", "l2", "kd", "lora", "sma", "er", "kl"]  # those that change training
Count = Annotated[int, Field(ge=1)]
Items = Annotated[int, Field(ge=2)]  # a standard error needs two
Positive = Annotated[float, Field(gt=0)]
Rate = Annotated[float, Field(gt=0, le=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Mixture = Annotated[dict[str, Annotated[float, Field(ge=0)]], Field(min_length=1), AfterValidator(_with_weight)]


class Settings(BaseModel):
    """Base of all settings: frozen, and no key may be unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _keys_are_known(cls, given: object) -> object:
        for key in given if isinstance(given, dict) else ():
            if key not in cls.model_fields:
                allowed = ", ".join(cls.model_fields)
                raise refused(f"{key} = {short(given[key])} is an unknown key; allowed are {allowed}")
        return given


def short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
