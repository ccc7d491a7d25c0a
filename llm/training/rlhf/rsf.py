"""RSF, rejection sampling fine-tuning (best of n, iterated; called RAFT by its authors): from theta_0 to theta.

Each iteration samples n replies to fresh prompts, keeps the best of each n by the learned reward, and imitates them
(paper.md section 3): it descends the mean of -log p over their tokens, `llm.training.loop.token_loss`.
"""

import numpy as np


def best_of(scores: np.ndarray) -> np.ndarray:
    """(prompts, samples) rewards -> for each prompt the flat index of its best sample; the first of equals."""
    prompts, samples = scores.shape
    return np.arange(prompts) * samples + scores.argmax(axis=1)


def rewards_of(scores: np.ndarray, best: np.ndarray) -> dict[str, float]:
    """Mean rewards of all samples and of the best ones, for the log. scores: of every sample, flat."""
    return {"reward": float(scores.mean()), "reward_chosen": float(scores[best].mean())}


def log_of(iteration: int, lr: float, rewards: dict[str, float], losses: list[float]) -> dict[str, float]:
    """The log of an iteration, with the mean loss of its steps."""
    return {"iteration": iteration, "lr": lr, **rewards, "loss": float(np.mean(losses))}
