"""The rates at which two methods are compared."""

import pandas as pd

from llm.evidence.rates import by_lead, same_strengths


def path(*points: tuple[float, float], seed: int = 0) -> pd.DataFrame:
    """Models with a reward and a mean ability."""
    rows = [
        {"seed": seed, "step": float(step), "metric": metric, "value": value, "stderr": 0.1}
        for step, point in enumerate(points)
        for metric, value in zip(("reward", "mean_ability"), point, strict=True)
    ]
    return pd.DataFrame(rows)


STOPPING = {None: path((0, 1.0), (1, 0.8), (2, 0.6)), 1e-3: path((0, 1.0), (1, 0.5), (2, 0.1))}


def test_the_lead_at_equal_reward_chooses_and_not_how_far_a_path_reaches():
    far, high = path((0, 1.0), (2, 0.5), (9, 0.5)), path((0, 1.0), (1, 0.9), (2, 0.7))
    assert by_lead({1e-3: far, None: high}, STOPPING, seed=0) == (None, None)


def test_the_rival_takes_the_rate_that_leaves_least():
    weak = {None: STOPPING[None], 1e-3: path((0, 1.0), (1, 0.95), (2, 0.9))}
    assert by_lead({None: path((0, 1.0), (1, 0.9), (2, 0.7))}, weak, seed=0) == (None, 1e-3)


def test_one_seed_chooses():
    good, bad = ((0, 1.0), (1, 0.9), (2, 0.8)), ((0, 1.0), (1, 0.4), (2, 0.1))
    averaged = {1e-4: pd.concat([path(*good), path(*bad, seed=1)]), 1e-3: pd.concat([path(*bad), path(*good, seed=1)])}
    rival = {None: pd.concat([STOPPING[None], STOPPING[None].assign(seed=1)])}
    assert [by_lead(averaged, rival, seed)[0] for seed in (0, 1)] == [1e-4, 1e-3]


def test_paths_are_compared_at_the_strengths_that_every_rate_has():
    def trained(**settings):
        ends = [{"family": "theta_0"}, {"family": "distilled"}]
        return pd.DataFrame(
            [*ends, *({"family": "l1", name: value} for name, values in settings.items() for value in values)],
            columns=["family", "strength", "rank", "lora_alpha"],
        )

    found = same_strengths(
        {None: trained(strength=[0.1, 0.2, 0.4, 0.8]), 1e-3: trained(strength=[0.2, 0.8, 1.6])}, "l1"
    )
    for models in found.values():
        assert list(models["family"]) == ["theta_0", "distilled", "l1", "l1"]
        assert list(models["strength"])[2:] == [0.2, 0.8]
    ranks = same_strengths({None: trained(rank=[1, 4]), 1e-3: trained(rank=[4])}, "l1")[None]
    assert list(ranks["rank"])[2:] == [4]


def test_paths_without_strengths_stay_whole():
    averaged = (
        path((0, 1.0), (1, 0.9))
        .assign(family="ma", strength=None, rank=None, lora_alpha=None)
        .astype({"strength": float})
    )
    other = averaged.iloc[:2]
    found = same_strengths({None: averaged, 1e-3: other}, "ma")
    assert [len(models) for models in found.values()] == [len(averaged), len(other)]
