"""AMA on the paper's models: D_theta sampled from theta and judged, then the ratios, by `llm.averaging.ama.run` (paper, section 5)."""

import json
from collections.abc import Callable
from functools import partial
from itertools import product
from operator import itemgetter
from pathlib import Path

from ...averaging.ama.run import adapt_files
from ...averaging.ama.settings import AdaptSettings, Sources
from ...config import Algorithm, AveragingEntry, HubPreset
from ...data.records import Prompt, Turn, messages
from ...evaluation import by_vllm
from ...evaluation.hub import Judge, device, drawn_prompts, dtype, replies_of
from ...evaluation.keeping import Kept
from ...files import by_one, read_made, up_to_date, write_text
from ...models.loading import load_model, load_tokenizer
from ...run import Run
from ..average import Found

PART, PART_BY_VLLM = 64, 1024  # prompts whose replies are written together: an engine of vLLM starts for each part


def ratios_of(run: Run[HubPreset], theta: Path, rlhf: Algorithm, entry: AveragingEntry, folder: Path) -> Found:
    """What an entry's models are called in rows, and their ratios; samples and optimises what `folder` lacks, or an older run's."""
    theta_0, found = run.folder / "theta_0", []
    samples = _samples(run, theta, folder / "samples.jsonl")
    for alpha, options in product(entry.alphas, entry.settings()):
        varied = {key: run.preset.ama.keep if value == "all" else value for key, value in options.items()}
        named = {"alpha": alpha, **varied}
        file = folder / ("-".join([entry.label, *(f"{key}{value:g}" for key, value in named.items())]) + ".json")
        settings = _settings(run, rlhf, entry, alpha, varied.get("samples"), varied.get("regulariser"))
        inputs = samples, theta_0 / "config.json", theta / "config.json"
        if not (up_to_date(file, *inputs) and read_made(file, settings.are_of)):
            file.unlink(missing_ok=True)
            adapt_files(
                Sources(theta_0, theta, data=samples), file, settings, device=device(run.preset).type, anew=True
            )
        found.append((named, read_made(file, itemgetter("groups"))))
    return found


def _settings(
    run: Run[HubPreset],
    rlhf: Algorithm,
    entry: AveragingEntry,
    alpha: float,
    count: int | None,
    regulariser: float | None,
) -> AdaptSettings:
    ama = run.preset.ama
    names = ("keep", "epochs", "batch", "eps")
    same = {name: getattr(ama, name) for name in names} | {"warmup": ama.warmup_share, "max_length": ama.block}
    return AdaptSettings(
        alpha=alpha,
        grouping=entry.grouping.of_model(run.preset.model),
        draw=count or ama.draw,
        lr=ama.lr[rlhf],
        parameterisation="paper",
        regulariser=regulariser or 0.0,
        seed=run.seed,
        dtype=dtype(run.preset),
        **same,
    )


def _samples(run: Run[HubPreset], theta: Path, file: Path) -> Path:
    """Replies of theta to training prompts with their rewards: {"messages", "reward", "finished"}. Entries share them; a killed job goes
    on with the part that is missing.
    """
    reward = run.folder / "reward"
    with by_one(file):
        if not up_to_date(file, theta / "config.json", reward / "config.json"):
            ama, kept = run.preset.ama, Kept.beside(file, run.preset, theta, reward)
            given = load_tokenizer(theta), ama.prompts, ama.max_new_tokens, run.rng("adapt")
            drawn = drawn_prompts(run, "train-prompts", *given)
            size = PART_BY_VLLM if by_vllm.is_taken(run.preset) else PART
            parts = [drawn[start : start + size] for start in range(0, len(drawn), size)]
            sample = _sampler(run, theta, reward)
            rows = [
                row for part, prompts in enumerate(parts) for row in kept([size, part], partial(sample, part, prompts))
            ]
            write_text(file, "".join(json.dumps(row) + "\n" for row in rows))
            kept.forget()
    return file


def _sampler(run: Run[HubPreset], theta: Path, reward: Path) -> Callable[[int, list[Prompt]], list[dict]]:
    """(number of the part, its prompts) -> rows of the replies to them, by theta and a judge that are loaded once."""
    judge, ama, tokenizer = Judge(run.preset, reward), run.preset.ama, load_tokenizer(theta)
    model = None if by_vllm.is_taken(run.preset) else load_model(theta).to(device(run.preset))

    def write(part: int, prompts: list[Prompt]) -> by_vllm.Replies:
        asked = by_vllm.Texts(prompts, ama.temperature, ama.max_new_tokens)
        if model is None:
            return by_vllm.read(run, theta, tokenizer, [asked], None, part)[0][0]
        return replies_of(run, model, tokenizer, asked, "adapt", part)

    def sample(part: int, some: list[Prompt]) -> list[dict]:
        prompts = [prompt for prompt in some for _ in range(ama.samples)]
        replies = write(part, prompts)
        return [
            {"messages": messages((*prompt, Turn("assistant", reply))), "reward": float(score), "finished": finished}
            for prompt, (reply, finished), score in zip(prompts, replies, judge(prompts, replies), strict=True)
            if reply
        ]

    return sample
