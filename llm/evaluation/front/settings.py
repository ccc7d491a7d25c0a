"""What `front` measures, and how (docs/front.yaml)."""

from functools import partial
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from ...averaging.ama.settings import Search
from ...averaging.ratios import for_one_part, one_part
from ...averaging.schedule import checked, one_ratio_methods
from ...averaging.whole.regression import MOST
from ...config.base import Count, Settings, refused
from ...errors import UserError
from ...grouping import Grouping
from ...methods import METHODS
from ..measuring import Measuring

BETWEEN = ("ama", "part")  # methods that have ratios of groups
REGRESSION = "regmean"  # the method whose models are made of both models' own texts, each at a lambda
STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0)  # lambdas: with texts alike they are averages at alpha .91, .77, .5, .25 and .09
BEYOND = METHODS["extrapolate"]  # the method of ratios above 1, and the largest one
DEFAULT = ("0:1:0.1", "1.1:1.5:0.1")  # ratios of all methods but that one, and its own: to the largest of its source


def parse_numbers(key: str, most: float, given: Any) -> tuple[float, ...]:
    """ "0:1:0.1" (first, last, step), "0,0.5,1", a number or a list as rising numbers in [0, most], each once; UserError if they are
    not, or more than a thousand.
    """
    try:
        if isinstance(given, str) and ":" in given:
            first, last, step = (float(number) for number in given.split(":"))
            count = int(np.floor((last - first) / step + 1e-9)) + 1 if step > 0 else 0
            numbers = [first + k * step for k in range(min(count, 1001))]
        else:
            several = (
                given.split(",") if isinstance(given, str) else given if isinstance(given, list | tuple) else [given]
            )
            numbers = [float("nan" if isinstance(number, bool) else number) for number in several]
        found = tuple(sorted({float(f"{number:.12g}") + 0.0 for number in numbers}))
    except (ValueError, TypeError, OverflowError):
        found = ()
    if not 1 <= len(found) <= 1000 or not all(0 <= number <= most for number in found):
        raise UserError(
            f"{key} = {given!r} is not allowed; allowed are FIRST:LAST:STEP or numbers and commas, from 0 to {most:g}."
        )
    return found


class FrontSearch(Search):
    """AMA's settings (`adapt`), with larger batches."""

    batch: Count = 16


class FrontRegression(Settings):
    """ridge: r of `llm.averaging.whole.regression`. count: texts that each of the two models writes, where none are given."""

    ridge: Annotated[float, Field(ge=1e-12, le=1e6)] = 0.1
    count: Count = 128


def parse_names(given: Any) -> Any:
    """ "ma,ama" or a list as names, each once; what is neither stays as it is, to be refused."""
    found = given.split(",") if isinstance(given, str) else given
    if not isinstance(found, list | tuple) or not all(isinstance(name, str) for name in found):
        return given
    return tuple(dict.fromkeys(name.strip() for name in found if name.strip()))


class FrontSettings(Measuring):
    """All settings of `front`: those of measuring, and:

    method, alphas: the models between the ends: methods that take one ratio, "ama" or "part", each at each ratio, and beyond theta
    "extrapolate" at those above 1 (`ratios_of`); without alphas at `DEFAULT` ones. options: method ->
    its own, such as {"trim": {"keep": 0.1}}; its source's by default. part: of "part", its name or number. adapt: of "ama".
    strength, layers: of "regmean", which has these in place of alphas: lambdas, from the largest, and whether each is that of all layers
    ("equal") or falls from layer to layer ("increasing"). regmean: the rest of it.
    keep: the share of the rise in alignment that a recommended model must keep.
    """

    method: Annotated[tuple[str, ...], BeforeValidator(parse_names), Field(min_length=1)] = ("ma",)
    alphas: Annotated[tuple[float, ...], BeforeValidator(partial(parse_numbers, "alphas", BEYOND.most))] = ()
    options: dict[str, dict[str, float | str]] = Field(default={})
    part: Annotated[str | None, BeforeValidator(lambda given: str(given) if type(given) is int else given)] = None
    grouping: Grouping = Grouping()
    adapt: FrontSearch = FrontSearch()
    strength: Annotated[tuple[float, ...], BeforeValidator(partial(parse_numbers, "strength", MOST))] = STRENGTHS
    layers: Annotated[tuple[Literal["equal", "increasing"], ...], BeforeValidator(parse_names), Field(min_length=1)] = (
        "equal",
    )
    regmean: FrontRegression = FrontRegression()
    keep: Annotated[float, Field(gt=0, le=1)] = 0.95

    @model_validator(mode="after")
    def _fits(self) -> Self:
        allowed = [*one_ratio_methods(), *BETWEEN, REGRESSION]
        for method in self.method:
            if method not in allowed:
                raise refused(f"method = {method!r} is not allowed; allowed are {', '.join(allowed)}")
        for method, given in self.options.items():
            if method not in self.method or method in (*BETWEEN, REGRESSION):
                raise refused(
                    f"options = {given} are not allowed with method {method!r}; allowed are those of the chosen methods"
                )
            checked(METHODS[method], given)
        if (self.part is not None) != ("part" in self.method):
            raise refused(f"part is {self.part!r}, needed with method 'part' and allowed with it only")
        if self.part is not None:
            one_part(self.part, 1.0, self.grouping)
        if "alphas" in self.model_fields_set and self.method == (REGRESSION,):
            raise refused("alphas is not allowed with method regmean alone")
        taken = {0.0, 1.0}.union(*map(self.ratios_of, {*self.method} - {REGRESSION}))
        if odd := [alpha for alpha in self.alphas if alpha not in taken]:
            other = BEYOND.name if odd[0] > 1 else "ma"
            raise refused(
                f"alphas has {odd[0]:.12g}, which none of the chosen methods takes; allowed is with method {other}"
            )
        if BEYOND.name in self.method and not self.ratios_of(BEYOND.name):
            raise refused(f"method {BEYOND.name} is not allowed without a ratio above 1 (to {BEYOND.most:g}) in alphas")
        for key in ("strength", "layers"):
            if key in self.model_fields_set and REGRESSION not in self.method:
                raise refused(f"{key} is not allowed without method regmean")
        return self

    @property
    def regressions(self) -> list[dict[str, Any]]:
        """The settings of the models of "regmean" as rows have them, from theta_0's end to theta's."""
        ridge = {} if self.regmean.ridge == FrontRegression().ridge else {"ridge": self.regmean.ridge}
        return [
            {"strength": strength, **ridge, **({} if layers == "equal" else {"layers": layers})}
            for layers in self.layers
            for strength in reversed(self.strength)
        ]

    def ratios_of(self, method: str) -> list[float]:
        """The ratios at which a method other than "regmean" is measured, rising. Extrapolation has those above 1: up to there it is "ma"."""
        beyond = method == BEYOND.name
        given = self.alphas or parse_numbers("alphas", BEYOND.most, DEFAULT[beyond])
        return [alpha for alpha in given if (alpha > 1) == beyond]

    def groups_of(self, method: str) -> Grouping:
        """The grouping as a method uses it: with a single part the rest stays theta's."""
        return for_one_part(self.grouping) if method == "part" else self.grouping

    @property
    def thirds(self) -> list[str]:
        """The chosen methods that take theta_pre."""
        return [method for method in self.method if METHODS[method].theta_pre]
