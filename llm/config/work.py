"""Work, in tokens, and the lengths that it is counted from: sections of presets state the cost of what they describe.

They return plain numbers; `llm.plan` knows the lengths of each kind of preset's data, the speeds and the bytes.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Work:
    """Tokens that are learned from (forward and backward), read (forward), and written one after the other."""

    trained: float = 0.0
    read: float = 0.0
    written: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(self.trained + other.trained, self.read + other.read, self.written + other.written)

    def __mul__(self, times: float) -> "Work":
        return Work(times * self.trained, times * self.read, times * self.written)


@dataclass(frozen=True)
class Lengths:
    """What a preset's data are like: mean tokens of a prompt, a reply, and a passage with its question; preference pairs.

    depth: the reward model's share of the policy's layers.
    """

    prompt: int
    reply: int
    pairs: int
    passage: int = 0
    depth: float = 1.0

    @property
    def whole(self) -> int:
        """Tokens of a prompt and its reply."""
        return self.prompt + self.reply

    @property
    def sampled(self) -> Work:
        """One reply, generated and scored by the reward model."""
        return Work(read=self.prompt + self.whole * self.depth, written=self.reply)

    def replying(self, reply: int) -> "Lengths":
        """The same with replies of another length."""
        return replace(self, reply=reply)
