"""The oracle's lattice covers Omega, and its search finds the known best of made-up rewards."""

from itertools import product

import numpy as np
import pytest

from llm.averaging.ama.oracle import lattice, search
from llm.errors import UserError


@pytest.mark.parametrize(
    ("groups", "alpha", "step"), [(3, 0.4, 0.05), (3, 0.2, 0.05), (3, 0.8, 0.2), (2, 0.5, 0.1), (4, 0.25, 0.25)]
)
def test_the_lattice_holds_every_point_of_omega_once(groups, alpha, step):
    points = lattice(groups, alpha, step)
    numbers = range(round(1 / step) + 1)
    every = [p for p in product(numbers, repeat=groups) if abs(np.mean(p) * step - alpha) < 1e-9]
    assert np.array(points) == pytest.approx(np.array(every) * step)
    assert len(set(points)) == len(points) > 3
    assert np.array(points).mean(axis=1) == pytest.approx(alpha, abs=1e-12)
    assert np.min(points) >= 0 and np.max(points) <= 1


def test_of_the_means_0_and_1_there_is_one_point():
    assert lattice(3, 0.0, 0.05) == [(0.0, 0.0, 0.0)]
    assert lattice(3, 1.0, 0.05) == [(1.0, 1.0, 1.0)]


@pytest.mark.parametrize(("alpha", "step"), [(0.25, 0.1), (0.5, 0.3)])
def test_a_lattice_that_misses_omega_is_refused(alpha, step):
    with pytest.raises(UserError, match=f"step = {step} is not allowed with alpha = {alpha} and 3 groups; allowed are"):
        lattice(3, alpha, step)


def bowls(point):
    """Two rewards with different best points of Omega(0.4)."""
    first, second = np.array([0.1, 0.25, 0.85]), np.array([0.9, 0.3, 0.0])
    return {
        "reward": -float(((np.array(point) - first) ** 2).sum()),
        "gold_reward": -float(((np.array(point) - second) ** 2).sum()),
    }


def test_the_search_finds_the_best_of_each_reward_through_a_noisy_screen():
    points, rng = lattice(3, 0.4, 0.05), np.random.default_rng(0)
    asked = []

    def noisy(point):
        return {name: value + rng.normal(0, 0.02) for name, value in bowls(point).items()}

    def judge(point):
        asked.append(point)
        return bowls(point)

    best = search(points, noisy, judge, finalists=16)
    assert best == {"reward": pytest.approx((0.1, 0.25, 0.85)), "gold_reward": pytest.approx((0.9, 0.3, 0.0))}
    assert 16 < len(asked) == len(set(asked)) <= 32


def test_the_finalists_are_those_that_screened_best_and_the_judge_decides_among_them():
    points = [(0.0,), (0.25,), (0.5,), (1.0,)]
    screened, judged = {p: {"reward": p[0]} for p in points}, {p: {"reward": -p[0]} for p in points}
    assert search(points, screened.get, judged.get, finalists=1) == {"reward": (1.0,)}
    assert search(points, screened.get, judged.get, finalists=3) == {"reward": (0.25,)}
    assert search(points, screened.get, lambda point: {"reward": 1.0}, finalists=3) == {"reward": (1.0,)}
