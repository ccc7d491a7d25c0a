"""The learned reward: preference pairs labelled with noise, and a Bradley-Terry model fitted to them.

The model begins as theta_0's body, or its first layers, with a new head of one output.
"""

from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize
from tqdm import tqdm

from ..config.sections import Reward
from ..files import read_made, write_json
from ..models.batches import Tokens
from ..models.chat import generate_replies, prompt_ids, reply_ids
from ..models.loading import fresh_reward_model, load_model, load_tokenizer
from ..models.rewards import REPLIES, batched_outputs, reward_scores, sequence_scores
from ..models.save import save_model
from ..run import LocalRun
from ..training.loop import count_minibatches, fit, minibatches
from ..training.rlhf.preferences import bradley_terry

Pair = tuple[Tokens, Tokens]  # chosen, rejected


def preferences(run: LocalRun, theta_0: Path, out: Path) -> None:
    """Pairs of replies to training prompts, labelled by the gold reward with noise; the test pairs' labels have none.

    Each row: {"split", "prompt", "chosen", "rejected" (text, finished, gold)}.
    """
    settings = run.preset.preferences
    rng = run.rng("preferences")
    model, tokenizer = load_model(theta_0, run.device), load_tokenizer(theta_0)
    splits = ["train"] * settings.pairs + ["test"] * settings.test_pairs
    prompts = run.source.prompts("train", run.preset.prompts, settings.pairs, rng)
    prompts += run.source.prompts("test", run.preset.prompts, settings.test_pairs, rng)
    sides = [_replies(run, model, tokenizer, prompts, side, rng) for side in range(2)]
    write_json(out, label(run, splits, prompts, sides, rng))


def label(
    run: LocalRun, splits: list[str], prompts: list, sides: list[list[tuple[str, bool]]], rng: np.random.Generator
) -> list[dict]:
    """Rows of `preferences` from a split, a prompt and both sides' (reply, finished) each."""
    noise, rows = run.preset.preferences.noise_scale, []
    for split, prompt, *pair in zip(splits, prompts, *sides):
        scored: list[dict] = [{"text": r, "finished": f, "gold": run.source.gold_reward(prompt, r, f)} for r, f in pair]
        better = max(scored, key=lambda reply: reply["gold"])
        worse = scored[1] if better is scored[0] else scored[0]
        agrees = 1 / (1 + np.exp(-noise * (better["gold"] - worse["gold"])))
        if split == "train" and rng.random() > agrees:
            better, worse = worse, better
        rows.append({"split": split, "prompt": prompt.text, "chosen": better, "rejected": worse})
    return rows


def _replies(run: LocalRun, model, tokenizer, prompts, side: int, rng: np.random.Generator) -> list[tuple[str, bool]]:
    """One reply a prompt: by theta_0 at one of the preset's temperatures, or by a writer."""
    shares, longest = run.preset.preferences.temperatures, run.preset.max_new_tokens
    rest = run.preset.preferences.written_share
    sources = rng.choice(len(shares) + 1, size=len(prompts), p=[*shares.values(), rest])
    replies = [
        _cut(run.source.written_reply(prompt, rng), tokenizer, longest) if rest else ("", False) for prompt in prompts
    ]
    for source, temperature in enumerate(shares):
        chosen = np.flatnonzero(sources == source)
        written = generate_replies(
            model,
            tokenizer,
            [prompts[i].text for i in chosen],
            max_new_tokens=longest,
            temperature=temperature,
            rng=run.torch_rng("preferences", side, source),
            batch_size=run.preset.generation_batch,
        )
        for i, reply in zip(chosen, written):
            replies[i] = reply
    return replies


def _cut(reply: str, tokenizer, max_new_tokens: int) -> tuple[str, bool]:
    """(reply, finished) as if a model had written it: no longer than a model's may be."""
    ids = reply_ids(tokenizer, reply)
    if len(ids) <= max_new_tokens:
        return reply, True
    return tokenizer.decode(ids[:max_new_tokens]), False


def read_pairs(path: Path) -> list[dict]:
    """What `preferences` wrote."""

    def take(rows: list[dict]) -> list[dict]:
        if not {"train", "test"} <= {row["split"] for row in rows}:
            raise ValueError("there are no pairs of a split")
        for row in rows:
            texts = [row["split"], row["prompt"], *(row[side]["text"] for side in ("chosen", "rejected"))]
            truths = [row[side]["finished"] for side in ("chosen", "rejected")]
            if not all(isinstance(text, str) for text in texts) or not {*truths} <= {True, False}:
                raise ValueError("a row is no pair of replies")
        return rows

    return read_made(path, take)


def train_reward(run: LocalRun, theta_0: Path, pairs: Path, out: Path) -> dict[str, float]:
    """Fit theta_0's body with a new linear head to the training pairs; returns what `judge` measures."""
    settings = run.preset.reward
    tokenizer = load_tokenizer(theta_0)
    model = load_fresh_reward_model(theta_0, settings, seed=run.seed).to(run.device)
    rows = read_pairs(pairs)
    examples = [_pair_ids(tokenizer, row) for row in rows if row["split"] == "train"]
    if settings.head == "fitted":
        fit_head(model, examples, tokenizer.pad_token_id, settings.penalty, run.preset.evaluate.batch)
    steps = count_minibatches(len(examples), settings.batch, settings.epochs)
    batches = minibatches(examples, settings.batch, settings.epochs, run.rng("reward"), length=_longer)
    losses = fit(model, batches, _bradley_terry(tokenizer.pad_token_id), settings.optimiser, steps=steps)
    bar = tqdm(losses, total=steps, desc="reward", unit="step", disable=not steps)
    for loss in bar:
        bar.set_postfix(loss=f"{loss:.3f}")
    save_model(model, tokenizer, out)
    return judge(model, tokenizer, [row for row in rows if row["split"] == "test"], run.preset.evaluate.batch)


def load_fresh_reward_model(theta_0: Path, settings: Reward, seed: int):
    """A reward model that has seen no pair; a drawn head is drawn from `seed`, any other is zero (`fit_head`)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = fresh_reward_model(theta_0, settings.layers)
    model.config.reward_pooling, model.config.reward_reads = settings.pooling, REPLIES
    if settings.head != "drawn":
        torch.nn.init.zeros_(model.score.weight)
    return model


def fit_head(model, pairs: list[Pair], pad_id: int, penalty: float, batch_size: int) -> None:
    """Give the model the head w that orders the pairs best while its body stays as it is.

    w minimises the mean of -log sigmoid(w . (h(chosen) - h(rejected))) + penalty |w|^2 / 2, the features h pooled as the
    reward is, and each in units of its standard deviation over all replies.
    """
    features = _features(model, [reply for pair in pairs for reply in pair], pad_id, batch_size)
    spread = features.std(axis=0) + np.finfo(np.float32).eps
    scaled = (features[::2] - features[1::2]) / spread

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        lead = scaled @ w
        slope = -scaled.T @ (1 / (1 + np.exp(lead))) / len(scaled)
        return np.logaddexp(0, -lead).mean() + penalty * (w @ w) / 2, slope + penalty * w

    found = minimize(loss, np.zeros(features.shape[1]), jac=True, method="L-BFGS-B").x / spread
    with torch.no_grad():
        model.score.weight.copy_(torch.from_numpy(found)[None])


def _features(model, replies: list[Tokens], pad_id: int, batch_size: int) -> np.ndarray:
    """What the head is to read of each reply; (replies, hidden size)."""
    head, model.score = model.score, torch.nn.Identity()
    found = batched_outputs(model, replies, pad_id, batch_size, bar="reward, head")
    model.score = head
    return found.double().numpy()


def _bradley_terry(pad_id: int):
    def loss(model, pairs: list[Pair]) -> torch.Tensor:
        scores = sequence_scores(model, [p[0] for p in pairs] + [p[1] for p in pairs], pad_id)
        return bradley_terry(scores[: len(pairs)] - scores[len(pairs) :])

    return loss


def _pair_ids(tokenizer, row: dict) -> Pair:
    context = prompt_ids(tokenizer, row["prompt"])
    sides = (row["chosen"], row["rejected"])
    chosen, rejected = (Tokens(context, reply_ids(tokenizer, side["text"], side["finished"])) for side in sides)
    return chosen, rejected


def _longer(pair: Pair) -> int:
    return max(len(context) + len(reply) for context, reply in pair)


def judge(model, tokenizer, rows: list[dict], batch_size: int) -> dict[str, float]:
    """On pairs with noiseless labels: "accuracy" of the order, "correlation" with gold over all replies, "n" unequal pairs, "replies"."""
    replies = [(row["prompt"], row[k]["text"], row[k]["finished"]) for row in rows for k in ("chosen", "rejected")]
    gold = np.array([row[k]["gold"] for row in rows for k in ("chosen", "rejected")])
    learned = reward_scores(model, tokenizer, replies, batch_size).numpy()
    right = (learned[::2] > learned[1::2])[gold[::2] != gold[1::2]]
    correlation = float(np.corrcoef(learned, gold)[0, 1])
    return {"accuracy": float(right.mean()), "correlation": correlation, "n": len(right), "replies": len(gold)}
