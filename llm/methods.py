"""Every method once: what it is called, what it is given, which rows it writes, how its models are ordered, how it looks.

Allowed names in sweeps, the settings that readers of rows know, families, legends and the words of claims all derive from
this table. A new method is a file of its own and an entry here. The table lies on the ground floor, so an entry names
its code by a string, "module:function" below `llm`, which is imported when the method is used (`code_of`).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from itertools import product
from math import inf, isfinite
from typing import Any, Literal

from .errors import UserError
from .files import DIGITS

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

    def settings_of(self, options: Mapping[str, Iterable]) -> list[dict[str, Any]]:
        """Every combination of an entry's options, keys in the table's order, the first varying slowest."""
        given = {key: options[key] for key in self.options if key in options}
        return [dict(zip(given, values, strict=True)) for values in product(*given.values())]


def _named(key: str, prefix: str = "", suffix: str = "") -> Callable[[Mapping[str, Any]], str]:
    """Families that are told apart by one entry of the setting."""
    prefix = prefix or {"targets": "lora", "chosen_by": "oracle"}.get(key, key)
    return lambda setting: f"{prefix}-{str(setting[key]).replace('+', '-')}{suffix}"


def _projected(name: str) -> Callable[[Mapping[str, Any]], str]:
    """Families of projections by the layers and the general text that they are made of, where these are not the usual ones."""

    def family(setting: Mapping[str, Any]) -> str:
        others = ["attention"] * (setting.get("targets") == "mlp+attention")
        return "-".join([name, *others, *(["documents"] * (setting["reference"] == "documents"))])

    return family


def _ama_family(setting: Mapping[str, Any]) -> str:
    """AMA by what differs from the paper's: "ama-own-embeddings", "ama-6", "ama-samples-50-regulariser-0.001"."""
    own = [place for place in ("embeddings", "norm", "head") if setting[place] == "own"]
    parts = [] if setting["parts"] == 3 else [str(setting["parts"])]
    varied = [f"{key}-{setting[key]:g}" for key in ("samples", "regulariser") if key in setting]
    return "-".join(["ama", *parts, *(["own", *own] if own else []), *varied])


def _regmean_family(setting: Mapping[str, Any]) -> str:
    """Regression averaging by what differs from its defaults: "regmean", "regmean-samples-50", "regmean-inputs-merged"."""
    varied = [f"{key}-{value:g}" if isinstance(value, int | float) else f"{key}-{value}"
              for key, value in setting.items() if key in REGRESSION]  # fmt: skip
    return "-".join(["regmean", *varied])


def _pattern_family(setting: Mapping[str, Any]) -> str:
    """Unequal ratios by what differs from the first one, the last alone or all the rest, and whether it is less or more."""
    first, *others, last = [ratio for _, ratio in sorted(setting["alphas"].items())]
    if first == last or not (set(others) <= {first} or set(others) <= {last}):
        return "pattern"
    return f"pattern-{'output' if set(others) <= {first} else 'rest'}-{'less' if last < first else 'more'}"


def _by(name: str, key: str, *others: str) -> Callable[[Mapping[str, Any]], str]:
    """Families that are told apart by a number of the setting, and by others where they are varied: "trim-0.3"."""

    def named(setting: Mapping[str, Any]) -> str:
        varied = [f"{other}-{setting[other]}" for other in others if other in setting]
        value = setting[key]
        return "-".join([name, value if isinstance(value, str) else f"{value:g}", *varied])

    return named


def _shades(name: str, label: str, unit: str, colours: Mapping[Any, str], line: str = "-") -> dict[str, Look]:
    """Looks of the families of `_by`: value -> colour."""
    return {
        f"{name}-{value}": Look(f"{label}, {unit} {value}" if unit else f"{label} {value}", colour, line)
        for value, colour in colours.items()
    }


PAPER = "arXiv 2309.06256"
BY_STRENGTH = {"strength": Option(least=0)}
RESETS = {"strength": Option(least=0, most=1), "interval": Option(least=1, whole=True)}
ADAPTERS = {
    "rank": Option(least=1, whole=True),
    "lora_alpha": Option(least=0, above=True),
    "targets": Option(words=("mlp", "mlp+attention"), numbers=False),
}
MERGED_ONLINE = {"keep": Option(least=0, most=1, above=True), "pull": Option(least=0, most=1)}
REFERENCE = {"samples": Option(least=1, whole=True), "reference": Option(words=("free", "documents"), numbers=False)}
REGRESSION = {  # what an entry may vary of regression averaging beside its strength (`llm.averaging.whole.regmean`)
    "samples": Option(least=1, whole=True, needed=False),
    "kind": Option(words=("free", "chat"), numbers=False, needed=False),
    "inputs": Option(words=("own", "merged", "differences"), numbers=False, needed=False),
    "ridge": Option(least=0, above=True, needed=False),
    "shrinkage": Option(least=0, most=1, needed=False),
    "rows": Option(words=("counts", "ratio"), numbers=False, needed=False),
}
ALONG_ALPHA = Order(("alpha",), starts="theta_0", ends="theta")  # alpha = 0 is theta_0 itself, 1 is theta
FROM_THETA_0 = Order(("alpha",), starts="theta_0")  # alpha = 1 is a model of its own
FROM_ELSEWHERE = Order(("alpha",))  # and so is alpha = 0
SHARE = Option(least=0, most=1, above=True)  # of values that are kept
ALONG_STRENGTH = Order(("strength",), falling=True, starts="theta_0", ends="distilled")
METHODS: dict[str, Method] = {}


def _mitigation(
    name: str,
    look: Look,
    reference: str = f"{PAPER}, section 4",
    options: Mapping[str, Option] = BY_STRENGTH,
    order: Order = ALONG_STRENGTH,
) -> Method:
    """A method of training with a family of its own, in a file of its name."""
    return Method(name, "training", {name: look}, reference, f"training.mitigations.{name}:make", options, order=order)


ALONG_PENALTY = Order(
    ("strength",), falling=True, starts="theta_0", ends="theta"
)  # without it, it is the algorithm itself
ON_POLICY: Literal["on-policy"] = "on-policy"


def _on_policy(
    name: str,
    look: Look | Mapping[str, Look],
    reference: str,
    options: Mapping[str, Option] = BY_STRENGTH,
    order: Order | None = ALONG_PENALTY,
    file: str = "",
    **others: Any,
) -> Method:
    """A method that changes every iteration of RSF or DPO. file: "file:function" of `llm.training.mitigations`, where it is no `make` in a file of its name."""
    looks, code = look if isinstance(look, Mapping) else {name: look}, f"training.mitigations.{file or name + ':make'}"
    return Method(
        name, "training", looks, reference, code, options, order=order, after=("rsf", "dpo"), how=ON_POLICY, **others
    )


def register(method: Method) -> Method:
    """Put a method into the table; its name must be new."""
    if method.name in METHODS:
        raise UserError(f"method = {method.name!r} is there already; allowed are new names")
    METHODS[method.name] = method
    return method


# A table, an entry a few lines: the formatter would give each argument a line of its own.
# fmt: off
for _method in (
    Method("chance", "model", {}, "guessing"),
    Method("reward_model", "model", {}, "the learned reward on held-out pairs"),
    Method("theta_0", "model", {"theta_0": Look(r"$\theta_0$ (before RLHF)", "#000000", "-", r"$\theta_0$")}, PAPER),
    Method("theta", "model", {"theta": Look(r"$\theta$ (after RLHF)", "#7a0019", "-", r"$\theta$")}, PAPER),
    Method("early-stopping", "model", {"early-stopping": Look("early stopping", "#7f7f7f")}, f"{PAPER}, section 4",
        order=Order(("iteration",), starts="theta_0")),
    Method("ma", "averaging", {"ma": Look("model averaging (MA)", "#0072b2", "-", "MA")}, "arXiv 2109.01903",
        "averaging.merge.linear:LINEAR", order=ALONG_ALPHA, hub=True),
    Method("slerp", "averaging", {"slerp": Look("spherical averaging (SLERP)", "#1f4e9c", "--", "SLERP")},
        "Shoemake, SIGGRAPH 1985", "averaging.merge.slerp:SLERP", order=ALONG_ALPHA),
    Method("part", "averaging", {
        "part-input": Look("input part only", "#009e73", "-", "input part"),
        "part-middle": Look("middle part only", "#e69f00", "-", "middle part"),
        "part-output": Look("output part only", "#56b4e9", "-", "output part"),
        "part-embeddings": Look("embeddings only", "#4b2e83", ":", "embeddings"),
    }, f"{PAPER}, figure 4", "averaging.merge.linear:LINEAR", options={"part": Option(of_groups=True)},
        order=Order(("alpha",), ends="theta"),  # alpha = 0 puts the part back, and that is no theta_0
        family=_named("part"), hub=True),
    Method("ama", "averaging", {
        "ama": Look("adaptive averaging (AMA)", "#d55e00", "-", "AMA"),
        "ama-own-embeddings": Look("AMA, embeddings apart", "#dd8fbe", "-", "AMA, emb. apart"),
        "ama-own-embeddings-head": Look("AMA, embeddings and head apart", "#9c2f5d", "-", "AMA, + head apart"),
        "ama-6": Look("AMA, K = 6", "#8c3b00"),
    }, f"{PAPER}, section 5",
        options={"samples": Option(least=1, whole=True, words=("all",), needed=False),
                 "regulariser": Option(least=0, needed=False)},
        searches="ama.work", grouped=True, order=ALONG_ALPHA, family=_ama_family, hub=True),
    Method("oracle", "averaging", {
        "oracle-reward": Look("oracle, learned reward", "#00695c", "-", "oracle, learned"),
        "oracle-gold_reward": Look("oracle, gold reward", "#5a189a", "-", "oracle, gold"),
    }, f"{PAPER}, equation 3", options={"chosen_by": Option(words=("reward", "gold_reward"), numbers=False)},
        searches="oracle.work", grouped=True, order=ALONG_ALPHA, family=_named("chosen_by")),
    Method("adamerging", "averaging", {"adamerging": Look("AdaMerging", "#cdb843", "--")}, "arXiv 2310.02575",
        searches="ama.labelled_work", grouped=True, parts="layers", order=ALONG_ALPHA),
    Method("pattern", "averaging", {
        "pattern-output-less": Look(r"$(a,\,a,\,a-.1)$", "#1b7d4f"),
        "pattern-rest-less": Look(r"$(a,\,a-.1,\,a-.1)$", "#c8791a"),
        "pattern-output-more": Look(r"$(a,\,a,\,a+.1)$", "#8fd3b5"),
        "pattern-rest-more": Look(r"$(a,\,a+.1,\,a+.1)$", "#f0bf6b"),
    }, f"{PAPER}, figure 9", "averaging.merge.linear:LINEAR",
        options={"offsets": Option(least=-1, most=1, tuples=True)}, grouped=True, order=Order(("alpha",)),  # the first part's
        family=_pattern_family, hub=True),
    Method("regmean", "averaging", {
        "regmean": Look("regression averaging (RegMean)", "#c2185b", "-", "RegMean"),
        "regmean-inputs-merged": Look("RegMean++, layer by layer", "#7b1fa2", "--", "RegMean++"),
        "regmean-inputs-differences": Look("RegMean without samples", "#90a4ae", ":", "RegMean, no samples"),
    }, "arXiv 2212.09849", "averaging.whole.regmean:make", options=BY_STRENGTH | REGRESSION, whole=True,
        order=Order(("strength",), falling=True, starts="theta_0", ends="theta"), family=_regmean_family, hub=True),
    Method("constrained", "averaging", {"constrained": Look("tax-constrained ratios", "#00838f", "-.", "constrained")},
        f"{PAPER}, section 5, without its mean", "averaging.whole.constrained:make", options=BY_STRENGTH, whole=True,
        order=Order(("strength",), falling=True, starts="theta_0", ends="theta")),
    Method("trim", "averaging",
        _shades("trim", "trimmed", "keep", {0.1: "#34c7a2", 0.2: "#3b5bfe", 0.3: "#79650f", 0.6: "#84829e"}),
        "arXiv 2306.01708, section 4, its first step", "averaging.merge.trim:TRIM", {"keep": replace(SHARE, default=0.2)},
        order=FROM_THETA_0, family=_by("trim", "keep")),
    Method("dare", "averaging", _shades("dare", "DARE", "p", {0.5: "#400cbb", 0.7: "#66d923", 0.9: "#25c24b"}, "--"),
        "arXiv 2311.03099", "averaging.merge.dare:DARE",
        {"drop": Option(least=0, most=0.999, default=0.9), "mask": Option(least=0, whole=True, needed=False, default=0)},
        order=FROM_THETA_0, family=_by("dare", "drop", "mask")),
    Method("fapm", "averaging", _shades("fapm", "FAPM", "keep", {0.1: "#482251", 0.3: "#de5d2e", 0.6: "#6c58fc"}, "-."),
        "arXiv 2509.08255", "averaging.merge.fapm:FAPM", {"keep": replace(SHARE, default=0.1)},
        order=FROM_THETA_0, family=_by("fapm", "keep")),
    Method("breadcrumbs", "averaging",
        _shades("breadcrumbs", "breadcrumbs", "density", {0.3: "#e6720f", 0.6: "#69c56b", 0.9: "#7a060a"}, ":"),
        "arXiv 2312.06795", "averaging.merge.breadcrumbs:BREADCRUMBS",
        {"density": replace(SHARE, default=0.9), "gamma": Option(least=0, most=1, needed=False, default=0.01)},
        order=FROM_THETA_0, family=_by("breadcrumbs", "density", "gamma")),
    Method("ties", "averaging", _shades("ties", "TIES", "keep", {0.1: "#beb929", 0.2: "#156927", 0.6: "#8a32d8"}),
        "arXiv 2306.01708", "averaging.merge.ties:TIES", {"keep": replace(SHARE, default=0.2)},
        order=FROM_ELSEWHERE, family=_by("ties", "keep"), theta_pre=True),
    Method("dots", "averaging", _shades("dots", "DoTS", "sft", {0.5: "#43c8c6", 1: "#d35063", 2: "#f79882"}, "--"),
        "arXiv 2605.00610", "averaging.merge.dots:DOTS",
        {"keep": replace(SHARE, needed=False, default=0.3), "sft": Option(least=0, most=2, default=1.0)},
        order=FROM_ELSEWHERE, family=_by("dots", "sft", "keep"), theta_pre=True, most=2.0),
    Method("extrapolate", "averaging", {"extrapolate": Look("extrapolation (ExPO)", "#8a2e80", ":", "ExPO")},
        "arXiv 2404.16792", "averaging.merge.extrapolate:EXTRAPOLATE", order=ALONG_ALPHA, most=2.0, hub=True),
    Method("lines", "averaging", {
        "lines-alpha": Look("LiNeS", "#50d689", "-"),
        "lines-theta": Look(r"LiNeS, rest at $\theta$", "#3a9578", "--"),
    }, "arXiv 2410.17146", "averaging.schedule.lines:ratios",
        {"outer": Option(words=("alpha", "theta"), numbers=False, default="alpha")},
        order=Order(("alpha",), ends="theta"), family=_by("lines", "outer"), hub=True),
    Method("reverse-lines", "averaging", {
        "reverse-lines-alpha": Look("reverse LiNeS", "#640fe7", "-."),
        "reverse-lines-theta": Look(r"reverse LiNeS, rest at $\theta$", "#4a1252", ":"),
    }, "arXiv 2410.17146, with the layers counted from the last", "averaging.schedule.lines:reverse",
        {"outer": Option(words=("alpha", "theta"), numbers=False, default="alpha")},
        order=Order(("alpha",), ends="theta"), family=_by("reverse-lines", "outer"), hub=True),
    Method("ma-matrices", "averaging",
        {"ma-matrices": Look(r"MA, embeddings and norms at $\theta_0$", "#24279e", "--", "MA, matrices")},
        f"the public code of {PAPER}", "averaging.schedule.matrices:ratios", order=FROM_THETA_0, hub=True),
    Method("ama-published", "averaging",
        {"ama-published": Look("AMA as in the published code", "#ffa948", "-.", "AMA, published")},
        f"the public code of {PAPER}", searches="ama.work", grouped=True, order=FROM_THETA_0, matrices=True),
    Method("extrapolate-early", "averaging",
        _shades("extrapolate-early", "extrapolated", "iteration", {2: "#33981b", 3: "#71b7b3", 4: "#dd9e69", 5: "#2246cd"}, ":"),
        "arXiv 2404.16792", "averaging.whole.early:make", {"iteration": Option(least=1, whole=True)}, whole=True,
        order=Order(("alpha",), starts="theta_0"), family=_by("extrapolate-early", "iteration"), most=3.0),
    Method("tail", "averaging",
        _shades("tail", "mean of the last", "", {2: "#620f63", 3: "#102fb0", 4: "#67cbb6"}, "-."),
        "arXiv 1803.05407", "averaging.whole.tail:make", {"last": Option(least=1, whole=True)}, whole=True,
        order=FROM_THETA_0, family=_by("tail", "last")),
    Method("soup", "averaging", _shades("soup", "soup of runs:", "", {2: "#c8a219", 3: "#f695f8"}),
        "arXiv 2203.05482", "averaging.whole.soup:make", {"runs": Option(least=2, whole=True)}, whole=True,
        order=FROM_THETA_0, family=_by("soup", "runs")),
    Method("model-stock", "averaging", {
        "model-stock-tensor": Look("Model Stock", "#440ae7", "--"),
        "model-stock-model": Look("Model Stock, one ratio", "#4990a5", ":"),
    }, "arXiv 2403.19522", "averaging.whole.stock:make",
        {"runs": Option(least=2, whole=True), "per": Option(words=("tensor", "model"), numbers=False)}, whole=True,
        order=Order(("runs",)), family=_by("model-stock", "per")),
    Method("dera", "averaging", {"dera": Look("DeRa (logits)", "#865243", "-", "DeRa")},
        "arXiv 2402.02992", "averaging.whole.dera:make", whole=True, order=ALONG_ALPHA, most=1.5),
    Method("distilled", "training", {"distilled": Look("distilled, no penalty", "#444444", "-", "distilled")},
        f"{PAPER}, section 4", "training.mitigations.mitigation:distilled"),
    _mitigation("l1", Look("L1 penalty", "#332288", "--", "L1")),
    _mitigation("l2", Look("L2 penalty", "#6fc7b5", "--", "L2")),
    _mitigation("kd", Look("knowledge distillation", "#117733", "--", "KD")),
    Method("lora", "training", {
        "lora-mlp": Look("LoRA, MLP", "#999933", "--"),
        "lora-mlp-attention": Look("LoRA, MLP + attention", "#6a32e5", "--", "LoRA, + att."),
    }, "arXiv 2106.09685", "training.mitigations.lora:make",
        options=ADAPTERS, order=Order(("lora_alpha", "rank"), starts="theta_0", ends="distilled"), family=_named("targets")),
    _mitigation("sma", Look("stochastic moving averaging", "#4a2c12", "--", "SMA"), "arXiv 2312.07551", RESETS),
    _mitigation("er", Look("experience replay", "#882255", "--", "ER"),
        order=Order(("strength",), falling=True, ends="distilled")),  # without end it is no theta_0
    Method("kl", "training", {"kl": Look("KL reward penalty", "#e39be3", "--", "KL")}, f"{PAPER}, figure 8",
        options=BY_STRENGTH, after=("ppo",), how="penalty", order=Order(("strength",), falling=True, starts="theta_0"), hub=True),
    _on_policy("l1-on-policy", Look("L1 penalty, on-policy", "#5a4bb0", "-.", "L1 on-policy"), f"{PAPER}, section 4", file="l1:make"),
    _on_policy("l2-on-policy", Look("L2 penalty, on-policy", "#3f9e8c", "-.", "L2 on-policy"), f"{PAPER}, section 4", file="l2:make"),
    _on_policy("kd-on-policy", Look("distillation, on-policy", "#3c9a55", "-.", "KD on-policy"), f"{PAPER}, section 4", file="kd:make"),
    _on_policy("lora-on-policy", {
        "lora-mlp-on-policy": Look("LoRA, MLP, on-policy", "#b5b54d", "-."),
        "lora-mlp-attention-on-policy": Look("LoRA, MLP + attention, on-policy", "#8f66f0", "-.", "LoRA, + att., on-policy"),
    }, "arXiv 2106.09685", ADAPTERS, Order(("lora_alpha", "rank"), starts="theta_0", ends="theta"), "lora:make",
        family=_named("targets", "lora", "-on-policy")),
    _on_policy("sma-on-policy", Look("elastic reset", "#7a4a28", "-."), "arXiv 2312.07551", RESETS, file="sma:make"),
    _on_policy("er-on-policy", Look("experience replay, on-policy", "#aa4477", "-.", "ER on-policy"), f"{PAPER}, section 4",
        order=Order(("strength",), falling=True, ends="theta"), file="er:make"),
    _on_policy("kl-anchor", Look(r"KL to $\theta_0$ in the loss", "#c27ba0", "-.", "KL anchor"), "arXiv 1909.08593", file="kl_anchor:make"),
    _on_policy("ema-anchor", Look("KL to a moving average", "#2a6f97", "-.", "EMA anchor"), "arXiv 2406.16768, section 3.1",
        {"strength": Option(least=0), "rate": Option(least=0, most=1)}, file="ema_anchor:make"),
    _on_policy("bema", {
        "bema": Look("bias-corrected moving average", "#468faf", "-.", "BEMA"),
        "ema": Look("moving average", "#89c2d9", "-.", "EMA"),
    }, "arXiv 2508.00180",
        {"strength": Option(least=0, most=1), "bias_power": Option(least=0, words=("none",)),
         "lag": Option(least=1), "interval": Option(least=1, whole=True)}, Order(("strength",), falling=True),
        family=lambda setting: "ema" if setting["bias_power"] == "none" else "bema"),
    _on_policy("warp", Look("WARP", "#e4572e", "-."), "arXiv 2406.16768",
        {"share": Option(least=0, most=1), "runs": Option(least=1, most=9, whole=True), "anchor": Option(least=0),
         "rate": Option(least=0, most=1)}, Order(("share",), starts="theta_0")),
    _on_policy("ondare", Look("online merging (OnDARE)", "#a05195", "-.", "OnDARE"), "arXiv 2405.17931",
        MERGED_ONLINE, Order(("keep",), ends="theta"), "online_merging:ondare"),
    _on_policy("onties", Look("online merging (OnTIES)", "#d45087", "-.", "OnTIES"), "arXiv 2405.17931",
        MERGED_ONLINE, Order(("keep",), ends="theta"), "online_merging:onties"),
    _on_policy("ogpsa", {
        "ogpsa": Look("orthogonal gradients (OGPSA)", "#665191", "-.", "OGPSA"),
        "ogpsa-documents": Look("orthogonal gradients (OGPSA), documents", "#9b8ac4", "-.", "OGPSA, documents"),
    }, "arXiv 2602.07892", {"rank": Option(least=0, whole=True), "interval": Option(least=1, whole=True), **REFERENCE},
        Order(("rank",), falling=True, ends="theta"), family=_projected("ogpsa")),
    _on_policy("nspo", {
        "nspo": Look("null space (NSPO), MLP", "#2f4b7c", "-.", "NSPO"),
        "nspo-attention": Look("null space (NSPO), MLP + attention", "#4f74b3", "-.", "NSPO, + att."),
        "nspo-documents": Look("null space (NSPO), MLP, documents", "#8fa8d6", "-.", "NSPO, documents"),
        "nspo-attention-documents": Look(
            "null space (NSPO), MLP + attention, documents", "#b3c4e6", "-.", "NSPO, + att., documents"),
    }, "arXiv 2512.11391", {"threshold": Option(least=0), "targets": ADAPTERS["targets"], **REFERENCE},
        Order(("threshold",), ends="theta"), family=_projected("nspo")),
    Method("rsf", "alignment", {"rsf": Look("RSF", "#0b6e4f")}, "arXiv 2304.06767", "stages.rsf:rsf", hub=True),
    Method("dpo", "alignment", {"dpo": Look("DPO", "#e0a100")}, "arXiv 2305.18290", "stages.dpo:dpo", hub=True,
        learns_from="preferences.json"),
    Method("ppo", "alignment", {"ppo": Look("PPO", "#7d3c98")}, "arXiv 1707.06347", "stages.ppo:ppo", hub=True),
    Method("rsf-gold", "alignment", {"rsf-gold": Look("RSF, gold reward", "#b8860b", "-", "RSF, gold")}, "arXiv 2304.06767",
        "stages.rsf:rsf", section="rsf", given={"judge": "gold"}),
    Method("rsf-run2", "alignment", {"rsf-run2": Look("RSF, second run", "#4f9d80", "--", "RSF, run 2")}, "arXiv 2304.06767",
        "stages.rsf:rsf", section="rsf", given={"stream": 2}),
    Method("rsf-run3", "alignment", {"rsf-run3": Look("RSF, third run", "#8cc5b0", ":", "RSF, run 3")}, "arXiv 2304.06767",
        "stages.rsf:rsf", section="rsf", given={"stream": 3}),
):
    register(_method)
# fmt: on


def names(*kinds: Kind) -> tuple[str, ...]:
    """The methods of some kinds, in the order of the table."""
    return tuple(name for name, method in METHODS.items() if method.kind in kinds)


def known(name: str, key: str = "method", *kinds: Kind) -> Method:
    """The method of that name; UserError that names `key`, the value and what is allowed otherwise."""
    allowed = names(*kinds) if kinds else tuple(METHODS)
    if name not in allowed:
        raise UserError(f"{key} = {name!r} is unknown; allowed are {', '.join(allowed)}")
    return METHODS[name]


def code_of(method: Method) -> Any:
    """The function or object that an entry's `code` names."""
    module, _, attribute = method.code.partition(":")
    return getattr(import_module(f".{module}", __package__), attribute)


def family(method: str, setting: Mapping[str, Any]) -> str:
    """The name of a row's family: its method and, where a method is measured in several ways, the way."""
    found = known(method)
    return found.family(setting) if found.family else method


def looks() -> dict[str, Look]:
    """Family -> look, of every method."""
    return {name: look for method in METHODS.values() for name, look in method.looks.items()}
