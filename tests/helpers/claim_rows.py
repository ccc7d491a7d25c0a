"""Result rows of every sweep in a made-up world that is as the paper says, but for how good averaging is.

Each model has a share of the reward's rise (1 is RSF's theta) and has kept a share of its abilities; `cost` is what theta
has lost. RSF's iterations and all trained methods lose in proportion to the rise. Averaging at alpha loses
cost * alpha ** power: more power, less loss, and 1 is as good as the rivals.
"""

from functools import cache

from llm.config import load_sweep
from llm.evidence.rows import write_rows
from llm.methods import METHODS
from llm.stages.average import settings_of
from rsf_rows import model, rows_of

load_sweep = cache(load_sweep)  # frozen

ITERATIONS = {1: 0.05, 2: 0.5, 3: 0.98, 4: 1.0}
GROUPS = {"first": [], "own": ["embeddings"]}
ALGORITHMS = {
    "rsf": (1.0, 1.0),
    "dpo": (0.5, 0.7),
    "ppo": (1.0, 1.0),
    "rsf-gold": (1.0, 0.9),
}  # theta's rise, and its loss in `cost`


def world(seed, cost=0.5, power=2.0, bump=0.05):
    """Rows by sweep; RSF's and the others' first iteration gains `bump` of question answering."""
    core = rows_of(seed, "theta_0", {}, made(0, 0, seed), "none")
    core += rows_of(seed, "chance", {}, {"qa": 0.25, "reading_f1": 0.4, "bleu": 0.0}, "none")
    core += aligned(seed, "rsf", cost, power, bump, load_sweep("core").averaging)
    algorithms = [
        row
        for rlhf in ("dpo", "ppo")
        for row in aligned(seed, rlhf, cost, power, bump, load_sweep("algorithms").averaging)
    ]
    return {
        "core": core,
        "learning-rates": [row for lr in (1e-4, 1e-3) for row in at_rate(seed, lr, 1.5 * cost, power)],
        "algorithms": algorithms,
        "mitigations": trained(seed, cost, load_sweep("mitigations").training),
        "mitigations-on-policy": trained(seed, cost, load_sweep("mitigations-on-policy").training),
        "training-time": changed(seed, cost, load_sweep("training-time").training),
        "mitigation-rates": [
            row | {"setting": {**row["setting"], "lr": lr}}
            for lr in (1e-4, 1e-3)
            for row in trained(seed, 1.5 * cost, load_sweep("mitigation-rates").training)
        ],
        "ratios": averaged(seed, "rsf", cost, power, load_sweep("ratios").averaging),
        "regmean": regressions(seed, "rsf", "regmean", cost, power)
        + merged(seed, cost, power, [load_sweep("regmean").entry("constrained")]),
        "merging": increasing(seed, "rsf", "merging", cost, power)
        + merged(seed, cost, power, [entry for entry in load_sweep("merging").averaging if entry.label != "lines"]),
        **{
            sweep: [
                row
                for rlhf in load_sweep(sweep).rlhf
                for made_up in (regressions, increasing)
                for row in made_up(seed, rlhf, sweep, cost, power)
            ]
            for sweep in ("merging-others", "merging-gold")
        },
        "gold-reward": aligned(seed, "rsf-gold", cost, power, 0, load_sweep("gold-reward").averaging),
        "kl-penalty": [
            row
            for place, setting in enumerate(load_sweep("kl-penalty").training[0].settings())
            for row in rows_of(seed, "kl", setting, made(0.9 - 0.16 * place, cost * (0.9 - 0.16 * place), seed), "ppo")
        ],
    }


def made(rise, loss, seed, **losses):
    """A model; `losses` of single abilities stand in for the common one."""
    values = model(rise, 1 - loss, offset=10.0 * seed)
    start = model(0, 1)
    return values | {ability: start[ability] * (1 - lost) for ability, lost in losses.items()}


def aligned(seed, rlhf, cost, power, bump, entries):
    top, loss = ALGORITHMS[rlhf]
    rows = []
    for iteration, rise in ITERATIONS.items():
        better = {"qa": -bump} if iteration == 1 and bump else {}
        values = made(top * rise, cost * loss * rise, seed, **better)
        rows += rows_of(seed, "early-stopping", {"iteration": iteration}, values, rlhf)
    return rows + rows_of(seed, "theta", {}, values, rlhf) + averaged(seed, rlhf, cost, power, entries)


def averaged(seed, rlhf, cost, power, entries):
    rows = []
    for entry in entries:
        grouping = entry.grouping.of_layers(6)
        groups = [f"part{k}" for k in range(1, grouping.parts + 1)] + GROUPS[grouping.embeddings]
        found = [
            ({"alpha": alpha, **setting}, dict.fromkeys(groups, alpha))
            for alpha in entry.alphas
            for setting in entry.settings()
        ]
        for setting, alphas in settings_of(entry, grouping, groups, found if entry.spec.searches else []):
            values = average(entry.method, setting, alphas, rlhf, cost, power, seed)
            rows += rows_of(seed, entry.method, setting, values, rlhf)
    return rows


def average(method, setting, alphas, rlhf, cost, power, seed):
    top, share = ALGORITHMS[rlhf]
    cost = cost * share
    alpha = setting.get("alpha", alphas.get("part1"))
    if method == "part" and setting["part"] == "input":
        return made(top * (1 + 0.2 * alpha * (1 - alpha)), cost * (1 + alpha) / 2, seed)
    if method == "part":
        return made(top * (0.8 + 0.2 * alpha), cost * (1 + alpha) / 2, seed)
    if method == "pattern":
        gain = 0.5 if alphas["part2"] == alphas["part1"] != alphas["part3"] else 1.0
        return made(top * alpha, gain * cost * alpha**power, seed)
    if method == "adamerging":
        return made(top * alpha, cost * alpha ** (power / 2), seed, reading_f1=cost * alpha ** (2 * power))
    faster = {"ama": 1.5 if setting.get("parts") == 3 else 1.25}.get(method, 1.0)
    return made(top * alpha, cost * alpha ** (faster * power), seed)


def regressions(seed, rlhf, sweep, cost, power):
    """Regression averages; the weaker theta_0's say, the nearer to theta."""
    top, share = ALGORITHMS[rlhf]
    rows = []
    for label in ("regmean", "regmean-lines"):
        for setting in load_sweep(sweep).entry(label).settings():
            rise = 1 / (1 + setting["strength"] / 10)
            better = 3 if setting.get("layers") == "increasing" else 2
            values = made(top * rise, cost * share * rise ** (better * power), seed)
            rows += rows_of(seed, "regmean", setting, values, rlhf)
    return rows


def increasing(seed, rlhf, sweep, cost, power):
    """LiNeS, with the outer tensors at alpha."""
    top, share = ALGORITHMS[rlhf]
    rows = []
    for alpha in load_sweep(sweep).entry("lines").alphas:
        rise = (1 + alpha) / 2
        values = made(top * rise, cost * share * rise ** (1.75 * power), seed)
        rows += rows_of(seed, "lines", {"alpha": alpha, "outer": "alpha"}, values, rlhf)
    return rows


def merged(seed, cost, power, entries):
    """Other ways after training, which are as good as MA: along alpha, or along the strengths or runs that are swept."""
    rows = []
    for entry in entries:
        settings = entry.settings()[:: -1 if entry.spec.order.falling else 1]
        steps = [(alpha, {"alpha": alpha, **setting}) for alpha in entry.alphas for setting in settings]
        steps = steps or list(enumerate(settings, 1))
        for step, setting in steps:
            rise = step / max(1.0, *(step for step, _ in steps))
            rows += rows_of(seed, entry.method, setting, made(rise, cost * rise**power, seed))
    return rows


def trained(seed, cost, entries):
    """Rises go evenly from the strongest to 0.8, of `distilled`; replay keeps more reading comprehension."""
    rows = []
    kinds = [(entry.method, entry.options.get("targets")) for entry in entries]
    for method, targets in dict.fromkeys(kinds):
        settings = [s for e, kind in zip(entries, kinds) if kind == (method, targets) for s in e.settings()]
        settings.sort(key=lambda s: (s["lora_alpha"], s["rank"]) if "rank" in s else -s.get("strength", 0))
        for order, setting in enumerate(settings, 1):
            rise = 0.8 * order / (len(settings) + 1) if setting else 0.8
            less = {"reading_f1": 0.1 * cost * rise} if method == "er" else {}
            rows += rows_of(seed, method, setting, made(rise, cost * rise, seed, **less))
    return rows


def changed(seed, cost, entries):
    """Methods that change RSF's training: they reach from half to .95 of its rise along what is swept of each."""
    rows = []
    for entry in entries:
        order = METHODS[entry.method].order
        settings = sorted(entry.settings(), key=lambda s: [s[key] for key in order.by], reverse=order.falling)
        for place, setting in enumerate(settings):
            rise = 0.5 + 0.45 * place / (len(settings) - 1)
            rows += rows_of(seed, entry.method, setting, made(rise, cost * rise, seed))
    return rows


def at_rate(seed, lr, cost, power):
    """RSF and MA at another learning rate."""
    rows = []
    for iteration, rise in ITERATIONS.items():
        values = made(rise, cost * rise, seed)
        rows += rows_of(seed, "early-stopping", {"iteration": iteration, "lr": lr}, values)
    rows += rows_of(seed, "theta", {"lr": lr}, values)
    for tenth in range(1, 10):
        values = made(tenth / 10, cost * (tenth / 10) ** power, seed)
        rows += rows_of(seed, "ma", {"alpha": tenth / 10, "lr": lr}, values)
    return rows


def write(folder, seeds, sweeps=None, **options):
    """The rows of those seeds, {seed: cost}, as files of a preset's folder, one a sweep; the folder."""
    for seed, cost in seeds.items():
        for name, rows in world(seed, cost, **options).items():
            if sweeps is None or name in sweeps:
                write_rows(folder / f"{name}-seed{seed}.jsonl", rows)
    return folder
