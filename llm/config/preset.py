"""Presets: how big a run is. A preset is complete, so whoever reads it has read every number of a run; its file may name
another one and say what differs (`llm.config.files`).

What presets of all kinds have stands here; the key `data` names a kind: `llm.config.local`, `llm.config.hub`."""

from abc import abstractmethod
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from ..errors import UserError
from ..methods import METHODS, names
from .base import Count, Name, Settings, refused


class Shape(Settings):
    """What averaging needs to know of a model."""

    layers: Count
    tied_embeddings: bool  # whether the output head is the embeddings


class PublicModel(Shape):
    """The sizes of a model that others have trained, written down so that they are known before it is downloaded."""

    hidden_size: Count
    intermediate_size: Count
    heads: Count
    kv_heads: Count
    head_size: Annotated[int, Field(ge=2, multiple_of=2)]  # rotary positions turn pairs of numbers
    vocabulary: Count
    context: Count  # tokens
    query_key_norms: bool = False  # whether queries and keys have a norm each, as in OLMo 2
    attention_biases: bool = False  # whether queries, keys and values have biases, as in Qwen 2.5

    @model_validator(mode="after")
    def _heads_share_keys_evenly(self) -> Self:
        if self.heads % self.kv_heads:
            raise refused(
                f"kv_heads = {self.kv_heads} is not allowed with heads = {self.heads}; allowed are its divisors"
            )
        return self


class Preset(Settings):
    """What presets of all kinds have."""

    name: Name
    data: str
    model: Shape
    # sweep -> labels of the only averaging entries that are run; null: all
    entries: dict[Name, tuple[Name, ...]] | None = None

    takes_numbers_of_sweeps: ClassVar[bool] = False  # learning rates other than the preset's own
    left_out: ClassVar[dict[str, tuple]] = {}  # option of averaging entries -> values that are not run

    @property
    @abstractmethod
    def needs_gpus(self) -> bool:
        """Whether a run is planned for GPUs, and not for a computer's cores."""

    @property
    def stops(self) -> bool:
        """Whether alignment stops at a common reward, so that it is known only afterwards which iteration is theta."""
        return False

    @property
    def keeps_items(self) -> bool:
        """Whether result rows hold what each item contributed."""
        return False

    @property
    def averaging_methods(self) -> tuple[str, ...]:
        """What of the averaging entries of sweeps it can run (`llm.config.sweep.runnable`)."""
        return names("averaging")

    @property
    def training_methods(self) -> tuple[str, ...]:
        """What of the training entries of sweeps it can run."""
        return names("training")

    @property
    def algorithms(self) -> tuple[str, ...]:
        """The algorithms of alignment that the preset has a section for."""
        return tuple(name for name in names("alignment") if getattr(self, section_of(name), None) is not None)

    def iterations(self, rlhf: str) -> int:
        """How many models an algorithm leaves behind; UserError if the preset has no section for it."""
        if rlhf not in self.algorithms:
            raise UserError(
                f"rlhf = {rlhf!r} is not allowed with preset = {self.name}; allowed are {', '.join(self.algorithms)}"
            )
        return self.section(rlhf).iterations

    def measured(self, rlhf: str, last: int) -> list[int]:
        """The iterations up to theta, the last one, whose models are kept and measured: all, unless the section says otherwise."""
        every = getattr(self.section(rlhf), "measured_every", 1)
        return [iteration for iteration in range(1, last + 1) if iteration % every == 0 or iteration == last]

    def section(self, rlhf: str) -> Any:
        """The section that says how an algorithm is run."""
        return getattr(self, section_of(rlhf), None)


def section_of(rlhf: str) -> str:
    """The name of an algorithm's section of presets."""
    return METHODS[rlhf].section or rlhf
