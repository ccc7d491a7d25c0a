"""`alignment-tax bench adapt`: what a step of AMA costs next to a plain forward and backward pass of one model.

Time is CPU time, so that other work on the computer disturbs it little. Memory is the peak of a process of its own beyond
what the process held before the models, in units of one model's weights.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from statistics import median
from typing import Annotated

import typer

from . import processor_seconds

_WAYS = ("plain", "streamed", "in-place")


def bench_adapt(
    hidden: Annotated[int, typer.Option(min=16, help="Width of the model.")] = 512,
    layers: Annotated[int, typer.Option(min=1, help="Transformer layers.")] = 8,
    vocabulary: Annotated[int, typer.Option(min=16, help="Tokens.")] = 8000,
    rows: Annotated[int, typer.Option(min=1, help="Samples a step.")] = 4,
    length: Annotated[int, typer.Option(min=2, help="Tokens a sample.")] = 256,
    repeats: Annotated[int, typer.Option(min=1, help="Steps that are timed; the median counts.")] = 3,
    threads: Annotated[int, typer.Option(min=1, help="Threads of torch.")] = 1,
) -> None:
    """Time and memory of AMA's step against a plain forward and backward pass."""
    sizes = [hidden, layers, vocabulary, rows, length, repeats, threads]
    found = {}
    for way in _WAYS:
        command = [sys.executable, "-m", __name__, way, *map(str, sizes)]
        found[way] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    plain = found["plain"]
    print(f"{plain['weights'] / 1e6:.1f} M values in fp32, {rows} x {length} tokens a step, {threads} thread(s)")
    print(f"{'step':10} {'seconds':>9} {'ratio':>7} {'peak, models':>13} {'without activations':>20}")
    for way, one in found.items():
        own = one["peak"] - plain["peak"] + plain["models"]
        ratio = one["seconds"] / plain["seconds"]
        print(f"{way:10} {one['seconds']:9.3f} {ratio:7.3f} {one['peak']:13.2f} {own:20.2f}")


def measure(way: str, hidden: int, layers: int, vocabulary: int, rows: int, length: int, repeats: int) -> dict:
    """Seconds a step (median), peak and models held in units of a model's weights, and the number of weights."""
    before = _resident("VmRSS")
    step, weights, models = _step(way, hidden, layers, vocabulary, rows, length)
    step()
    times = [processor_seconds(step) for _ in range(repeats)]
    peak = (_resident("VmHWM") - before) / (4 * weights)
    return {"seconds": median(times), "peak": peak, "models": models, "weights": weights}


def _step(
    way: str, hidden: int, layers: int, vocabulary: int, rows: int, length: int
) -> tuple[Callable[[], object], int, int]:
    """(what a step does, weights of a model, models in memory), for a Llama with random weights and data."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from ..averaging.ama.gradient import ratio_gradient, reply_loss, streamed_gradient
    from ..grouping import Grouping, assign, labels

    torch.manual_seed(0)
    sizes = {"vocab_size": vocabulary, "hidden_size": hidden, "intermediate_size": 4 * hidden}
    sizes |= {"num_attention_heads": max(1, hidden // 64), "max_position_embeddings": length}
    config = LlamaConfig(num_hidden_layers=layers, **sizes)
    model = LlamaForCausalLM(config)
    weights = sum(parameter.numel() for parameter in model.parameters())
    ids = torch.randint(vocabulary, (rows, length))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}
    if way == "plain":

        def plain() -> None:
            model.zero_grad(set_to_none=False)
            reply_loss(model, batch).backward()

        return plain, weights, 2  # the weights and their gradient
    theta = {name: tensor.clone().mul_(1.01) for name, tensor in model.state_dict().items()}
    assignment = assign(theta, Grouping(parts=min(3, layers)))
    alphas = dict.fromkeys(labels(assignment), 0.5)
    if way == "streamed":
        gradient = streamed_gradient(model, theta, assignment)
        return lambda: gradient(alphas, batch), weights, 2
    theta_0 = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    return lambda: ratio_gradient(model, theta_0, theta, assignment, alphas, batch), weights, 3


def _resident(field: str) -> int:
    """Bytes of this process by the kernel's account: VmRSS now, VmHWM at the most so far (Linux)."""
    with open("/proc/self/status", encoding="ascii") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith(f"{field}:"))


if __name__ == "__main__":
    import torch
    import transformers  # noqa: F401  (imported before memory is first measured)

    *numbers, threads = map(int, sys.argv[2:])
    torch.set_num_threads(threads)
    print(json.dumps(measure(sys.argv[1], *numbers)))
