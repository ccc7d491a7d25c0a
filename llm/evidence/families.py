"""Paths of methods that are no averages of theta_0 and theta, taken from result rows as in `llm.evidence.paths`.

A method that changes training has a strength: with none of it the model is `distilled` (the same training
without the method), with ever more of it the model stays at theta_0. A path of such models goes from theta_0
to `distilled`, as reward rises.
"""

import pandas as pd

from ..errors import UserError
from .frames import GROUPING, SETTINGS
from .paths import at_rate, models_of, of_method, theta_0

TRAINED = {
    "distilled": {"lr"},
    **{key: {"lr", "strength"} for key in ("l1", "l2", "kd", "er", "kl")},
    "sma": {"lr", "strength", "interval"},
    "lora": {"lr", "rank", "targets", "lora_alpha"},
}
FAMILIES = {**SETTINGS, **TRAINED, "pattern": {"lr", "alphas", *GROUPING}, "adamerging": SETTINGS["ama"]}
NOT_THETA_0 = ("er",)  # replay without end is training on the old data, not theta_0
NOT_DISTILLED = ("kl",)  # PPO's penalty: without it the model would be another PPO


def strengths(rows: pd.DataFrame, method: str, lr: float | None = None, **where: object) -> pd.DataFrame:
    """The models of a method that changes training, at a learning rate, from theta_0 over the strongest to none of it.

    Step 0 is theta_0, 1 the strongest, and so on; the last is `distilled`. Experience replay does not begin with
    theta_0, and PPO's KL penalty does not end with `distilled`. Of LoRA the smallest lora_alpha is the strongest, and with
    the same one the lowest rank. `rows` from `llm.evidence.frames.after`; `where` chooses by settings. Raises UserError where
    there are no rows.
    """
    chosen = models_of(rows, method, lr, **where)
    by, weaker = (["lora_alpha", "rank"], True) if method == "lora" else (["strength"], False)
    order = chosen[by].drop_duplicates().sort_values(by, ascending=weaker).reset_index(drop=True)
    place = {values: step for step, values in enumerate(order.itertuples(index=False, name=None), 1)}
    pieces = [chosen.assign(step=[float(place[values]) for values in chosen[by].itertuples(index=False, name=None)])]
    if method not in NOT_THETA_0:
        pieces.append(theta_0(rows).assign(step=0.0))
    if method not in NOT_DISTILLED:
        pieces.append(of_method(at_rate(rows, lr), "distilled").assign(step=len(order) + 1.0))
    if lacking := set(chosen["seed"]) - set.intersection(*(set(piece["seed"]) for piece in pieces)):
        raise UserError(f"results: method = {method}, seed = {min(lacking)} has rows, but an end of its path has none.")
    whole = pd.concat(pieces)
    return whole[whole["seed"].isin(set(chosen["seed"]))].sort_values(["step", "seed"])


def pattern(rows: pd.DataFrame, offsets: str) -> pd.DataFrame:
    """The models whose ratios differ from the first part's by `offsets` ("0 0 -0.1"); step: the first part's ratio.

    Raises UserError where there are no rows.
    """
    chosen = of_method(at_rate(rows, None), "pattern", offsets=offsets)
    if chosen.empty:
        raise UserError(f"results: no rows for method = pattern, offsets = {offsets}.")
    return chosen.assign(step=chosen["alpha"].astype(float)).sort_values(["step", "seed"])
