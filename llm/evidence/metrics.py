"""Every metric once: what it is called, its unit, how it is printed. Tables, the ledger of claims and figures derive from it.

A new ability is a source of items, a function that scores them, and a row here.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """One metric.

    key: its name in rows. kind: a reward, an ability, or other. words: what it measures. unit: of its values ("" where words
    are enough). decimals: printed behind the point. best: an ability's highest value; None where it has none (it then counts
    in no mean of abilities). short: for narrow legends. column: heads a narrow table's column. label: names an axis.
    """

    key: str
    kind: Literal["reward", "ability", "other"]
    words: str
    unit: str
    decimals: int
    best: float | None = None
    higher_is_better: bool = True
    short: str = ""
    column: str = ""
    label: str = ""

    def __post_init__(self) -> None:
        label = f"{self.words} ({self.unit})" if self.unit else self.words
        for name, default in (("short", self.words), ("column", self.in_words), ("label", label)):
            if not getattr(self, name):
                object.__setattr__(self, name, default)

    @property
    def in_words(self) -> str:
        """What a number of it is followed by."""
        return self.unit or self.words

    @property
    def title(self) -> str:
        """The heading of a panel, in two lines."""
        return f"{self.words}\n({self.unit})" if self.unit else self.words


# Means of the abilities: each in units of its best value (`llm.evidence.frames`), or divided by what RLHF takes of it (`book`).
MEAN_ABILITY, IN_TAXES = "mean_ability", "in_taxes"
SHARE = "share"  # the area under a front in (reward, mean ability), of the ideal area (`llm.evidence.hypervolume`)
SAVED = "saved"  # of the tax that a rival pays at equal reward (`llm.evidence.shares`)
RANKS = "rank_correlation"  # over models, of what predicts the tax with the tax (`llm.evidence.claims.association`)

_NATS = "log-likelihood (nats a token)"
METRICS: dict[str, Metric] = {
    metric.key: metric
    for metric in (
        Metric("reward", "reward", "learned reward", "", 2, short="learned"),
        Metric("gold_reward", "reward", "gold reward", "", 2, short="gold"),
        Metric("qa", "ability", "question answering", "accuracy", 3, best=1.0, short="QA", column="QA"),
        Metric("reading_f1", "ability", "reading comprehension", "F1", 3, 1.0, short="reading", column="reading F1"),
        Metric("bleu", "ability", "translation", "BLEU", 1, best=100.0),
        Metric("log_likelihood", "ability", "log-likelihood of text", "nats a token", 3, short="text", label=_NATS),
        Metric(MEAN_ABILITY, "other", "mean ability", "", 3, best=1.0),
        Metric(IN_TAXES, "other", "abilities", "of the tax", 2),
        Metric(SHARE, "other", "area under the front", "share of the ideal", 3, best=1.0),
        Metric(SAVED, "other", "tax saved", "of the rival's tax", 2, best=1.0),
        Metric(RANKS, "other", "difference of rank correlations", "", 2),
        Metric("length", "other", "length of a reply", "words", 1, higher_is_better=False),
        Metric("win_rate", "other", "win rate", "", 3, best=1.0, label="win rate by gold reward"),
        Metric("accuracy", "other", "accuracy", "", 4, best=1.0),  # of the theory's models
    )
}
REWARDS = tuple(key for key, metric in METRICS.items() if metric.kind == "reward")
ABILITIES = tuple(key for key, metric in METRICS.items() if metric.kind == "ability")
BOUNDED = tuple(key for key in ABILITIES if METRICS[key].best is not None)  # what a mean of abilities is taken over
