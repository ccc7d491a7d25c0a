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

from ..data.records import Prompt, messages, turns_of
from ..errors import UserError, first_line
from .batches import batches_of
from .chat import encode_together, ids_of_prompts
from .loading import dtype_on, load_reward_model, load_tokenizer
from .rewards import reward_scores

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

    def check(self, prompts: Sequence[Prompt]) -> None:
        """UserError where one of the prompts cannot be put to the model, or a reply not be scored."""
        if not self.reads_pairs:
            ids_of_prompts(self.tokenizer, prompts)
        self([(prompts[0], "a", True)])

    def __call__(self, replies: Sequence[Triple]) -> NDArray[np.float64]:
        if not self.reads_pairs:
            return reward_scores(self.model, self.tokenizer, replies, self.batch, encode_together).double().numpy()
        texts = [("\n".join(turn.content for turn in turns_of(prompt)), reply) for prompt, reply, _ in replies]
        scores = np.empty(len(texts))
        for rows in batches_of([len(prompt) + len(reply) for prompt, reply in texts], self.batch):
            scores[rows] = self._of_pairs([texts[i] for i in rows])
        return scores

    @torch.no_grad()
    def _of_pairs(self, texts: list[tuple[str, str]]) -> NDArray[np.float64]:
        longest = min(self.tokenizer.model_max_length, self.model.config.max_position_embeddings)
        how = {"padding": True, "truncation": True, "max_length": longest, "return_tensors": "pt"}
        batch = self.tokenizer(*map(list, zip(*texts, strict=True)), **how).to(self.model.device)
        return self.model(**batch).logits[:, 0].double().cpu().numpy()


@dataclass(frozen=True)
class CommandScorer:
    """A program that reads lines {"prompt", "reply", "finished"} (a prompt of several turns as messages) and prints a number a line."""

    command: str

    def check(self, prompts: Sequence[Prompt]) -> None:
        self([(prompts[0], "a", True)])

    def __call__(self, replies: Sequence[Triple]) -> NDArray[np.float64]:
        rows = [(p if isinstance(p, str) else messages(p), *rest) for p, *rest in replies]
        asked = "".join(json.dumps(dict(zip(("prompt", "reply", "finished"), row))) + "\n" for row in rows)
        try:
            done = subprocess.run(shlex.split(self.command), input=asked, stdout=subprocess.PIPE, text=True, check=True)
            scores = np.array([float(line) for line in done.stdout.splitlines() if line.strip()])
        except (OSError, subprocess.CalledProcessError, ValueError, IndexError) as error:
            raise UserError(f"reward-command is {self.command!r}, which failed ({first_line(error)}).") from None
        if len(scores) != len(rows) or not np.isfinite(scores).all():
            raise UserError(
                f"reward-command is {self.command!r}, which printed {len(scores)} numbers for {len(rows)} replies; "
                "allowed is one finite number a line."
            )
        return scores
