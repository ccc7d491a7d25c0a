"""The arithmetic of averages by regression: one layer's weights from theta_0's, theta's and the Gram matrices of what each is given.

A linear layer y = W x is asked to answer as theta_0's does to what theta_0 gives it, and as theta's to what theta gives it:

    W = argmin  lambda E_0 |(W - W_0) x|^2 + E_1 |(W - W_1) x|^2 = (lambda W_0 G_0 + W_1 G_1) (lambda G_0 + G_1)^-1        (1)

with G = E x x^T, a bias being the weight of a feature that is always 1. So W_0 + D G_1 (lambda G_0 + G_1)^-1 with D = W_1 - W_0.

**A ratio per feature direction.** Let v_i be the generalised eigenvectors of G_1 and G_0, v_i^T G_0 v_j = g_0i and v_i^T G_1 v_j = g_1i
for i = j, else 0, and u_i their dual basis (u_i^T v_j = 1 for i = j). Since G_1 = sum g_1i u_i u_i^T, and likewise G_0, (1) is
W u_i = W_0 u_i + g_1i / (g_1i + lambda g_0i) D u_i: the component u_i of a layer's input has the ratio g_1i / (g_1i + lambda g_0i). Components
that only theta's replies use follow theta, those that only theta_0's text uses stay theta_0's, those that both use alike are averaged at
alpha = 1 / (1 + lambda). Model averaging is (1) with G_0 = G_1, adaptive averaging one ratio for all directions of a part.

**Ridge.** What neither uses is not determined by (1), and what both hardly use is extrapolated. So both G get r m I, with m the mean
diagonal of (lambda G_0 + G_1) / (1 + lambda): such directions get the ratio 1 / (1 + lambda), model averaging's. A known weakness: one
huge direction makes all others look unused. Real models have such a one where the first token is an attention sink (of SmolLM2-135M's inputs
of down_proj it has .98 to 1.00 of the trace in layers 11 and 28), and there the layer is averaged rather than regressed, but for that direction.
**Shrinkage** s multiplies what is off the diagonals by 1 - s (Jin et al. have 1 - s = .9).

An embedding is a linear layer with one-hot inputs. Its G are diagonal, the shares of the tokens, and (1) is a ratio for each row:
c_1 / (lambda c_0 + c_1). Limits: lambda -> 0 is theta, lambda -> infinity theta_0.

**A lambda per layer** (`layers` "increasing"). Above, how much theta_0 counts is the same in all layers. LiNeS (arXiv 2410.17146,
`..schedule.lines`) has ratios that rise from alpha in the first layer to 1 in the last. Both together: layer l has the lambda_l at which
1 / (1 + lambda_l) is LiNeS' ratio, so a ratio per direction *and* per layer, and directions that both use alike get LiNeS' average.

Jin et al., "Dataless knowledge fusion by merging weights of language models" (RegMean, arXiv 2212.09849), have (1) for the owners of
data of several tasks; here the texts are the two models' own, and lambda goes along the front.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import UserError
from ..live import mix_into
from ..schedule import lines
from .grams import Gram, Grams, is_transposed, takes_part

MOST = 1e12  # lambda


@dataclass(frozen=True)
class Setting:
    """strength: lambda >= 0. ridge: r > 0. shrinkage: s in [0, 1]. rows: "counts", an embedding's rows have ratios of their own, or
    "ratio", all have 1 / (1 + lambda). layers: "equal", or "increasing", each layer has a lambda of its own; lambda is then the first one's
    and that of what lies outside the layers.
    """

    strength: float
    ridge: float = 0.1
    shrinkage: float = 0.0
    rows: str = "counts"
    layers: str = "equal"

    def __post_init__(self) -> None:
        for key, least, most in (("strength", 0, MOST), ("ridge", 1e-12, 1e6), ("shrinkage", 0, 1)):
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
                raise UserError(f"{key} = {value!r} is not allowed; allowed are numbers from {least:g} to {most:g}")
        for key, words in (("rows", ("counts", "ratio")), ("layers", ("equal", "increasing"))):
            if getattr(self, key) not in words:
                raise UserError(f"{key} = {getattr(self, key)!r} is not allowed; allowed are {', '.join(words)}")

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> "Setting":
        """From a row's setting, whose other keys are not its."""
        return cls(**{each.name: given[each.name] for each in fields(cls) if each.name in given})

    @property
    def alpha(self) -> float:
        """The ratio of all that no regression decides."""
        return 1 / (1 + self.strength)

    def ratios(self, names: Iterable[str]) -> dict[str, float]:
        """alpha = 1 / (1 + lambda) of each of a model's tensors."""
        names = list(names)
        if self.layers == "equal":
            return dict.fromkeys(names, self.alpha)
        return {name: ratio for name, (_, ratio) in lines.ratios(names, {}, self.alpha).items()}

    def at(self, alpha: float) -> "Setting":
        """That of a layer with this ratio."""
        return self if alpha == self.alpha else replace(self, strength=min(1 / alpha - 1, MOST))


class Pull:
    """What (1) makes of a difference D: D G_1 (lambda G_0 + G_1)^-1, for layers of one input. `size`: of its last features only the
    first so many (without the 1 where a layer has no bias).
    """

    def __init__(self, gram_0: Gram, gram_1: Gram, setting: Setting, size: int) -> None:
        self._setting = setting
        first, second = (_shrunk(gram.matrix[:size, :size], setting.shrinkage) for gram in (gram_0, gram_1))
        total = setting.strength * first + second
        ridge = setting.ridge * total.diagonal().mean()
        total.diagonal().add_(ridge)
        second.diagonal().add_(ridge * setting.alpha)
        self._second, (self._factor, failed) = second, torch.linalg.cholesky_ex(total)
        if failed or not self._factor.isfinite().all():
            raise UserError(
                f"ridge = {setting.ridge:g} is not allowed: with it the inputs of a layer are singular; give more"
            )

    def __call__(self, difference: Tensor) -> Tensor:
        """(out, size) -> (out, size), in fp64, on the device of the difference; solved on that of the Grams."""
        there = difference.to(self._factor.device)
        return torch.cholesky_solve(self._second @ there.T, self._factor).T.to(difference.device)


def _shrunk(matrix: Tensor, shrinkage: float) -> Tensor:
    shrunk = matrix * (1 - shrinkage)
    shrunk.diagonal().copy_(matrix.diagonal())
    return shrunk


@dataclass(frozen=True)
class Ends:
    """A module's weight and bias (None: it has none) in theta_0 and theta."""

    weight_0: Tensor
    weight: Tensor
    bias_0: Tensor | None = None
    bias: Tensor | None = None

    @cached_property
    def difference(self) -> Tensor:
        """(out, in) or (out, in + 1) in fp64; of a transposed layer it is to be given transposed weights."""
        moved = self.weight.double() - self.weight_0.double()
        if self.bias is None or self.bias_0 is None:
            return moved
        return torch.cat([moved, (self.bias.double() - self.bias_0.double())[:, None]], dim=1)


def regress(
    modules: Mapping[str, nn.Module],
    theta_0: Mapping[str, Tensor],
    theta: Mapping[str, Tensor],
    grams: tuple[Grams, Grams],
    setting: Setting,
) -> Iterator[tuple[str, Tensor]]:
    """(tensor's name, its merged values in fp64) of each linear layer and embedding that both models' texts came to.

    modules: by the names that `grams` has, whose tensors are "NAME.weight" and "NAME.bias" in the states. A tensor that the states do
    not name (a tied head) is left out. Raises UserError where the ridge is too small.
    """
    pulls: dict[tuple, Pull] = {}
    alphas = setting.ratios(theta_0)
    for name, module in modules.items():
        weight, bias = f"{name}.weight", f"{name}.bias"
        if not takes_part(module) or weight not in theta or not all(name in side for side in grams):
            continue
        of_layer = setting.at(alphas[weight])
        if not of_layer.strength:
            yield from ((key, theta[key].double()) for key in (weight, bias) if key in theta)
            continue
        first, second = (side[name] for side in grams)
        if first.is_diagonal:
            if setting.rows == "counts":
                yield weight, _rows(theta_0[weight], theta[weight], first, second, of_layer)
            continue
        turned = is_transposed(module)
        ends = Ends(*(state[weight].T if turned else state[weight] for state in (theta_0, theta)),
                    *(state.get(bias) for state in (theta_0, theta)))  # fmt: skip
        size = ends.difference.shape[1]
        key = (id(first), id(second), size, of_layer.strength)
        if key not in pulls:
            pulls[key] = Pull(first, second, of_layer, size)
        moved = pulls[key](ends.difference)
        columns = ends.weight.shape[1]
        merged = ends.weight_0.double() + moved[:, :columns]
        yield weight, merged.T if turned else merged
        if size > columns:
            yield bias, theta_0[bias].double() + moved[:, columns]


def with_the_rest(
    merged: Mapping[str, Tensor], theta_0: Mapping[str, Tensor], theta: Mapping[str, Tensor], setting: Setting
) -> dict[str, Tensor]:
    """The merged tensors, and all others of theta averaged at 1 / (1 + lambda); at strength 0 theta's. theta_0: of the whole model."""
    if not setting.strength:
        return dict(theta)
    found, alphas = {}, setting.ratios(theta_0)
    for name, tensor in theta.items():
        found[name] = torch.empty_like(tensor, memory_format=torch.contiguous_format)
        if name in merged:
            found[name].copy_(merged[name])
        else:
            mix_into(found[name], theta_0[name], tensor, alphas[name], name=name)
    return found


def _rows(theta_0: Tensor, theta: Tensor, first: Gram, second: Gram, setting: Setting) -> Tensor:
    """An embedding: each row at (c_1 + r m / (1 + lambda)) / (lambda c_0 + c_1 + r m), m the mean of lambda c_0 + c_1."""
    total = setting.strength * first.matrix + second.matrix
    ridge = setting.ridge * total.mean()
    start = theta_0.double()
    ratios = ((second.matrix + ridge * setting.alpha) / (total + ridge)).to(start.device)
    return start + ratios[:, None] * (theta.double() - start)
