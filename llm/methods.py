"""Every method once: what it is called, what it is given, which rows it writes, how its models are ordered, how it looks.

Allowed names in sweeps, the settings that readers of rows know, families, legends and the words of claims all derive from
this table. A new method is a file of its own and an entry here. The table lies on the ground floor, so an entry names
its code by a string, "module:function" below `llm`, which is imported when the method is used (`code_of`).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from math import inf
from typing import Any, Literal

from .errors import UserError

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
    """What an entry of a sweep is given for a method: a list of values under a key, which is also the key in the rows' settings.

    Numbers lie in [least, most], or in (least, most] where `above`; `whole` ones are integers; `words` are allowed beside
    numbers, or alone where `numbers` is false. tuples: each value is itself a list of such numbers. needed: an entry must
    give at least one. of_groups: each value names a group of weights that has a ratio of its own.
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

    def allows(self, value: Any) -> bool:
        """Whether a value, or each of its numbers where values are tuples, is allowed; groups are checked by the entry."""
        if self.tuples:
            return isinstance(value, list | tuple) and all(self._allows(one) for one in value)
        return self._allows(value)

    def _allows(self, value: Any) -> bool:
        if isinstance(value, str):
            return self.of_groups or value in self.words
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.numbers or self.of_groups:
            return False
        return (
            self.least <= value <= self.most
            and not (self.above and value == self.least)
            and (not self.whole or value == int(value))
        )

    @property
    def allowed(self) -> str:
        """The allowed values in words."""
        if self.of_groups:
            return "names of groups"
        kind = ("whole numbers" if self.whole else "numbers") + (
            f" in {'(' if self.above else '['}{self.least:g}, {self.most:g}{')' if self.most == inf else ']'}"
            if self.least > -inf
            else ""
        )
        return " or ".join([*([kind] if self.numbers else []), *self.words])


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
        `llm.training.mitigations`, for "alignment" `llm.stages.align`, for "averaging" a merge of `llm.averaging.merge` or a search
        for ratios; "" where there is nothing to call.
    options: key -> what an entry of a sweep gives under it; each combination of values is one setting.
    searches: an averaging method that finds its ratios; its rows say them under "alphas". grouped: its rows say the grouping.
    after: for training, the algorithm that it needs: "rsf" (its samples) or "ppo" (it is PPO, run by the stage `align`).
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
    searches: bool = False
    grouped: bool = False
    after: Literal["rsf", "ppo"] = "rsf"
    hub: bool = False
    order: Order | None = None
    family: Callable[[Mapping[str, Any]], str] | None = None

    @property
    def setting(self) -> frozenset[str]:
        """The keys that the settings of its rows may have."""
        if self.kind == "averaging":
            ratios = {"alphas"} if self.searches or self.grouped else set()
            unequal = "offsets" in self.options  # its rows have the ratios themselves
            own = set(self.options) - {"offsets"} | ({"alpha"} if self.order and not unequal else set())
            return frozenset({"lr"} | ratios | own | (set(GROUPING) if self.grouped else set()))
        fixed = {"theta": {"lr"}, "early-stopping": {"lr", "iteration"}}.get(self.name, set())
        return frozenset(fixed | ({"lr"} | set(self.options) if self.kind == "training" else set()))

    def settings_of(self, options: Mapping[str, Iterable]) -> list[dict[str, Any]]:
        """Every combination of an entry's options, the first key varying slowest."""
        found: list[dict[str, Any]] = [{}]
        for key, values in options.items():
            found = [{**one, key: value} for one in found for value in values]
        return found


def _named(key: str) -> Callable[[Mapping[str, Any]], str]:
    """Families that are told apart by one entry of the setting."""
    prefix = {"targets": "lora", "chosen_by": "oracle"}.get(key, key)
    return lambda setting: f"{prefix}-{str(setting[key]).replace('+', '-')}"


def _ama_family(setting: Mapping[str, Any]) -> str:
    """AMA by what differs from the paper's: "ama-own-embeddings", "ama-6", "ama-samples-50-regulariser-0.001"."""
    own = [place for place in ("embeddings", "norm", "head") if setting[place] == "own"]
    parts = [] if setting["parts"] == 3 else [str(setting["parts"])]
    varied = [f"{key}-{setting[key]:g}" for key in ("samples", "regulariser") if key in setting]
    return "-".join(["ama", *parts, *(["own", *own] if own else []), *varied])


def _pattern_family(setting: Mapping[str, Any]) -> str:
    """Unequal ratios by what differs from the first one, the last alone or all the rest, and whether it is less or more."""
    first, *others, last = [ratio for _, ratio in sorted(setting["alphas"].items())]
    if first == last or not (set(others) <= {first} or set(others) <= {last}):
        return "pattern"
    return f"pattern-{'output' if set(others) <= {first} else 'rest'}-{'less' if last < first else 'more'}"


PAPER = "arXiv 2309.06256"
STRENGTH = Option(least=0)
ALONG_ALPHA = Order(("alpha",), starts="theta_0", ends="theta")  # alpha = 0 is theta_0 itself, 1 is theta
ALONG_STRENGTH = Order(("strength",), falling=True, starts="theta_0", ends="distilled")
METHODS: dict[str, Method] = {}


def register(method: Method) -> Method:
    """Put a method into the table; its name must be new."""
    if method.name in METHODS:
        raise UserError(f"method = {method.name!r} is there already; allowed are new names")
    METHODS[method.name] = method
    return method


for _method in (
    Method("chance", "model", {}, "guessing"),
    Method("reward_model", "model", {}, "the learned reward on held-out pairs"),
    Method("theta_0", "model", {"theta_0": Look(r"$\theta_0$ (before RLHF)", "#000000", "-", r"$\theta_0$")}, PAPER),
    Method("theta", "model", {"theta": Look(r"$\theta$ (after RLHF)", "#7a0019", "-", r"$\theta$")}, PAPER),
    Method(
        "early-stopping",
        "model",
        {"early-stopping": Look("early stopping", "#7f7f7f")},
        f"{PAPER}, section 4",
        order=Order(("iteration",), starts="theta_0"),
    ),
    Method(
        "ma",
        "averaging",
        {"ma": Look("model averaging (MA)", "#0072b2", "-", "MA")},
        "arXiv 2109.01903",
        "averaging.merge.linear:LINEAR",
        order=ALONG_ALPHA,
        hub=True,
    ),
    Method(
        "part",
        "averaging",
        {
            "part-input": Look("input part only", "#009e73", "-", "input part"),
            "part-middle": Look("middle part only", "#e69f00", "-", "middle part"),
            "part-output": Look("output part only", "#56b4e9", "-", "output part"),
            "part-embeddings": Look("embeddings only", "#4b2e83", ":", "embeddings"),
        },
        f"{PAPER}, figure 4",
        "averaging.merge.linear:LINEAR",
        options={"part": Option(of_groups=True)},
        order=Order(("alpha",), ends="theta"),  # alpha = 0 puts the part back, and that is no theta_0
        family=_named("part"),
        hub=True,
    ),
    Method(
        "ama",
        "averaging",
        {
            "ama": Look("adaptive averaging (AMA)", "#d55e00", "-", "AMA"),
            "ama-own-embeddings": Look("AMA, embeddings apart", "#dd8fbe", "-", "AMA, emb. apart"),
            "ama-own-embeddings-head": Look("AMA, embeddings and head apart", "#9c2f5d", "-", "AMA, + head apart"),
            "ama-6": Look("AMA, K = 6", "#8c3b00"),
        },
        f"{PAPER}, section 5",
        options={
            "samples": Option(least=1, whole=True, words=("all",), needed=False),
            "regulariser": Option(least=0, needed=False),
        },
        searches=True,
        grouped=True,
        order=ALONG_ALPHA,
        family=_ama_family,
        hub=True,
    ),
    Method(
        "oracle",
        "averaging",
        {
            "oracle-reward": Look("oracle, learned reward", "#00695c", "-", "oracle, learned"),
            "oracle-gold_reward": Look("oracle, gold reward", "#5a189a", "-", "oracle, gold"),
        },
        f"{PAPER}, equation 3",
        options={"chosen_by": Option(words=("reward", "gold_reward"), numbers=False)},
        searches=True,
        grouped=True,
        order=ALONG_ALPHA,
        family=_named("chosen_by"),
    ),
    Method(
        "adamerging",
        "averaging",
        {"adamerging": Look("AdaMerging", "#cdb843", "--")},
        "arXiv 2310.02575",
        searches=True,
        grouped=True,
        order=ALONG_ALPHA,
    ),
    Method(
        "pattern",
        "averaging",
        {
            "pattern-output-less": Look(r"$(a,\,a,\,a-.1)$", "#1b7d4f"),
            "pattern-rest-less": Look(r"$(a,\,a-.1,\,a-.1)$", "#c8791a"),
            "pattern-output-more": Look(r"$(a,\,a,\,a+.1)$", "#8fd3b5"),
            "pattern-rest-more": Look(r"$(a,\,a+.1,\,a+.1)$", "#f0bf6b"),
        },
        f"{PAPER}, figure 9",
        "averaging.merge.linear:LINEAR",
        options={"offsets": Option(least=-1, most=1, tuples=True)},
        grouped=True,
        order=Order(("alpha",)),  # the first part's ratio
        family=_pattern_family,
        hub=True,
    ),
    Method(
        "distilled",
        "training",
        {"distilled": Look("distilled, no penalty", "#444444", "-", "distilled")},
        f"{PAPER}, section 4",
        "training.mitigations.mitigation:distilled",
    ),
    Method(
        "l1",
        "training",
        {"l1": Look("L1 penalty", "#332288", "--", "L1")},
        f"{PAPER}, section 4",
        "training.mitigations.l1:make",
        options={"strength": STRENGTH},
        order=ALONG_STRENGTH,
    ),
    Method(
        "l2",
        "training",
        {"l2": Look("L2 penalty", "#6fc7b5", "--", "L2")},
        f"{PAPER}, section 4",
        "training.mitigations.l2:make",
        options={"strength": STRENGTH},
        order=ALONG_STRENGTH,
    ),
    Method(
        "kd",
        "training",
        {"kd": Look("knowledge distillation", "#117733", "--", "KD")},
        f"{PAPER}, section 4",
        "training.mitigations.kd:make",
        options={"strength": STRENGTH},
        order=ALONG_STRENGTH,
    ),
    Method(
        "lora",
        "training",
        {
            "lora-mlp": Look("LoRA, MLP", "#999933", "--"),
            "lora-mlp-attention": Look("LoRA, MLP + attention", "#6a32e5", "--", "LoRA, + att."),
        },
        "arXiv 2106.09685",
        "training.mitigations.lora:make",
        options={
            "rank": Option(least=1, whole=True),
            "targets": Option(words=("mlp", "mlp+attention"), numbers=False),
            "lora_alpha": Option(least=0, above=True),
        },
        order=Order(("lora_alpha", "rank"), starts="theta_0", ends="distilled"),
        family=_named("targets"),
    ),
    Method(
        "sma",
        "training",
        {"sma": Look("stochastic moving averaging", "#4a2c12", "--", "SMA")},
        "arXiv 2312.07551",
        "training.mitigations.sma:make",
        options={"strength": Option(least=0, most=1), "interval": Option(least=1, whole=True)},
        order=ALONG_STRENGTH,
    ),
    Method(
        "er",
        "training",
        {"er": Look("experience replay", "#882255", "--", "ER")},
        f"{PAPER}, section 4",
        "training.mitigations.er:make",
        options={"strength": STRENGTH},
        order=Order(("strength",), falling=True, ends="distilled"),
    ),  # without end it is no theta_0
    Method(
        "kl",
        "training",
        {"kl": Look("KL reward penalty", "#e39be3", "--", "KL")},
        f"{PAPER}, figure 8",
        options={"strength": STRENGTH},
        after="ppo",
        order=Order(("strength",), falling=True, starts="theta_0"),
        hub=True,
    ),
    Method("rsf", "alignment", {"rsf": Look("RSF", "#0b6e4f")}, "arXiv 2304.06767", "training.rlhf.rsf:rsf", hub=True),
    Method("dpo", "alignment", {"dpo": Look("DPO", "#e0a100")}, "arXiv 2305.18290", "training.rlhf.dpo:dpo", hub=True),
    Method("ppo", "alignment", {"ppo": Look("PPO", "#7d3c98")}, "arXiv 1707.06347", "training.rlhf.ppo:ppo", hub=True),
):
    register(_method)


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
