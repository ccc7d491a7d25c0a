"""Every metric once: what it is called, its unit, how it is printed. Tables, the ledger of claims and figures derive from it.

A new ability is a source of items, a function that scores them, and a row here.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """One metric.

    key: its name in rows. kind: a reward, an ability, a continuous score of an ability's items, or other. words: what it measures. unit: of its values ("" where words
    are enough). decimals: printed behind the point. best: an ability's highest value; None where it has none (it then counts
    in no mean of abilities). short: for narrow legends. column: heads a narrow table's column. label: names an axis.
    """

    key: str
    kind: Literal["reward", "ability", "score", "other"]
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
SAVED = "saved"  # of the tax that a rival pays at equal reward (`llm.evidence.shares`)
SIGNS = "agreement_of_signs"  # over layers, of predicted and measured gains (`llm.evidence.claims.theory`)
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
        Metric(SAVED, "other", "tax saved", "of the rival's tax", 2, best=1.0),
        Metric(RANKS, "other", "rank correlation", "", 2),
        Metric(SIGNS, "other", "share of one sign less share of opposite signs", "", 2),
        Metric("length", "other", "length of a reply", "words", 1, higher_is_better=False),
        Metric("win_rate", "other", "win rate", "", 3, best=1.0),
        Metric("qa_log_likelihood", "score", "log-likelihood of right choices", "nats a token", 3, short="QA, log p"),
        Metric("qa_probability", "score", "probability of the right choice", "", 3, best=1.0, short="QA, p"),
        Metric("qa_brier", "score", "Brier score of choices", "", 3, best=0.0, higher_is_better=False, short="Brier"),
        Metric("qa_ece", "score", "expected calibration error of choices", "", 3, 0.0, False, short="ECE"),
        Metric(
            "reading_log_likelihood", "score", "log-likelihood of answers", "nats a token", 3, short="reading, log p"
        ),
        Metric(
            "translation_log_likelihood", "score", "log-likelihood of translations", "nats a token", 3, short="log p"
        ),
        Metric("forward_kl", "other", "forward KL from theta_0", "nats a token", 3, best=0.0, higher_is_better=False),
        Metric("reverse_kl", "other", "reverse KL from theta_0", "nats a token", 3, best=0.0, higher_is_better=False),
        Metric("weight_displacement", "other", "weight displacement", "of theta_0's norm", 4, 0.0, False),
        Metric("distinct_n", "other", "distinct bigrams", "", 3, best=1.0, label="distinct bigrams (share)"),
        Metric("self_bleu", "other", "self-BLEU", "BLEU", 1, best=0.0, higher_is_better=False, label="self-BLEU"),
        Metric("pair_accuracy", "other", "pairs ranked right", "", 3, best=1.0),  # of the reward model
        Metric("gold_correlation", "other", "correlation with gold reward", "", 3, best=1.0),  # of the reward model
        Metric("accuracy", "other", "accuracy", "", 4, best=1.0),  # of the theory's models
    )
}
REWARDS = tuple(key for key, metric in METRICS.items() if metric.kind == "reward")
SCORES = tuple(key for key, metric in METRICS.items() if metric.kind == "score")
LOG_LIKELIHOODS = tuple(key for key in SCORES if key.endswith("_log_likelihood"))  # one of each ability that has items
ABILITIES = tuple(key for key, metric in METRICS.items() if metric.kind == "ability")
BOUNDED = tuple(key for key in ABILITIES if METRICS[key].best is not None)  # what a mean of abilities is taken over
