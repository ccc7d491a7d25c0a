"""What several claims have in common: paths of models by their rows, and the comparisons of one kind of claim."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ...methods import looks
from ..metrics import BOUNDED, IN_TAXES, METRICS
from ..summary import KEPT
from .book import A_RATIO_A_LAYER, Book, Route
from .change import Change, Model, best_of_its_own, extreme, keeping
from .existence import Comparison, Ratios, Some
from .front import Ahead, AheadOf, AheadOfBest
from .line import GOLD, Line, Missing

SEVEN_BILLION = ("zephyr-7b-beta", "zephyr-7b-gemma")
UNTIED, REAL, ON_TWO_CORES = "microcosm-1-untied", "smollm2-135m-gpu", "smollm2-135m"
NEIGHBOURS = (UNTIED, REAL, ON_TWO_CORES, *SEVEN_BILLION)  # presets whose rows are looked for beside the ledger's
STOPPING, MA, AMA = (Route("rsf", family) for family in ("early-stopping", "ma", "ama"))
DPO, DPO_MA, PPO_MA = (Route(r, m, "algorithms") for r, m in (("dpo", "early-stopping"), ("dpo", "ma"), ("ppo", "ma")))
PENALTY, REPLAY = Route("ppo", "kl", "kl-penalty"), Route("rsf", "er", "mitigations")
FINER, MERGED = Route("rsf", A_RATIO_A_LAYER, "ratios"), Route("rsf", "adamerging", "ratios")
OWN, MIDDLE, INCREASING = (
    Route("rsf", "ama-own-embeddings"),
    Route("rsf", "part-middle"),
    Route("rsf", "lines-alpha", "merging"),
)
THETA, THETA_0 = Model(MA), Model(MA, 0.0)
REGMEAN, BY_LAYER = (Route("rsf", family, "regmean") for family in ("regmean", "regmean-layers-increasing"))
PERFECT_MA, PERFECT = (Route("rsf-gold", family, "gold-reward") for family in ("ma", "early-stopping"))
NAMES = {rlhf: looks()[rlhf].short for rlhf in ("rsf", "dpo", "ppo")}  # the paper's algorithms
SWEEPS = {"rsf": "core", "dpo": "algorithms", "ppo": "algorithms", "rsf-gold": "gold-reward"}
IN_FULL = {"lora-mlp": "LoRA in MLPs", "lora-mlp-attention": "LoRA in MLPs and attention"}
TRAINED = {
    IN_FULL.get(family, looks()[family].label): Route("rsf", family, "mitigations")
    for family in ("l1", "l2", "kd", "lora-mlp", "lora-mlp-attention", "sma")
}
IMITATING = {**TRAINED, looks()["er"].label: REPLAY}
IN_EVERY_ITERATION = {
    name: Route("rsf", f"{route.family}-on-policy", "mitigations-on-policy") for name, route in IMITATING.items()
}
IN_TRAINING = {
    looks()[family].label.replace(r"$\theta_0$", "theta_0"): Route("rsf", family, "training-time")
    for family in (
        *("kl-anchor", "ema-anchor-0.1", "ema", "bema", "warp-0.3", "warp-0.6", "warp-1", "ondare", "onties"),
        *("ogpsa-documents", "nspo", "nspo-attention"),
    )
}
# What was measured on twelve seeds or more: name -> method and sweep. MA and LiNeS have lines of their own, Model Stock is one model, and
# extrapolation (ExPO) has its models beyond theta.
AFTER_TRAINING = {
    "SLERP": ("slerp", "merging"),
    "trimmed changes": ("trim", "merging"),
    "DARE": ("dare", "merging"),
    "FAPM": ("fapm", "merging"),
    "breadcrumbs": ("breadcrumbs", "merging"),
    "TIES": ("ties", "merging"),
    "DoTS": ("dots", "merging"),
    "reverse LiNeS": ("reverse-lines", "merging"),
    "AIM": ("aim", "merging"),
    "one part alone": ("part", "core"),
    "MA with embeddings and norms at theta_0": ("ma-matrices", "merging"),
    "AMA": ("ama", "core"),
    "AMA as in the published code": ("ama-published", "merging"),
    "tax-constrained ratios": ("constrained", "regmean"),
    "extrapolation from early iterations": ("extrapolate-early", "merging"),
    "means of the last iterations": ("tail", "merging"),
    "soups of runs": ("soup", "merging"),
    "DeRa": ("dera", "merging"),
}
HOLDING_BACK = {
    name: route
    for name, route in IN_TRAINING.items()
    if route.family in ("kl-anchor", "ema-anchor-0.1", "warp-0.6", "onties")
}
SUGGESTED_BY = (10,)  # the only seed that these had been measured on when the claims on them were made
UNEQUAL = {  # what figure 9 adds to equal ratios; its numbers are shares of theta or of theta_0
    "theta": {"(a, a, a - 0.1)": "pattern-output-less", "(a, a - 0.1, a - 0.1)": "pattern-rest-less"},
    "theta_0": {"(a, a, a + 0.1)": "pattern-output-more", "(a, a + 0.1, a + 0.1)": "pattern-rest-more"},
}
TEXT = "log_likelihood"  # the ability that real models are judged by: it is taxed on every seed


@dataclass(frozen=True)
class Elsewhere:
    """A comparison on the rows of a preset that may be another one than the ledger's. word: a word on these rows."""

    preset: str
    made: Comparison
    deciding: bool = True
    word: str = ""

    @property
    def _where(self) -> str:
        return ", ".join(filter(None, (self.preset, self.word)))

    @property
    def part(self) -> str:
        return f"{self._where}: {self.made.part}"

    def lines(self, book: Book) -> list[Line]:
        there = book if book.preset == self.preset else book.neighbours.get(self.preset)
        if there is None:
            raise Missing(f"preset {self.preset}")
        lines = self.made.lines(there)
        return [
            replace(line, part=f"{self._where}: {line.part}", deciding=line.deciding and self.deciding)
            for line in lines
        ]


def exploratory(preset: str, made: Comparison) -> Comparison:
    """A comparison on the rows that suggested the claim, so that it decides nothing."""
    return Elsewhere(preset, made, deciding=False, word="exploratory")


@dataclass(frozen=True)
class Afresh:
    """A comparison on the seeds beyond those whose rows suggested it."""

    suggested_by: tuple[int, ...]
    made: Comparison

    @property
    def part(self) -> str:
        return self.made.part

    def lines(self, book: Book) -> list[Line]:
        others = {rlhf: rows[~rows["seed"].isin(self.suggested_by)] for rlhf, rows in book.rows.items()}
        return self.made.lines(replace(book, rows=others, _taken={}))


def patterns(share: str, abilities: Sequence[str] = BOUNDED) -> tuple[Comparison, ...]:
    """Figure 9's unequal ratios, read as shares of "theta" or of "theta_0", against equal ones in each of some abilities."""
    routes = {added: Route("rsf", family, "ratios") for added, family in UNEQUAL[share].items()}
    words = {ability: METRICS[ability].words for ability in abilities}
    candidates = {
        added: tuple(Ahead(word, route, MA, ability) for ability, word in words.items())
        for added, route in routes.items()
    }
    parts = tuple(f"{word}: some unequal ratios above equal ones" for word in words.values())
    overall = IN_TAXES if len(abilities) > 1 else abilities[0]
    each = (
        Ahead(f"ratios {added} above equal ones", route, MA, overall, deciding=False) for added, route in routes.items()
    )
    return Some("some unequal ratios above equal ones", candidates, parts), *each


def trade_off(name: str, mild: Model, strong: Model) -> tuple[Comparison, ...]:
    """That a method pays for ability in reward, from none of it to its strongest."""
    return (
        Change(f"{name} at its strongest against none of it: reward lower", strong, mild, "reward", "below"),
        Change(f"{name} at its strongest against none of it: abilities higher", strong, mild, IN_TAXES),
    )


def one_part(rlhf: str, metric: str = IN_TAXES) -> tuple[Comparison, ...]:
    """Figures 4 and 13 for an algorithm: the input part at some ratio, the others put back wholly."""
    routes = {part: Route(rlhf, f"part-{part}", SWEEPS[rlhf]) for part in ("input", "middle", "output")}
    words = METRICS[metric].words

    def raised(ratio: float) -> tuple[Comparison, ...]:
        model, theta = Model(routes["input"], ratio), Model(routes["input"])
        return Change("reward", model, theta, "reward"), Change(words, model, theta, metric)

    name = f"{NAMES[rlhf]}, input part averaged at some ratio"
    found: list[Comparison] = [
        Some(name, Ratios(routes["input"], raised), (f"{name}: reward above theta's", f"{name}: {words} above theta's"))
    ]
    for part in ("middle", "output"):
        back, theta = Model(routes[part], 0.0), Model(routes[part])
        name = f"{NAMES[rlhf]}, {part} part put back to theta_0"
        found.append(Change(f"{name}: reward below theta's", back, theta, "reward", "below"))
        found.append(Change(f"{name}: {words} above theta's", back, theta, metric))
    return tuple(found)


def adaptive(rlhf: str, metric: str = IN_TAXES) -> Comparison:
    """AMA as in the paper against MA at the same mean ratios, after an algorithm."""
    routes = Route(rlhf, "ama", SWEEPS[rlhf]), Route(rlhf, "ma", SWEEPS[rlhf])
    return Ahead(f"{NAMES[rlhf]}: AMA with K = 3 above MA", *routes, metric)


def as_published() -> tuple[Comparison, ...]:
    """MA against AMA as its authors' code does it, which leaves embeddings and norms at theta_0, and what that alone costs MA. Beside what
    decides.
    """
    name, at_theta_0 = "AMA as in the published code", "MA with embeddings and norms at theta_0"
    matrices = Route("rsf", "ma-matrices", "merging")
    return (
        AheadOfBest(f"RSF: MA above {name}", MA, "ama-published", "merging", deciding=False),
        Ahead(f"RSF: MA above {at_theta_0}", MA, matrices, deciding=False),
        AheadOfBest(f"RSF: {at_theta_0} above {name}", matrices, "ama-published", "merging", deciding=False),
    )


def better_averages(rlhf: str, sweep: str, name: str, by: str = "reward") -> tuple[Comparison, ...]:
    """What was above MA after RSF, against MA after another algorithm; by: as in `Ahead`."""
    found = {
        "LiNeS": "lines-alpha",
        "regression averaging": "regmean",
        "regression averaging by layer": "regmean-layers-increasing",
    }
    ma = Route(rlhf, "ma", SWEEPS[rlhf])
    return tuple(
        Ahead(f"{name}: {average} above MA", Route(rlhf, family, sweep), ma, by=by) for average, family in found.items()
    )


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


def seven_billion(preset: str) -> Comparison:
    """`adaptive` for a preset of models that others aligned by DPO."""
    return Elsewhere(preset, Ahead("AMA with K = 3 above MA", Route("dpo", "ama"), Route("dpo", "ma")))


def middle_part() -> tuple[Comparison, ...]:
    """That a real model's middle part, put back to theta_0 wholly, is above MA at the same reward."""
    back = Model(MIDDLE, 0.0)
    made = AheadOf("the middle part put back to theta_0, above MA", MA, back, TEXT, model_first=True)
    return Elsewhere(ON_TWO_CORES, made), exploratory(REAL, made)


def real_averages(routes: Mapping[str, Route], rival: Route, name: str) -> tuple[Comparison, ...]:
    """Averages against another one in a real model that two cores hold, by its log-likelihood of text. Beside what decides."""
    return tuple(
        Elsewhere(
            ON_TWO_CORES, Ahead(f"{ours} above {name}, log-likelihood of text", route, rival, TEXT), deciding=False
        )
        for ours, route in routes.items()
    )


def changed_training() -> tuple[Comparison, ...]:
    """That regression averaging is above each method that changes RSF's training."""
    return tuple(
        Afresh(SUGGESTED_BY, Ahead(f"regression averaging above {name}", REGMEAN, route))
        for name, route in IN_TRAINING.items()
    )


def other_averages() -> tuple[Comparison, ...]:
    """That regression averaging is above each other way after training, at the best of its settings. Beside what decides: whether an arc in
    place of a line, or policies in place of weights, make a difference to MA.
    """
    others = (
        AheadOfBest(f"regression averaging above {name}", REGMEAN, method, sweep)
        for name, (method, sweep) in AFTER_TRAINING.items()
    )
    stock = Model(Route("rsf", "model-stock-tensor", "merging"))
    at_its_reward = AheadOf("regression averaging above Model Stock of three runs, at its reward", REGMEAN, stock)
    beside = (
        Ahead(f"{name} above MA", Route("rsf", family, "merging"), MA, deciding=False)
        for name, family in (("SLERP", "slerp"), ("DeRa", "dera"))
    )
    return *others, at_its_reward, *beside


def held_back(name: str, route: Route) -> tuple[Comparison, ...]:
    """That a method which holds RSF back in training reaches more gold reward, at its best strength, than RSF and MA at their best."""
    best = Model(route, choose=best_of_its_own(GOLD))
    ma, stopped = Model(MA, choose=extreme(GOLD)), Model(STOPPING, choose=best_of_its_own(GOLD))
    return tuple(
        Afresh(SUGGESTED_BY, Change(f"gold reward: {name} at its best strength above {rival}", best, other, GOLD))
        for rival, other in (("RSF's best iteration", stopped), ("MA at its best ratio", ma))
    )


def calibration(metric: str, name: str) -> tuple[Comparison, ...]:
    """That alignment raises a measure of bad calibration, and averaging at the least ratio that keeps nearly all of the reward lowers it."""
    kept = Model(MA, choose=keeping(KEPT))
    return (
        Change(f"{name}: theta above theta_0", THETA, THETA_0, metric),
        Change(
            f"{name}: MA at the least ratio that keeps {KEPT:.0%} of the reward's rise, below theta",
            kept,
            THETA,
            metric,
            "below",
        ),
        Ahead(f"{name}: MA below early stopping", MA, STOPPING, metric, "below", deciding=False, own_rate=True),
    )


def above_both_ends(metric: str) -> tuple[Comparison, ...]:
    """That MA at its best ratio is above theta_0 and theta."""
    best = Model(MA, choose=extreme(metric))
    return Change("theta_0", best, THETA_0, metric, from_start=True), Change("theta", best, THETA, metric)
