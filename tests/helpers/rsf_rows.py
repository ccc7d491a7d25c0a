"""Result rows of an RSF experiment whose every number is known, for tests of what reads them."""

from llm.evidence.rows import write_rows

ERRORS = {"reward": 0.1, "gold_reward": 0.1, "length": 1.0, "qa": 0.02, "reading_f1": 0.02, "bleu": 1.0}
ITERATIONS = {1: 0.5, 2: 0.98, 3: 1.0}  # iteration -> how far the reward has risen


def model(rise, kept, offset=0.0):
    """A model whose learned reward has risen by 4 `rise` and that has kept a share of each ability."""
    return {
        "reward": offset + 4 * rise,
        "gold_reward": 3 * rise,
        "length": 8.0,
        "qa": 0.9 * kept,
        "reading_f1": 0.8 * kept,
        "bleu": 100 * kept,
    }


def rows_of(seed, method, setting, values, rlhf="rsf", preset="microcosm"):
    model = {"preset": preset, "seed": seed, "rlhf": rlhf, "method": method, "setting": setting}
    other = {"n": 400, "split": "test", "seconds": 1.0, "version": "1"}
    return [
        {**model, "metric": metric, "value": float(value), "stderr": ERRORS[metric], **other}
        for metric, value in values.items()
    ]


def core(seed, cost=0.5):
    """theta_0, chance, RSF that costs `cost` of each ability in proportion to its rise, and MA that costs the
    square of it. Seeds differ in the reward's offset.
    """
    offset = 10.0 * seed
    rows = rows_of(seed, "theta_0", {}, model(0, 1, offset), "none")
    rows += rows_of(seed, "chance", {}, {"qa": 0.25, "reading_f1": 0.4, "bleu": 0.0}, "none")
    rows += trajectory(seed, {}, cost, offset)
    for tenth in (0, 2, 4, 6, 8, 10):
        alpha = tenth / 10
        rows += rows_of(seed, "ma", {"alpha": alpha}, model(alpha, 1 - cost * alpha**2, offset))
    for alpha in (0.0, 0.5, 1.0):
        kept = 1 - cost * (1 + alpha) / 2
        rows += rows_of(seed, "part", {"part": "input", "alpha": alpha}, model(1, kept, offset))
    return rows


def trajectory(seed, rate, cost, offset=0.0):
    """RSF's iterations and theta, with `rate` ({} or {"lr": ..}) in their settings."""
    rows = []
    for iteration, rise in ITERATIONS.items():
        made = model(rise, 1 - cost * rise, offset)
        rows += rows_of(seed, "early-stopping", {"iteration": iteration, **rate}, made)
    return rows + rows_of(seed, "theta", dict(rate), made)


def sweep(seed, lr, cost):
    """RSF and MA at another learning rate."""
    rate, offset = {"lr": lr}, 10.0 * seed
    rows = trajectory(seed, rate, cost, offset)
    for alpha in (0.2, 0.5, 0.8):
        rows += rows_of(seed, "ma", {"alpha": alpha, **rate}, model(alpha, 1 - cost * alpha**2, offset))
    return rows


def write(folder, rows):
    """One file of rows in a folder; the folder."""
    write_rows(folder / "rows.jsonl", rows)
    return folder
