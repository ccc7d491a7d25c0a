"""The true reward: how positive a public scorer finds a reply."""

from functools import cache


def gold_reward(reply: str) -> float:
    """The compound score of VADER (Hutto and Gilbert, 2014), in [-1, 1]; 0 for a reply without any word of its lexicon."""
    return _scorer().polarity_scores(reply)["compound"]


@cache
def _scorer():
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer()
