"""As what averaged values are stored: the type, how they are rounded to it, and what that does to the average."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from ...errors import UserError
from ...models.safetensors import TensorInfo
from ..precision import STRIDE, WHOLE, Effect
from .arithmetic import STORAGE, narrow, widen

TYPES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}  # a type's name here and in safetensors
ROUNDINGS = ("nearest", "stochastic")
# bits of the fraction, and the exponent of the smallest normal value, 2^exponent
_FORMATS = {"F64": (52, -1022), "F32": (23, -126), "F16": (10, -14), "BF16": (7, -126)}
Narrow = Callable[[np.ndarray, str], np.ndarray]


@dataclass(frozen=True)
class Output:
    """dtype: of all floating tensors, "auto" for theta's own. rounding: "nearest" (ties to even) or "stochastic", by random numbers
    of `seed` and the tensor's name. effect: gets what is written. Raises UserError for other names.
    """

    dtype: str = "auto"
    rounding: str = "nearest"
    seed: int = 0
    effect: Effect = field(default_factory=Effect)

    def __post_init__(self) -> None:
        for key, allowed in (("dtype", ("auto", *TYPES)), ("rounding", ROUNDINGS)):
            if getattr(self, key) not in allowed:
                raise UserError(f"{key} = {getattr(self, key)!r} is not allowed; allowed are {', '.join(allowed)}.")
        if self.seed < 0:
            raise UserError(f"seed = {self.seed} is not allowed; allowed are whole numbers from 0.")

    def type_of(self, stored: str) -> str:
        """The safetensors type of what is made of a tensor of type `stored`."""
        return TYPES.get(self.dtype, stored) if stored in STORAGE else stored

    def size(self, tensors: Mapping[str, TensorInfo]) -> int:
        """Bytes of what is made of these tensors."""
        kinds = (replace(tensor, dtype=self.type_of(tensor.dtype)) for tensor in tensors.values())
        return sum(kind.elements * kind.itemsize for kind in kinds)

    def narrow(self, name: str) -> Narrow:
        """How a tensor's fp64 values, block by block in order, become stored ones of a type."""
        if self.rounding == "nearest":
            return narrow
        digest = hashlib.sha256(f"{self.seed} {name}".encode()).digest()
        rng = np.random.default_rng(np.frombuffer(digest, np.uint32))
        return lambda values, dtype: narrow(rounded_at_random(values, dtype, rng), dtype)

    def sample(self, stored: np.ndarray, dtype: str) -> np.ndarray:
        """The values of a block that `Effect` looks at, in fp32 or wider."""
        part = stored[::STRIDE] if len(stored) > WHOLE else stored
        return widen(part.copy(), dtype).astype(np.float64 if dtype == "F64" else np.float32, copy=False)

    def count(
        self,
        low: np.ndarray,
        high: np.ndarray,
        made: np.ndarray,
        dtype: str,
        ratio: float,
        exact: np.ndarray | None = None,
        stored: np.ndarray | None = None,
    ) -> None:
        """Look at a block's samples of theta_0, theta and, where it has to be rounded, theta as it would be stored, and at all of what
        was made of them: rounded, and `exact` where it is not linear.
        """
        unrounded = None if exact is None else self.sample(exact, "F64")
        self.effect.add(low, high, self.sample(made, dtype), ratio, len(made), unrounded, stored)

    def keep(self, count: int) -> None:
        """Count weights that are theta_0's in all three models."""
        self.effect.values += count
        self.effect.seen += count

    def settings(self, config: dict) -> dict[str, object]:
        """What config.json has to say of the type."""
        keys = [key for key in ("torch_dtype", "dtype") if key in config] or ["torch_dtype"]
        return {} if self.dtype == "auto" else dict.fromkeys(keys, self.dtype)

    def stored_as(self, tensors: dict[str, TensorInfo]) -> str:
        """The types of the output's floating tensors in words."""
        return ", ".join(sorted({self.type_of(tensor.dtype) for tensor in tensors.values() if tensor.dtype in STORAGE}))


def rounded_at_random(values: np.ndarray, dtype: str, rng: np.random.Generator) -> np.ndarray:
    """fp64 values as neighbouring values of `dtype`, in fp64, the upper one with the probability that keeps the mean.

    Values that `dtype` has stay. Unbiased for subnormal ones too.
    """
    bits, lowest = _FORMATS[dtype]
    _, exponent = np.frexp(values)  # |value| in [2^(exponent - 1), 2^exponent)
    step = np.maximum(exponent - 1, lowest) - bits
    scaled = np.ldexp(values, -step)  # in steps, exact
    below = np.floor(scaled)
    return np.ldexp(below + (rng.random(len(values)) < scaled - below), step)
