"""Tiny runs of the presets of the paper's models: their classes, random weights, a few rows of their data sets, on the processor."""

from pathlib import Path

from llm.config import HubPreset, load_preset
from llm.config.tiny import tiny
from llm.run import Run
from llm.stages.hub.backend import HubBackend

DATA = Path(__file__).parents[1] / "files"


def tiny_preset(name: str) -> HubPreset:
    return tiny(load_preset(name), str(DATA))


def run_of(name: str, out: Path, upto: str | None = None) -> Run[HubPreset]:
    """A run with the stages up to theta of an algorithm done."""
    run = Run(tiny_preset(name), 0, out)
    if upto:
        backend = HubBackend(run)
        backend.pretrain(None)
        backend.sft()
        backend.reward()
        backend.align(upto, "own")
    return run
