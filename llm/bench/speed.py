"""`alignment-tax bench speed`: tokens a second of writing and training on this machine's GPU, by models of a preset's sizes and random
weights, so that nothing is downloaded. `plan --measured` shows them beside what it assumes.

Each is measured once it runs: the first batch, in which kernels are chosen and compiled, is not timed.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import typer

STEPS = 4  # of training, of which the first is not timed
PASSES = 4  # of the GPU, that a step of the paper's models has


def bench_speed(
    to: Annotated[Path, typer.Option(help="the JSON file to write, which `plan --measured` reads")],
    preset: Annotated[
        list[str] | None, typer.Option(help="presets with RSF; default: smollm2-135m-gpu and openllama-3b")
    ] = None,
    tiny: Annotated[bool, typer.Option("--tiny", help="tiny models on the processor, to try the command out")] = False,
) -> None:
    """Tokens a second of writing and of training, of random weights, into a file for `plan --measured`."""
    import torch

    from ..config import load_preset
    from ..config.tiny import tiny as made_tiny
    from ..errors import UserError
    from ..files import write_json

    names = preset or ("smollm2-135m-gpu", "openllama-3b")
    presets: list[Any] = [load_preset(name) for name in names]
    for large in presets:
        _require_rsf(large)
    if not tiny and not torch.cuda.is_available():
        raise UserError("bench speed needs a GPU, and torch can use none here; allowed is --tiny")
    rows: list[dict] = []
    write_json(to, rows)  # where that cannot be, it should be known before anything is measured
    for large in presets:
        for row in _measured(_on_cpu(made_tiny(large)) if tiny else large):
            rows.append({"preset": large.name, "device": _device_name(tiny)} | row)
            write_json(to, rows)  # as they come: a session may end before all are there
            print(" ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)


def _require_rsf(preset) -> None:
    from ..config import HubPreset, SmollmPreset
    from ..errors import UserError

    if not isinstance(preset, HubPreset | SmollmPreset) or preset.rsf is None:
        raise UserError(
            f"preset = {preset.name} is not allowed; allowed are presets with RSF of models that are public, such as openllama-3b"
        )


def _on_cpu(preset):
    return preset.model_copy(update={"device": "cpu"}) if hasattr(preset, "device") else preset


def _device_name(tiny: bool) -> str:
    import torch

    return "the processor, tiny" if tiny else torch.cuda.get_device_name()


def _measured(preset) -> Iterator[dict]:
    """Rows {"what", "speed" (tokens a second, or seconds of a start), "together", "prompt", "reply"}."""
    from ..config import HubPreset
    from ..plan.hub import SIZES
    from ..plan.local import PACES

    is_hub = isinstance(preset, HubPreset)
    prompt = SIZES.prompt if is_hub else PACES[preset.data, preset.device].sizes.prompt
    reply = preset.rsf.writing.max_new_tokens if is_hub else preset.max_new_tokens
    with tempfile.TemporaryDirectory(prefix="bench-") as made:
        folder = Path(made) / "model"
        _save_random(preset, folder)
        for what, speed, together in (_of_hub if is_hub else _of_ours)(preset, folder, prompt, reply):
            yield {"what": what, "speed": round(speed, 1), "together": together, "prompt": prompt, "reply": reply}


def _save_random(preset, folder: Path) -> None:
    import torch

    from ..models.loading import device_of
    from ..models.save import save_model
    from ..stages.hub.start import byte_tokenizer, random_model

    tokenizer = byte_tokenizer(getattr(preset, "template", "smollm2"))
    with device_of("auto"):  # a processor takes a minute to draw 3B weights
        model = random_model(preset.model, getattr(preset, "architecture", "LlamaForCausalLM"), tokenizer, seed=0)
    save_model(model.to(torch.bfloat16), tokenizer, folder)


def _prompts(count: int, tokens: int) -> list[list[int]]:
    """Token ids, of letters."""
    import numpy as np

    return np.random.default_rng(0).integers(100, 200, (count, tokens)).tolist()


Found = Iterator[tuple[str, float, int]]  # what, speed, rows together


def _of_ours(preset, folder: Path, prompt: int, reply: int) -> Found:
    """Of a preset that our own loop runs."""
    import torch

    from ..models.batches import pad_right
    from ..models.generate import generate
    from ..models.loading import load_model
    from ..run import Run
    from ..training.loop import fit, token_loss

    model = load_model(folder, Run(preset, 0, folder).device).float()
    rows, limits = preset.generation_batch, {"max_new_tokens": reply, "end_id": -1, "pad_id": 0}
    for _ in range(2):
        start, rng = perf_counter(), torch.Generator().manual_seed(0)
        generate(model, _prompts(rows, prompt), **limits, temperature=1.0, rng=rng, batch_size=rows)
    yield "written by transformers", rows * reply / (perf_counter() - start), rows
    batch = pad_right([(ids, [1.0] * len(ids)) for ids in _prompts(preset.rsf.batch, prompt + reply)], 0)
    losses = fit(model, [batch] * STEPS, token_loss, preset.rsf.optimiser, steps=STEPS)
    yield "trained", batch.ids.numel() * _steps_a_second(losses), preset.rsf.batch


def _steps_a_second(losses: Iterator) -> float:
    """After the first one. Each loss is read, so what the GPU does has been done."""
    next(losses)
    start = perf_counter()
    return sum(1 for _ in losses) / (perf_counter() - start)


def _of_hub(preset, folder: Path, prompt: int, reply: int) -> Found:
    """Of a preset of the paper's models, in one process."""
    from ..training.distributed import vllm_writer
    from ..training.distributed.processes import Split, make_accelerator
    from ..training.distributed.sampling import by_transformers, chunks_of, parts_of

    hardware = preset.hardware.model_copy(update={"launcher": "none", "processes": 1})
    rows, writing = hardware.generation_batch, preset.rsf.writing
    accelerator = make_accelerator(hardware, Split(hardware.per_device_batch, PASSES))
    if vllm_writer.is_installed() and hardware.device == "gpu":
        yield from _by_vllm(folder, hardware, writing, prompt)
    (parts,) = parts_of(chunks_of(2 * rows, 1, hardware), 1)
    times, counts = [], []
    asked = dict.fromkeys(parts, _prompts(rows, prompt))
    for _, replies in by_transformers(accelerator, str(folder), asked, 1, writing, hardware, [0]):
        times.append(perf_counter())
        counts.append(sum(len(ids) + finished for ((ids, finished, _),) in replies))
    yield "written by transformers", counts[-1] / (times[-1] - times[-2]), rows
    yield _trained(preset, hardware, accelerator, folder)


def _by_vllm(folder: Path, hardware, writing, prompt: int) -> Found:
    from ..training.distributed import vllm_writer

    rows = hardware.generation_batch
    prompts = [(ids, place) for place, ids in enumerate(_prompts(rows, prompt))]
    asked = vllm_writer.Asked(prompts, 1, writing.temperature, writing.max_new_tokens, end=2)
    started, speed = vllm_writer.apart(0, _timed, str(folder), hardware.dtype, prompt + writing.max_new_tokens, asked)
    yield "engine of vLLM started", started, 1
    yield "written by vLLM", speed, rows


def _timed(model: str, dtype: str, length: int, asked, memory: float) -> tuple[float, float]:
    """(seconds until an engine had started, tokens a second of the same replies the second time)."""
    from ..training.distributed import vllm_writer

    start = perf_counter()
    engine = vllm_writer.engine_of(model, dtype, length, memory)
    started = perf_counter() - start
    for _ in range(2):
        start = perf_counter()
        replies = vllm_writer.replies_of(engine, asked)
    tokens = sum(len(ids) + finished for group in replies for ids, finished, _ in group)
    return started, tokens / (perf_counter() - start)


def _trained(preset, hardware, accelerator, folder: Path) -> tuple[str, float, int]:
    """Instruction tuning on full blocks where the preset has some, else RSF's imitation."""
    from ..models.batches import pad_right
    from ..training.distributed.loop import Objective, fit, learner_of
    from ..training.distributed.models import Start
    from ..training.distributed.processes import Split
    from ..training.loop import token_loss

    settings = preset.sft or preset.rsf
    tokens = settings.block if preset.sft else settings.longest
    split = Split(hardware.per_device_batch, PASSES)
    learner, _ = learner_of(accelerator, Start(str(folder), 0), "causal", token_loss, settings, STEPS, hardware)
    rows = _prompts(split.per_device * split.accumulation, tokens)
    objective = Objective(
        collate=lambda some: pad_right([(ids, [1.0] * tokens) for ids in some], 0).to(accelerator.device),
        count=lambda row: tokens,
        loss=lambda module, batch: module(batch)[None],
    )
    steps = _steps_a_second(fit(learner, [rows] * STEPS, objective, split, steps=STEPS))
    return "trained", len(rows) * tokens * steps, split.per_device
