"""What presets and sweeps are made of: frozen models that refuse unknown keys in one sentence, common types, and work.

Sections state what they take as `Work`, in plain numbers; `llm.plan` knows the lengths of each kind of preset's data, the speeds
and the bytes.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ModelWrapValidatorHandler, model_validator
from pydantic_core import PydanticCustomError

from ..errors import short
from ..methods import Kind, names


def refused(sentence: str) -> PydanticCustomError:
    return PydanticCustomError("refused", "{sentence}", {"sentence": sentence})


def either(allowed: Iterable[str]) -> str:
    """'a', 'b' or 'c'."""
    *others, last = map(repr, allowed)
    return f"{', '.join(others)} or {last}" if others else last


def method_of(kind: Kind) -> AfterValidator:
    """A name of the table of methods as it is when settings are read, so that one registered later is known."""

    def known(name: str) -> str:
        if name not in names(kind):
            raise PydanticCustomError("unknown", "Input should be {names}", {"names": either(names(kind))})
        return name

    return AfterValidator(known)


def _with_weight(mixture: dict[str, float]) -> dict[str, float]:
    if sum(mixture.values()) == 0:
        raise refused("all weights are 0; allowed are weights of which at least one is above 0")
    return mixture


def _is_a_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name) or name in (".", ".."):
        raise PydanticCustomError("name", "Input should be letters, digits and any of _ . - (it names files)")
    return name


Algorithm = Annotated[str, method_of("alignment")]
Name = Annotated[str, AfterValidator(_is_a_name)]
Count = Annotated[int, Field(ge=1)]
Items = Annotated[int, Field(ge=2)]  # a standard error needs two
Positive = Annotated[float, Field(gt=0)]
Rate = Annotated[float, Field(gt=0, le=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Mixture = Annotated[dict[str, Annotated[float, Field(ge=0)]], Field(min_length=1), AfterValidator(_with_weight)]


class Settings(BaseModel):
    """Base of all settings: frozen, no key may be unknown, and no truth value is a number."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _keys_are_known(cls, given: Any) -> Any:
        for key in given if isinstance(given, dict) else ():
            if key not in cls.model_fields:
                allowed = ", ".join(cls.model_fields)
                raise refused(f"{key} = {short(given[key])} is an unknown key; allowed are {allowed}")
        return given

    @model_validator(mode="wrap")
    @classmethod
    def _numbers_are_numbers(cls, given: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        read = handler(given)
        for key, value in given.items() if isinstance(given, dict) else ():
            made = getattr(read, key)
            by_number = (
                isinstance(value, dict) and isinstance(made, dict) and all(isinstance(one, float) for one in made)
            )
            if by_number and len(made) < len(value):
                raise refused(f"{key} = {short(value)} is not allowed; two of its keys are the same number")
            for one, taken in _pairs(value, made):
                if isinstance(taken, int | float) and isinstance(one, bool) != isinstance(taken, bool):
                    wanted = "true or false" if isinstance(taken, bool) else "a number"
                    raise refused(f"{key} = {short(value)} is not allowed; allowed is {wanted}")
        return read


def _pairs(given: Any, read: Any) -> Iterable[tuple[Any, Any]]:
    """What was given with what it was read as, one by one in lists and groups."""
    if isinstance(given, dict) and isinstance(read, dict) and len(read) < len(given):  # what is empty is left out
        return ((one, read[key]) for key, one in given.items() if key in read)
    if isinstance(given, dict):
        made = read.values() if isinstance(read, dict) else (getattr(read, str(key), None) for key in given)
        return zip(given.values(), made, strict=True)
    return zip(given, read) if isinstance(given, list) else [(given, read)]  # fewer are read where some are equal


@dataclass(frozen=True)
class Work:
    """Tokens that are learned from (forward and backward), read (forward), and written one after the other."""

    trained: float = 0.0
    read: float = 0.0
    written: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(self.trained + other.trained, self.read + other.read, self.written + other.written)

    def __mul__(self, times: float) -> "Work":
        return Work(times * self.trained, times * self.read, times * self.written)


@dataclass(frozen=True)
class Lengths:
    """What a preset's data are like: mean tokens of a prompt, a reply, and a passage with its question; preference pairs.

    depth: the reward model's share of the policy's layers.
    """

    prompt: int
    reply: int
    pairs: int
    passage: int = 0
    depth: float = 1.0

    @property
    def whole(self) -> int:
        """Tokens of a prompt and its reply."""
        return self.prompt + self.reply

    @property
    def sampled(self) -> Work:
        """One reply, generated and scored by the reward model."""
        return Work(read=self.prompt + self.whole * self.depth, written=self.reply)

    def replying(self, reply: int) -> "Lengths":
        """The same with replies of another length."""
        return replace(self, reply=reply)
