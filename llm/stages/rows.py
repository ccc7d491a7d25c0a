"""From measurements to result rows."""

from importlib.metadata import version
from pathlib import Path

from llm.results import read_rows, write_rows
from llm.run import Run
from llm.stages.evaluate import Measurement

KEYS = ("preset", "seed", "rlhf", "method", "setting", "metric", "value", "stderr", "n", "split", "seconds", "version")


def rows_of(
    run: Run, rlhf: str, method: str, setting: dict, measured: dict[str, Measurement], seconds: float
) -> list[dict]:
    """One row a metric (schema: `llm.results`); `seconds` is the time of all of them together."""
    return [
        {
            "preset": run.preset.name,
            "seed": run.seed,
            "rlhf": rlhf,
            "method": method,
            "setting": setting,
            "metric": metric,
            "value": measurement.value,
            "stderr": measurement.stderr,
            "n": measurement.n,
            "split": "test",
            "seconds": round(seconds, 2),
            "version": version("alignment-tax"),
        }
        for metric, measurement in measured.items()
    ]


def collect(sources: list[Path], to: Path) -> None:
    """Check the rows of some files and write them all into one."""
    rows = (row for source in sources for row in read_rows(source)[list(KEYS)].to_dict("records"))
    write_rows(to, [row | {"stderr": None if row["stderr"] != row["stderr"] else row["stderr"]} for row in rows])
