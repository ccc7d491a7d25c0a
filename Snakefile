# The graph of the experiment: what depends on what. Seeds, learning rates and sweep entries are wildcards.
#   snakemake --cores 2 --config preset=microcosm seeds="0 1 2" results=out/results -- core

import shlex
import sys
from pathlib import Path

from llm.config import load_preset, load_sweep, names

PRESET = config.get("preset", "microcosm")
SEEDS = str(config.get("seeds", "0")).split()
RESULTS = Path(config.get("results", "out/results"))
RETRAIN = str(config.get("retrain", "no")) == "yes"
OUT = Path(config.get("out", "out"))

preset = load_preset(PRESET)
sweeps = {name: load_sweep(name) for name in names("sweeps")}
run = OUT / preset.name / "seed{seed}"
shipped = Path("weights") / preset.name
llm = f"{shlex.quote(sys.executable)} -m llm"
common = f"--preset {shlex.quote(PRESET)} --seed {{wildcards.seed}} --out {shlex.quote(str(OUT))}"


def rates(sweep):
    return ["own" if lr is None else f"{lr:g}" for lr in sweep.learning_rates]


def sweep_rows(sweep):
    """Every file of rows that a sweep is made of, for one seed."""
    files = [run / "rows" / "baseline.jsonl"] if sweep.trajectory and None in sweep.learning_rates else []
    for lr in rates(sweep):
        files += [run / "rows" / lr / "trajectory.jsonl"] if sweep.trajectory else []
        files += [run / "rows" / lr / f"{entry.label}.jsonl" for entry in (*sweep.averaging, *sweep.training)]
    return files


def sweep_with(kind, wildcards):
    """The first sweep that has the entry of that label, among its entries of a kind, at that learning rate."""
    return next(
        name for name, sweep in sweeps.items()
        if wildcards.lr in rates(sweep) and wildcards.entry in [entry.label for entry in getattr(sweep, kind)]
    )


def labels(kind):
    return "|".join(entry.label for sweep in sweeps.values() for entry in getattr(sweep, kind))


def shipped_weights(wildcards):
    folder = shipped / f"seed{wildcards.seed}"
    return f"--shipped {folder}" if folder.is_dir() and not RETRAIN else ""


wildcard_constraints:
    seed=r"\d+",
    lr=r"own|[0-9.e+-]+",
    sweep="|".join(sweeps),


rule all:
    input:
        [RESULTS / preset.name / f"{name}-seed{seed}.jsonl" for name in sweeps for seed in SEEDS],


for name in sweeps:

    rule:
        name:
            name
        input:
            [RESULTS / preset.name / f"{name}-seed{seed}.jsonl" for seed in SEEDS],


rule pretrained:
    input:
        [str(run / "pretrained" / "config.json").format(seed=seed) for seed in SEEDS],


rule pretrain:
    output:
        run / "pretrained" / "config.json",
    params:
        shipped=shipped_weights,
    shell:
        "{llm} pretrain " + common + " {params.shipped}"


rule sft:
    input:
        rules.pretrain.output,
    output:
        run / "theta_0" / "config.json",
    shell:
        "{llm} sft " + common


rule reward:
    input:
        rules.sft.output,
    output:
        run / "reward.json",
    shell:
        "{llm} reward " + common


rule rsf:
    input:
        rules.reward.output,
    output:
        run / "rsf" / "{lr}" / f"iteration{preset.rsf.iterations:02d}" / "config.json",
    shell:
        "{llm} rsf --lr {wildcards.lr} " + common


rule baseline:
    input:
        rules.reward.output,
    output:
        run / "rows" / "baseline.jsonl",
    shell:
        "{llm} baseline " + common


rule trajectory:
    input:
        rules.rsf.output,
    output:
        run / "rows" / "{lr}" / "trajectory.jsonl",
    shell:
        "{llm} trajectory --lr {wildcards.lr} " + common


rule average:
    input:
        rules.rsf.output,
    output:
        run / "rows" / "{lr}" / "{entry}.jsonl",
    wildcard_constraints:
        entry=labels("averaging"),
    params:
        sweep=lambda w: sweep_with("averaging", w),
    shell:
        "{llm} sweep {params.sweep} --entry {wildcards.entry} --lr {wildcards.lr} " + common


rule mitigate:
    input:
        str(rules.rsf.output[0]).replace("{lr}", "own"),
    output:
        run / "rows" / "{lr}" / "{entry}.jsonl",
    wildcard_constraints:
        entry=labels("training"),
    params:
        sweep=lambda w: sweep_with("training", w),
    shell:
        "{llm} mitigate {params.sweep} --entry {wildcards.entry} --lr {wildcards.lr} " + common


rule collect:
    input:
        lambda w: [str(f).format(seed=w.seed) for f in sweep_rows(sweeps[w.sweep])],
    output:
        RESULTS / preset.name / "{sweep}-seed{seed}.jsonl",
    shell:
        "{llm} collect {input} --to {output}"
