"""docs/gpu.md: its table of runs is the plan's, and its commands ask for what is there."""

import re

import pytest

from llm.config import HubPreset, load_preset, load_sweep, names
from llm.config.hub import AUTHORS
from llm.plan import hub
from llm.plan.check import models_of
from llm.plan.costs import HALF, Step, Utilisation, cache, parameters
from llm.plan.hub import with_gpus, with_sampler
from llm.plan.measured import H200, read_measured
from llm.plan.report import GB, Device, costs, require_room
from workflow import REPOSITORY

PAGE = (REPOSITORY / "docs" / "gpu.md").read_text()
RUNS = re.findall(
    r"^\| `([\w.-]+)` \| ([\w -]+) \| (\d+) (A100|H100) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$",
    PAGE,
    re.MULTILINE,
)
SPEEDS = {"A100": (312e12, 2.0e12), "H100": (989e12, 3.35e12)}
BEFORE = ("pretrain", "sft", "reward", "warm_start", "align")  # what takes all GPUs, or none


@pytest.mark.parametrize(
    ("name", "target", "gpus", "kind", "by_vllm", "hours", "by_transformers", "longer", "disk"), RUNS
)
def test_a_run_of_the_table_takes_what_the_plan_says(
    name, target, gpus, kind, by_vllm, hours, by_transformers, longer, disk
):
    takes(name, target, int(gpus), kind, "vllm", int(by_vllm), int(hours), int(disk))
    takes(name, target, int(gpus), kind, "transformers", int(by_transformers), int(longer), int(disk))


def takes(name, target, count, kind, sampler, gpu_hours, hours, disk):
    preset = with_sampler(with_gpus(load_preset(name), count), sampler)
    planned = costs(preset, [load_sweep(sweep) for sweep in target.split()], *SPEEDS[kind])
    require_room(preset, planned, Device(count, 80 * GB))
    alone = sum(cost.hours for step, cost in planned if step.rule in BEFORE)
    shared = [cost.hours for step, cost in planned if step.rule not in BEFORE]
    found = [cost for _, cost in planned]
    assert gpu_hours == round(sum(cost.gpu_hours for cost in found))
    assert hours == round(alone + max(sum(shared) / count, max(shared)))
    assert disk == round((sum(cost.disk for cost in found) + max(cost.scratch for cost in found)) / GB)


def test_replies_for_table_1_are_written_as_the_authors_have_it():
    how = f"--tokens {AUTHORS.max_new_tokens} --temperature {AUTHORS.temperature} --system '{AUTHORS.system}'"
    assert how in PAGE and {"fig06", "fig_real_fronts"} <= set(
        re.findall(r"`(?:out/figures/[\w-]+/)?(\w+)\.pdf`", PAGE)
    )


def test_what_starts_of_engines_take_is_the_plans():
    preset = with_gpus(load_preset("openllama-3b"), 8)
    rsf, ppo = (hub.cost(preset, Step("align", rlhf)).hours for rlhf in ("rsf", "ppo"))
    starts = [preset.iterations(rlhf) * hub.STARTED / 3600 for rlhf in ("rsf", "ppo")]
    core = sum(cost.gpu_hours for _, cost in costs(with_sampler(preset, "vllm"), [load_sweep("core")]))
    assert f"ten starts at {starts[0]:.2f} of its {rsf:.2f} hours, {8 * starts[0]:.0f} of the {core:.0f} GPU" in PAGE
    assert f"would make {ppo + starts[1]:.2f} hours of {ppo:.2f}" in PAGE


def test_heads_of_100_numbers_computed_as_128_in_16_rows_leave_writing_bound_by_memory():
    """So the plan has no lower speed for them. Attention of one token: 4 x heads x head size x context operations a layer."""
    preset, step = load_preset("openllama-3b"), Step("align", "rsf")
    shape, share, writes = preset.model, Utilisation(), hub.together(preset, step)
    attention = 4 * shape.layers * shape.heads * 128 * 16 * writes.context
    operations = writes.batch * (2 * parameters(shape) + attention)
    moved = HALF * parameters(shape) + writes.batch * cache(shape, 1) * writes.context
    assert shape.head_size == 100 and round(16 * 128 / 100) == 20 and writes.batch == 128
    assert operations / (hub.PEAK * share.reading) < moved / (hub.BANDWIDTH * share.bandwidth)


def test_speeds_on_an_h200_are_those_of_the_file_and_of_the_plan():
    lines = re.findall(r"^\| `([\w.-]+)` \| ([\w ]+) \| (\d+) \| (\d+) \| (\d+) \|$", PAGE, re.MULTILINE)
    nothing = Device(1, 80 * GB)
    assert lines == [
        (
            row.preset,
            row.what,
            f"{row.together}",
            f"{row.speed:.0f}",
            f"{row.planned(load_preset(row.preset), nothing):.0f}",
        )
        for row in read_measured(H200)
    ]


def test_every_preset_of_public_models_has_a_line_with_all_its_models():
    lines = re.findall(r"^\| `([\w.-]+)` \| (\w+: `.*?) \|", PAGE, re.MULTILINE)
    ours = {name for name in names("presets") if isinstance(load_preset(name), HubPreset)}
    assert sorted(name for name, _ in lines) == sorted(ours)
    for name, models in lines:
        assert dict(re.findall(r"(\w+): `([^`]+)`", models)) == models_of(load_preset(name)), name
    assert len(RUNS) >= 6


def test_commands_of_the_page_name_presets_sweeps_extras_and_files_that_exist():
    known, targets = set(names("presets")), {*names("sweeps"), "all"}
    shell = "\n".join(re.findall(r"^```\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
    named = re.findall(r"(?:--preset |PRESET=|preset=|tiny )([\w.-]+)(?=\s|,|$)", shell)
    assert set(named) <= known and len(named) > 8
    asked = re.findall(r"(?:--sweep |TARGET=)(\w+)", shell) + re.findall(
        r"snakemake .* -- ([\w ]+)$", shell, re.MULTILINE
    )
    assert {word for words in asked for word in words.split()} <= targets and len(asked) > 3
    for file in re.findall(r"(?:-f |-c |--profile )([\w./-]+)", shell):
        assert (REPOSITORY / file).exists(), file
    for preset, target in re.findall(r"make reproduce PRESET=([\w.-]+) TARGET=(\w+)", shell):
        assert set(load_preset(preset).algorithms) & set(load_sweep(target).rlhf)
