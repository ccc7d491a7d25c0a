"""What alignment did to the weights of a run: `llm.stages.displacement` of theta_0 and theta, for each algorithm that has been run."""

import json
from pathlib import Path

import numpy as np
from safetensors.torch import load_file

from ..config import Algorithm
from ..models.chat import reply_ids
from ..models.loading import load_tokenizer, require_model
from ..run import LocalRun
from .align import theta_folder
from .displacement import counts, group_movement, rank_correlation, row_movement

LISTED = 40  # tokens whose embeddings moved most


def movement(run: LocalRun, rlhf: Algorithm) -> dict:
    """{"groups": as `group_movement`; "correlation": over the tokens that AMA's samples hold, of how often they occur there and how
    far their embeddings moved (Spearman); "used", "unused": mean movement of tokens that the samples hold, and of the others;
    "tokens": those that moved most, [token, movement, occurrences]}.
    """
    start, theta = require_model(run.folder / "theta_0"), require_model(theta_folder(run, rlhf, "own"))
    before, after = (load_file(folder / "model.safetensors") for folder in (start, theta))
    tokenizer = load_tokenizer(start)
    samples = json.loads((run.folder / "ama" / rlhf / "own" / "kept.json").read_text())
    moved = row_movement(before, after)
    found = counts([reply_ids(tokenizer, row["reply"], row["finished"]) for row in samples], len(moved))
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


def file_name(seed: int | str) -> str:
    return f"movement-seed{seed}.json"


def read_movements(results: Path) -> list[dict]:
    """What a folder of results has of it, seed by seed."""
    return sorted((json.loads(path.read_text()) for path in results.glob(file_name("*"))), key=lambda one: one["seed"])
