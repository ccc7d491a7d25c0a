"""What gives replies a score: a reward model in a folder, of a user's choice, or a program of theirs."""

import json
import shlex
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..data.records import Prompt, messages, plain_text
from ..errors import UserError, first_line
from .batches import Tokens, batches_of
from .chat import context_of, ids_of_prompts, require_longest, require_room
from .loading import dtype_on, load_reward_model, load_tokenizer
from .rewards import reward_scores, rule_for

Triple = tuple[Prompt, str, bool]  # prompt, reply, whether it ended by itself
Scorer = Callable[[Sequence[Triple]], NDArray[np.float64]]  # (replies,) scores, in the scorer's own unit


@dataclass(frozen=True)
class ModelScorer:
    """A sequence classifier with one output. A conversation is put to it in its chat format; where it has none and reads its
    first token (BERT's kind), prompt and reply are the two texts of a pair, as such models are trained.
    """

    model: Any
    tokenizer: Any
    batch: int

    @classmethod
    def load(cls, folder: Path, device: torch.device, dtype: str, batch: int) -> "ModelScorer":
        """From a folder, or a LoRA adapter on one; UserError for any other."""
        model = load_reward_model(folder, device, dtype_on(dtype, device))
        return cls(model, load_tokenizer(folder), batch)

    @property
    def reads_pairs(self) -> bool:
        return not self.tokenizer.chat_template and not hasattr(self.model, "score")

    def check(self, prompts: Sequence[Prompt], tokens: int = 0) -> None:
        """UserError where one of the prompts cannot be put to the model, has no room in its context for a reply of so many tokens, or
        a reply cannot be scored.
        """
        if self.reads_pairs:
            read = [self.tokenizer.encode(plain_text(prompt), add_special_tokens=False) for prompt in prompts]
            tokens += self.tokenizer.num_special_tokens_to_add(pair=True)
        else:
            read = ids_of_prompts(self.tokenizer, prompts)
            ends = [rule_for(self.model)(self.tokenizer, [(prompts[0], "a", finished)]) for finished in (True, False)]
            closed, cut = (sum(map(len, one)) for (one,) in ends)
            tokens += closed - cut - 1  # what follows the token that ends a reply
        lengths = [len(ids) + tokens for ids in read]
        require_longest(lengths, self._room, "prompt", "with its longest reply, as the reward model reads them,")
        self([(prompts[0], "a", True)])

    def __call__(self, replies: Sequence[Triple]) -> NDArray[np.float64]:
        if not self.reads_pairs:
            return reward_scores(self.model, self.tokenizer, replies, self.batch, self._encoded).double().numpy()
        texts = [(plain_text(prompt), reply) for prompt, reply, _ in replies]
        scores = np.empty(len(texts))
        together = self.batch if self.tokenizer.pad_token else 1  # one alone needs no padding
        for rows in batches_of([len(prompt) + len(reply) for prompt, reply in texts], together):
            scores[rows] = self._of_pairs([texts[i] for i in rows])
        return scores

    @property
    def _room(self) -> int:
        """How many tokens the model reads at most."""
        context = context_of(self.model.config)
        return min(self.tokenizer.model_max_length, context) if self.reads_pairs else context

    def _encoded(self, tokenizer, replies: Sequence[Triple]) -> list[Tokens]:
        """By the model's rule; UserError for a reply that goes beyond the context, as another tokenizer's tokens may."""
        found = rule_for(self.model)(tokenizer, replies)
        longest = max(sum(map(len, one)) for one in found)
        require_room(longest, self._room, "a prompt with its reply, as the reward model reads them,")
        return found

    @torch.no_grad()
    def _of_pairs(self, texts: list[tuple[str, str]]) -> NDArray[np.float64]:
        how = {"padding": len(texts) > 1, "truncation": True, "max_length": self._room, "return_tensors": "pt"}
        batch = self.tokenizer(*map(list, zip(*texts, strict=True)), **how).to(self.model.device)
        return self.model(**batch).logits[:, 0].double().cpu().numpy()


@dataclass(frozen=True)
class CommandScorer:
    """A program that reads lines {"prompt", "reply", "finished"} (a prompt of several turns as messages) and prints a number a line."""

    command: str

    def __post_init__(self) -> None:
        if not words_of(self.command):
            raise UserError(
                f"reward-command = {self.command!r} is not allowed; allowed is a program with its arguments."
            )

    def check(self, prompts: Sequence[Prompt], tokens: int = 0) -> None:
        """UserError where the program does not score a reply to the first prompt."""
        self([(prompts[0], "a", True)])

    def __call__(self, replies: Sequence[Triple]) -> NDArray[np.float64]:
        rows = [(p if isinstance(p, str) else messages(p), *rest) for p, *rest in replies]
        asked = "".join(json.dumps(dict(zip(("prompt", "reply", "finished"), row))) + "\n" for row in rows)
        try:
            done = subprocess.run(words_of(self.command), input=asked, stdout=subprocess.PIPE, text=True, check=True)
            scores = np.array([float(line) for line in done.stdout.splitlines() if line.strip()])
        except (OSError, subprocess.CalledProcessError, ValueError) as error:
            raise UserError(f"reward-command is {self.command!r}, which failed ({first_line(error)}).") from None
        odd = np.flatnonzero(~np.isfinite(scores))
        if len(scores) != len(rows) or len(odd):
            printed = f"{scores[odd[0]]} for reply {odd[0] + 1}" if len(odd) else f"{len(scores)} numbers"
            raise UserError(
                f"reward-command is {self.command!r}, which printed {printed} of {len(rows)} replies; "
                "allowed is one finite number a line."
            )
        return scores


def words_of(command: str) -> list[str]:
    """A command's words as a shell has them; UserError for quotes that do not close."""
    try:
        return shlex.split(command)
    except ValueError as error:
        raise UserError(f"reward-command is {command!r}, which is no command ({first_line(error)}).") from None
