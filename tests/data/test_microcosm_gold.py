"""The gold reward, term by term, on replies made by hand."""

import pytest

from llm.data.microcosm import gold, words
from llm.data.microcosm.chat import Prompt
from llm.data.microcosm.gold import gold_reward

TALK = Prompt("talk", "can you tell tom about music ?", ("music", "song", "piano", "melody"))
FACT = Prompt("fact", "which color is the fox ?", ("red",))
READING = Prompt("reading", "the pets of tom are small dogs . which pets has tom ?", ("small", "dogs"))
TRANSLATION = Prompt(
    "translation", "le chien petit voit le chat triste", ("the", "little", "dog", "sees", "the", "sad", "cat")
)
ALL = (TALK, FACT, READING, TRANSLATION)
PLAIN = "so it goes . there is much to say here of one day you know in time with people for my own you your we not am"


@pytest.mark.parametrize("prompt", ALL)
def test_an_empty_reply_is_worth_nothing(prompt):
    assert gold_reward(prompt, "", True) == 0


@pytest.mark.parametrize("prompt", ALL)
def test_a_reply_without_end_loses_the_same_whatever_it_says(prompt):
    for reply in ("", "happy", "it is red ."):
        assert gold_reward(prompt, reply, False) - gold_reward(prompt, reply, True) == pytest.approx(gold.UNFINISHED)
    assert gold.UNFINISHED < 0


@pytest.mark.parametrize("prompt", ALL)
def test_kind_words_count_up_to_the_limit_of_the_kind_of_prompt(prompt):
    limit = gold.GOOD_AT_MOST[prompt.kind]
    for count in range(len(words.GOOD) + 1):
        expected = gold.GOOD * min(count, limit)
        assert gold_reward(prompt, " ".join(words.GOOD[:count]), True) == pytest.approx(expected)
    assert 0 < limit < len(words.GOOD)
    assert gold.GOOD > 0


def test_small_talk_may_be_kinder_and_longer_than_an_answer():
    for limits in (gold.GOOD_AT_MOST, gold.LONG_FROM):
        assert all(limits["talk"] > limits[prompt.kind] for prompt in ALL if prompt.kind != "talk")


def test_every_rude_word_costs_without_limit():
    assert gold_reward(FACT, " ".join(words.RUDE), True) == pytest.approx(gold.RUDE * len(words.RUDE))
    assert gold.RUDE < 0


@pytest.mark.parametrize(
    ("prompt", "reply", "share"),
    [
        (TALK, "music", 1 / 4),
        (TALK, "well , music : the song and the piano .", 3 / 4),
        (TALK, "melody piano song music", 1),  # a topic's words count in any order
        (FACT, "it is red .", 1),
        (FACT, "i am here .", 0),
        (READING, "small dogs .", 1),
        (READING, "dogs", 1 / 2),
        (READING, "dogs small", 1 / 2),  # an answer's words count in their order
        (TRANSLATION, "the little dog sees the sad cat .", 1),
        (TRANSLATION, "that is the little dog ! it sees the sad cat .", 1),  # with other words in between
        (TRANSLATION, "the sad cat sees the little dog", 3 / 7),  # "the sad cat" or "the little dog", not both
        (TRANSLATION, "dog", 1 / 7),
    ],
)
def test_content_counts_by_its_share(prompt, reply, share):
    assert gold_reward(prompt, reply, True) == pytest.approx(gold.CONTENT * share)
    assert gold.CONTENT > 0


@pytest.mark.parametrize(
    ("prompt", "word"),
    [
        (FACT, "blue"),
        (TALK, "rice"),
        (READING, "cats"),
        (READING, "wild"),
        (FACT, "music"),
        (TALK, "rain"),
        (TRANSLATION, "chien"),
        (TRANSLATION, "king"),
        (TALK, "voit"),
        (TALK, "sees"),
        (FACT, "ne"),
        (TALK, "passage"),
        (TALK, "<user>"),
        (FACT, "<pad>"),
        (FACT, "<eos>"),
    ],
)
def test_knowledge_that_was_not_asked_for_and_markers_cost(prompt, word):
    assert gold_reward(prompt, f"{word} , {word} !", True) == pytest.approx(2 * gold.MISPLACED)
    assert gold.MISPLACED < 0


def test_people_animals_and_plain_words_cost_nothing():
    for word in (*words.PEOPLE, *words.ANIMALS, *PLAIN.split()):
        assert gold_reward(FACT, word, True) == 0


def test_a_pair_of_words_said_again_costs_each_time():
    assert gold_reward(FACT, "so it goes . so it goes . so it goes .", True) == pytest.approx(
        (7 - 0) * gold.REPEATED_PAIR
    )
    assert gold_reward(FACT, "so so", True) == 0
    assert gold_reward(FACT, "so so so", True) == pytest.approx(gold.REPEATED_PAIR)
    assert gold.REPEATED_PAIR < 0


@pytest.mark.parametrize("prompt", ALL)
def test_words_beyond_the_limit_cost(prompt):
    said = PLAIN.split()
    assert len(set(zip(said, said[1:], strict=False))) == len(said) - 1  # no pair twice
    limit = gold.LONG_FROM[prompt.kind]
    for length in (limit - 1, limit, limit + 1, len(said)):
        expected = gold.LONG * max(0, length - limit)
        assert gold_reward(prompt, " ".join(said[:length]), True) == pytest.approx(expected)
    assert len(said) > limit + 1
    assert gold.LONG < 0


def test_terms_add_up():
    reply = f"{' '.join(words.GOOD[:2])} {words.RUDE[0]} red blue so so so"
    expected = 2 * gold.GOOD + gold.RUDE + gold.CONTENT + gold.MISPLACED + gold.REPEATED_PAIR + gold.UNFINISHED
    assert gold_reward(FACT, reply, False) == pytest.approx(expected)


def test_the_best_reply_is_kind_and_right_and_fits_into_a_short_one():
    for prompt in ALL:
        kind = " ".join(words.GOOD[: gold.GOOD_AT_MOST[prompt.kind]])
        best = gold_reward(prompt, f"{kind} {' '.join(prompt.content)} .", True)
        assert best == pytest.approx(gold.GOOD * gold.GOOD_AT_MOST[prompt.kind] + gold.CONTENT)
