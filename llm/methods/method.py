"""What an entry of the table of methods is."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product
from math import inf, isfinite
from typing import Any, Literal

from ..files import DIGITS

Kind = Literal["model", "averaging", "training", "alignment"]
GROUPING = ("parts", "level", "embeddings", "norm", "head")  # what a row says of `llm.grouping.Grouping`


@dataclass(frozen=True)
class Look:
    """Name, colour, line and short name of a family of models in figures and tables."""

    label: str
    colour: str
    line: str = "-"
    abbreviation: str = ""

    @property
    def short(self) -> str:
        return self.abbreviation or self.label


@dataclass(frozen=True)
class Option:
    """What an entry of a sweep lists for a method under a key of `options`, which is also the key in the rows' settings.

    Numbers lie in [least, most], or in (least, most] where `above`; `whole` ones are integers; `words` are allowed beside
    numbers, or alone where `numbers` is false. tuples: each value is itself a list of such numbers. needed: an entry must
    give at least one. of_groups: each value names a group of weights that has a ratio of its own (the entry checks which).
    default: its source's, where one model is made outside of a sweep.
    """

    least: float = -inf
    most: float = inf
    above: bool = False
    whole: bool = False
    words: tuple[str, ...] = ()
    numbers: bool = True
    tuples: bool = False
    needed: bool = True
    of_groups: bool = False
    default: Any = None

    def read(self, value: Any) -> Any:
        """A value as the rows have it: a word, a float (an int where whole), or a tuple; ValueError where it is not allowed."""
        if self.tuples:
            if not isinstance(value, list | tuple):
                raise ValueError(value)
            return tuple(self._one(item) for item in value)
        return self._one(value)

    def _one(self, value: Any) -> Any:
        if isinstance(value, str) and (self.of_groups or value in self.words):
            return value
        if isinstance(value, bool) or not isinstance(value, int | float | str) or not self.numbers or self.of_groups:
            raise ValueError(value)
        number = float(value)  # YAML 1.1 reads 1e-3 as text
        inside = isfinite(number) and self.least <= number <= self.most and not (self.above and number == self.least)
        if not inside or (self.whole and (number != int(number) or abs(number) >= 10**DIGITS)):
            raise ValueError(value)
        return int(number) if self.whole else number

    def holds(self, value: Any) -> bool:
        """Whether a row may have the value."""
        try:
            return self.read(value) == value
        except ValueError:
            return False

    @property
    def allowed(self) -> str:
        """The allowed values in words."""
        if self.of_groups:
            return "names of groups"
        kind = "whole numbers" if self.whole else "numbers"
        if self.least > -inf:
            kind += f" in {'(' if self.above else '['}{self.least:g}, {self.most:g}{')' if self.most == inf else ']'}"
        kind = f"lists of {kind}" if self.tuples else kind
        return " or ".join([*([kind] if self.numbers else []), *self.words])


# What the settings of rows of several methods have
SHARED = {
    "lr": Option(least=0, most=1, above=True),
    **dict.fromkeys(("alpha", "alphas"), Option(least=0, most=1)),
    **dict.fromkeys(("iteration", "parts"), Option(least=1, whole=True)),
    **dict.fromkeys(("level", "embeddings", "norm", "head"), Option(of_groups=True)),
}


@dataclass(frozen=True)
class Order:
    """How the models of a family are ordered along its path, from theta_0 to its other end.

    by: keys of the rows' settings. falling: whether the largest stand first (a strength: the strongest is nearest to theta_0).
    starts, ends: the methods whose model stands before the first and after the last; None: the path has no such end.
    """

    by: tuple[str, ...]
    falling: bool = False
    starts: str | None = None
    ends: str | None = None


@dataclass(frozen=True)
class Method:
    """One method.

    kind: "model" (a model that training or guessing gives), "averaging" (of theta_0 and theta), "training" (from theta_0, with a
        change), "alignment" (from theta_0 to theta).
    code: "module:function" below `llm`. What it is given and gives depends on the kind: for "training" see
        `llm.training.mitigations`, for "alignment" `llm.stages.align`, for "averaging" a merge of `llm.averaging.merge`, a rule of
        `llm.averaging.schedule` or, where it is `whole`, a function of `llm.averaging.whole`; "" where there is nothing to call.
    options: key -> what an entry of a sweep lists under it; each combination of values is one setting. "part" and "offsets" say
        which group gets which ratio (`llm.stages.average`); others of an averaging method are its merge's.
    whole: whether the code of an averaging method makes whole models of theta_0, theta and what else it asks for
        (`llm.averaging.whole`), instead of merging tensor by tensor at ratios. Its entries list alphas where its order has them.
    searches: "section.method" of presets that states the work of a search for ratios (`llm.config.sections.Ama`); its rows have
        the ratios under "alphas". "" for methods that are given theirs. grouped: its rows have the grouping.
    parts: the only `grouping.parts` of its entries; None for any.
    most: the largest alpha of its entries. matrices: whether embeddings and norms stay theta_0's (`llm.grouping.only_linear`).
    theta_pre: whether it takes theta_pre too, for presets in which that is a model of its own.
    after: for training, the algorithms that it goes with. how: "distilled" (it imitates the samples that RSF chose), "penalty" (it is
        PPO, run by the stage `align`) or "on-policy" (it changes every iteration of the algorithm, which samples from what it makes).
    afterwards: for training, the options that count only once it has ended (which point of WARP's front, or which iteration, is measured): settings that
        differ by these alone share their training.
    learns_from: for alignment, what of the stage `reward` it learns from: the model, or the file of pairs. section: the section of
        presets that says how it is run; "" for the one of its name. given: what else its code is called with.
    hub: whether presets of the paper's own models can run it.
    order: None where the models of a family form no path. family: the family of a row by its setting; default: the name.
    looks: family -> look; the name itself, if it is a family, comes first.
    reference: where it comes from.
    """

    name: str
    kind: Kind
    looks: Mapping[str, Look]
    reference: str
    code: str = ""
    options: Mapping[str, Option] = field(default_factory=dict)
    whole: bool = False
    searches: str = ""
    grouped: bool = False
    parts: str | None = None
    most: float = 1.0
    matrices: bool = False
    theta_pre: bool = False
    after: tuple[str, ...] = ("rsf",)
    how: Literal["distilled", "penalty", "on-policy"] = "distilled"
    afterwards: tuple[str, ...] = ()
    learns_from: str = "reward"
    section: str = ""
    given: Mapping[str, Any] = field(default_factory=dict)
    hub: bool = False
    order: Order | None = None
    family: Callable[[Mapping[str, Any]], str] | None = None

    @property
    def setting(self) -> frozenset[str]:
        """The keys that the settings of its rows may have."""
        if self.kind == "averaging":
            ratios = {"alphas"} if self.searches or self.grouped else set()
            unequal = "offsets" in self.options  # its rows have the ratios themselves
            alone = self.order is not None and not unequal and (not self.whole or "alpha" in self.order.by)
            own = set(self.options) - {"offsets"} | ({"alpha"} if alone else set())
            return frozenset({"lr"} | ratios | own | (set(GROUPING) if self.grouped else set()))
        fixed = {"theta": {"lr"}, "early-stopping": {"lr", "iteration"}}.get(self.name, set())
        return frozenset(fixed | ({"lr"} | set(self.options) if self.kind == "training" else set()))

    def option(self, key: str) -> Option:
        """What its rows may have under a key of their settings; under "alphas", for each group."""
        return self.options.get(key) or (Option(least=0, most=self.most) if key == "alpha" else SHARED[key])

    @property
    def defaults(self) -> dict[str, Any]:
        """Its options that have a default."""
        return {key: option.default for key, option in self.options.items() if option.default is not None}

    def trained_by(self, setting: Mapping[str, Any]) -> dict[str, Any]:
        """What of a setting training depends on."""
        return {key: value for key, value in setting.items() if key not in self.afterwards}

    def settings_of(self, options: Mapping[str, Iterable]) -> list[dict[str, Any]]:
        """Every combination of an entry's options, keys in the table's order, the first varying slowest."""
        given = {key: options[key] for key in self.options if key in options}
        return [dict(zip(given, values, strict=True)) for values in product(*given.values())]
