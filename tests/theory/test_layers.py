"""The layered model: the same vote weights layer by layer, and when unequal ratios win. Seed: 0."""

from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import theory
from theory.layers import (
    Layer,
    accuracies,
    best_ratios,
    effective_features_by_task,
    effective_gradients,
    falling_layers,
    largest_lift,
    layer_votes,
    layered_fronts,
    raising_direction,
)
from theory.model import Tasks, average
from theory.scalarised import scalarised_front

FALLING = falling_layers(3, 10, (1.0, 0.0), (0.25, 0.25))
ALIKE = falling_layers(3, 10, (0.5, 0.5), (0.25, 0.25))
AVERAGING = pytest.mark.parametrize("averaging", ["weights", "outputs"])


def layered_votes(sizes, alphas, averaging, tested_on):
    """(counts, weights) by theory.model alone; sizes[l] = (n, n_o) on common concepts and the same on the
    task's own.
    """
    counts, weights = [], []
    for layer, alpha in zip(sizes, alphas):
        for (n, n_o), n_classes_o in zip(layer, (5, 0)):
            votes = average(Tasks(5, n, n, n_o, n_classes_o), averaging, alpha, tested_on)
            counts += votes.counts
            weights += votes.weights
    return counts, weights


@AVERAGING
@pytest.mark.parametrize("alphas", [(0.5, 0.25, 0.0), (1.0, 1.0, 1.0), (0.1, 0.6, 0.9)])
def test_a_layered_model_is_its_layers_votes_put_together(averaging, alphas):
    layers = [Layer(8, 0.5, 1.0), Layer(8, 0.5, 0.5), Layer(8, 0.5, 0.0)]
    sizes = [[(8, 4), (0, 0)], [(4, 2), (4, 2)], [(0, 0), (8, 4)]]
    n_eff = effective_features_by_task(layers, alphas, averaging)
    for task, found in zip("ab", n_eff):
        assert found == pytest.approx(theory.effective_features(*layered_votes(sizes, alphas, averaging, task)))
    np.testing.assert_allclose(
        accuracies(layers, alphas, 0.8, 5, averaging)[0],
        theory.clt_accuracy(*layered_votes(sizes, alphas, averaging, "a"), 0.8, 5),
    )


@AVERAGING
def test_swapping_the_tasks_is_swapping_the_ratios(averaging):
    alphas = np.array([0.5, 0.2, 0.05])
    forward = effective_features_by_task(FALLING, alphas, averaging)
    np.testing.assert_allclose(effective_features_by_task(FALLING, 1 - alphas, averaging), forward[::-1])


@AVERAGING
def test_gradients_are_slopes(averaging):
    alphas, step = np.array([0.5, 0.2, 0.7]), 1e-5
    for layer in range(3):
        shift = step * np.eye(3)[layer]
        ends = [effective_features_by_task(FALLING, alphas + sign * shift, averaging) for sign in (1, -1)]
        np.testing.assert_allclose(
            effective_gradients(FALLING, alphas, averaging)[:, layer], (ends[0] - ends[1]) / (2 * step), atol=1e-6
        )


@AVERAGING
@pytest.mark.parametrize("fixed_mean", [False, True])
@given(
    alpha=st.floats(0.05, 0.95),
    common=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    shared=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
@settings(max_examples=40)
def test_a_raising_direction_does_raise_both_tasks(averaging, fixed_mean, alpha, common, shared):
    layers = falling_layers(3, 10, common, shared)
    direction = raising_direction(layers, alpha, averaging, fixed_mean)
    assume(direction is not None)
    slopes = effective_gradients(layers, np.full(3, alpha), averaging) @ direction
    assert np.all(slopes > 0)
    if fixed_mean:
        assert abs(direction.sum()) < 1e-9


@AVERAGING
def test_layers_alike_in_overlap_gain_nothing_from_unequal_ratios_to_first_order(averaging):
    fronts = layered_fronts(ALIKE, 0.8, 5, averaging, steps=10)
    for alpha in fronts.equal_ratios[1:-1:5, 0]:
        assert raising_direction(ALIKE, alpha, averaging, fixed_mean=False) is None
        assert raising_direction(ALIKE, alpha, averaging, fixed_mean=True) is None


@AVERAGING
def test_layers_that_differ_in_overlap_are_beaten_at_every_inner_equal_ratio_of_the_front(averaging):
    fronts = layered_fronts(FALLING, 0.8, 5, averaging, steps=10)
    inner = [alphas[0] for alphas in fronts.equal_ratios[::2] if 0 < alphas[0] < 1 and abs(alphas[0] - 0.5) > 1e-9]
    assert len(inner) > 3
    for alpha in inner:
        direction = raising_direction(FALLING, alpha, averaging, fixed_mean=False)
        equal, moved = (
            effective_features_by_task(FALLING, alpha + step * direction, averaging) for step in (0.0, 1e-4)
        )
        assert np.all(moved > equal)


@AVERAGING
def test_without_shared_features_equal_ratios_of_one_half_are_best_for_both_tasks_at_once(averaging):
    layers = falling_layers(3, 10, (1.0, 0.0), (0.0, 0.0))
    grid = np.array(list(product(np.linspace(0, 1, 11), repeat=3)))
    best = effective_features_by_task(layers, grid, averaging).max(axis=0)
    np.testing.assert_allclose(effective_features_by_task(layers, np.full(3, 0.5), averaging), best)
    np.testing.assert_allclose(best, 45.0)


@AVERAGING
@pytest.mark.parametrize("mean,weight_b", [(0.2, 1.0), (0.4, 0.5)])
def test_best_ratios_keep_the_mean_and_are_no_worse_than_any_grid_point(averaging, mean, weight_b):
    found = best_ratios(FALLING, mean, 0.8, 5, averaging, weight_b)
    assert np.all((found >= 0) & (found <= 1)) and found.mean() == pytest.approx(mean)
    ticks = np.linspace(0, 1, 21)
    grid = np.array([(x, y, 3 * mean - x - y) for x, y in product(ticks, ticks) if 0 <= 3 * mean - x - y <= 1])
    value = accuracies(FALLING, np.vstack([found, grid]), 0.8, 5, averaging) @ [1 - weight_b, weight_b]
    assert value[0] >= value[1:].max() - 1e-9


@pytest.mark.parametrize("averaging,shared", [("weights", 0.25), ("outputs", 0.75)])
def test_unequal_ratios_add_to_the_front_when_concepts_fall_with_depth(averaging, shared):
    layers = falling_layers(3, 10, (1.0, 0.0), (shared, shared))
    fronts = layered_fronts(layers, 0.8, 5, averaging, steps=20)
    assert fronts.unequal_area > 1.03 * fronts.equal_area
    lift, equal, unequal = largest_lift(fronts)
    gained = accuracies(layers, unequal, 0.8, 5, averaging) - accuracies(layers, equal, 0.8, 5, averaging)
    assert lift == pytest.approx(gained.min()) and lift > 2e-3
    assert abs(unequal[0] - 0.5) < abs(equal[0] - 0.5), "low layers are averaged more"


@AVERAGING
def test_no_ratios_of_a_fine_grid_go_further_than_the_points_of_the_scalarised_front(averaging):
    points, ratios = scalarised_front(FALLING, 0.8, 5, averaging, n_points=6)
    np.testing.assert_allclose(accuracies(FALLING, ratios, 0.8, 5, averaging), points)
    assert len(points) > 3 and np.all(np.diff(points[:, 0]) < 0) and np.all(np.diff(points[:, 1]) > 0)
    on_grid = accuracies(FALLING, np.array(list(product(np.linspace(0, 1, 31), repeat=3))), 0.8, 5, averaging)
    np.testing.assert_array_less(on_grid.max(axis=0) - 1e-7, [points[0, 0], points[-1, 1]])
    reference = points.min(axis=0)
    for point in points[1:-1]:
        assert ((on_grid - reference) / (point - reference)).min(axis=1).max() < 1 + 1e-5


@AVERAGING
def test_layers_alike_in_overlap_add_nothing_to_the_front(averaging):
    fronts = layered_fronts(ALIKE, 0.8, 5, averaging, steps=20)
    assert fronts.equal_area <= fronts.unequal_area < 1.0005 * fronts.equal_area


def test_the_order_of_two_choices_does_not_depend_on_p_or_the_number_of_classes():
    lift, equal, unequal = largest_lift(layered_fronts(FALLING, 0.8, 5, "weights", steps=10))
    assert lift > 0
    for p, k in product((0.3, 0.6, 0.95), (2, 20)):
        assert np.all(accuracies(FALLING, unequal, p, k, "weights") > accuracies(FALLING, equal, p, k, "weights"))


def sampled_gain(n, p, task):
    """Gain of the ratios of largest lift over equal ones: (closed form, sampled, standard error); 100,000
    samples.
    """
    layers = [Layer(n, 0.25, 1.0), Layer(n, 0.25, 0.5), Layer(n, 0.25, 0.0)]
    equal, unequal = [0.3475] * 3, [0.5, 0.4, 0.3]
    expected = accuracies(layers, unequal, p, 5, "weights") - accuracies(layers, equal, p, 5, "weights")
    counts, weights = layer_votes(layers, unequal, "weights", task)
    _, baseline = layer_votes(layers, equal, "weights", task)
    found = theory.monte_carlo.simulate_difference(counts, weights, baseline, p, 5, 100_000, np.random.default_rng(0))
    return expected["ab".index(task)], *found


@pytest.mark.parametrize("task", ["a", "b"])
def test_the_lift_of_unequal_ratios_is_seen_in_sampled_votes_at_many_features(task):
    expected, found, stderr = sampled_gain(128, 0.95, task)
    assert expected > 0.004 and found > 3 * stderr and abs(found - expected) < 4 * stderr


def test_the_lift_of_unequal_ratios_is_lost_in_the_error_of_the_limit_at_few_features():
    expected, found, stderr = sampled_gain(8, 0.8, "b")
    assert expected > 0.004 > 0.003 > found + stderr


@pytest.mark.parametrize(
    "call,message",
    [
        (lambda: Layer(10, 1.5, 0.5), r"shared must be a number in \[0, 1\], not 1.5"),
        (lambda: Layer(0, 0.5, 0.5), r"n must be a number in"),
        (lambda: effective_features_by_task(FALLING, [0.5, 0.5], "weights"), "alphas must have 3 ratios"),
        (
            lambda: effective_features_by_task(FALLING, [0.5, 0.5, 1.1], "weights"),
            r"alphas must be numbers in \[0, 1\]",
        ),
        (lambda: best_ratios(FALLING, -0.1, 0.8, 5, "weights", 1), r"mean must be a number in \[0, 1\], not -0.1"),
        (lambda: layer_votes(FALLING, [0.5, 0.5], "weights", "a"), "alphas must have 3 ratios, one per layer, not 2"),
        (lambda: layer_votes(FALLING, [1.5, 0, 0], "weights", "a"), r"alphas must be a number in \[0, 1\], not 1.5"),
        (lambda: effective_gradients(FALLING, np.full((2, 3), 0.5), "weights"), "alphas must have 3 ratios"),
        (lambda: raising_direction(FALLING, 0.0, "weights", False), r"alpha must be inside \(0, 1\)"),
        (
            lambda: scalarised_front(falling_layers(26, 10, (1, 0), (0, 0)), 0.8, 5, "weights"),
            "layers must be few enough for 100000 starts, not 26",
        ),
        (lambda: layer_votes(FALLING, [0.5] * 3, "weights", "c"), "tested_on must be 'a' or 'b', not 'c'"),
        (lambda: layered_fronts([], 0.8, 5, "weights"), "layers must be one or more Layers"),
        (
            lambda: layered_fronts(falling_layers(26, 10, (1, 0), (0, 0)), 0.8, 5, "weights", 2),
            "3\\^26 ratios; at most",
        ),
        (lambda: falling_layers(1, 10, (1, 0), (0, 0)), "n_layers must be an integer of at least 2, not 1"),
    ],
)
def test_bad_layers_and_ratios_are_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_task_without_votes_is_guessed():
    own = [Layer(10, 0.2, 0.0)]  # no concept in common: at alpha = 1 nothing is left for a
    assert accuracies(own, [1.0], 0.3, 5, "weights")[0] == pytest.approx(0.2)
    assert accuracies(own, [1.0], 0.0, 5, "weights")[0] == pytest.approx(0.2)
    with pytest.raises(ValueError, match="n_classes must be an integer of at least 2"):
        accuracies(own, [1.0], 0.3, 0, "weights")


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_ratios_are_sought_at_a_p_between_the_ends_alone(p):
    for search in (
        lambda: theory.scalarised_front(FALLING, p, 5, "weights"),
        lambda: best_ratios(FALLING, 0.5, p, 5, "weights", 0.5),
    ):
        with pytest.raises(ValueError, match=r"p must be inside \(0, 1\)"):
            search()
