# The graph of the experiment: what depends on what. Seeds, algorithms, learning rates, penalties and sweep entries are wildcards.
#   snakemake --cores 2 --config preset=microcosm seeds="0 1 2" results=out/results -- core
# With `gpus=8` and `--resources gpu=8`, jobs on one machine have cards of their own, and training takes as many; schedulers hand out theirs.

import re
import shlex
import sys
from itertools import product
from pathlib import Path

from snakemake.exceptions import WorkflowError

from llm import methods
from llm.config import HubPreset, LocalPreset, has_baseline, load_preset, load_sweep, names, runnable, why_empty
from llm.errors import UserError
from llm.plan.made_with import keep, refuse_others
from llm.plan.report import resources as planned
from llm.plan.costs import Step
from llm.plan.hub import with_gpus

PRESET = str(config.get("preset", "microcosm"))
SEEDS = str(config.get("seeds", "0")).split()
RESULTS = Path(str(config.get("results", "out/results")))
RETRAIN = str(config.get("retrain", "no")) == "yes"
OUT = Path(str(config.get("out", "out")))
GPUS = str(config.get("gpus", ""))
if GPUS and not re.fullmatch("[1-9][0-9]{0,3}", GPUS):
    raise WorkflowError(f"gpus = {GPUS} is not allowed; allowed are 1 to 9999")
for key, folder in {"results": RESULTS, "out": OUT}.items():
    if re.search("[{}]", str(folder)):  # Snakemake would read a wildcard
        raise WorkflowError(f"{key} = {folder} is not allowed; allowed are folders without braces")

preset = load_preset(PRESET)
trained_on = f"--gpus {GPUS}" if GPUS and isinstance(preset, HubPreset) else ""
preset = with_gpus(preset, int(GPUS)) if trained_on else preset
threads_before = preset.threads if isinstance(preset, LocalPreset) else 1  # of the steps that all others wait for
every_sweep = {name: load_sweep(name) for name in names("sweeps")}
sweeps = {name: runnable(sweep, preset) for name, sweep in every_sweep.items() if not why_empty(sweep, preset)}
run = OUT / preset.name / "seed{seed}"
shipped = Path("weights") / preset.name
made_with = OUT / preset.name / "settings.json"
try:
    refuse_others(made_with, preset, sweeps)
except UserError as error:
    raise WorkflowError(str(error)) from None
llm = f"{shlex.quote(sys.executable)} -m llm"
on_gpus = f"{shlex.quote(sys.executable)} -m llm.plan.cards --of {GPUS} -- {llm}" if GPUS else llm
run_llm = "CARDS={resources.gpu} {on_gpus} "  # the same text with every number of GPUS, or Snakemake would run all jobs again
common = "--preset {PRESET:q} --seed {wildcards.seed} --out {OUT:q}"


onstart:
    keep(made_with, preset, sweeps)


def rates(sweep):
    return ["own" if lr is None else f"{lr:g}" for lr in sweep.learning_rates]


def sweep_rows(sweep):
    """Every file of rows that a sweep is made of, for one seed."""
    files = [run / "rows" / "baseline.jsonl"] if has_baseline(sweep, preset) else []
    entries = [*sweep.averaging, *sweep.training]
    for rlhf, lr in product(sweep.rlhf, rates(sweep)):
        files += [run / "rows" / rlhf / lr / "trajectory.jsonl"] if sweep.trajectory else []
        files += [run / "rows" / rlhf / lr / f"{entry.label}.jsonl" for entry in entries]
    return files


def results_of(name):
    """The files that a sweep ends with."""
    if name not in sweeps:
        raise WorkflowError(f"sweep = {name} is not allowed with preset = {preset.name}, {why_empty(every_sweep[name], preset)}")
    return [RESULTS / preset.name / f"{name}-seed{seed}.jsonl" for seed in SEEDS]


# what alignment ends with: the model after the last iteration; where it stops at a common reward, what says which one is theta
LAST = "theta.json" if preset.stops else "iteration{last}/config.json"


def theta(seed, rlhf, lr, eta="own"):
    """What a run of alignment ends with."""
    folder = run / rlhf / lr / ("" if eta == "own" else f"eta{eta}")
    return str(folder / LAST).format(seed=seed, last=f"{preset.iterations(rlhf):02d}")


def aligned_from(wildcards):
    """What alignment needs: the reward model, and where it stops at a common reward, the run whose rise says which."""
    rlhf, lr, eta = (getattr(wildcards, name, default) for name, default in (("rlhf", "ppo"), ("lr", "own"), ("eta", "own")))
    judge = methods.METHODS[rlhf].given.get("judge")
    reference = "rsf-gold" if judge == "gold" else "rsf"
    needed = [str(run / "reward.json").format(seed=wildcards.seed)]
    own = (rlhf, lr, eta) == (reference, "own", "own")
    if getattr(preset.section(rlhf), "starts_warm", False):
        needed.append(str(run / "warm-start" / "config.json").format(seed=wildcards.seed))
    return needed + ([theta(wildcards.seed, reference, "own")] if preset.stops and not own else [])


def averaged_from(wildcards):
    """What an averaging entry needs: theta, and other runs of the same alignment where the method is made of several."""
    entry = sweeps[sweep_with("averaging", wildcards)].entry(wildcards.entry)
    runs = [wildcards.rlhf, *(f"{wildcards.rlhf}-run{stream}" for stream in range(2, entry.runs + 1))]
    return [theta(wildcards.seed, rlhf, wildcards.lr) for rlhf in runs]


def trained_after(wildcards):
    """What a training entry needs: RSF's samples; what alignment needs; or, where it is PPO with another penalty, all of its models."""
    entry = sweeps[sweep_with("training", wildcards)].training_entry(wildcards.entry)
    if entry.spec.how == "distilled":
        return theta(wildcards.seed, "rsf", "own")
    if entry.spec.how == "penalty":
        return [theta(wildcards.seed, "ppo", wildcards.lr, preset.ppo.name_of(eta)) for eta in entry.options["strength"]]
    return [str(run / "reward.json").format(seed=wildcards.seed)] + ([theta(wildcards.seed, "rsf", "own")] if preset.stops else [])


def sweep_with(kind, wildcards):
    """The first sweep that has the entry of that label, among its entries of a kind, at that algorithm and learning rate."""
    return next(
        name for name, sweep in sweeps.items()
        if wildcards.rlhf in sweep.rlhf and wildcards.lr in rates(sweep)
        and wildcards.entry in [entry.label for entry in getattr(sweep, kind)]
    )


def labels(kind):
    """What matches the labels of all entries of a kind, and nothing where there are none (an empty pattern would match any)."""
    found = {entry.label for sweep in sweeps.values() for entry in getattr(sweep, kind)}
    return "|".join(map(re.escape, sorted(found))) or "(?!)"


def shipped_weights(wildcards):
    folder, trained = shipped / f"seed{wildcards.seed}", Path(str(run).format(seed=wildcards.seed)) / "pretrained.json"
    given = folder.is_dir() and not RETRAIN and not trained.is_file()  # what was trained here is not replaced
    return f"--shipped {shlex.quote(str(folder))}" if given else ""


def asks(rule):
    """A rule's resources, by the plan: gpu, mem_mb (of the computer), runtime (minutes)."""

    def of(key):
        def resource(wildcards):
            lr, eta = ("own" if wildcards.get(name) is None else wildcards[name] for name in ("lr", "eta"))
            rlhf = "ppo" if rule == "penalise" else wildcards.get("rlhf")
            kind = {"average": "averaging", "mitigate": "training"}.get(rule)
            entries = getattr(sweeps[sweep_with(kind, wildcards)], kind) if kind else ()
            entry = next((entry for entry in entries if entry.label == wildcards.entry), None)
            step = Step(rule, rlhf, *(None if text == "own" else float(text) for text in (lr, eta)), entry)
            return planned(preset, step)[key]

        return resource

    return {key: of(key) for key in ("gpu", "mem_mb", "runtime")}


def aligned_by(entry=None):
    """The algorithms of the preset's sweeps `core` and `algorithms`, or of those that have an entry."""
    having = [sweeps[name] for name in ("core", "algorithms") if name in sweeps]
    return list(dict.fromkeys(
        rlhf for sweep in having if entry in [None, *(one.label for one in sweep.averaging)] for rlhf in sweep.rlhf
    ))


MOVEMENTS = [  # of presets of our own loop
    RESULTS / preset.name / f"{name}-seed{seed}.json"
    for name, rlhf in (("movement", aligned_by("ama")), ("overlap", aligned_by()))
    for seed in SEEDS if rlhf and isinstance(preset, LocalPreset)
]

# Of the jobs that can run, those go first that others wait for, then the longest, so that no core is idle at the end.
UP_TO_THETA, TRAINED, AVERAGED = 3, 2, 1


wildcard_constraints:
    seed=r"\d+",
    rlhf="|".join(methods.names("alignment")),
    lr=r"own|[0-9.e+-]+",
    eta=r"[0-9.e+-]+",
    last=r"\d+",
    sweep="|".join(map(re.escape, sweeps)),


localrules:
    collect,
    movement,


rule all:
    input:
        [results_of(name) for name in sweeps],
        MOVEMENTS,


for name in every_sweep:

    rule:
        name:
            name
        input:
            lambda wildcards, rule=name: results_of(rule),


rule pretrained:
    input:
        [str(run / "pretrained" / "config.json").format(seed=seed) for seed in SEEDS],


rule pretrain:
    output:
        run / "pretrained" / "config.json",
    params:
        shipped=shipped_weights,
    threads: threads_before
    priority: UP_TO_THETA
    resources:
        **asks("pretrain"),
    shell:
        run_llm + "pretrain " + common + " {params.shipped}"


rule sft:
    input:
        rules.pretrain.output,
    output:
        run / "theta_0" / "config.json",
    threads: threads_before
    priority: UP_TO_THETA
    resources:
        **asks("sft"),
    shell:
        run_llm + "sft " + common + " {trained_on}"


rule reward:
    input:
        rules.sft.output,
    output:
        run / "reward.json",
    threads: threads_before
    priority: UP_TO_THETA
    resources:
        **asks("reward"),
    shell:
        run_llm + "reward " + common + " {trained_on}"


rule warm_start:
    input:
        rules.reward.output,
    output:
        run / "warm-start" / "config.json",
    priority: UP_TO_THETA
    resources:
        **asks("warm_start"),
    shell:
        run_llm + "warm-start " + common + " {trained_on}"


rule align:
    input:
        aligned_from,
    output:
        run / "{rlhf}" / "{lr}" / LAST,
    threads: threads_before
    priority: UP_TO_THETA
    resources:
        **asks("align"),
    shell:
        run_llm + "align --rlhf {wildcards.rlhf} --lr {wildcards.lr} " + common + " {trained_on}"


rule penalise:
    input:
        aligned_from,
    output:
        run / "ppo" / "{lr}" / "eta{eta}" / LAST,
    threads: threads_before
    priority: UP_TO_THETA
    resources:
        **asks("penalise"),
    shell:
        run_llm + "align --rlhf ppo --lr {wildcards.lr} --eta {wildcards.eta} " + common + " {trained_on}"


rule baseline:
    input:
        rules.reward.output,
    output:
        run / "rows" / "baseline.jsonl",
    resources:
        **asks("baseline"),
    shell:
        run_llm + "baseline " + common


rule trajectory:
    input:
        lambda w: theta(w.seed, w.rlhf, w.lr),
    output:
        run / "rows" / "{rlhf}" / "{lr}" / "trajectory.jsonl",
    resources:
        **asks("trajectory"),
    shell:
        run_llm + "trajectory --rlhf {wildcards.rlhf} --lr {wildcards.lr} " + common


rule average:
    input:
        averaged_from,
    output:
        run / "rows" / "{rlhf}" / "{lr}" / "{entry}.jsonl",
    wildcard_constraints:
        entry=labels("averaging"),
    params:
        sweep=lambda w: sweep_with("averaging", w),
    priority: AVERAGED
    resources:
        **asks("average"),
    shell:
        run_llm + "sweep {params.sweep} --entry {wildcards.entry} --rlhf {wildcards.rlhf} --lr {wildcards.lr} " + common


rule mitigate:
    input:
        trained_after,
    output:
        run / "rows" / "{rlhf}" / "{lr}" / "{entry}.jsonl",
    wildcard_constraints:
        entry=labels("training"),
    params:
        sweep=lambda w: sweep_with("training", w),
    priority: TRAINED
    resources:
        **asks("mitigate"),
    shell:
        run_llm + "mitigate {params.sweep} --entry {wildcards.entry} --rlhf {wildcards.rlhf} --lr {wildcards.lr} " + common


rule movement:
    input:
        [run / "rows" / rlhf / "own" / "ama.jsonl" for rlhf in aligned_by("ama")],
    output:
        RESULTS / preset.name / "movement-seed{seed}.json",
    params:
        rlhf=" ".join(f"--rlhf {rlhf}" for rlhf in aligned_by("ama")),
    shell:
        "{llm} movement {params.rlhf} --to {output:q} " + common


rule overlap:
    input:
        [theta("{seed}", rlhf, "own") for rlhf in aligned_by()],
    output:
        RESULTS / preset.name / "overlap-seed{seed}.json",
    params:
        rlhf=" ".join(f"--rlhf {rlhf}" for rlhf in aligned_by()),
    resources:
        gpu=int(preset.needs_gpus),
    shell:
        run_llm + "overlap {params.rlhf} --to {output:q} " + common


rule replies:  # samples for a person: no rows, and no part of `all`
    input:
        lambda wildcards: theta(wildcards.seed, "rsf", "own"),
    output:
        RESULTS / preset.name / "replies-seed{seed}.json",
    shell:
        "{llm} show --averaged rsf --to {output:q} " + common


rule collect:
    input:
        lambda w: [str(f).format(seed=w.seed) for f in sweep_rows(sweeps[w.sweep])],
    output:
        RESULTS / preset.name / "{sweep}-seed{seed}.jsonl",
    shell:
        "{llm} collect {input:q} --to {output:q}"
