"""`python -m llm bench`: what the project's own generation and training cost next to those of well-known libraries."""

from collections.abc import Callable
from statistics import median
from time import process_time
from typing import Annotated

import typer

Preset = Annotated[str, typer.Option(help="name of a preset in llm/presets, or a YAML file")]
Seed = Annotated[int, typer.Option(min=0, help="the seed of the world and of what is drawn")]
Repeats = Annotated[int, typer.Option(min=1, help="how often each is timed; medians count")]
Threads = Annotated[int, typer.Option(min=1, help="threads of torch")]


def in_turns(ways: dict[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Name -> `repeats` speeds or times, the ways taking turns, every other round in the opposite order.

    ways: name -> what does the work once and returns its speed or time.
    """
    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats):
        for name in list(ways) if turn % 2 == 0 else reversed(ways):
            found[name].append(ways[name]())
    return found


def processor_seconds(work: Callable[[], object]) -> float:
    """Of this process, over all its threads: other work on the computer disturbs it little."""
    start = process_time()
    work()
    return process_time() - start


def ratio(found: dict[str, list[float]], first: str, second: str) -> float:
    """Median of the first over median of the second."""
    return median(found[first]) / median(found[second])
