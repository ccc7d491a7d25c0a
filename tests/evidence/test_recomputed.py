"""Lines of the committed ledger by another route: from the JSON lines, with loops, np.interp's cousin and scipy.stats."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import optimize, stats

RESULTS = Path(__file__).parents[2] / "results"
LEVELS = [k / 100 for k in range(50, 96)]
TAXED = {"qa": 1.0, "reading_f1": 1.0, "bleu": 100.0}


def read(preset):
    """(rlhf, method, setting as items) -> seed -> metric -> value."""
    models = {}
    for file in sorted((RESULTS / preset).glob("*.jsonl")):
        for line in file.read_text().splitlines():
            row = json.loads(line)
            if row["split"] == "test":
                key = row["rlhf"], row["method"], json.dumps(row["setting"], sort_keys=True)
                models.setdefault(key, {}).setdefault(row["seed"], {})[row["metric"]] = row["value"]
    return models


@pytest.fixture(scope="module")
def rows():
    return {preset: read(preset) for preset in ("microcosm", "microcosm-1", "microcosm-1-untied", "smollm2-135m-gpu")}


def lines(file):
    """(claim, part, by, deciding) -> line of a ledger."""
    claims = json.loads((RESULTS / file).read_text())["claims"]
    return {
        (claim["id"], line["part"], line["by"], line["deciding"]): line for claim in claims for line in claim["lines"]
    }


@pytest.fixture(scope="module")
def ledger():
    return lines("claims-microcosm-1.json")


class World:
    """The models of a preset, and RSF's taxes."""

    def __init__(self, models):
        self.models, self.start = models, models["none", "theta_0", "{}"]
        theta = models["rsf", "theta", "{}"]
        self.seeds = sorted(theta)
        paid = {
            ability: [self.start[s][ability] - theta[s][ability] for s in self.seeds]
            for ability in TAXED
            if ability in theta[self.seeds[0]]
        }
        self.taxes = {
            ability: np.mean(found)
            for ability, found in paid.items()
            if np.mean(found) >= 0.005 * TAXED[ability]
            and stats.ttest_1samp(found, 0).confidence_interval(0.95).low > 0
        }

    def model(self, rlhf, method, **setting):
        return self.models[rlhf, method, json.dumps(setting, sort_keys=True)]

    def value(self, model, seed, metric):
        if metric != "in_taxes":
            return model[seed][metric]
        return np.mean([model[seed][ability] / tax for ability, tax in self.taxes.items()])

    def iterations(self, rlhf="rsf", lr=None):
        more, last = ({"lr": lr} if lr else {}), 0
        while (rlhf, "early-stopping", json.dumps({"iteration": last + 1, **more}, sort_keys=True)) in self.models:
            last += 1
        return [self.start, *(self.model(rlhf, "early-stopping", iteration=k, **more) for k in range(1, last + 1))]

    def averages(self, method="ma", alphas=range(1, 10), lr=None):
        more = {"lr": lr} if lr else {}
        return [
            self.start,
            *(self.model("rsf", method, alpha=a / 10, **more) for a in alphas),
            self.model("rsf", "theta", **more),
        ]

    def adaptive(self):
        """AMA with K = 3 as in the paper, in the order of its mean ratios; its ratios differ from seed to seed."""
        found = {}
        for (rlhf, method, setting), model in self.models.items():
            of = json.loads(setting)
            paper = of.get("parts") == 3 and of.get("embeddings") == "first" and of.get("head") == "mean"
            if (rlhf, method) == ("rsf", "ama") and paper and "samples" not in of:
                found.setdefault(of["alpha"], {}).update(model)
        return [self.start, *(found[alpha] for alpha in sorted(found)), self.model("rsf", "theta")]

    def rise(self, seed, reward="reward"):
        start = self.start[seed][reward]
        return start, max(model[seed][reward] for model in self.iterations() if seed in model) - start

    def at(self, path, seed, level, metric):
        """Ability of a path, straight between its models and cut at its highest reward, at a share of the rise."""
        start, rise = self.rise(seed)
        points = [(model[seed]["reward"], self.value(model, seed, metric)) for model in path]
        points = points[: 1 + max(range(len(points)), key=lambda k: points[k][0])]
        wanted, best = start + level * rise, None
        for (r0, a0), (r1, a1) in zip(points, points[1:], strict=False):
            if min(r0, r1) <= wanted <= max(r0, r1) and r0 != r1:
                found = a0 + (a1 - a0) * (wanted - r0) / (r1 - r0)
                best = found if best is None else max(best, found)
        return best

    def shares(self, path, seed):
        """Of each model up to the highest reward the share of the rise."""
        start, rise = self.rise(seed)
        found = [(model[seed]["reward"] - start) / rise for model in path]
        return found[: 1 + found.index(max(found))]

    def thinned(self, sides, seed, low, high):
        """Of a seed both methods' paths, one a rate each: the finer (at its finest rate) by what is nearest to the other's models, the other
        by what is nearest to these.
        """
        placed = [[self.shares(path, seed) for path in paths] for paths in sides]

        def fine_as(shares):
            under, over = [x for x in shares if x <= low] or [-np.inf], [x for x in shares if x >= high] or [np.inf]
            return sum(low <= x <= high for x in shares), max(under) - min(over)

        fullest = [max(of, key=fine_as) for of in placed]
        fine = int(fine_as(fullest[1]) > fine_as(fullest[0]))
        matched = {}
        for side, others in ((fine, fullest[1 - fine]), (1 - fine, None)):
            near = self.nearest(fullest[side], matched[fine] if others is None else others, low, high)
            matched[side] = [fullest[side][k] for k in near]
        return [
            [
                [path[k] for k in sorted(self.nearest(shares, matched[1 - side], low, high))]
                for path, shares in zip(sides[side], placed[side], strict=True)
            ]
            for side in (0, 1)
        ]

    @staticmethod
    def nearest(shares, others, low, high):
        kept = {int(np.argmin(np.abs(np.array(shares) - other))) for other in others}
        if not any(shares[k] <= low for k in kept):
            under = [k for k, x in enumerate(shares) if x <= low] or [int(np.argmin(shares))]
            kept.add(max(under, key=lambda k: shares[k]))
        if not any(shares[k] >= high for k in kept):
            over = [k for k, x in enumerate(shares) if x >= high] or [int(np.argmax(shares))]
            kept.add(min(over, key=lambda k: shares[k]))
        return kept

    def reached(self, sides, metric, seeds):
        """The levels that both methods reach on every seed, at some rate."""
        return [
            level
            for level in LEVELS
            if all(
                any(all(self.at(path, s, level, metric) is not None for s in seeds) for path in paths)
                for paths in sides
            )
        ]

    def kept_and_tax(self, path, rival, metric, seeds):
        levels = self.reached([[path], [rival]], metric, seeds)
        both = np.zeros((2, len(seeds)))
        for k, seed in enumerate(seeds):
            for side, (one,) in enumerate(self.thinned([[path], [rival]], seed, levels[0], levels[-1])):
                both[side, k] = np.mean([self.at(one, seed, level, metric) for level in levels])
        return both[0] - both[1], np.array([self.value(self.start, s, metric) for s in seeds]) - both[1], levels


def fieller(kept, tax):
    """The ratio of means, and the two ratios that a t test just does not reject."""
    ratio = kept.mean() / tax.mean()
    ends = [
        optimize.brentq(lambda r: stats.ttest_1samp(kept - r * tax, 0).pvalue - 0.05, *sorted((ratio, ratio + far)))
        for far in (-30, 30)
    ]
    return [ratio, *ends]


def student(values):
    return [np.mean(values), *stats.ttest_1samp(values, 0).confidence_interval(0.95)]


def numbers(line):
    return [line["estimate"], line["low"], line["high"]]


def test_changes_of_reward_and_of_abilities(rows, ledger):
    world = World(rows["microcosm-1"])
    theta, ratio = world.model("rsf", "theta"), world.model("rsf", "ma", alpha=0.8)
    back, dpo = world.model("rsf", "part", part="middle", alpha=0.0), world.model("dpo", "theta")

    def change(first, second, metric):
        return student([world.value(first, s, metric) - world.value(second, s, metric) for s in world.seeds])

    expected = {
        ("C1", "learned reward: theta above theta_0", "reward"): change(theta, world.start, "reward"),
        ("C1", "translation: theta below theta_0", ""): change(theta, world.start, "bleu"),
        ("C8b", "MA: at least 95% of the reward's rise kept", "reward"): change(ratio, theta, "reward"),
        ("C8b", "MA: abilities above theta's", ""): change(ratio, theta, "in_taxes"),
        ("C5a", "RSF, middle part put back to theta_0: reward below theta's", "reward"): change(back, theta, "reward"),
        ("C9", "abilities: DPO's theta above RSF's", ""): change(dpo, theta, "in_taxes"),
    }
    for (claim, part, by), found in expected.items():
        assert numbers(ledger[claim, part, by, True]) == pytest.approx(found, abs=2e-6), part


def test_a_change_near_the_ceiling(rows, ledger):
    world = World(rows["microcosm-1"])
    f1 = [[m[s]["reading_f1"] for s in world.seeds] for m in (world.model("rsf", "theta"), world.start)]
    logits = [[np.log((v * 400 + 0.5) / (400 - v * 400 + 0.5)) for v in of] for of in f1]
    middle = np.mean(logits[1])
    back = [1 / (1 + np.exp(-middle - d)) - 1 / (1 + np.exp(-middle)) for d in student(np.subtract(*logits))]
    line = ledger["C1", "reading comprehension: theta below theta_0", "", True]
    assert numbers(line) == pytest.approx(back, abs=2e-6)


@pytest.mark.parametrize(
    ("claim", "part", "preset", "rival", "metric"),
    [
        ("P1", "MA above early stopping", "microcosm-1", "stopping", "in_taxes"),
        (
            "P1",
            "microcosm-1-untied, exploratory: MA above early stopping",
            "microcosm-1-untied",
            "stopping",
            "in_taxes",
        ),
        (
            "P1",
            "smollm2-135m-gpu, exploratory: MA above early stopping, log-likelihood of text",
            "smollm2-135m-gpu",
            "stopping",
            "log_likelihood",
        ),
        ("C7a", "RSF: AMA with K = 3 above MA", "microcosm-1", "ma", "in_taxes"),
        ("C7b", "RSF: AMA with K = 3 above MA", "smollm2-135m-gpu", "ma", "log_likelihood"),
    ],
)
def test_shares_saved(rows, ledger, claim, part, preset, rival, metric):
    world = World(rows[preset])
    if rival == "ma":
        found = world.kept_and_tax(world.adaptive(), world.averages(), metric, world.seeds)
    else:
        found = world.kept_and_tax(world.averages(), world.iterations(), metric, world.seeds)
    line = ledger[claim, part, "reward", "exploratory" not in part]
    assert numbers(line) == pytest.approx(fieller(*found[:2]), abs=2e-5)
    assert line["levels"] == [found[2][0], found[2][-1]]


DENSE = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1.0]


@pytest.mark.parametrize(
    ("claim", "part", "method", "settings", "stretch"),
    [
        ("L4", "LiNeS above MA", "lines", [{"alpha": a, "outer": "alpha"} for a in (0.0, 0.25, 0.5, 0.75)], 1),
        (
            "P3",
            "regression averaging above MA",
            "regmean",
            [{"strength": s} for s in (30.0, 10.0, 3.0, 1.0, 0.3, 0.1)],
            2,
        ),
        (
            "P6",
            "regression averaging by layer above MA",
            "regmean",
            [{"layers": "increasing", "strength": s} for s in (30.0, 10.0, 3.0, 1.0, 0.3, 0.1)],
            2,
        ),
    ],
)
def test_shares_of_other_averages_where_all_abilities_pay(rows, claim, part, method, settings, stretch):
    """`stretch`: 2 where the path begins at theta_0, too; LiNeS' mildest ratios still end at theta's."""
    world = World(rows["microcosm"])
    path = [
        *[world.start][: stretch - 1],
        *(world.model("rsf", method, **one) for one in settings),
        world.model("rsf", "theta"),
    ]
    equal = [world.start, *(world.model("rsf", "ma", alpha=a) for a in DENSE[1:-1]), world.model("rsf", "theta")]
    seeds = [seed for seed in world.seeds if all(seed in model for model in path)]
    kept, tax, levels = world.kept_and_tax(path, equal, "in_taxes", seeds)
    line = lines("claims.json")[claim, part, "reward", True]
    assert line["seeds"] == seeds
    assert numbers(line) == pytest.approx(fieller(kept, tax), abs=2e-5)
    assert line["levels"] == [levels[0], levels[-1]]


def test_a_share_at_the_rates_that_are_best_on_the_other_seeds(rows, ledger):
    world, metric = World(rows["microcosm-1"]), "in_taxes"
    rates = (None, 1e-4, 1e-3)
    whole = [[world.averages(lr=lr) for lr in rates], [world.iterations(lr=lr) for lr in rates]]
    levels = world.reached(whole, metric, world.seeds)
    thin = {seed: world.thinned(whole, seed, levels[0], levels[-1]) for seed in world.seeds}
    told = {(side, seed): [] for side in (0, 1) for seed in world.seeds}
    for level in levels:
        for side in (0, 1):
            values = [{s: world.at(thin[s][side][k], s, level, metric) for s in world.seeds} for k in range(len(rates))]
            able = [of_rate for of_rate in values if None not in of_rate.values()]
            for left in world.seeds:
                best = max(able, key=lambda of_rate: sum(of_rate[s] for s in world.seeds if s != left))
                told[side, left].append(best[left])
    ours, theirs = (np.array([np.mean(told[side, seed]) for seed in world.seeds]) for side in (0, 1))
    kept, tax = ours - theirs, np.array([world.value(world.start, s, metric) for s in world.seeds]) - theirs
    line = ledger["C2b", "MA above early stopping", "reward", True]
    n, t = len(world.seeds), stats.t.ppf(0.975, len(world.seeds) - 1)
    error = np.sqrt(1 / n + 1 / (n - 1))  # of the mean, in standard deviations
    ratio = kept.mean() / tax.mean()

    def excess(r):
        rest = kept - r * tax
        return abs(rest.mean()) - t * rest.std(ddof=1) * error

    ends = [optimize.brentq(excess, *sorted((ratio, ratio + far))) for far in (-30, 30)]
    assert numbers(line) == pytest.approx([ratio, *ends], abs=2e-5)
