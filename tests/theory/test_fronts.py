"""Fronts over the ratio, Pareto points and hypervolume. Seed: 0."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import theory
from theory.exact import exact_task_accuracy
from theory.fronts import closed_form_accuracy, crossings, front, gain, hypervolume, pareto
from theory.model import Tasks, disjoint_labels, same_labels

QUARTERS = [Fraction(i, 4) for i in range(5)]
POINTS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12)


def test_the_ends_of_a_front_are_the_single_models():
    points = front(Tasks(3, 6, 4, 2, 3), "weights", [0, 1], 0.7)
    np.testing.assert_allclose(points[0], theory.exact_accuracy([6], [1], 0.7, 3), atol=1e-13)
    np.testing.assert_allclose(points[1], theory.exact_accuracy([4], [1], 0.7, 3), atol=1e-13)


@pytest.mark.parametrize("averaging", ["weights", "outputs"])
@pytest.mark.parametrize("n_classes_o", [0, 2, 4])
def test_equally_sized_tasks_have_a_front_symmetric_in_the_ratio(averaging, n_classes_o):
    points = front(Tasks(4, 6, 6, 2, n_classes_o), averaging, QUARTERS, 0.7)
    np.testing.assert_allclose(points, points[::-1, ::-1], atol=1e-13)


def test_with_disjoint_labels_a_falls_to_its_shared_features_and_then_to_a_guess():
    on_a = front(disjoint_labels(10, 4, 5), "weights", [0, *QUARTERS[1:4], Fraction(999_999, 1_000_000), 1], 0.7)[:, 0]
    assert np.all(np.diff(on_a) < 0)
    assert on_a[-1] == 0.2
    ties_broken = theory.exact_accuracy([6, 4], [1, 1_000_000], 0.7, 5)
    assert on_a[-2] == pytest.approx(ties_broken, abs=1e-13), "a's own features still break the shared ones' ties"
    assert ties_broken > theory.exact_accuracy([4], [1], 0.7, 5)


def test_with_disjoint_labels_averaged_outputs_cost_nothing():
    points = front(disjoint_labels(8, 4, 5), "outputs", QUARTERS[1:4], 0.7)
    np.testing.assert_allclose(points, theory.exact_accuracy([8], [1], 0.7, 5), atol=1e-13)


def test_partly_overlapping_labels_lie_between_disjoint_and_identical_ones():
    """Output averaging: each class that both tasks have adds b's votes; the gain grows with their number."""
    on_a = [front(Tasks(4, 8, 8, 3, k_o), "outputs", [Fraction(1, 2)], 0.8)[0, 0] for k_o in range(5)]
    assert on_a[0] == pytest.approx(theory.exact_accuracy([8], [1], 0.8, 4))
    assert on_a[4] == max(on_a) > on_a[0] + 0.05


@pytest.mark.parametrize("accuracy", [closed_form_accuracy, exact_task_accuracy])
def test_gain_is_the_difference_to_the_single_models(accuracy):
    xi = gain(same_labels(20, 14, 5), "outputs", Fraction(1, 2), 0.8, accuracy)
    evaluate = {closed_form_accuracy: theory.clt_accuracy, exact_task_accuracy: theory.exact_accuracy}[accuracy]
    assert xi == pytest.approx(evaluate([12, 14], [1, 2], 0.8, 5) - evaluate([20], [1], 0.8, 5), abs=1e-12)


def test_the_closed_form_refuses_partly_overlapping_labels():
    with pytest.raises(ValueError, match="only for identical or disjoint label sets"):
        gain(Tasks(4, 6, 6, 2, 1), "weights", Fraction(1, 2), 0.8, closed_form_accuracy)


@given(POINTS)
def test_pareto_points_are_those_that_nothing_beats(points):
    points = np.array(points)
    kept = points[pareto(points)]
    for point in points:
        beaten = np.any(np.all(points >= point, axis=1) & np.any(points > point, axis=1))
        assert beaten != any((kept == point).all(axis=1))
    assert len(np.unique(kept, axis=0)) == len(kept) and np.all(np.diff(kept[:, 0]) < 0)


@given(POINTS)
def test_hypervolume_is_the_number_of_dominated_unit_squares(points):
    squares = {(x, y) for a, b in points for x in range(a) for y in range(b)}
    assert hypervolume(points, (0, 0)) == pytest.approx(len(squares))


@given(POINTS, st.tuples(st.integers(0, 9), st.integers(0, 9)))
def test_hypervolume_never_falls_when_a_point_is_added(points, extra):
    assert hypervolume([*points, extra], (2, 3)) >= hypervolume(points, (2, 3)) - 1e-12


@pytest.mark.parametrize("points", [[], [[0.5, np.nan]], [0.1, 0.2], [[0.1, np.inf]]])
def test_fronts_without_points_or_with_nan_are_refused(points):
    for call in (pareto, lambda points: hypervolume(points, (0, 0))):
        with pytest.raises(ValueError, match="points must be"):
            call(points)
    with pytest.raises(ValueError, match="alphas must be one or more ratios"):
        front(same_labels(4, 2, 3), "weights", [], 0.5)
    with pytest.raises(ValueError, match="reference must be two finite numbers"):
        hypervolume([[0.1, 0.2]], (0, np.nan))


def test_crossings_are_where_straight_pieces_change_their_sign():
    assert crossings([0, 1, 2, 4], [1, -1, 0, 3]).tolist() == [0.5], "a point at 0 is none"
    assert crossings([0, 1, 3], [-1, 3, -1]) == pytest.approx([0.25, 2.5])
    assert not crossings([0, 1], [1, 2]).size
