"""AIM, activation-informed merging (Heyrani Nobari et al., arXiv 2502.02421), on top of model averaging: the more theta_0 uses an input of
a layer, the less the weights that read it change.

    W = W_0 + alpha (W_theta - W_0) diag(r),    r_j = 1 - (1 - omega) a_j / max_i a_i,    a_j = E |x_j|

with x what the layer is given in theta_0, over the tokens of calibration texts. omega in [0, 1] is what is left, of alpha, to the input that is
used most; an input that is never used keeps alpha. omega = 1 is model averaging; alpha = 0 is theta_0; alpha = 1 is theta at omega = 1 only.

As in the authors' public code (github.com/ahnobari/ActivationInformedMerging, commit e7eccd5, `get_calib_feat` and `apply_relaxation` in
MergeModels/ActivationMerging/_utils.py; omega = .4 in their script and experiments, .2 to .6 recommended): the weight of a norm is a
diagonal matrix, relaxed by what the norm is given; embeddings and biases are averaged. So is a head that is tied to the embeddings; in
their code it is relaxed, and with it the embeddings, which are the same parameter.
They calibrate on 256 texts of the Pile, in blocks of 512 tokens; here it is as many free samples of theta_0, those of regression averaging.
"""

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from ...config.sections import OWN_SAMPLES
from ..merge.linear import LINEAR
from . import Build, Materials, State
from .grams import is_transposed, takes_part, texts_of
from .means import towards
from .regmean import KIND


def make(materials: Materials) -> Build:
    """From {"omega", "alpha"} to the model."""

    @cache
    def found() -> dict[str, Tensor]:
        return usage(towards(materials, materials.theta_0, 0.0), texts_of(materials, KIND, OWN_SAMPLES))

    def build(setting: Mapping[str, Any]) -> nn.Module:
        end = relaxed(materials.theta_0, materials.theta, found(), setting["omega"])
        return towards(materials, end, setting["alpha"])

    return build


@torch.no_grad()
def usage(model: nn.Module, batches: Iterable[Tensor]) -> dict[str, Tensor]:
    """Weight's name -> a_j / max_i a_i in [0, 1] of each input of a linear layer or norm, in fp64 and so shaped that it broadcasts with the weight.

    batches: as `equal_lengths` makes them. Layers that no token came to have none, and where all inputs are 0 they stay so.
    """
    sums: dict[str, Tensor] = {}

    def add(name: str, given: Tensor) -> None:
        size = given.abs().flatten(0, -2).sum(dim=0, dtype=torch.float32).cpu().double()
        sums[name] = sums[name] + size if name in sums else size

    modules = {name: module for name, module in model.named_modules() if _is_relaxed(module)}
    with ExitStack() as during:
        for name, module in modules.items():
            hook = lambda _module, inputs, name=name: add(name, inputs[0])
            during.enter_context(module.register_forward_pre_hook(hook))
        for ids in batches:
            model(input_ids=ids.to(model.device), use_cache=False)
    shares = {name: total / (total.max() or 1.0) for name, total in sums.items()}
    return {f"{name}.weight": s[:, None] if is_transposed(modules[name]) else s for name, s in shares.items()}


def _is_relaxed(module: nn.Module) -> bool:
    """Whether it is a linear layer, or a norm with a weight."""
    weight = getattr(module, "weight", None)
    is_norm = isinstance(weight, Tensor) and weight.ndim == 1
    return not isinstance(module, nn.Embedding) and (takes_part(module) or is_norm)


def relaxed(theta_0: State, theta: State, shares: Mapping[str, Tensor], omega: float) -> dict[str, Tensor]:
    """The model at alpha = 1: what is relaxed in fp64, all else theta's. shares: as `usage` has them."""
    end = dict(theta)
    for name, share in shares.items():
        ratio = 1 - (1 - omega) * share.to(theta[name].device)
        end[name] = LINEAR.apply(theta_0[name].double(), theta[name].double(), ratio)
    return end
