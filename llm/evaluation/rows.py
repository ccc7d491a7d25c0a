"""From measurements to result rows."""

from .. import version
from ..evidence.rows import DECIMALS
from ..run import Run
from .measurement import MEAN, Measurement


def rows_of(
    run: Run, rlhf: str, method: str, setting: dict, measured: dict[str, Measurement], seconds: float
) -> list[dict]:
    """One row a metric of a model of a run; `seconds` is the time of all of them together."""
    rows = named_rows(run.preset.name, run.seed, rlhf, method, setting, measured, seconds)
    if not run.preset.keeps_items:
        return rows
    return [row | _items(measurement) for row, measurement in zip(rows, measured.values(), strict=True)]


def _items(measurement: Measurement) -> dict[str, list[float]]:
    """What each item contributed, of a metric that is the mean of its items."""
    is_mean = measurement.items is not None and measurement.statistic == MEAN
    return {"items": measurement.items.round(DECIMALS).tolist()} if is_mean else {}


def named_rows(
    preset: str, seed: int, rlhf: str, method: str, setting: dict, measured: dict[str, Measurement], seconds: float
) -> list[dict]:
    """One row a metric (schema: `llm.evidence.rows`) of any model; `preset` is the name under which it is compared."""
    return [
        {
            "preset": preset,
            "seed": seed,
            "rlhf": rlhf,
            "method": method,
            "setting": setting,
            "metric": metric,
            "value": measurement.value,
            "stderr": measurement.stderr,
            "n": measurement.n,
            "split": "test",
            "seconds": round(seconds, 2),
            "version": version(),
        }
        for metric, measurement in measured.items()
    ]


def with_rate(setting: dict, lr: float | None) -> dict:
    """A setting with the learning rate, which is part of it where it is not the preset's own (None)."""
    return setting if lr is None else {**setting, "lr": lr}
