"""The few record types that every data source gives, whatever it reads."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Turn:
    """What one side said."""

    role: Role
    content: str


# What the assistant answers: the turns so far, the user's last, or a text, which is one user turn.
Prompt = str | tuple[Turn, ...]


@dataclass(frozen=True)
class Conversation:
    """A prompt and the reply to imitate."""

    prompt: Prompt
    reply: str


@dataclass(frozen=True)
class Preference:
    """Two replies to one prompt, as a labeller ordered them."""

    prompt: Prompt
    chosen: str
    rejected: str


@dataclass(frozen=True)
class ChoiceItem:
    """Multiple choice: `choices[answer]` is right. Scored by log-likelihood: of a reply, or where `is_plain` of more text."""

    prompt: str
    choices: tuple[str, ...]
    answer: int
    is_plain: bool = False

    @property
    def reference(self) -> str:
        """The right choice."""
        return self.choices[self.answer]


@dataclass(frozen=True)
class GenerationItem:
    """A prompt whose whole greedy reply is compared with `reference`."""

    prompt: str
    reference: str


@dataclass(frozen=True)
class ComparisonItem:
    """A prompt to which a judge compares a reply with `reference`; `part` of its collection it belongs to."""

    prompt: Prompt
    reference: str
    part: str


@dataclass(frozen=True)
class AbilityItems:
    """The held-out items of each ability; an ability that a source does not have has none."""

    qa: list[ChoiceItem]
    reading: list[GenerationItem] | list[ChoiceItem]  # with choices, the likeliest counts as the reply
    translation: list[GenerationItem] = field(default_factory=list)
    text: list[str] = field(default_factory=list)  # ordinary text, of at least two tokens a piece, to be found likely


def turns_of(prompt: Prompt, system: str = "") -> tuple[Turn, ...]:
    """A prompt as turns, after a system turn where one is given."""
    turns = (Turn("user", prompt),) if isinstance(prompt, str) else prompt
    return (Turn("system", system), *turns) if system else turns


def plain_text(prompt: Prompt) -> str:
    """A prompt as plain text, a line a turn."""
    return "\n".join(turn.content for turn in turns_of(prompt))


def messages(turns: tuple[Turn, ...]) -> list[dict[str, str]]:
    """Turns as chat templates take them."""
    return [{"role": turn.role, "content": turn.content} for turn in turns]


class Source(Protocol):
    """Where a preset's data come from, drawn by the Generator handed in; fetched data give no texts to train on."""

    def document(self, kind: str, rng: np.random.Generator) -> Sequence[tuple[str, float]]:
        """A pre-training document: (text, weight in the loss) segments."""

    def checks(self, count: int, rng: np.random.Generator) -> dict[str, list[tuple[str, str]]]:
        """Name of a pre-training check -> `count` (context, answer) pairs."""

    def conversation(self, kind: str, rng: np.random.Generator) -> Conversation:
        """An instruction-tuning conversation of the given kind."""

    def prompts(self, split: str, mixture: dict[str, float], count: int, rng: np.random.Generator) -> list:
        """`count` alignment prompts of `split`, "train", "test" or, where the source has it, "validation"; each has a `.text`."""

    def written_reply(self, prompt, rng: np.random.Generator) -> str:
        """A reply by one of the source's own writers."""

    def gold_reward(self, prompt, reply: str, finished: bool) -> float:
        """The true reward of a reply; `finished` says whether it ended by itself."""

    def items(self, split: str, counts: dict[str, int]) -> AbilityItems:
        """So many items of each ability named; the same for every caller. Of split "train" for AdaMerging, else "test"."""

    def guesses(self, split: str, counts: dict[str, int]) -> dict[str, list[tuple[str, str]]]:
        """(what a guesser without the ability says, reference) pairs of the generated abilities: the chance floors."""
