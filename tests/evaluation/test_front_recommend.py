"""The recommended ratio: right where the answer is known, honest where there is none, and reproducible."""

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from llm.errors import UserError
from llm.evaluation.changes import Change
from llm.evaluation.front.recommend import Series, recommend
from llm.evaluation.front.report import sentence
from llm.evaluation.front.settings import parse_numbers
from llm.evaluation.measurement import BLEU, MEAN, Measurement, bleu_statistics, corpus_bleu, values
from llm.evidence.intervals import fieller

ALPHAS = [0.5, 0.8]
NAMES = [("ma", alpha) for alpha in ALPHAS]


def series(name, means, items=400, spread=1.0, shared=1.0, seed=0):
    """Items of each point: its mean, noise that all points share, and a little of its own."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=items) * spread
    own = rng.normal(size=(len(means), items)) * (1 - shared) * spread
    own -= own.mean(axis=1, keepdims=True)
    return Series(name, np.array(means)[:, None] + common - common.mean() + own, MEAN)


def test_the_largest_gain_that_keeps_enough_of_the_rise_is_taken():
    reward = series("reward", [1.0, 3.0, 4.95, 5.0], shared=0.9)
    ability = series("qa", [0.9, 0.8, 0.7, 0.5], shared=0.9, seed=1)
    found = recommend(NAMES, reward, [ability], 0, resamples=300)
    assert (found.method, found.alpha, found.sure, found.warnings) == ("ma", 0.8, True, [])
    assert [one.allowed for one in found.candidates] == [False, True]
    assert [one.kept for one in found.candidates] == pytest.approx([0.5, 3.95 / 4])
    assert found.best.chosen > 0.9 and 0.95 <= found.best.low < 3.95 / 4 < found.best.high
    assert found.gain.value == found.best.gain == pytest.approx(0.2)
    assert found.gain.low < 0.2 < found.gain.high
    assert found.abilities["qa"].value == pytest.approx(0.2)
    assert found.alignment.value == pytest.approx(-0.05)
    assert found.expected.value == pytest.approx(0.2, abs=0.05)
    assert found.verdicts == [f"theta pays a tax on qa ({found.tax['qa']})."]


def test_a_recommendation_at_the_end_of_what_was_tried_says_so():
    """Not where theta_0 itself is that end."""
    reward = series("reward", [0.0, 0.99, 0.995, 1.0], shared=0.99)
    ability = series("qa", [0.9, 0.8, 0.7, 0.5])
    for names, said in (([("ma", 0.5), ("ma", 0.8)], True), ([("ma", 0.0), ("ma", 0.8)], False)):
        found = recommend(names, reward, [ability], 0, resamples=50)
        assert found.best.alpha == names[0][1]
        assert (found.warnings == ["Nothing nearer to theta_0 was tried of its method, which may gain more."]) == said


def test_a_loss_that_is_not_significant_is_no_small_loss():
    """Six prompts cannot tell a loss of a tenth of the rise from none: what the estimate says is taken, and said to be unsure."""
    reward = series("reward", [0.0, 0.5, 0.97, 1.0], items=6, shared=0.7)
    ability = series("qa", [0.9, 0.8, 0.7, 0.5], items=60)
    found = recommend(NAMES, reward, [ability], 0, resamples=50)
    assert (found.alpha, found.sure) == (0.8, False)
    assert "By its estimate alone this model keeps 97% of the rise" in found.warnings[0]
    assert "from 6 items" in found.warnings[1]


def test_where_every_ratio_loses_reward_theta_is_kept():
    reward = series("reward", [1.0, 3.0, 4.5, 5.0], shared=1.0)
    ability = series("qa", [0.9, 0.8, 0.7, 0.5])
    found = recommend(NAMES, reward, [ability], 0, resamples=200)
    assert found.alpha == 1.0 and found.best is None
    assert not any(one.allowed for one in found.candidates)
    assert found.gain.value == found.gain.low == found.gain.high == 0


@pytest.mark.parametrize(("items", "sure"), [(10, False), (4000, True)])
def test_theta_is_kept_for_sure_only_where_the_intervals_rule_the_others_out(items, sure):
    """The estimates of both ratios are below .95 of the rise; ten prompts cannot tell that from .95, and four thousand can."""
    reward = series("reward", [0.0, 0.8, 0.85, 1.0], items=items, shared=0.7)
    found = recommend(NAMES, reward, [series("qa", [0.9, 0.8, 0.7, 0.5])], 0, resamples=50)
    said = sentence(found, "reward", [])
    assert (found.method, found.alpha, found.sure) == ("theta", 1.0, sure)
    assert all((one.high < 0.95) == sure for one in found.candidates)
    if sure:
        assert found.warnings == [] and said.endswith("keep theta.") and "surely" not in said
        return
    low, high = max(((one.low, one.high) for one in found.candidates), key=lambda span: span[1] - span[0])
    assert "No model that was tried gains ability and surely keeps 95% of the rise" in said
    assert f"is {low:.0%} to {high:.0%}, from 10 items; more prompts" in said and said.endswith(found.warnings[0])


def test_theta_is_kept_for_sure_where_no_model_gains_ability():
    """More prompts could tell which ratios keep enough of the rise, but none of them has anything to gain."""
    reward = series("reward", [0.0, 0.8, 0.97, 1.0], items=10, shared=0.7)
    found = recommend(NAMES, reward, [series("qa", [0.5, 0.5, 0.5, 0.5])], 0, resamples=50)
    assert found.candidates[1].kept > 0.95 > found.candidates[1].low
    assert (found.method, found.sure, found.warnings) == ("theta", True, [])
    assert sentence(found, "reward", []).endswith("keep theta.")


def test_beyond_theta_ratios_are_tried_from_theta_upwards():
    """1.1 keeps more than theta has, 1.3 too little, so that 1.5, the best in ability, is not tried."""
    reward = series("reward", [1.0, 3.0, 5.4, 4.0, 6.0, 5.0], shared=0.99)
    names = [("ma", 0.5), *(("extrapolate", alpha) for alpha in (1.1, 1.3, 1.5))]
    ability = series("qa", [0.9, 0.8, 0.6, 0.55, 0.95, 0.5], shared=0.99)
    found = recommend(names, reward, [ability], 0, resamples=50)
    assert [one.kept for one in found.candidates] == pytest.approx([0.5, 1.1, 0.75, 1.25])
    assert [one.allowed for one in found.candidates] == [False, True, False, False]
    assert (found.method, found.alpha, found.sure, found.warnings) == ("extrapolate", 1.1, True, [])
    assert found.alignment.value == pytest.approx(0.4) and found.gain.value == pytest.approx(0.1)
    worse = series("qa", [0.9, 0.8, 0.45, 0.4, 0.3, 0.5], shared=0.99)
    assert recommend(names, reward, [worse], 0, resamples=50).method == "theta"


def test_a_recommended_extrapolation_at_the_end_of_what_was_tried_says_so():
    names, reward = (
        [("ma", 0.5), ("extrapolate", 1.2), ("extrapolate", 1.5)],
        series("reward", [0.0, 0.5, 1.1, 1.2, 1.0]),
    )
    ability = series("qa", [0.9, 0.8, 0.6, 0.7, 0.5])
    found = recommend(names, reward, [ability], 0, resamples=50)
    assert found.alpha == 1.5
    assert found.warnings == ["Nothing further beyond theta was tried of its method, which may gain more."]


def test_a_ratio_beyond_one_that_loses_too_much_is_not_tried():
    """Between .5, which keeps all, and theta lies .8, which does not."""
    reward = series("reward", [1.0, 5.0, 4.0, 5.0], shared=1.0)
    found = recommend(NAMES, reward, [series("qa", [0.9, 0.8, 0.7, 0.5])], 0, resamples=20)
    assert found.alpha == 1.0
    apart = recommend([("ama", 0.5), ("ma", 0.8)], reward, [series("qa", [0.9, 0.8, 0.7, 0.5])], 0, resamples=20)
    assert (apart.method, apart.alpha) == ("ama", 0.5)


@pytest.mark.parametrize(("rise", "own"), [(1.0, (0.5, 0.8)), (-1.0, (0.8, 0.5))])
def test_methods_are_compared_where_theta_is_kept_and_without_a_rise(rise, own):
    """Each as far from theta as its estimates keep .95 of the rise, else at its nearest model; never at theta_0, which they share."""
    names = [(method, alpha) for method in ("ma", "slerp") for alpha in (0.0, 0.5, 0.8)]
    reward = series("reward", [0.0, 0.0, 0.96 * rise, 0.97 * rise, 0.0, 0.5 * rise, 0.9 * rise, rise], shared=0.999)
    ability = series("qa", [0.5, 0.5, 0.1, 0.6, 0.5, 0.4, 0.3, 0.9], shared=0.99)
    found = recommend(names, reward, [ability], 0, resamples=50)
    assert (found.method, found.alpha) == ("theta", 1.0 if rise > 0 else None)
    assert tuple(one["alpha"] for one in found.by_method.values()) == own
    gains = [ability.value()[names.index((name, alpha)) + 1] - 0.9 for name, alpha in zip(found.by_method, own)]
    leads = [one["most_less_this"] for one in found.by_method.values()]
    assert [one["gain"] for one in found.by_method.values()] == pytest.approx(gains)
    assert [lead.value for lead in leads] == pytest.approx([max(gains) - gain for gain in gains])
    assert sorted(lead.low > 0 for lead in leads) == [False, True] and Change(0, 0, 0) in leads


def test_a_method_whose_models_do_not_begin_at_theta_0_is_compared_at_its_ratio_0_too():
    names = [("ma", 0.0), ("ma", 0.5), ("lines", 0.0), ("lines", 0.5)]
    reward = series("reward", [0.0, 0.0, 0.97, 0.98, 0.99, 1.0], shared=0.999)
    ability = series("qa", [0.9, 0.9, 0.6, 0.8, 0.7, 0.5], shared=0.99)
    found = recommend(names, reward, [ability], 0, resamples=50)
    assert {method: one["alpha"] for method, one in found.by_method.items()} == {"ma": 0.5, "lines": 0.0}


def test_the_procedure_is_run_on_resamples_with_its_way_out():
    """A model that just surely keeps enough does so on half of the resamples, and by its estimate alone on nearly all others."""
    n, rng = 200, np.random.default_rng(0)
    noise = rng.standard_normal(n)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    model = 0.95 + 0.1 * (noise + 2.1 / np.sqrt(n))  # its margin is 2.1 standard errors
    reward = Series("reward", np.stack([np.zeros(n), model, np.ones(n)]), MEAN)
    found = recommend([("ma", 0.5)], reward, [series("qa", [0.9, 0.8, 0.5], shared=0.99)], 0, resamples=400)
    assert found.method == "ma" and found.sure
    assert found.best.chosen > 0.95


def test_without_several_methods_none_are_compared():
    reward, ability = series("reward", [0.0, 0.5, 1.0, 1.0]), series("qa", [0.5, 0.5, 0.5, 0.5])
    assert recommend(NAMES, reward, [ability], 0, resamples=2).by_method == {}


def test_without_a_rise_nothing_is_recommended_and_the_verdicts_say_so():
    reward = series("reward", [5.0, 5.0, 5.0, 5.0], shared=0.5)
    found = recommend(NAMES, reward, [series("qa", [0.5, 0.5, 0.5, 0.5])], 0, resamples=20)
    assert found.alpha is None and found.best is None
    assert found.verdicts[0] == "theta pays no measurable tax on these items."
    assert found.verdicts[1].startswith("theta does not measurably beat theta_0 on the alignment metric: reward")


def test_what_is_kept_lies_in_its_interval_as_often_as_stated():
    """1500 fronts of 40 items: the true share is inside 95 % of the time (standard error .6 %), at each end missed as often."""
    rng, items, truth = np.random.default_rng(1), 40, np.array([0.6, 0.95])
    missed = np.zeros((2, 2))
    for _ in range(1500):
        rise = 1 + rng.normal(size=items)
        above = truth[:, None] * rise + 0.5 * rng.normal(size=(2, items))
        both = np.concatenate([above, rise[None]])
        quantile = stats.t.ppf(0.975, items - 1)
        low, _, high = fieller(both.mean(axis=1), np.cov(both) / items, quantile)
        missed += [truth < low, truth > high]
    assert missed / 1500 == pytest.approx(0.025, abs=4 * np.sqrt(0.025 * 0.975 / 1500))


def test_the_rule_keeps_what_it_says_as_often_as_it_says():
    """400 fronts on which four ratios keep just less than .95 of the rise, all of them with more ability than those that keep more:
    as tried downwards from theta, one of them is taken surely in 2.5 % of the cases, and not in four times as many.
    """
    rng, items = np.random.default_rng(2), 60
    kept = np.array([0.0, 0.9, 0.9499, 0.9499, 0.9499, 0.9499, 0.985, 0.99, 1.0])
    alphas = np.linspace(0, 1, len(kept))[1:-1]
    wrong = 0
    for _ in range(400):
        rise = 1 + 0.5 * rng.normal(size=items)
        reward = kept[:, None] * rise + 0.06 * rng.normal(size=(len(kept), items))
        ability = np.linspace(0.9, 0.5, len(kept))[:, None] + 0.01 * rng.normal(size=(len(kept), items))
        tasks = Series("reward", reward, MEAN), [Series("qa", ability, MEAN)]
        found = recommend([("ma", alpha) for alpha in alphas], *tasks, 0, resamples=2)
        wrong += found.sure and found.best is not None and found.alpha < alphas[-2]
    assert 0 < wrong / 400 <= 0.025 + 3 * np.sqrt(0.025 * 0.975 / 400)


def test_the_rule_holds_over_several_methods():
    """600 fronts of four methods, each with a model just below .95 of the rise and noise of its own: one of them is taken surely in
    2.5 % of the cases together, not each.
    """
    rng, items, wrong = np.random.default_rng(3), 60, 0
    names = [(method, 0.5) for method in ("ma", "lines", "trim", "slerp")]
    kept, ability = np.array([0, *[0.9499] * 4, 1]), series("qa", [0.9, *[0.8] * 4, 0.5], items=5)
    for _ in range(600):
        reward = kept[:, None] * (1 + 0.1 * rng.normal(size=items)) + 0.06 * rng.normal(size=(6, items))
        found = recommend(names, Series("reward", reward, MEAN), [ability], 0, resamples=2)
        wrong += found.sure and found.best is not None
    assert found.each == pytest.approx(1 - 0.05 / 4)
    assert 0 < wrong / 600 <= 0.025 + 3 * np.sqrt(0.025 * 0.975 / 600)


def test_gains_of_several_abilities_are_shares_of_their_scales():
    reward = series("reward", [1.0, 5.0, 5.0, 5.0], shared=0.99)
    qa = series("qa", [0.5, 0.5, 0.5, 0.5], seed=1)
    statistics = np.zeros((4, 30, 10))
    statistics[:, :, 0] = statistics[:, :, 1] = 8
    statistics[:, :, 6:] = [8, 7, 6, 5]
    for point, right in enumerate([3, 3, 8, 3]):
        statistics[point, :, 2:6] = np.array([8, 7, 6, 5]) * right / 8
    bleu = Series("bleu", np.floor(statistics), BLEU)
    found = recommend(NAMES, reward, [qa, bleu], 0, resamples=100)
    assert found.alpha == 0.8
    gained = (bleu.value()[2] - bleu.value()[3]) / 100
    assert found.gain.value == pytest.approx(gained / 2)
    assert found.abilities["bleu"].value == pytest.approx(100 * gained)


def test_an_alignment_metric_that_is_no_mean_is_judged_by_its_bootstrap():
    statistics = np.zeros((4, 30, 10))
    statistics[:, :, 0] = statistics[:, :, 1] = 8
    statistics[:, :, 6:] = [8, 7, 6, 5]
    for point, right in enumerate([2, 4, 8, 8]):
        statistics[point, :, 2:6] = np.floor(np.array([8, 7, 6, 5]) * right / 8)
    found = recommend(NAMES, Series("bleu", statistics, BLEU), [series("qa", [0.9, 0.8, 0.7, 0.5])], 0, resamples=50)
    assert found.alpha == 0.8 and found.best.kept == pytest.approx(1)


def test_choosing_among_equals_promises_nothing_on_new_items():
    """All points have the same abilities but for noise: the chosen one looks good, the items left out say it is not."""
    rng, looks, promises = np.random.default_rng(5), [], []
    for _ in range(15):
        reward, ability = (Series(name, rng.normal(size=(22, 40)), MEAN) for name in ("reward", "qa"))
        reward.items[1:] = reward.items[0] + 5
        names = [("ma", k / 20) for k in range(20)]
        found = recommend(names, reward, [ability], 0, resamples=60)
        looks.append(found.gain.value)
        promises.append(found.expected.value)
        assert max(one.chosen for one in found.candidates) < 0.9
    assert np.mean(looks) > 0.2
    assert np.mean(promises) < np.mean(looks) / 2


def test_the_same_seed_recommends_the_same_and_another_draws_otherwise():
    reward, ability = (series("reward", [1, 3, 5, 5], shared=0.9), series("qa", [0.9, 0.8, 0.7, 0.5], shared=0.9))
    first, again, other = (recommend(NAMES, reward, [ability], seed, resamples=50) for seed in (0, 0, 1))
    assert first == again
    assert first.gain.low != other.gain.low


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.5, 0.95, 1.0]))
def test_the_recommended_ratio_is_always_allowed_and_never_worse_in_ability(seed, keep):
    rng = np.random.default_rng(seed)
    reward, ability = (Series(name, rng.normal(size=(4, 12)), MEAN) for name in ("reward", "qa"))
    reward.items[1:] += 2 * rng.random((3, 1))
    found = recommend(NAMES, reward, [ability], 0, keep, resamples=20)
    if found.best is not None:
        assert found.best.allowed and found.best.kept >= keep and found.gain.value >= 0
        assert not found.sure or found.best.low >= keep
    assert sum(one.chosen for one in found.candidates) <= 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"confidence": 1.0}, "confidence = 1.0"),
        ({"resamples": 1}, "resamples = 1"),
        ({"keep": 0.0}, "keep = 0.0"),
        ({"keep": 1.1}, "keep = 1.1"),
        ({"abilities": []}, "no ability"),
        ({"abilities": [Series("qa", np.zeros((4, 4)), MEAN)]}, "qa has 4 items; allowed are at least 5"),
    ],
)
def test_what_cannot_be_decided_is_refused(changes, said):
    given_ = {"abilities": [series("qa", [1, 1, 1, 1])], "confidence": 0.95, "resamples": 10} | changes
    with pytest.raises(UserError, match=said):
        recommend(NAMES, series("reward", [1, 1, 1, 1]), seed=0, **given_)


REPLIES = ["the cat sat on the mat .", "a dog, a dog!", "nothing"]
REFERENCES = ["the cat sat on a mat .", "a dog, two dogs!", "something else entirely"]


def test_bleu_is_sacrebleu_s_and_its_error_is_a_bootstrap_over_sentences():
    statistics = bleu_statistics(REPLIES, REFERENCES, tokenize="13a")
    assert corpus_bleu(statistics) == pytest.approx(sacrebleu.corpus_bleu(REPLIES, [REFERENCES]).score)
    assert values(statistics[None, :2], BLEU)[0] == pytest.approx(
        sacrebleu.corpus_bleu(REPLIES[:2], [REFERENCES[:2]]).score
    )
    many = np.repeat(statistics, 30, axis=0)
    errors = [Measurement.of(part, BLEU, np.random.default_rng(0)).stderr for part in (statistics, many)]
    assert errors[1] == pytest.approx(errors[0] / np.sqrt(30), rel=0.5)


def test_errors_of_means_are_standard_errors_and_unknown_for_one_item():
    assert Measurement.of(np.array([0.0, 1.0, 1.0])).stderr == pytest.approx(1 / 3)
    assert Measurement.of(np.array([1.0])).stderr is None


def test_numbers_are_written_as_a_range_or_a_list():
    assert parse_numbers("alphas", 1, "0:1:0.1") == (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)
    assert parse_numbers("alphas", 1, "0.8,0.2,0.2") == (0.2, 0.8)
    assert parse_numbers("strength", 10, ["3", 0.1, 1e-3]) == (0.001, 0.1, 3)
    assert parse_numbers("alphas", 1, "0.4") == parse_numbers("alphas", 1, 0.4) == (0.4,)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "0:1",
        "0:2:1",
        "1:0:0.1",
        "0:1:0",
        "0:1:-1",
        "0,1.5",
        "nan",
        "0:1:nan",
        "0:1:1e-9",
        True,
        None,
        [True],
        {},
    ],
)
def test_other_numbers_are_refused(text):
    with pytest.raises(
        UserError, match="alphas = .* is not allowed; allowed are FIRST:LAST:STEP or numbers and commas, from 0 to 1"
    ):
        parse_numbers("alphas", 1, text)
