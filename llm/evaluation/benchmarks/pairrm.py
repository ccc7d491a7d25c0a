"""Win rate of one model's replies over another's on the same prompts, by a pairwise ranker (paper, figure 6: PairRM)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from ...errors import UserError, first_line
from ..measurement import Measurement

PAIRRM = "llm-blender/PairRM-hf"
PROMPT, FIRST, SECOND = "<|source|>", "<|candidate1|>", "<|candidate2|>"
WHOLE, PROMPT_AT_MOST = 2048, 1224  # tokens, as PairRM was trained


class Ranker(Protocol):
    """Compares replies in the order in which it is given them."""

    def prefer(self, prompts: Sequence[str], first: Sequence[str], second: Sequence[str]) -> np.ndarray:
        """P(the first reply is better) of each prompt, (prompts,) in [0, 1]."""


def preference(ranker: Ranker, prompts: Sequence[str], replies: Sequence[str], rivals: Sequence[str]) -> np.ndarray:
    """P(reply better than rival), (prompts,) in [0, 1]: the mean over both orders, exactly 1/2 for equal texts.

    Exchanging replies and rivals gives exactly 1 minus it. Raises UserError unless there are as many of each.
    """
    if not len(prompts) == len(replies) == len(rivals):
        counts = f"{len(prompts)} prompts, {len(replies)} replies and {len(rivals)} rivals"
        raise UserError(f"there are {counts}; each prompt needs one of each.")
    forth, back = ranker.prefer(prompts, replies, rivals), ranker.prefer(prompts, rivals, replies)
    equal = np.array([reply == rival for reply, rival in zip(replies, rivals, strict=True)])
    return np.where(equal, 0.5, 0.5 + (forth - back) / 2)


def win_rate(ranker: Ranker, prompts: Sequence[str], replies: Sequence[str], rivals: Sequence[str]) -> Measurement:
    """Share of prompts whose reply is preferred to its rival, in [0, 1]; a tie counts half."""
    preferred = preference(ranker, prompts, replies, rivals)
    return Measurement.of(np.where(preferred == 0.5, 0.5, (preferred > 0.5).astype(float)))


class Longer:
    """Prefers the longer reply: stands in for PairRM where models are random."""

    def prefer(self, prompts: Sequence[str], first: Sequence[str], second: Sequence[str]) -> np.ndarray:
        return np.array([0.5 + 0.4 * np.sign(len(one) - len(other)) for one, other in zip(first, second, strict=True)])


def require_marks(tokenizer, source: str) -> None:
    """UserError for a tokenizer without the marks by which PairRM tells prompt and replies apart."""
    lacking = [mark for mark in (PROMPT, FIRST, SECOND) if mark not in tokenizer.get_vocab()]
    if lacking:
        raise UserError(f"ranker is {source!r}, which lacks {lacking[0]}; give a folder that holds {PAIRRM}.")


@dataclass(frozen=True)
class PairRM:
    """The ranker of `source`, a local folder or a name on the hub, loaded when it is first asked; `batch` pairs at a time.

    Prompts are cut to 1224 tokens, two replies to what is left of 2048. Raises UserError for a model that is not there or
    is no PairRM, and for a device that cannot be used.
    """

    source: str = PAIRRM
    batch: int = 8
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise UserError(f"batch = {self.batch} is not allowed; allowed are whole numbers from 1.")

    def prefer(self, prompts: Sequence[str], first: Sequence[str], second: Sequence[str]) -> np.ndarray:
        from ...models.batches import fitting
        from .pairrm_model import log_odds

        model, tokenizer = self._loaded
        comparisons = [self._comparison(*texts) for texts in zip(prompts, first, second, strict=True)]
        odds = fitting(self.batch, lambda rows: log_odds(model, comparisons, tokenizer.pad_token_id, rows))
        return odds.sigmoid().numpy()

    def _comparison(self, prompt: str, first: str, second: str):
        from .pairrm_model import Comparison

        tokenizer = self._loaded[1]
        parts = [tokenizer.encode(PROMPT + prompt, max_length=PROMPT_AT_MOST, truncation=True)]
        room = (WHOLE - len(parts[0])) // 2
        for mark, reply in ((FIRST, first), (SECOND, second)):
            parts.append(tokenizer.encode(mark + reply, max_length=room, truncation=True))
        starts = np.cumsum([0, len(parts[0]), len(parts[1])])
        marks = (
            int(start) + part.index(tokenizer.convert_tokens_to_ids(mark))
            for start, part, mark in zip(starts, parts, (PROMPT, FIRST, SECOND), strict=True)
        )
        return Comparison([token for part in parts for token in part], tuple(marks))

    @cached_property
    def _loaded(self) -> tuple:
        from transformers import AutoTokenizer

        from ...models.loading import REPORTED, device_of, whole
        from .pairrm_model import PairRM as Network

        place = device_of(self.device)
        try:
            model = whole(Network.from_pretrained(self.source, **REPORTED), self.source, "ranker")
            tokenizer = AutoTokenizer.from_pretrained(self.source)
        except (OSError, ValueError, KeyError, AttributeError, ImportError, RuntimeError) as error:
            raise UserError(
                f"ranker is {self.source!r}, which is no PairRM that is here or could be fetched ({first_line(error)}); "
                f"give a folder that holds {PAIRRM}."
            ) from None
        require_marks(tokenizer, self.source)
        return model.eval().to(place), tokenizer
