"""The parts that several claims have in common: paths of models by their rows, and the comparisons of one kind of claim.

A part expects one number on one side of a bound (0 where none is given). How it is estimated stands in the kinds' own files.
"""

from dataclasses import dataclass
from typing import Protocol

from ...methods import looks
from ..metrics import BOUNDED, IN_TAXES, METRICS
from ..summary import KEPT
from .book import Book, Route
from .change import Change, Model, most_of_both
from .front import Ahead, SomeAhead
from .line import Line, Missing

ELSEWHERE = ("zephyr-7b-beta", "zephyr-7b-gemma")  # presets whose rows are looked for beside the given ones
STOPPING, MA, AMA = (Route("rsf", family) for family in ("early-stopping", "ma", "ama"))
DPO, DPO_MA, PPO_MA = (Route(r, m, "algorithms") for r, m in (("dpo", "early-stopping"), ("dpo", "ma"), ("ppo", "ma")))
PENALTY, REPLAY = Route("ppo", "kl", "kl-penalty"), Route("rsf", "er", "mitigations")
FINER, MERGED = Route("rsf", "ama-6", "ratios"), Route("rsf", "adamerging", "ratios")
OWN = Route("rsf", "ama-own-embeddings")
THETA, THETA_0 = Model(MA), Model(MA, 0.0)
NAMES = {rlhf: looks()[rlhf].short for rlhf in ("rsf", "dpo", "ppo")}  # the paper's algorithms
SWEEPS = {"rsf": "core", "dpo": "algorithms", "ppo": "algorithms"}
IN_FULL = {"lora-mlp": "LoRA in MLPs", "lora-mlp-attention": "LoRA in MLPs and attention"}
TRAINED = {
    IN_FULL.get(family, looks()[family].label): Route("rsf", family, "mitigations")
    for family in ("l1", "l2", "kd", "lora-mlp", "lora-mlp-attention", "sma")
}
UNEQUAL = {  # what figure 9 adds to equal ratios; its numbers are shares of theta or of theta_0
    "theta": {"0 0 -0.1": "pattern-output-less", "0 -0.1 -0.1": "pattern-rest-less"},
    "theta_0": {"0 0 0.1": "pattern-output-more", "0 0.1 0.1": "pattern-rest-more"},
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
    routes = {offsets: Route("rsf", family, "ratios") for offsets, family in UNEQUAL[share].items()}
    words = {ability: METRICS[ability].words for ability in BOUNDED} | {"reading_f1": METRICS["reading_f1"].short}
    decide = (
        SomeAhead(f"{word}: the better unequal ratios above equal ones", routes, MA, a) for a, word in words.items()
    )
    each = (
        Ahead(f"ratios (a, a, a) + ({added}) above equal ones", route, MA, deciding=False)
        for added, route in routes.items()
    )
    return *decide, *each


def trade_off(name: str, mild: Model, strong: Model) -> tuple[Comparison, Comparison]:
    """That a method pays for ability in reward, from none of it to its strongest."""
    return (
        Change(f"{name} at its strongest against none of it: reward lower", strong, mild, "reward", "below"),
        Change(f"{name} at its strongest against none of it: abilities higher", strong, mild, IN_TAXES),
    )


def one_part(rlhf: str) -> tuple[Comparison, ...]:
    """Figures 4 and 13 for an algorithm: the input part at its best ratio, the others put back wholly."""
    routes = {part: Route(rlhf, f"part-{part}", SWEEPS[rlhf]) for part in ("input", "middle", "output")}
    chosen, theta = Model(routes["input"], choose=most_of_both), Model(routes["input"])
    found = [
        Change(f"{NAMES[rlhf]}, input part averaged at one ratio: reward above theta's", chosen, theta, "reward"),
        Change(f"{NAMES[rlhf]}, input part averaged at one ratio: abilities above theta's", chosen, theta, IN_TAXES),
    ]
    for part in ("middle", "output"):
        back, theta = Model(routes[part], 0.0), Model(routes[part])
        name = f"{NAMES[rlhf]}, {part} part put back to theta_0"
        found.append(Change(f"{name}: reward below theta's", back, theta, "reward", "below"))
        found.append(Change(f"{name}: abilities above theta's", back, theta, IN_TAXES))
    return tuple(found)


def adaptive(rlhf: str) -> Comparison:
    """AMA as in the paper against MA at the same mean ratios, after an algorithm."""
    routes = Route(rlhf, "ama", SWEEPS[rlhf]), Route(rlhf, "ma", SWEEPS[rlhf])
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
    routes = Route("dpo", "ama"), Route("dpo", "ma")
    return Elsewhere(preset, Ahead(f"{preset}: AMA with K = 3 above MA", *routes, same_steps=True))
