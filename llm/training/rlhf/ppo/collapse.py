"""Signs of a collapse of PPO in the logs of its iterations (paper.md section 3)."""

import numpy as np

from ....config import Collapse


def collapse(logs: list[dict], settings: Collapse) -> str | None:
    """What tells the last iteration from the `window` before it as a collapse, in words; None if nothing does.

    Args:
        logs: of iterations 1 to the last, each with the mean "reward" and "length" (tokens) of the replies, the share
            "unfinished" of those that were cut off, "critic_loss", and "fresh_critic": its critic knows nothing yet, so
            its loss says nothing and is not looked at.
    """
    *earlier, last = logs
    usual = earlier[-settings.window :]
    if not usual:
        return None
    reward, length, unfinished = (_mean(usual, key) for key in ("reward", "length", "unfinished"))
    if last["reward"] < reward - settings.reward_drop:
        return f"the mean reward fell from {reward:.2f} to {last['reward']:.2f}"
    if last["length"] < length * settings.shortest:
        return f"the mean length fell from {length:.1f} to {last['length']:.1f} tokens"
    if last["unfinished"] > unfinished + settings.cut_off:
        return f"the share of unfinished replies rose from {unfinished:.2f} to {last['unfinished']:.2f}"
    settled = [log for log in usual if not log["fresh_critic"]]
    if settled and not last["fresh_critic"]:
        loss = _mean(settled, "critic_loss")
        if last["critic_loss"] > loss * settings.critic_loss:
            return f"the critic's loss rose from {loss:.3f} to {last['critic_loss']:.3f}"
    return None


def _mean(logs: list[dict], key: str) -> float:
    return float(np.mean([log[key] for log in logs]))
