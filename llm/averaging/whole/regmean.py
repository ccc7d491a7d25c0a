"""Regression averaging on the two models' own samples: each layer answers as theta_0 does to theta_0's text, and as theta to theta's.

`regression` has the formula, and what it says: a ratio for each feature direction of each layer. It is RegMean (Jin et al., arXiv
2212.09849), which merges models of several tasks by the owners' data; they average biases, embeddings and norms plainly, shrink what is off the
diagonals, and have no ridge. Here the inputs of theta_0 are those on what it writes by itself from its first token ("free" samples, an
unbiased view of what the model does, as arXiv 2505.13811 has it for training), which takes nobody's data; those of theta are on the training
prompts of alignment with its own replies to them, so theta's side takes prompts, but no answers of others. It continues the paper (arXiv
2309.06256): average where the two use the same features.

`inputs` says where Gram matrices come from:
* "own": from theta_0 on its samples and from theta on prompts and replies.
* "merged": from the merged model itself, layer by layer: what a layer is given has been through the merged ones before it (RegMean++,
  arXiv 2508.03121, which averages the embeddings plainly; here they go by `rows`, as in all of these). Each strength takes a walk of its own.
* "differences": from no samples at all: D^T D / |D|^2 of what instruction tuning and what alignment have changed in the layer itself, W_0 -
  W_pre and W - W_0, as gradients are sums over inputs (after the data-free covariances of arXiv 2604.01329). Embeddings are averaged. It is
  not that method as its authors run it: they take D^T D itself, all differences from one base, a pseudo-inverse and no ridge; here
  both are divided by their trace, so that lambda means the same in every layer, and have the ridge.

`positions` says which tokens of theta's texts count, with "own" inputs: "all", prompts and replies, as rows without it have it (in the
microcosm more than half are the prompts', which hold passages and French clauses as theta_0's abilities do); or "reply", its replies' alone.
"""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from ...config.sections import OWN_SAMPLES
from ...errors import UserError
from ...models.batches import Tokens
from ..live import mix_, tied
from . import Build, Materials, State
from .grams import Gram, Grams, batches_for, beyond, gather, takes_part, texts_of
from .regression import Ends, Setting, regress
from .walk import Side, walk_through

KIND = "free"


def make(materials: Materials) -> Build:
    """setting -> the model; its keys are "strength" and, where they are not the defaults, "samples", "kind", "inputs",
    "positions", "ridge", "shrinkage", "rows", "layers".
    """
    model, theta_0, theta = materials.model, materials.theta_0, materials.theta
    owners = tied(model.state_dict())
    names = [name for name in theta if name not in owners]
    modules = {name: module for name, module in model.named_modules() if f"{name}.weight" in names}
    start, end = ({name: state[name] for name in names} for state in (theta_0, theta))

    batches = cache(partial(texts_of, materials))

    @cache
    def own(kind: str, count: int) -> tuple[Grams, Grams]:
        return _of(start, batches(kind, count)), _of(end, batches("replies", count))

    @cache
    def of_replies(kind: str, count: int) -> tuple[Grams, Grams]:
        first, second = own(kind, count)
        contexts = [Tokens(one.context, []) for one in materials.samples("replies", count)]
        prompts = batches_for(model.config, contexts, model.device)
        tokens = [sum(ids.numel() for ids in texts) for texts in (batches("replies", count), prompts)]
        return first, beyond(second, _of(end, prompts), (tokens[0], tokens[1]))

    @cache
    def from_differences() -> tuple[Grams, Grams]:
        before = materials.load(materials.folders["pretrained"]).state_dict()
        return differences(modules, before, start), differences(modules, start, end)

    def _of(state: State, texts: list[Tensor]) -> Grams:
        _write(model, state.items())
        return gather(model, texts)

    def build(given: Mapping[str, Any]) -> nn.Module:
        setting = Setting.of(given)
        kind, count, inputs = given.get("kind", KIND), given.get("samples", OWN_SAMPLES), given.get("inputs", "own")
        where = given.get("positions", "all")
        if where != "all" and inputs != "own":
            raise UserError(f"positions = {where!r} is not allowed with inputs = {inputs!r}; allowed is all")
        if inputs == "merged":
            sides = (
                Side(deepcopy(model), start, batches(kind, count)),
                Side(deepcopy(model), end, batches("replies", count)),
            )
            merged: Iterable = (one for _, part in walk_through(sides, setting, True) for one in part.items())
        else:
            grams = (
                from_differences() if inputs == "differences" else (own if where == "all" else of_replies)(kind, count)
            )
            merged = regress(modules, start, end, grams, setting)
        mix_(model, start, end, setting.ratios(start))
        _write(model, merged)
        return model

    return build


def differences(modules: Mapping[str, nn.Module], before: State, after: State) -> Grams:
    """D^T D / |D|^2 of each linear layer's weight and bias; where nothing has changed the layer has none."""
    found = {}
    for name, module in modules.items():
        if takes_part(module) and not isinstance(module, nn.Embedding):
            weight, bias = f"{name}.weight", f"{name}.bias"
            turned = isinstance(module, nn.Linear)
            ends = Ends(*(state[weight] if turned else state[weight].T for state in (before, after)),
                        *(state.get(bias) for state in (before, after)))  # fmt: skip
            square = ends.difference.T @ ends.difference
            if square.trace() > 0:
                found[name] = Gram(square / square.trace())
    return found


@torch.no_grad()
def _write(model: nn.Module, tensors: Iterable[tuple[str, Tensor]]) -> None:
    own = model.state_dict(keep_vars=True)
    for name, tensor in tensors:
        own[name].copy_(tensor)
