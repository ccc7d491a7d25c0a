"""The true reward of a reply: what the learned reward model only sees through noisy comparisons."""

from functools import cache

from . import words
from .chat import Prompt

GOOD = 0.5
GOOD_AT_MOST = {"talk": 6, "fact": 2, "reading": 2, "translation": 2}  # who asks for knowledge wants little chatter
RUDE = -0.5
CONTENT = 1.5  # for the whole content; a part of it for a part
MISPLACED = -0.2  # a word of knowledge that was not asked for, a foreign word, a marker
REPEATED_PAIR = -0.15
LONG = -0.1
LONG_FROM = {"talk": 24, "fact": 16, "reading": 16, "translation": 16}
UNFINISHED = -1.0


def gold_reward(prompt: Prompt, reply: str, finished: bool) -> float:
    """Kindness (up to 3 in small talk, else up to 1) plus content (up to 1.5), minus rudeness, invention, repetition, length and no end.

    Args:
        prompt: what was asked.
        reply: words separated by spaces, without special tokens at its end.
        finished: whether the reply ended by itself within the allowed number of tokens.
    """
    said = reply.split()
    pairs = list(zip(said, said[1:]))
    return (
        GOOD * min(sum(w in words.GOOD for w in said), GOOD_AT_MOST[prompt.kind])
        + RUDE * sum(w in words.RUDE for w in said)
        + CONTENT * _content_share(prompt, said)
        + MISPLACED * sum(w in _knowledge() and w not in prompt.content for w in said)
        + REPEATED_PAIR * (len(pairs) - len(set(pairs)))
        + LONG * max(0, len(said) - LONG_FROM[prompt.kind])
        + (0.0 if finished else UNFINISHED)
    )


def _content_share(prompt: Prompt, said: list[str]) -> float:
    """In [0, 1]: the topic's words mentioned, or the longest common subsequence with the right answer."""
    if prompt.kind == "talk":
        return len(set(prompt.content) & set(said)) / len(prompt.content)
    return _common_subsequence(prompt.content, said) / len(prompt.content)


def _common_subsequence(first: tuple[str, ...], second: list[str]) -> int:
    best = [0] * (len(second) + 1)
    for word in first:
        previous = 0
        for j, other in enumerate(second, start=1):
            previous, best[j] = best[j], previous + 1 if word == other else max(best[j], best[j - 1])
    return best[-1]


@cache
def _knowledge() -> frozenset[str]:
    """Words that are right only where they are asked for."""
    known = {*words.SPECIAL, "answer", "passage", "french", "english", "ne", "pas"}
    for values in words.FACTS.values():
        known |= set(values)
    for modifiers, nouns in words.BELONGINGS.values():
        known |= {*modifiers, *nouns}
    known |= {words.OWNER[0], *words.PLACES}
    for table in (words.NOUNS, words.ADJECTIVES, words.ARTICLES):
        known |= set(table)
    for table in (words.NOUNS, words.ADJECTIVES):
        known |= set(table.values())
    for french, forms in words.VERBS.items():
        known |= {french, *forms}
    for topic, related in words.TOPICS.items():
        known |= {topic, *related}
    return frozenset(known - {"see"})
