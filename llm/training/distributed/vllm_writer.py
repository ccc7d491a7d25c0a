"""vLLM in a process of its own on one GPU, whose memory is free again when it ends.

It is not part of the launch's group of processes, so it is started without what the launch has put into the environment.
"""

import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ...config.trainers import Hardware, Writing
from ...errors import UserError
from .processes import collect

# By which a process knows its place in a launch; vLLM would take it for its own.
LAUNCH = "RANK LOCAL_RANK WORLD_SIZE LOCAL_WORLD_SIZE GROUP_RANK ROLE_RANK MASTER_ADDR MASTER_PORT".split()
LAUNCHERS = ("ACCELERATE_", "FSDP_", "TORCHELASTIC_")
TOGETHER = 8192  # replies that an engine is asked for before they are left
Reply = tuple[list[int], bool, str]  # ids without the end token, whether the model ended it by itself, text
# Called in the engine's process, so a function of a module, or part of one.
Leave = Callable[[Any, list[list[Reply]]], object]


class Asked(NamedTuple):
    """`samples` replies to each prompt, token ids, each from a seed of its own. end: the token that ends a reply."""

    prompts: Sequence[tuple[list[int], int]]
    samples: int
    temperature: float
    max_new_tokens: int
    end: int


def is_installed() -> bool:
    from importlib.util import find_spec

    return find_spec("vllm") is not None


def require_vllm() -> None:
    """UserError if vLLM is not installed."""
    if not is_installed():
        raise UserError(
            "sampler = 'vllm' is not allowed: vLLM is not installed (the extra `gpu`); allowed is transformers"
        )


def apart(gpu: int, work: Callable, *arguments: Any) -> Any:
    """What work(*arguments, memory) returns, in a process of its own on a GPU. work: a function of a module, which may use vLLM.

    memory: the share of the GPU's memory that an engine may take, nine tenths of what is free.
    """
    require_vllm()
    with tempfile.TemporaryDirectory(prefix="vllm-") as folder:
        asked, found = Path(folder) / "asked", Path(folder) / "found"
        asked.write_bytes(pickle.dumps((work, (*arguments, _memory(gpu)))))
        command = [sys.executable, "-m", __name__, str(asked), str(found)]
        # An engine that outlives this process keeps its locks, by which it has its GPU (`llm.plan.cards`).
        done = subprocess.run(command, env=_environment(gpu), close_fds=False)
        if done.returncode:
            raise UserError(
                f"sampler = 'vllm' ended with exit code {done.returncode}, and its own messages stand above; "
                "allowed too is transformers, which does without it"
            )
        return pickle.loads(found.read_bytes())


def answer(
    gpu: int,
    model: str,
    asked: dict[Any, list[list[int]]],
    samples: int,
    writing: Writing,
    hardware: Hardware,
    seed: list[int],
    leave: Leave,
) -> None:
    """Leave (part, for each of its prompts the replies), as `llm.training.distributed.sampling` asks for them, by one engine."""
    require_vllm()
    from ...models.chat import end_id
    from .models import load_tokenizer

    end, parts = end_id(load_tokenizer(model)), {}
    for part, prompts in asked.items():
        seeded = [(prompt, _seed([*seed, part.number, place])) for place, prompt in zip(part.places, prompts)]
        parts[part] = Asked(seeded, samples, writing.temperature, writing.max_new_tokens, end)
    apart(gpu, write, model, hardware.dtype, writing.tokens, parts, leave)


def write(model: str, dtype: str, length: int, parts: dict[Any, Asked], leave: Leave, memory: float) -> None:
    """Leave the replies of some parts at a time. length: tokens of the longest prompt with its reply."""
    engine = engine_of(model, dtype, length, memory)
    left = list(parts.items())
    while left:
        size = max(1, TOGETHER // (len(left[0][1].prompts) * left[0][1].samples))
        some, left = left[:size], left[size:]
        together = some[0][1]._replace(prompts=[prompt for _, one in some for prompt in one.prompts])
        replies = iter(replies_of(engine, together))
        for part, one in some:
            leave(part, [next(replies) for _ in one.prompts])


def engine_of(model: str, dtype: str, length: int, memory: float):
    """An engine, in this process; see `write` and `apart`."""
    from vllm import LLM

    how = {"max_model_len": length, "gpu_memory_utilization": memory, "generation_config": "vllm"}
    return LLM(model=model, dtype="bfloat16" if dtype == "bf16" else "float32", **how)


def replies_of(engine, asked: Asked) -> list[list[Reply]]:
    """The replies to each prompt."""
    from vllm import SamplingParams

    # Its own end tokens are left aside: a reply ends as it does for the other sampler.
    ends = {"stop_token_ids": [asked.end], "ignore_eos": True, "max_tokens": asked.max_new_tokens}
    shape = {"n": asked.samples, "temperature": asked.temperature, "top_p": 1.0, "top_k": 0} | ends
    wanted = [SamplingParams(**shape, seed=seed) for _, seed in asked.prompts]
    outputs = engine.generate([{"prompt_token_ids": prompt} for prompt, _ in asked.prompts], wanted)
    return [[_reply(one, asked.end) for one in output.outputs] for output in outputs]


def _reply(one, end: int) -> Reply:
    ids = list(one.token_ids)
    return (ids[:-1] if ids and ids[-1] == end else ids), one.finish_reason == "stop", one.text


def _environment(gpu: int) -> dict[str, str]:
    """This process's environment outside of the launch, with one GPU: the one of that number among those that are visible."""
    kept = {key: value for key, value in os.environ.items() if key not in LAUNCH and not key.startswith(LAUNCHERS)}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return kept | {"CUDA_VISIBLE_DEVICES": visible[gpu] if gpu < len(visible) and visible[gpu] else str(gpu)}


def _memory(gpu: int) -> float:
    import torch

    collect()
    free, total = torch.cuda.mem_get_info(gpu)
    return 0.9 * free / total


def _seed(numbers: list[int]) -> int:
    import numpy as np

    return int(np.random.default_rng(numbers).integers(2**31))


def main(asked: Path, found: Path) -> None:
    work, arguments = pickle.loads(asked.read_bytes())
    found.write_bytes(pickle.dumps(work(*arguments)))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
