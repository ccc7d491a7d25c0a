"""vLLM as a program of its own: `python -m llm.training.distributed.vllm_writer JOB REPLIES`, one engine on one GPU.

It is not part of the launch's group of processes, so it is started without what the launch has put into the environment.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ...config.trainers import Hardware, Writing
from ...errors import UserError

# By which a process knows its place in a launch; vLLM would take it for its own.
LAUNCH = "RANK LOCAL_RANK WORLD_SIZE LOCAL_WORLD_SIZE GROUP_RANK ROLE_RANK MASTER_ADDR MASTER_PORT".split()
LAUNCHERS = ("ACCELERATE_", "FSDP_", "TORCHELASTIC_")


def require_vllm() -> None:
    """UserError if vLLM is not installed."""
    from importlib.util import find_spec

    if find_spec("vllm") is None:
        raise UserError(
            "sampler = 'vllm' is not allowed: vLLM is not installed (the extra `gpu`); allowed is transformers"
        )


def answer(
    gpu: int,
    model: str,
    asked: dict[int, list[list[int]]],
    samples: int,
    writing: Writing,
    hardware: Hardware,
    seed: list[int],
) -> Iterator[tuple[int, list[list[tuple[list[int], bool, str]]]]]:
    """(chunk, for each of its prompts the replies as (ids without the end token, finished, text)).

    All are written before the first is given. The engine takes what the GPU has left beside what this process holds.
    """
    require_vllm()
    from ...models.chat import end_id
    from .models import load_tokenizer

    places = [(chunk, place, prompt) for chunk, prompts in asked.items() for place, prompt in enumerate(prompts)]
    flat = [(prompt, _seed([*seed, chunk, place])) for chunk, place, prompt in places]
    job = {"model": model, "prompts": flat, "samples": samples, "writing": writing.model_dump()}
    job |= {"dtype": hardware.dtype, "memory": _memory(gpu), "end": end_id(load_tokenizer(model))}
    with tempfile.TemporaryDirectory(prefix="vllm-") as folder:
        job_file, replies_file = Path(folder) / "job.json", Path(folder) / "replies.json"
        job_file.write_text(json.dumps(job))
        program = [sys.executable, "-m", f"{__package__}.vllm_writer", str(job_file), str(replies_file)]
        done = subprocess.run(program, env=_environment(gpu))
        if done.returncode:
            raise UserError(
                f"sampler = 'vllm' ended with exit code {done.returncode}, and its own messages stand above; "
                "allowed too is transformers, which does without it"
            )
        replies = iter(json.loads(replies_file.read_text()))
    for chunk, prompts in asked.items():
        yield chunk, [[(ids, finished, text) for ids, finished, text in next(replies)] for _ in prompts]


def _environment(gpu: int) -> dict[str, str]:
    """This process's environment outside of the launch, with one GPU: the one of that number among those that are visible."""
    kept = {key: value for key, value in os.environ.items() if key not in LAUNCH and not key.startswith(LAUNCHERS)}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return kept | {"CUDA_VISIBLE_DEVICES": visible[gpu] if gpu < len(visible) and visible[gpu] else str(gpu)}


def _memory(gpu: int) -> float:
    """The share of the GPU's memory that an engine may take: nine tenths of what is free."""
    import torch

    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info(gpu)
    return 0.9 * free / total


def _write(job: dict) -> list[list[tuple[list[int], bool, str]]]:
    from vllm import LLM, SamplingParams

    writing = Writing(**job["writing"])
    dtype = "bfloat16" if job["dtype"] == "bf16" else "float32"
    length = writing.prompt_tokens + writing.max_new_tokens
    how = {"max_model_len": length, "gpu_memory_utilization": job["memory"], "generation_config": "vllm"}
    engine = LLM(model=job["model"], dtype=dtype, **how)
    # Its own end tokens are left aside: a reply ends as it does for the other sampler.
    ends = {"stop_token_ids": [job["end"]], "ignore_eos": True, "max_tokens": writing.max_new_tokens}
    shape = {"n": job["samples"], "temperature": writing.temperature, "top_p": 1.0, "top_k": 0} | ends
    asked = [SamplingParams(**shape, seed=seed) for _, seed in job["prompts"]]
    outputs = engine.generate([{"prompt_token_ids": prompt} for prompt, _ in job["prompts"]], asked)
    return [[_reply(one, job["end"]) for one in output.outputs] for output in outputs]


def _reply(one, end: int) -> tuple[list[int], bool, str]:
    ids = list(one.token_ids)
    return (ids[:-1] if ids and ids[-1] == end else ids), one.finish_reason == "stop", one.text


def _seed(numbers: list[int]) -> int:
    import numpy as np

    return int(np.random.default_rng(numbers).integers(2**31))


if __name__ == "__main__":
    job_file, replies_file = map(Path, sys.argv[1:])
    replies_file.write_text(json.dumps(_write(json.loads(job_file.read_text()))))
