"""Paths of methods that are no averages of theta_0 and theta, taken from result rows as in `llm.paths`.

A method that changes training has a strength: with none of it the model is `distilled` (the same training
without the method), with ever more of it the model stays at theta_0. A path of such models goes from theta_0
to `distilled`, as reward rises.
"""

import pandas as pd

from llm.errors import UserError
from llm.measured import GROUPING, SETTINGS
from llm.paths import theta_0

TRAINED = {
    "distilled": {"lr"},
    **dict.fromkeys(("l1", "l2", "kd", "er", "kl"), {"lr", "strength"}),
    "sma": {"lr", "strength", "interval"},
    "lora": {"lr", "rank", "targets", "lora_alpha"},
}
FAMILIES = {
    **SETTINGS,
    **TRAINED,
    "pattern": {"lr", "alphas", *GROUPING},
    "adamerging": SETTINGS["ama"],
}
NOT_THETA_0 = ("er",)  # replay without end is training on the old data, not theta_0
NOT_DISTILLED = ("kl",)  # PPO's penalty: without it the model would be another PPO


def strengths(rows: pd.DataFrame, method: str, **where: object) -> pd.DataFrame:
    """The models of a method that changes training, from theta_0 over the strongest to none of it.

    Step 0 is theta_0, 1 the strongest, and so on; the last is `distilled`. Experience replay does not begin with
    theta_0, and PPO's KL penalty does not end with `distilled`. Of LoRA the lowest rank is the strongest.
    `rows` from `llm.measured.after`; `where` chooses by settings. Raises UserError where there are no rows.
    """
    chosen = rows[rows["lr"].isna() & (rows["method"] == method)]
    for key, value in where.items():
        chosen = chosen[chosen[key] == value]
    if chosen.empty:
        raise UserError(f"results: no rows for method = {method}, {where}.")
    strength = -chosen["rank"] if method == "lora" else chosen["strength"]
    order = strength.astype(float).rank(method="dense", ascending=False)
    pieces = [chosen.assign(step=order)]
    if method not in NOT_THETA_0:
        pieces.append(theta_0(rows).assign(step=0.0))
    if method not in NOT_DISTILLED:
        distilled = rows[rows["lr"].isna() & (rows["method"] == "distilled")]
        pieces.append(distilled.assign(step=order.max() + 1))
    if lacking := set(chosen["seed"]) - set.intersection(*(set(piece["seed"]) for piece in pieces)):
        raise UserError(f"results: method = {method}, seed = {min(lacking)} has rows, but an end of its path has none.")
    whole = pd.concat(pieces)
    return whole[whole["seed"].isin(set(chosen["seed"]))].sort_values(["step", "seed"])


def pattern(rows: pd.DataFrame, offsets: str) -> pd.DataFrame:
    """The models whose ratios differ from the first part's by `offsets` ("0 0 -0.1"); step: the first part's ratio.

    Raises UserError where there are no rows.
    """
    chosen = rows[rows["lr"].isna() & (rows["method"] == "pattern") & (rows["offsets"] == offsets)]
    if chosen.empty:
        raise UserError(f"results: no rows for method = pattern, offsets = {offsets}.")
    return chosen.assign(step=chosen["alpha"].astype(float)).sort_values(["step", "seed"])
