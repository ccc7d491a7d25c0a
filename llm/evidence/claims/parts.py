"""The parts that several claims have in common: paths of models by their rows, and the comparisons of one kind of claim.

A part expects one number on one side of a bound (0 where none is given). How it is estimated stands in the kinds' own files.
"""

from dataclasses import dataclass
from functools import partial
from typing import Protocol

from ..summary import KEPT
from .book import Book, Route
from .change import Change, Model, most_of_both
from .front import Ahead, SomeAhead
from .line import IN_TAXES, Line, Missing

ELSEWHERE = ("zephyr-7b-beta", "zephyr-7b-gemma")  # presets whose rows are looked for beside the given ones
PAPERS = {"parts": 3, "embeddings": "first"}  # AMA's grouping in the paper
STOPPING, MA, AMA = Route("rsf", "early-stopping"), Route("rsf", "ma"), Route("rsf", "ama", "core", PAPERS)
DPO, DPO_MA, PPO_MA = (Route(r, m, "algorithms") for r, m in (("dpo", "early-stopping"), ("dpo", "ma"), ("ppo", "ma")))
PENALTY = Route("ppo", "kl", "kl-penalty")
FINER = Route("rsf", "ama", "ratios", {"parts": 6, "embeddings": "first"})
OWN = Route("rsf", "ama", "core", {"parts": 3, "embeddings": "own", "head": "mean"})
MERGED = Route("rsf", "adamerging", "ratios")
THETA, THETA_0 = Model(MA), Model(MA, 0.0)
NAMES = {"rsf": "RSF", "dpo": "DPO", "ppo": "PPO"}
SWEEPS = {"rsf": "core", "dpo": "algorithms", "ppo": "algorithms"}
trained = partial(Route, "rsf", sweep="mitigations")
TRAINED = {
    "L1 penalty": trained(method="l1"),
    "L2 penalty": trained(method="l2"),
    "knowledge distillation": trained(method="kd"),
    "LoRA in MLPs": trained(method="lora", where={"targets": "mlp"}),
    "LoRA in MLPs and attention": trained(method="lora", where={"targets": "mlp+attention"}),
    "stochastic moving averaging": trained(method="sma"),
}
REPLAY = trained(method="er")
UNEQUAL = {  # what figure 9 adds to equal ratios; its numbers are shares of theta or of theta_0
    "theta": ("0 0 -0.1", "0 -0.1 -0.1"),
    "theta_0": ("0 0 0.1", "0 0.1 0.1"),
}


class Comparison(Protocol):
    part: str

    def lines(self, book: Book) -> list[Line]: ...


@dataclass(frozen=True)
class Elsewhere:
    """A comparison on the rows of another preset."""

    preset: str
    made: Comparison

    @property
    def part(self) -> str:
        return self.made.part

    def lines(self, book: Book) -> list[Line]:
        if self.preset not in book.neighbours:
            raise Missing(f"preset {self.preset}")
        return self.made.lines(book.neighbours[self.preset])


def patterns(share: str) -> tuple[Comparison, ...]:
    """Figure 9's unequal ratios, read as shares of "theta" or of "theta_0", against equal ones: each ability decides."""
    routes = tuple(Route("rsf", "pattern", "ratios", {"offsets": offsets}) for offsets in UNEQUAL[share])
    words = {"qa": "question answering", "reading_f1": "reading", "bleu": "translation"}
    decide = (
        SomeAhead(f"{word}: the better unequal ratios above equal ones", routes, MA, a) for a, word in words.items()
    )
    each = (Ahead(f"ratios (a, a, a) + ({r.where['offsets']}) above equal ones", r, MA, deciding=False) for r in routes)
    return *decide, *each


def trade_off(name: str, mild: Model, strong: Model) -> tuple[Comparison, Comparison]:
    """That a method pays for ability in reward, from none of it to its strongest."""
    return (
        Change(f"{name} at its strongest against none of it: reward lower", strong, mild, "reward", "below"),
        Change(f"{name} at its strongest against none of it: abilities higher", strong, mild, IN_TAXES),
    )


def one_part(rlhf: str) -> tuple[Comparison, ...]:
    """Figures 4 and 13 for an algorithm: the input part at its best ratio, the others put back wholly."""
    routes = {part: Route(rlhf, "part", SWEEPS[rlhf], {"part": part}) for part in ("input", "middle", "output")}
    chosen, theta = Model(routes["input"], choose=most_of_both), Model(routes["input"])
    found = [
        Change(f"{NAMES[rlhf]}, input part averaged at one ratio: reward above theta's", chosen, theta, "reward"),
        Change(f"{NAMES[rlhf]}, input part averaged at one ratio: abilities above theta's", chosen, theta, IN_TAXES),
    ]
    for part in ("middle", "output"):
        back, theta, name = (
            Model(routes[part], 0.0),
            Model(routes[part]),
            f"{NAMES[rlhf]}, {part} part put back to theta_0",
        )
        found.append(Change(f"{name}: reward below theta's", back, theta, "reward", "below"))
        found.append(Change(f"{name}: abilities above theta's", back, theta, IN_TAXES))
    return tuple(found)


def adaptive(rlhf: str) -> Comparison:
    """AMA as in the paper against MA at the same mean ratios, after an algorithm."""
    routes = Route(rlhf, "ama", SWEEPS[rlhf], PAPERS), Route(rlhf, "ma", SWEEPS[rlhf])
    return Ahead(f"{NAMES[rlhf]}: AMA with K = 3 above MA", *routes, same_steps=True)


def recommended(alpha: float) -> tuple[Comparison, ...]:
    """That one share of theta keeps ability and loses almost no reward, for MA and AMA after RSF."""
    found = []
    for name, route in (("MA", MA), ("AMA", AMA)):
        at, theta = Model(route, alpha), Model(route)
        found.append(Change(f"{name}: abilities above theta's", at, theta, IN_TAXES))
        found.append(
            Change(f"{name}: at least {KEPT:.0%} of the reward's rise kept", at, theta, "reward", kept=1 - KEPT)
        )
    return tuple(found)


def elsewhere(preset: str) -> Comparison:
    """`adaptive` for a preset of models that others aligned by DPO."""
    routes = Route("dpo", "ama", where=PAPERS), Route("dpo", "ma")
    return Elsewhere(preset, Ahead(f"{preset}: AMA with K = 3 above MA", *routes, same_steps=True))
