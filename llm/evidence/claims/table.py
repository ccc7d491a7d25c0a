"""The claims of the paper, in our words, each with the comparisons that test its parts.

A part expects one number on one side of a bound (0 where none is given). How it is estimated stands in the kinds' own files; what
several claims have in common, paths of models by their rows and the comparisons of one kind of claim, stands first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from ...methods import looks
from ..metrics import BOUNDED, IN_TAXES, METRICS
from ..summary import KEPT
from . import theory
from .book import Book, Route
from .change import Change, Model, highest, most_of_both
from .front import Ahead, AheadAtBestRates, AheadOf, SomeAhead
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
    @property
    def part(self) -> str: ...

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


@dataclass(frozen=True)
class Claim:
    """id: a letter tells two readings of one claim apart. paper: its figure or table. where: notebooks of this project, with
    their figures, by name.
    """

    id: str
    name: str
    statement: str
    paper: str
    where: Mapping[str, tuple[str, ...]]
    parts: tuple[Comparison, ...]


# A table: the formatter would give each argument a line of its own.
# fmt: off
CLAIMS: tuple[Claim, ...] = (
    Claim("C1", "The tax",
        "RLHF raises the reward and takes from reading comprehension and translation; question answering first gets "
        "better, then worse.", "fig. 12", {"training": ("fig12", "fig_tax")},
        (
            Change("learned reward: theta above theta_0", THETA, THETA_0, "reward"),
            Change("reading comprehension: theta below theta_0", THETA, THETA_0, "reading_f1", "below"),
            Change("translation: theta below theta_0", THETA, THETA_0, "bleu", "below"),
            Change("question answering: RSF's best iteration above theta_0", Model(STOPPING, choose=highest("qa")),
                Model(STOPPING, 0.0), "qa"),
            Change("question answering: theta below RSF's best iteration", Model(STOPPING),
                Model(STOPPING, choose=highest("qa")), "qa", "below"),
        )),
    Claim("C2", "Averaging against other remedies",
        "Every way to lower the tax pays for it in reward, and at equal reward averaging the weights (MA) keeps more "
        "ability than stopping RLHF early, penalties on the weights, distillation, LoRA or moving averages.", "fig. 3",
        {"averaging": ("fig_fronts", "fig_advantage"), "mitigations": ("fig03",)},
        (
            AheadAtBestRates("MA above early stopping", MA, STOPPING, needs="sweep learning-rates"),
            *(AheadAtBestRates(f"MA above {name}", MA, route) for name, route in TRAINED.items()),
            *trade_off("early stopping", Model(STOPPING), Model(STOPPING, 1.0)),
            *(line for name, route in TRAINED.items() for line in trade_off(name, Model(route), Model(route, 1.0))),
        )),
    Claim("C3", "Averaging against replay",
        "At equal reward averaging keeps more question answering and translation than mixing old training data into "
        "RLHF (experience replay), even four times as much of it; not more reading comprehension.", "fig. 7",
        {"mitigations": ("fig07",)},
        (
            AheadAtBestRates("question answering: MA above replay", MA, REPLAY, "qa"),
            AheadAtBestRates("translation: MA above replay", MA, REPLAY, "bleu"),
            AheadOf("question answering: MA above the strongest replay, at its reward", MA, Model(REPLAY, 1.0), "qa"),
            AheadOf("translation: MA above the strongest replay, at its reward", MA, Model(REPLAY, 1.0), "bleu"),
            AheadAtBestRates("reading: MA below replay", MA, REPLAY, "reading_f1", "below", deciding=False),
            AheadAtBestRates("MA above replay", MA, REPLAY, deciding=False),
        )),
    Claim("C4", "Averaging against the KL penalty",
        "At equal reward averaging after PPO keeps more ability than PPO with a stronger penalty on leaving theta_0.",
        "fig. 8", {"mitigations": ("fig08",)}, (Ahead("MA after PPO above PPO's KL penalties", PPO_MA, PENALTY),)),
    Claim("C5", "One part alone",
        "Averaging the input layers alone can raise reward and abilities at once; the middle and the output layers only "
        "trade one for the other.", "fig. 4, 13", {"averaging": ("fig04-right", "fig_parts"), "algorithms": ("fig13",)},
        tuple(line for rlhf in NAMES for line in one_part(rlhf))),
    Claim("C6a", "Unequal ratios, as shares of theta",
        "Some unequal ratios for input, middle and output layers beat equal ones in every ability; the paper's ratios "
        "read as shares of theta.", "fig. 9", {"ratios": ("fig09",)}, patterns("theta")),
    Claim("C6b", "Unequal ratios, as shares of theta_0",
        "Some unequal ratios for input, middle and output layers beat equal ones in every ability; the paper's ratios "
        "read as shares of theta_0, as in its authors' code.", "fig. 9", {"ratios": ("fig09",)}, patterns("theta_0")),
    Claim("C7", "Adaptive averaging",
        "Ratios chosen for each of three parts (AMA) keep more ability at equal reward than one ratio for all (MA), after "
        "RSF, DPO and PPO; more parts are slightly worse than three and still better than MA.", "fig. 5, 16",
        {"ratios": ("fig05-left", "fig05-right"), "algorithms": ("fig16",)},
        (
            *(adaptive(rlhf) for rlhf in NAMES),
            Ahead("RSF: AMA with K = 6 above MA", FINER, MA, same_steps=True),
            Ahead("RSF: AMA with K = 3 above K = 6", AMA, FINER, same_steps=True),
            Ahead("RSF: AMA with K = 3 and the embeddings apart above MA", OWN, MA, same_steps=True, deciding=False),
        )),
    Claim("C8a", "One ratio, 0.2, as a share of theta",
        "One ratio, 0.2, lowers the tax without lowering the reward; read as a share of 0.2 of theta.", "fig. 10, 11",
        {"ratios": ("fig10", "fig11", "fig_recommended")}, recommended(0.2)),
    Claim("C8b", "One ratio, 0.2, as a share of theta_0",
        "One ratio, 0.2, lowers the tax without lowering the reward; read as a share of 0.2 of theta_0, that is 0.8 of theta, "
        "as in the authors' code.", "fig. 10, 11", {"ratios": ("fig10", "fig11", "fig_recommended")}, recommended(0.8)),
    Claim("C9", "RSF against DPO", "RSF keeps more ability than DPO at equal reward; DPO's own tax is smaller.",
        "fig. 14", {"algorithms": ("fig14",)},
        (
            Ahead("RSF's iterations above DPO's", STOPPING, DPO),
            Change("abilities: DPO's theta above RSF's", Model(DPO), Model(STOPPING), IN_TAXES),
            Ahead("MA after RSF above MA after DPO", MA, DPO_MA, deciding=False),
        )),
    Claim("C10", "Ratios tuned on one ability",
        "Ratios tuned on labelled items of one ability (AdaMerging, on reading comprehension) do not keep the others: "
        "at equal reward they fall below plain averaging.", "fig. 15", {"ratios": ("fig15",)},
        (
            Ahead("question answering: AdaMerging below MA", MERGED, MA, "qa", "below", same_steps=True),
            Ahead("translation: AdaMerging below MA", MERGED, MA, "bleu", "below", same_steps=True),
            Ahead("reading: AdaMerging above MA", MERGED, MA, "reading_f1", same_steps=True, deciding=False),
        )),
    Claim("C11", "Seven billion parameters",
        "AMA is above MA for models of seven billion parameters aligned by DPO, too.", "fig. 6, table 1",
        {"zephyr": ("fig06",)}, tuple(elsewhere(preset) for preset in ELSEWHERE)),
    Claim("C12a", "Theory: the conclusion",
        "In theory, with many features, averaging the weights of two models helps tasks with the same classes at least as much "
        "as tasks with none in common (Proposition 5.1's conclusion; its weight-space term is in arXiv 2309.17230). With few "
        "features and many classes it can be the other way round.", "section 5", {"theory": ("theory-proposition",)},
        (
            theory.Computed("many features: the smallest difference of the two gains", "finite",
                theory.smallest_limit, "above", -theory.EXACT),
            theory.Computed("few features: the smallest difference, exactly", "finite",
                theory.smallest_difference, "above", deciding=False),
        )),
    Claim("C12b", "Theory: the formula",
        "The proposition's formula is that of averaged weights: tasks with the same classes always gain, tasks with "
        "none in common never do.", "section 5", {"theory": ("theory-proposition", "theory-effective")},
        (
            theory.Computed("the largest error of the printed terms", "proposition", theory.printed_error, "below",
                theory.EXACT),
            theory.Computed("the smallest gain with the same classes, unless all features are shared", "proposition",
                theory.smallest_gain, "above"),
            theory.Computed("the largest gain with no class in common", "proposition", theory.largest_unrelated_gain,
                "below", theory.EXACT),
        )),
)
# fmt: on
