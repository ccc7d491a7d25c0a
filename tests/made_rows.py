"""Made-up result rows of a plausible shape for every sweep, to try what draws them. The numbers mean nothing."""

import zlib

import numpy as np

from llm.config import load_preset, load_sweep
from llm.results import setting_key, write_rows

PRESET = load_preset("microcosm")
ERRORS = {"reward": 0.05, "gold_reward": 0.05, "length": 0.3, "qa": 0.015, "reading_f1": 0.01, "bleu": 1.0, "win_rate": 0.02}
SPREAD = {"reward": 0.05, "gold_reward": 0.05, "length": 0.2, "qa": 0.006, "reading_f1": 0.01, "bleu": 1.5, "win_rate": 0.01}
COST = {"rsf": 1.0, "dpo": 0.55, "ppo": 0.75}  # what an algorithm forgets
REACH = {"rsf": 1.0, "dpo": 0.75, "ppo": 0.9}  # how far its reward rises
PARTS = {"input": (0.0, 0.75), "middle": (0.02, 0.35), "output": (0.03, 0.3), "embeddings": (0.85, 0.9)}
KEPT = {"l1": 0.50, "l2": 0.55, "kd": 0.45, "lora-mlp": 0.6, "lora-mlp-attention": 0.5, "sma": 0.6, "er": 0.3}


def model(rise, forgotten, seed):
    """Values of a model whose reward has risen by a share of its way and that has forgotten a share of its abilities."""
    lost = float(np.clip(forgotten, 0, 1))
    gold = 0.4 + 2.4 * rise - 1.5 * rise**2
    return {
        "reward": 0.3 + 0.4 * seed + 4.0 * rise, "gold_reward": gold, "length": 9 + 12 * rise,
        "qa": 0.89 - 0.02 * seed - 0.11 * lost, "reading_f1": 0.99 - 0.75 * lost**2, "bleu": 100 - 85 * lost**1.2,
        "win_rate": 0.5 + 0.35 * (gold - 0.4),
    }  # fmt: skip


def rows_of(seed, rlhf, method, setting, values, noisy=True):
    rng = np.random.default_rng([seed, zlib.crc32(f"{rlhf} {method} {setting_key(setting)}".encode())])
    return [
        {
            "preset": PRESET.name, "seed": seed, "rlhf": rlhf, "method": method, "setting": setting,
            "metric": metric, "value": float(value + noisy * SPREAD[metric] * rng.normal()), "stderr": ERRORS[metric],
            "n": 400, "split": "test", "seconds": 1.0, "version": "1",
        }
        for metric, value in values.items()
    ]  # fmt: skip


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
    grouping = {**entry.grouping.model_dump(), "level": "part"}
    grouping["parts"] = PRESET.model.layers if grouping["parts"] == "layers" else grouping["parts"]
    groups = [f"part{k + 1}" for k in range(grouping["parts"])]
    groups += ["embeddings"] if grouping["embeddings"] == "own" else []
    bonus = {"ama": 0.15, "adamerging": -0.1, "oracle": 0.25}.get(entry.method, 0.0)
    rng = np.random.default_rng([seed, zlib.crc32(f"{rlhf} {entry.label}".encode())])
    for alpha in entry.alphas:
        if entry.method == "ma":
            yield {"alpha": alpha, **rate}, averaged(rlhf, alpha, 0.0, seed)
        elif entry.method == "part":
            for name in entry.part_names:
                reward, saved = PARTS[name]
                values = model(REACH[rlhf] * (1 - reward * (1 - alpha)), COST[rlhf] * (1 - saved * (1 - alpha)), seed)
                yield {"part": name, "alpha": alpha, **rate}, values
        elif entry.method == "pattern":
            for offsets in entry.offsets:
                alphas = {group: round(alpha + offset, 12) for group, offset in zip(groups, offsets, strict=True)}
                unequal = 0.1 * (len(set(alphas.values())) > 1)
                yield {**grouping, "alphas": alphas}, averaged(rlhf, float(np.mean(list(alphas.values()))), unequal, seed)
        else:
            for judge in entry.chosen_by or (None,):
                chosen = {} if judge is None else {"chosen_by": judge}
                setting = {"alpha": alpha, **chosen, **grouping, "alphas": ratios(groups, alpha, rng), **rate}
                yield setting, averaged(rlhf, alpha, bonus, seed)


def of_training(seed, rlhf, entry):
    settings = entry.settings()
    if entry.method == "distilled":
        yield {}, model(0.85, 0.55, seed)
        return
    for place, setting in enumerate(settings):
        weak = (place + 0.5) / len(settings)
        weak = weak if entry.method == "lora" else 1 - weak
        yield setting, model(0.85 * weak, 0.55 * weak ** (1.5 - KEPT[entry.label]), seed)


def of_penalties(seed, etas):
    for place, eta in enumerate(etas):
        weak = 1 - place / len(etas)
        yield {"strength": eta}, model(REACH["ppo"] * weak, COST["ppo"] * weak**1.6, seed)


def of_trajectory(seed, rlhf, rate):
    last = getattr(PRESET, rlhf).iterations
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
    if name == "kl-penalty":
        made = of_penalties(seed, [0.05, 0.1, 0.2, 0.5, 1.5])
        return [row for setting, values in made for row in rows_of(seed, "ppo", "kl", setting, values)]
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
                for setting, values in of_training(seed, rlhf, entry):
                    rows += rows_of(seed, rlhf, entry.method, setting, values)
    return rows + (baseline(seed) if name == "core" else [])


def write(folder, seeds, sweeps):
    """A folder of results as `results/` is, with one file a sweep and seed; the folder of the preset's rows."""
    for name in sweeps:
        for seed in seeds:
            write_rows(folder / PRESET.name / f"{name}-seed{seed}.jsonl", sweep_rows(name, seed))
    return folder / PRESET.name
