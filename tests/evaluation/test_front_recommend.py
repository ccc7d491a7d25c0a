"""The recommended ratio: right where the answer is known, honest where there is none, and reproducible."""

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.errors import UserError
from llm.evaluation.front.recommend import Series, recommend
from llm.evaluation.front.settings import parse_alphas
from llm.evaluation.measurement import BLEU, MEAN, Measurement, bleu_statistics, corpus_bleu, values

ALPHAS = [0.0, 0.5, 0.8, 1.0]


def series(name, means, items=400, spread=1.0, shared=1.0, seed=0):
    """Items of each point: its mean, noise that all points share, and a little of its own."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=items) * spread
    own = rng.normal(size=(len(means), items)) * (1 - shared) * spread
    own -= own.mean(axis=1, keepdims=True)
    return Series(name, np.array(means)[:, None] + common - common.mean() + own, MEAN)


def test_the_largest_gain_without_a_significant_loss_is_taken():
    reward = series("reward", [1.0, 3.0, 5.0, 5.0], shared=0.9)
    ability = series("qa", [0.9, 0.8, 0.7, 0.5], shared=0.9, seed=1)
    found = recommend(ALPHAS, reward, [ability], np.random.default_rng(0), resamples=300)
    assert found.alpha == 0.8
    assert found.allowed == [0.8, 1.0]
    assert found.chosen[0.8] > 0.9
    assert found.gain.value == pytest.approx(0.2)
    assert found.gain.low < 0.2 < found.gain.high
    assert found.abilities["qa"].value == pytest.approx(0.2)
    assert found.alignment.low < 0 < found.alignment.high
    assert found.expected.value == pytest.approx(0.2, abs=0.05)


def test_where_every_ratio_loses_reward_theta_is_kept():
    reward = series("reward", [1.0, 3.0, 4.5, 5.0], shared=1.0)
    ability = series("qa", [0.9, 0.8, 0.7, 0.5])
    found = recommend(ALPHAS, reward, [ability], np.random.default_rng(0), resamples=200)
    assert found.alpha == 1.0
    assert found.allowed == [1.0]
    assert found.gain.value == found.gain.low == found.gain.high == 0


def test_pairing_finds_a_loss_that_unpaired_errors_would_hide():
    """A loss of a tenth of the items' spread is certain when all items lose it."""
    reward = series("reward", [4.9, 4.9, 4.9, 5.0], items=50, spread=1.0, shared=1.0)
    ability = series("qa", [0.9, 0.9, 0.9, 0.5], items=50)
    found = recommend(ALPHAS, reward, [ability], np.random.default_rng(0), resamples=200)
    assert found.alpha == 1.0


def test_gains_of_several_abilities_are_shares_of_their_scales():
    reward = series("reward", [5.0, 5.0, 5.0, 5.0], shared=0.9)
    qa = series("qa", [0.5, 0.6, 0.5, 0.5], seed=1)
    statistics = np.zeros((4, 30, 10))
    statistics[:, :, 0] = statistics[:, :, 1] = 8
    statistics[:, :, 6:] = [8, 7, 6, 5]
    for point, right in enumerate([3, 3, 8, 3]):
        statistics[point, :, 2:6] = np.array([8, 7, 6, 5]) * right / 8
    bleu = Series("bleu", np.floor(statistics), BLEU)
    found = recommend(ALPHAS, reward, [qa, bleu], np.random.default_rng(0), resamples=100)
    assert found.alpha == 0.8
    gained = (bleu.value()[2] - bleu.value()[3]) / 100
    assert found.gain.value == pytest.approx(gained / 2)
    assert found.abilities["bleu"].value == pytest.approx(100 * gained)


def test_choosing_among_equals_promises_nothing_on_new_items():
    """All points are the same but for noise: the chosen one looks good, the items left out say it is not."""
    rng, looks, promises = np.random.default_rng(5), [], []
    for _ in range(15):
        reward, ability = (Series(name, rng.normal(size=(21, 40)), MEAN) for name in ("reward", "qa"))
        found = recommend([k / 20 for k in range(21)], reward, [ability], np.random.default_rng(0), resamples=60)
        looks.append(found.gain.value)
        promises.append(found.expected.value)
        assert max(found.chosen.values()) < 0.9
    assert np.mean(looks) > 0.2
    assert np.mean(promises) < np.mean(looks) / 2


def test_the_same_seed_recommends_the_same_and_another_draws_otherwise():
    reward, ability = (series("reward", [1, 3, 5, 5], shared=0.9), series("qa", [0.9, 0.8, 0.7, 0.5], shared=0.9))
    first, again, other = (
        recommend(ALPHAS, reward, [ability], np.random.default_rng(seed), resamples=50) for seed in (0, 0, 1)
    )
    assert first == again
    assert first.gain.low != other.gain.low


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_the_recommended_ratio_is_always_allowed_and_never_worse_in_ability(seed):
    rng = np.random.default_rng(seed)
    reward, ability = (Series(name, rng.normal(size=(4, 12)), MEAN) for name in ("reward", "qa"))
    found = recommend(ALPHAS, reward, [ability], np.random.default_rng(0), resamples=20)
    assert found.alpha in found.allowed
    assert found.gain.value >= 0
    assert sum(found.chosen.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"confidence": 1.0}, "confidence is 1.0"),
        ({"resamples": 1}, "resamples is 1"),
        ({"abilities": []}, "no ability"),
        ({"abilities": [Series("qa", np.zeros((4, 4)), MEAN)]}, "qa has 4 items, allowed are at least 5"),
    ],
)
def test_what_cannot_be_decided_is_refused(changes, said):
    given_ = {"abilities": [series("qa", [1, 1, 1, 1])], "confidence": 0.95, "resamples": 10} | changes
    with pytest.raises(UserError, match=said):
        recommend(ALPHAS, series("reward", [1, 1, 1, 1]), rng=np.random.default_rng(0), **given_)


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


def test_ratios_are_written_as_a_range_or_a_list():
    assert parse_alphas("0:1:0.1") == [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]
    assert parse_alphas("0.8,0.2,0.2") == [0.2, 0.8]
    assert parse_alphas("0.4") == [0.4]


@pytest.mark.parametrize("text", ["", "a", "0:1", "0:2:1", "1:0:0.1", "0:1:0", "0:1:-1", "0,1.5", "nan", "0:1:nan"])
def test_other_ratios_are_refused(text):
    with pytest.raises(UserError, match="allowed are FIRST:LAST:STEP or numbers and commas, from 0 to 1"):
        parse_alphas(text)
