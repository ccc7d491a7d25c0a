"""Regression averaging of the paper's models: folder to folder, layer by layer (`llm.averaging.files.regression`), since the Gram matrices
of all layers of both models would not fit into memory. A killed job goes on with the next layer."""

import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ...averaging.files.average import average_files
from ...averaging.files.own_samples import Drawing, write_samples
from ...averaging.files.regression import Regression
from ...averaging.whole.regmean import KIND
from ...averaging.whole.regression import Setting
from ...config import AveragingEntry, HubPreset
from ...config.sections import OWN_SAMPLES
from ...evaluation.hub import device, drawn_prompts, dtype
from ...models.loading import load_model, load_tokenizer
from ...run import Run
from ...training.distributed.models import age
from ..average import Models
from ..samples import Means, own_samples


def models_of(run: Run[HubPreset], theta: Path, entry: AveragingEntry, folder: Path) -> Models:
    """The models of an entry, one at a time in `folder`, which goes at the end."""
    for setting in entry.settings():
        yield setting, partial(_made, run, theta, setting, folder)
    shutil.rmtree(folder, ignore_errors=True)


def _made(run: Run[HubPreset], theta: Path, setting: Mapping[str, Any], folder: Path):
    theta_0 = run.folder / "theta_0"
    named = "-".join(f"{key}{value}" for key, value in setting.items())
    out = folder / f"{named}-{age(theta_0):x}-{age(theta):x}"
    samples = (
        folder
        / f"{setting.get('kind', KIND)}-{setting.get('samples', OWN_SAMPLES)}-{age(theta_0):x}-{age(theta):x}.jsonl"
    )
    for other in folder.glob("*"):  # and what was begun of them
        if out.name not in other.name and other.suffix != ".jsonl":
            shutil.rmtree(other)
    if not samples.is_file():
        _write_samples(run, theta, setting, samples)
    request = Regression(
        Setting.of(setting),
        Drawing((samples,)),
        setting.get("inputs", "own") == "merged",
        device(run.preset),
        dtype(run.preset),
    )
    if not out.is_dir():
        average_files(theta_0, theta, out, request.rest, regression=request)
    return load_model(out)


def _write_samples(run: Run[HubPreset], theta: Path, setting: Mapping[str, Any], file: Path) -> None:
    count, kinds = setting.get("samples", OWN_SAMPLES), {"theta_0": setting.get("kind", KIND), "theta": "replies"}
    texts = {
        model: own_samples(run, run.folder / "theta_0", theta, kind, count, means=_means)
        for model, kind in kinds.items()
    }
    write_samples(file, texts)


def _means(run: Run[HubPreset]) -> Means:
    longest, tokenizer = run.preset.ama.max_new_tokens, load_tokenizer(run.folder / "theta_0")

    def prompts(block: int, count: int):
        rng = run.rng("samples", "replies", block)
        return drawn_prompts(run, "train-prompts", tokenizer, count, longest, rng)

    return Means(device(run.preset), prompts, longest, run.preset.evaluate.batch)
