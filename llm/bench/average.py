"""`alignment-tax bench average`: whole-process time and peak memory of `average`, against the physical limit.

The limit is the time of reading both models and writing one, by `cat` and `cp`; start-up is that of averaging two
models of next to no size. Compared too is mergekit's linear merge, where its command is given (a development-only
dependency). Each program is a process of its own, timed from start to end, the programs taking turns so that a
busy machine is equally busy for all.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Annotated, Any

import typer

from ..averaging.schedule import one_ratio_methods
from ..errors import UserError
from ..methods import METHODS

_WIDTH, _INNER, _HEADS = 1024, 3584, 16  # a Llama whose layers have 15.2 million parameters each
_TINY = 300_000  # parameters: no layers, a few tokens
_CHUNK = 1 << 22
# A small process in between, since Linux counts the memory of who starts a program as the program's own.
_LAUNCH = """
import json, resource, subprocess, sys, time
begun = time.perf_counter()
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
seconds = time.perf_counter() - begun
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([status, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss]))
"""
_SHARES = {"theta_0": 0.2, "theta": 0.8}  # (1 - alpha), alpha
_STRENGTH = 0.25  # of regmean, at which texts alike give these shares
_TEXTS, _LENGTH = 128, 128  # samples of each model for regmean, and tokens of one: as many as `average` draws


def bench_average(
    parameters: Annotated[float, typer.Option(help="Size of each model, in millions of parameters.")] = 200,
    repeats: Annotated[int, typer.Option(min=1, help="How often each program runs.")] = 5,
    cold: Annotated[bool, typer.Option("--cold", help="Drop the models from the page cache first.")] = False,
    mergekit: Annotated[Path | None, typer.Option(help="mergekit's command, mergekit-yaml.")] = None,
    methods: Annotated[
        str,
        typer.Option(
            help="Comma-separated: other methods of `average`, or all, whose CPU time is compared with ma's; regmean's has its start-up in it."
        ),
    ] = "",
    folder: Annotated[Path | None, typer.Option(help="Where to work; by default a temporary folder.")] = None,
) -> None:
    """Time and memory of `average` on two random bf16 models against cp and, if given, mergekit."""
    if mergekit is not None and not mergekit.is_file():
        raise UserError(f"mergekit is {str(mergekit)!r}, which is no file.")
    if not 20 <= parameters <= 100_000:
        raise UserError(f"parameters = {parameters:g} is not allowed; allowed are 20 to 100000 (millions).")
    others = [*(name for name in one_ratio_methods() if name != "ma"), "regmean"]
    chosen = others if methods == "all" else [name for name in methods.split(",") if name]
    for name in chosen:
        if name not in others:
            raise UserError(f"methods has {name!r}; allowed are {', '.join(others)}, all.")
    with tempfile.TemporaryDirectory(prefix="bench-", dir=folder) as work:
        print(table(measure(Path(work), round(parameters * 1e6), repeats, cold, mergekit, chosen)))


def table(found: dict) -> str:
    """What `measure` found as a Markdown table and a line a goal."""
    state = "dropped from the page cache before each run" if found["cold"] else "in the page cache"
    lines = [
        f"Two models of {found['model_bytes'] / 1e6:.0f} MB (bf16), {state}; best of "
        f"{len(found['programs']['average']['seconds'])} runs, all of them in brackets.",
        "",
        "| program | seconds | CPU seconds | peak memory, MB |",
        "|---|---|---|---|",
    ]
    for name, row in found["programs"].items():
        runs = ", ".join(f"{seconds:.2f}" for seconds in row["seconds"])
        lines.append(
            f"| {name} | {min(row['seconds']):.2f} ({runs}) | {min(row['cpu_seconds']):.2f} "
            f"| {row['peak_megabytes']:.0f} |"
        )
    return "\n".join([*lines, "", *(f"* {goal}: {value:g}" for goal, value in found["goals"].items())])


def measure(
    work: Path, parameters: int, repeats: int, cold: bool, mergekit: Path | None, methods: Sequence[str] = ()
) -> dict:
    """Program -> {"seconds": one per repeat, "cpu_seconds": likewise, "peak_megabytes": the largest}.

    Also the bytes of one model and of its largest tensor, and the goals: ratios of best times, and memory. methods: others of
    `average`, whose CPU time is given as a ratio to that of linear averaging, both less the start-up of that (regmean also loads torch).
    """
    third = ["theta_pre"] if any(METHODS[name].theta_pre for name in methods) else []
    models = [work / name for name in ("theta_0", "theta", *third)]
    largest = max(write_model(model, parameters, seed) for seed, model in enumerate(models))
    for model in models:
        write_model(model.with_name(f"tiny-{model.name}"), _TINY, 0)
    if "regmean" in methods:
        _write_texts(work, parameters // (8 * _WIDTH))
    programs = _programs(work, mergekit, methods)
    found: dict[str, dict[str, Any]] = {
        name: {"seconds": [], "cpu_seconds": [], "peak_megabytes": 0.0} for name in programs
    }
    for _ in range(repeats):
        for name, arguments in programs.items():
            shutil.rmtree(work / "out", ignore_errors=True)
            if cold:
                _forget(models)
            seconds, cpu, megabytes = _run(arguments)
            found[name]["seconds"].append(round(seconds, 3))
            found[name]["cpu_seconds"].append(round(cpu, 3))
            found[name]["peak_megabytes"] = max(found[name]["peak_megabytes"], round(megabytes, 1))
    best = {name: min(row["seconds"]) for name, row in found.items()}
    limit = best["read both"] + best["copy one"]
    goals = {"average less start-up, over the limit": round((best["average"] - best["start-up"]) / limit, 2)}
    if mergekit is not None:
        goals["mergekit over average"] = round(best["mergekit"] / best["average"], 2)
    processor = {name: min(row["cpu_seconds"]) for name, row in found.items()}
    linear = processor["average"] - processor["start-up"]
    for name in methods:
        goals[f"{name} over linear, CPU"] = round((processor[name] - processor["start-up"]) / linear, 2)
    memory = found["average"]["peak_megabytes"] - largest / 1e6
    goals["average's peak memory less the largest tensor, MB"] = round(memory, 1)
    size = (models[0] / "model.safetensors").stat().st_size
    sizes = {"model_bytes": size, "largest_tensor_bytes": largest}
    return sizes | {"cold": cold, "programs": found, "goals": goals}


def write_model(folder: Path, parameters: int, seed: int) -> int:
    """A Llama model folder of about that many random bf16 weights; the bytes of its largest tensor."""
    import numpy as np

    tokens = parameters // (8 * _WIDTH)  # so that embeddings and head make up a quarter
    layers = round(0.75 * parameters / (4 * _WIDTH**2 + 3 * _WIDTH * _INNER + 2 * _WIDTH))
    shapes = _shapes(layers, tokens)
    header, position = {}, 0
    for name, shape in shapes.items():
        end = position + 2 * prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [position, end]}
        position = end
    raw = json.dumps(header | {"__metadata__": {"format": "pt"}}).encode()
    folder.mkdir()
    rng = np.random.default_rng(seed)
    with open(folder / "model.safetensors", "wb") as file:
        file.write(len(raw).to_bytes(8, "little") + raw)
        for start in range(0, position // 2, _CHUNK):
            values = rng.standard_normal(min(_CHUNK, position // 2 - start), np.float32) * np.float32(0.02)
            file.write((values.view(np.uint32) >> 16).astype(np.uint16).data)
    (folder / "config.json").write_text(json.dumps(_config(layers, tokens)))
    return max(2 * prod(shape) for shape in shapes.values())


def _write_texts(work: Path, tokens: int) -> None:
    """Random samples of both models in token ids, and the tokenizer without which theta's folder cannot be read."""
    import numpy as np

    ids = np.random.default_rng(0).integers(tokens, size=(2, _TEXTS, _LENGTH)).tolist()
    rows = [{"model": "theta_0", "context": [], "reply": one} for one in ids[0]]
    rows += [{"model": "theta", "context": one[:8], "reply": one[8:]} for one in ids[1]]
    (work / "samples.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    words = {"type": "WordLevel", "vocab": {f"w{number}": number for number in range(tokens)}, "unk_token": "w0"}
    (work / "theta" / "tokenizer.json").write_text(json.dumps({"version": "1.0", "added_tokens": [], "model": words}))
    kind = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "w0"}
    (work / "theta" / "tokenizer_config.json").write_text(json.dumps(kind))


def _shapes(layers: int, tokens: int) -> dict[str, list[int]]:
    square, up, norm = [_WIDTH, _WIDTH], [_INNER, _WIDTH], [_WIDTH]
    inside = {f"self_attn.{name}_proj": square for name in "qkvo"}
    inside |= {"mlp.gate_proj": up, "mlp.up_proj": up, "mlp.down_proj": up[::-1]}
    inside |= {"input_layernorm": norm, "post_attention_layernorm": norm}
    shapes = {"model.embed_tokens.weight": [tokens, _WIDTH]}
    for index in range(layers):
        shapes |= {f"model.layers.{index}.{name}.weight": shape for name, shape in inside.items()}
    return shapes | {"model.norm.weight": norm, "lm_head.weight": [tokens, _WIDTH]}


def _config(layers: int, tokens: int) -> dict:
    sizes = {"hidden_size": _WIDTH, "intermediate_size": _INNER, "num_hidden_layers": layers, "vocab_size": tokens}
    heads = {"num_attention_heads": _HEADS, "num_key_value_heads": _HEADS, "tie_word_embeddings": False}
    kind = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16"}
    return kind | sizes | heads


def _programs(work: Path, mergekit: Path | None, methods: Sequence[str]) -> dict[str, list[str]]:
    """Program -> its command line; all write work/out."""
    weights = [str(work / name / "model.safetensors") for name in ("theta_0", "theta")]
    command, average = [sys.executable, "-m", __package__.rpartition(".")[0], "average"], {}
    for size in ("", "tiny-"):
        folders = {"--out": "out", "--theta-0": f"{size}theta_0", "--theta": f"{size}theta"}
        average[size] = command + [text for option, name in folders.items() for text in (option, str(work / name))]
    ratio = ["--alpha", str(_SHARES["theta"])]
    regression = ["--strength", str(_STRENGTH), "--samples", str(work / "samples.jsonl"), "--device", "cpu"]
    programs = {"read both": ["cat", *weights], "copy one": ["cp", "-r", str(work / "theta"), str(work / "out")]}
    programs |= {"start-up": [*average["tiny-"], *ratio], "average": [*average[""], *ratio]}
    for name in methods:
        before = ["--theta-pre", str(work / "theta_pre")] if METHODS[name].theta_pre else []
        programs[name] = [*average[""], *(regression if name == "regmean" else ratio), "--method", name, *before]
    if mergekit is not None:
        sources = [{"model": str(work / name), "parameters": {"weight": w}} for name, w in _SHARES.items()]
        recipe = {"merge_method": "linear", "dtype": "bfloat16", "models": sources}
        (work / "mergekit.yaml").write_text(json.dumps(recipe))  # JSON is YAML
        options = ["--no-copy-tokenizer", "--no-write-model-card"]
        programs["mergekit"] = [str(mergekit), str(work / "mergekit.yaml"), str(work / "out"), *options]
    return programs


def _run(arguments: list[str]) -> tuple[float, float, float]:
    """(seconds, CPU seconds, peak megabytes) of a process and its children; UserError if it fails."""
    launcher = [sys.executable, "-I", "-S", "-c", _LAUNCH]
    launched = subprocess.run([*launcher, *arguments], capture_output=True, text=True)
    status, seconds, cpu, peak = json.loads(launched.stdout)
    if status:
        lines = launched.stderr.strip().splitlines() or [f"exit code {status}"]
        raise UserError(f"{' '.join(arguments)} failed: {lines[-1]}")
    return seconds, cpu, peak * (1 if sys.platform == "darwin" else 1024) / 1e6


def _forget(folders: list[Path]) -> None:
    """Write the folders' files to disk and drop them from the page cache."""
    for file in (file for folder in folders for file in folder.iterdir()):
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
