"""`python -m llm bench generate`: tokens a second of `llm.models.generate` and of transformers' `generate`.

Both continue the same prompts with the same model, as many at a time, at the same temperature and limit, and both stop at the
end token. A token counts if it is part of a reply (its end token too), not if it is padding. Two loads: as RSF
writes, several replies a prompt, and as PPO and the evaluation do, one. How much faster ours is depends on how
much the lengths of the replies differ, since transformers computes every row until the last one has ended.
"""

from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from . import Preset, Repeats, Seed, Threads, in_turns, processor_seconds, ratio


def bench_generate(
    model: Annotated[Path, typer.Argument(help="folder of a model that can chat, such as out/microcosm/seed0/theta_0")],
    preset: Preset = "microcosm",
    seed: Seed = 0,
    prompts: Annotated[int, typer.Option(min=1, help="prompts of alignment")] = 192,
    samples: Annotated[int, typer.Option(min=2, help="replies a prompt of the first load")] = 8,
    repeats: Repeats = 3,
    threads: Threads = 1,
) -> None:
    """Tokens a second of our generation against transformers', on a model of the microcosm."""
    import torch

    from ..config import LocalPreset, load_preset
    from ..errors import UserError
    from ..models.loading import load_model, load_tokenizer
    from ..run import Run

    torch.set_num_threads(threads)
    settings = load_preset(preset)
    if not isinstance(settings, LocalPreset):
        raise UserError(f"preset = {preset} is not allowed; allowed are presets of our own loop, such as microcosm")
    run = Run(settings, seed, Path("out"))
    loaded, tokenizer = load_model(model), load_tokenizer(model)
    drawn = [prompt.text for prompt in run.source.prompts("train", run.preset.prompts, prompts, run.rng("bench"))]
    weights = sum(parameter.numel() for parameter in loaded.parameters())
    print(
        f"{weights / 1e6:.2f} M parameters in {str(loaded.dtype).removeprefix('torch.')}, {threads} thread(s), T = 1, at most "
        f"{run.preset.max_new_tokens} new tokens, {run.preset.generation_batch} at a time, processor time, medians of {repeats}"
    )
    print(f"{'load':24} {'ours, tokens/s':>15} {'transformers':>13} {'ratio':>6}")
    for name, count in ((f"{prompts} prompts, {samples} each", samples), (f"{prompts} prompts, 1 each", 1)):
        texts = [text for text in drawn for _ in range(count)]
        found = measure(loaded, tokenizer, texts, run.preset.max_new_tokens, run.preset.generation_batch, repeats)
        ours, theirs = (median(found[way]) for way in ("ours", "transformers"))
        print(f"{name:24} {ours:15.0f} {theirs:13.0f} {ratio(found, 'ours', 'transformers'):6.2f}")


def measure(
    model, tokenizer, texts: list[str], max_new_tokens: int, batch: int, repeats: int, temperature: float = 1.0
) -> dict[str, list[float]]:
    """{"ours", "transformers"} -> tokens a second of processor time, one number a repeat."""
    from ..models.chat import prompt_ids

    prompts = [prompt_ids(tokenizer, text) for text in texts]
    settings = (model, tokenizer, prompts, max_new_tokens, batch, temperature)

    def speed(write) -> float:
        written: list[int] = []
        seconds = processor_seconds(lambda: written.append(sum(map(len, write(*settings)))))
        return written[0] / seconds

    return in_turns({"ours": lambda: speed(ours), "transformers": lambda: speed(theirs)}, repeats)


def ours(
    model, tokenizer, prompts: list[list[int]], max_new_tokens: int, batch: int, temperature: float
) -> list[list[int]]:
    """Token ids of each reply, with the end token where it was reached."""
    import torch

    from ..models.generate import generate

    limits = {"max_new_tokens": max_new_tokens, "end_id": tokenizer.eos_token_id, "pad_id": tokenizer.pad_token_id}
    rng = torch.Generator().manual_seed(0)
    replies = generate(model, prompts, **limits, temperature=temperature, rng=rng, batch_size=batch)
    return [reply.ids + [tokenizer.eos_token_id] * reply.finished for reply in replies]


def theirs(
    model, tokenizer, prompts: list[list[int]], max_new_tokens: int, batch: int, temperature: float
) -> list[list[int]]:
    """The same by transformers."""
    import torch

    from ..models.batches import left_pad

    end, replies = tokenizer.eos_token_id, []
    sampled = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    how = sampled if temperature > 0 else {"do_sample": False}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for start in range(0, len(prompts), batch):
            ids, mask = left_pad(prompts[start : start + batch], tokenizer.pad_token_id)
            limits = {"max_new_tokens": max_new_tokens, "eos_token_id": end, "pad_token_id": tokenizer.pad_token_id}
            rows = model.generate(input_ids=ids, attention_mask=mask, **limits, **how)[:, ids.shape[1] :].tolist()
            replies += [row[: row.index(end) + 1] if end in row else row for row in rows]
    return replies
