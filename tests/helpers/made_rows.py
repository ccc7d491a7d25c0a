"""Made-up result rows of a plausible shape for every sweep, to try what draws them. The numbers mean nothing."""

import zlib
from functools import cache

import numpy as np

from llm.config import load_preset, load_sweep
from llm.evidence.rows import setting_key, write_rows
from llm.stages.average import settings_of, whole_settings

load_sweep = cache(load_sweep)  # frozen

PRESET = load_preset("microcosm")
ERRORS = {"reward": 0.05, "gold_reward": 0.05, "length": 0.3, "qa": 0.015, "reading_f1": 0.01, "bleu": 1.0}
ERRORS |= {"win_rate": 0.02}
SPREAD = {"reward": 0.05, "gold_reward": 0.05, "length": 0.2, "qa": 0.006, "reading_f1": 0.01, "bleu": 1.5}
SPREAD |= {"win_rate": 0.01}
COST = {"rsf": 1.0, "dpo": 0.55, "ppo": 0.75}  # what an algorithm forgets
REACH = {"rsf": 1.0, "dpo": 0.75, "ppo": 0.9}  # how far its reward rises
ARMS = ("rsf-gold", "rsf-run2", "rsf-run3")
COST, REACH = (numbers | dict.fromkeys(ARMS, numbers["rsf"]) for numbers in (COST, REACH))
PARTS = {"input": (0.0, 0.75), "middle": (0.02, 0.35), "output": (0.03, 0.3), "embeddings": (0.85, 0.9)}
KEPT = {"l1": 0.50, "l2": 0.55, "kd": 0.45, "lora": 0.6, "sma": 0.6, "er": 0.3}


def model(rise, forgotten, seed):
    """Values of a model whose reward has risen by a share of its way and that has forgotten a share of its abilities."""
    lost = float(np.clip(forgotten, 0, 1))
    gold = 0.4 + 2.4 * rise - 1.5 * rise**2
    return {
        "reward": 0.3 + 0.4 * seed + 4.0 * rise,
        "gold_reward": gold,
        "length": 9 + 12 * rise,
        "qa": 0.89 - 0.02 * seed - 0.11 * lost,
        "reading_f1": 0.99 - 0.75 * lost**2,
        "bleu": 100 - 85 * lost**1.2,
        "win_rate": 0.5 + 0.35 * (gold - 0.4),
    }


def rows_of(seed, rlhf, method, setting, values, noisy=True):
    rng = np.random.default_rng([seed, zlib.crc32(f"{rlhf} {method} {setting_key(setting)}".encode())])
    model = {"preset": PRESET.name, "seed": seed, "rlhf": rlhf, "method": method, "setting": setting}
    other = {"n": 400, "split": "test", "seconds": 1.0, "version": "1"}
    return [
        {
            **model,
            "metric": metric,
            "value": float(value + noisy * SPREAD[metric] * rng.normal()),
            "stderr": ERRORS[metric],
            **other,
        }
        for metric, value in values.items()
    ]


def averaged(rlhf, alpha, bonus, seed):
    """MA's compromise at a mean ratio; `bonus` is what a better choice of ratios saves of the forgetting."""
    return model(REACH[rlhf] * (1 - (1 - alpha) ** 2), COST[rlhf] * alpha**2.2 * (1 - bonus), seed)


def ratios(groups, alpha, rng):
    """Ratios in [0, 1] whose mean is alpha."""
    found = np.full(len(groups), alpha)
    spread = rng.uniform(-1, 1, len(groups))
    found += 0.9 * min(alpha, 1 - alpha) * (spread - spread.mean()) / 2
    return dict(zip(groups, map(float, found), strict=True))


def of_averaging(seed, rlhf, entry, rate):
    grouping = entry.grouping.of_layers(PRESET.model.layers)
    groups = [f"part{k + 1}" for k in range(grouping.parts)]
    groups += [key for key in ("embeddings", "head") if getattr(grouping, key) == "own"]
    if entry.spec.whole and "strength" in entry.spec.options:
        for setting in entry.settings():
            yield {**setting, **rate}, averaged(rlhf, 1 / (1 + setting["strength"]), 0.3, seed)
        return
    bonus = {"ama": 0.15, "adamerging": -0.1, "oracle": 0.25}.get(entry.method, 0.0)
    rng = np.random.default_rng([seed, zlib.crc32(f"{rlhf} {entry.label}".encode())])
    if entry.spec.whole:
        for setting in whole_settings(entry):
            yield {**setting, **rate}, averaged(rlhf, setting.get("alpha", 0.6), bonus, seed)
        return
    found = []
    if entry.spec.searches:
        named = [{key: 800 if v == "all" else v for key, v in setting.items()} for setting in entry.settings()]
        found = [({"alpha": alpha, **more}, ratios(groups, alpha, rng)) for alpha in entry.alphas for more in named]
    for setting, alphas in settings_of(entry, grouping, groups, found):
        alpha = setting.get("alpha", float(np.mean(list(alphas.values()))))
        if entry.method == "part":
            reward, saved = PARTS[setting["part"]]
            values = model(REACH[rlhf] * (1 - reward * (1 - alpha)), COST[rlhf] * (1 - saved * (1 - alpha)), seed)
        else:
            unequal = 0.1 * (entry.method == "pattern" and len(set(alphas.values())) > 1)
            values = averaged(rlhf, alpha, bonus + unequal, seed)
        yield {**setting, **rate}, values


def of_training(seed, rlhf, entry, rate):
    settings = entry.settings()
    for place, setting in enumerate(settings):
        weak = 1 - place / (len(settings) + 1)
        if "lora_alpha" in setting:
            weak = 0.95 - 0.18 * np.log10(32 / setting["lora_alpha"]) + 0.02 * np.log2(setting["rank"]) / 6
        if entry.method == "kl":
            values = model(REACH["ppo"] * weak, COST["ppo"] * weak**1.6, seed)
        else:
            values = model(0.85 * weak, 0.55 * weak ** (1.5 - KEPT.get(entry.method, 0.0)), seed)
        yield {**setting, **rate}, values


def of_trajectory(seed, rlhf, rate):
    last = PRESET.iterations(rlhf)
    rows = []
    for iteration in range(1, last + 1):
        share = iteration / last
        values = model(REACH[rlhf] * (1 - np.exp(-3 * share)) / (1 - np.exp(-3)), COST[rlhf] * share**1.3, seed)
        rows += rows_of(seed, rlhf, "early-stopping", {"iteration": iteration, **rate}, values)
    return rows + rows_of(seed, rlhf, "theta", dict(rate), values)


def baseline(seed):
    rows = rows_of(seed, "none", "theta_0", {}, model(0, 0, seed) | {"win_rate": 0.5}, noisy=False)
    return rows + rows_of(seed, "none", "chance", {}, {"qa": 0.25, "reading_f1": 0.52, "bleu": 4.0}, noisy=False)


def sweep_rows(name, seed):
    """All rows of a sweep for one seed."""
    sweep, rows = load_sweep(name), []
    for rlhf in sweep.rlhf:
        for lr in sweep.learning_rates:
            rate = {} if lr is None else {"lr": lr}
            if sweep.trajectory:
                rows += of_trajectory(seed, rlhf, rate)
            for entry in sweep.averaging:
                for setting, values in of_averaging(seed, rlhf, entry, rate):
                    rows += rows_of(seed, rlhf, entry.method, setting, values)
            for entry in sweep.training:
                for setting, values in of_training(seed, rlhf, entry, rate):
                    rows += rows_of(seed, rlhf, entry.method, setting, values)
    return rows + (baseline(seed) if name == "core" else [])


def write(folder, seeds, sweeps):
    """A folder of results as `results/` is, with one file a sweep and seed; the folder of the preset's rows."""
    for name in sweeps:
        for seed in seeds:
            write_rows(folder / PRESET.name / f"{name}-seed{seed}.jsonl", sweep_rows(name, seed))
    return folder / PRESET.name
