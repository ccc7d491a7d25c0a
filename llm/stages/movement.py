"""Weight displacement: how far alignment has moved every group of weights of a run, and every row of the embeddings."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from ..averaging.displacement import group_movement
from ..config import Algorithm
from ..files import read_made
from ..models.chat import reply_ids
from ..models.loading import load_tokenizer, require_model
from ..run import LocalRun
from .align import theta_folder

Weights = Mapping[str, torch.Tensor]
TABLE = "model.embed_tokens.weight"  # a row a token
LISTED = 40  # tokens whose embeddings moved most


def movement(run: LocalRun, rlhf: Algorithm) -> dict:
    """{"groups": as `group_movement`; "correlation": over the tokens that AMA's samples hold, of how often they occur there and how
    far their embeddings moved (Spearman); "used", "unused": mean movement of tokens that the samples hold, and of the others;
    "tokens": those that moved most, [token, movement, occurrences]}.
    """
    start, theta = require_model(run.folder / "theta_0"), require_model(theta_folder(run, rlhf, "own"))
    before, after = (load_file(folder / "model.safetensors") for folder in (start, theta))
    tokenizer = load_tokenizer(start)
    kept = run.folder / "ama" / rlhf / "own" / "kept.json"
    samples = read_made(kept, lambda content: [(row["reply"], row["finished"]) for row in content["found"]])
    moved = row_movement(before, after)
    ids = [token for reply in samples for token in reply_ids(tokenizer, *reply)]
    found = np.bincount(np.array(ids, dtype=int), minlength=len(moved))
    used = found > 0
    most = np.argsort(-moved, kind="stable")[:LISTED]
    return {
        "groups": group_movement(before, after),
        "correlation": rank_correlation(found[used], moved[used]),
        "used": float(moved[used].mean()),
        "unused": float(moved[~used].mean()) if not used.all() else None,
        "tokens": [
            [tokenizer.convert_ids_to_tokens(int(token)), float(moved[token]), int(found[token])] for token in most
        ],
    }


def measure_movement(run: LocalRun, algorithms: list[Algorithm]) -> dict:
    """Of each algorithm, with what it is of."""
    return {"preset": run.preset.name, "seed": run.seed, "rlhf": {rlhf: movement(run, rlhf) for rlhf in algorithms}}


def read_movements(results: Path) -> list[dict]:
    """What a folder of results has of it, seed by seed."""
    return sorted(map(read_made, results.glob("movement-seed*.json")), key=lambda one: one["seed"])


def row_movement(theta_0: Weights, theta: Weights) -> np.ndarray:
    """For each token ||e - e_0|| / ||e_0|| of its embedding, (vocabulary,); 0 for a row that was 0 and stays so."""
    before, after = theta_0[TABLE].double(), theta[TABLE].double()
    moved, size = (after - before).norm(dim=1), before.norm(dim=1)
    return (moved / size.clamp(min=torch.finfo(torch.float64).tiny)).numpy()


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's; NaN where one of them is the same everywhere."""
    from scipy.stats import spearmanr

    if len(set(first)) < 2 or len(set(second)) < 2:
        return float("nan")
    return float(spearmanr(first, second).statistic)
