"""The commands that print what a run takes before it runs, and make a preset of the paper's small enough to be tried out."""

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from .options import Out, Preset

ALL = "all"
Sweeps = Annotated[
    list[str] | None,
    typer.Option(
        help=f"sweeps to run; {ALL}: every one that the preset can; default: core and algorithms, as far as the preset can"
    ),
]


def plan(
    preset: Preset = "microcosm",
    sweep: Sweeps = None,
    seeds: Annotated[int, typer.Option(min=1, help="how many")] = 1,
    gpus: Annotated[int | None, typer.Option(min=1, help="GPUs of another machine; default: those of this one")] = None,
    memory_gb: Annotated[
        float | None, typer.Option(min=0, max=1e6, help="memory of each GPU, or of the computer, in 2**30 bytes")
    ] = None,
    tflops: Annotated[
        float | None,
        typer.Option(min=1, max=1e6, help="10**12 bf16 operations a second of a GPU; default: an A100's 312"),
    ] = None,
    bandwidth: Annotated[
        float | None,
        typer.Option(min=0.01, max=1e6, help="10**12 bytes a second of a GPU's memory; default: an A100's 2.0"),
    ] = None,
    sampler: Annotated[
        Literal["auto", "transformers", "vllm"] | None,
        typer.Option(
            help="what measures the paper's models; default: the preset's, of which auto is vLLM where it is installed"
        ),
    ] = None,
    measured: Annotated[
        Path | None,
        typer.Option(
            help="speeds that `bench speed` measured on a GPU, to be shown beside the plan's; default: those of one H200"
        ),
    ] = None,
) -> None:
    """Print every step of a run with its GPUs, hours, memory and disk; refuse what the machine cannot hold (docs/gpu.md)."""
    from ..config import HubPreset, load_preset
    from ..plan.hub import with_gpus, with_sampler
    from ..plan.measured import H200, lines, read_measured
    from ..plan.report import costs, device_for, require_room, text

    loaded, speeds = load_preset(preset), read_measured(measured or H200)
    if isinstance(loaded, HubPreset):
        loaded = with_sampler(with_gpus(loaded, gpus) if gpus else loaded, sampler or loaded.evaluate.sampler)
    device = device_for(loaded, gpus, memory_gb, tflops, bandwidth)
    planned = costs(loaded, _sweeps(loaded, sweep), device.peak, device.bandwidth)
    print("\n".join([text(loaded, planned, seeds), *lines(loaded, speeds, device)]))
    require_room(loaded, planned, device)


def _sweeps(preset, given: list[str] | None) -> list:
    """The sweeps by those names, as far as the preset can run them; UserError for a named one of which it can run nothing."""
    from ..config import load_sweep, names, why_empty
    from ..errors import UserError

    wanted = [*(given or ("core", "algorithms")), *(names("sweeps") if given and ALL in given else ())]
    loaded = {name: load_sweep(name) for name in wanted if name != ALL}
    for name, sweep in loaded.items():
        if given and name in given and (reason := why_empty(sweep, preset)):
            raise UserError(f"sweep = {sweep.name} is not allowed with preset = {preset.name}, {reason}")
    return [sweep for sweep in loaded.values() if not why_empty(sweep, preset)]


def tiny(
    preset: Annotated[
        str, typer.Argument(help="name of a preset of the paper's models in llm/presets, or a YAML file")
    ],
    data_dir: Annotated[
        Path, typer.Option(help="folder of the data sets' files, which may hold a few rows each, as tests/files does")
    ],
    to: Annotated[Path, typer.Option(help="the YAML file to write; give it to the other commands as --preset")],
) -> None:
    """Write a preset's tiny copy: the same classes and code path, random small weights made on the spot, on the processor."""
    import yaml

    from ..config import HubPreset, load_preset, names
    from ..config.tiny import tiny as made_tiny
    from ..errors import UserError
    from ..files import write_text

    large = load_preset(preset)
    if not isinstance(large, HubPreset):
        known = ", ".join(name for name in names("presets") if isinstance(load_preset(name), HubPreset))
        raise UserError(f"preset = {preset!r} is not allowed; allowed are {known} (`smoke` is the microcosm made tiny)")
    if not data_dir.is_dir():
        raise UserError(f"data_dir = {data_dir} is no folder; give one with the data sets' files")
    small = made_tiny(large, str(data_dir))
    write_text(to, f"# {large.name}, made tiny\n{yaml.safe_dump(small.model_dump(mode='json'), sort_keys=False)}")
    print(f"{small.name}: {to}")


def check(
    preset: Preset = "microcosm",
    sweep: Sweeps = None,
    seeds: Annotated[int, typer.Option(min=1, help="how many")] = 1,
    out: Out = Path("out"),
    gpus: Annotated[
        int | None, typer.Option(min=1, help="GPUs that the run is to share; default: as many as the preset says")
    ] = None,
    launch: Annotated[
        bool,
        typer.Option(
            help="then train a tiny model for a step on the GPUs, by the preset's launcher, where it trains on any"
        ),
    ] = False,
) -> None:
    """Look whether packages, GPUs, disk, models and data of a run are here; exit code 2 with a sentence on each that is not."""
    from ..config import HubPreset, load_preset
    from ..errors import UserError
    from ..plan.check import check as checked
    from ..plan.hub import with_gpus
    from ..plan.report import costs, device_for

    loaded = load_preset(preset)
    if gpus and isinstance(loaded, HubPreset):
        loaded = with_gpus(loaded, gpus)
    on_gpu = not isinstance(loaded, HubPreset) or loaded.hardware.device == "gpu"
    device = partial(device_for, loaded) if on_gpu else None
    missing = 0
    for one in checked(loaded, costs(loaded, _sweeps(loaded, sweep)), device, seeds, out, gpus or 0):
        print(f"{one.what}: {one.missing or 'here'}", flush=True)
        missing += one.missing is not None
    if missing:
        raise UserError(
            f"preset = {loaded.name} cannot run here: {missing} of the things above {'are' if missing > 1 else 'is'} missing"
        )
    if launch and isinstance(loaded, HubPreset) and loaded.is_trained and loaded.hardware.device == "gpu":
        from ..plan.launched import try_launch

        try_launch(loaded)
        print(f"a step of training by launcher {loaded.hardware.launcher}: here")
