"""Regression averaging of whole models against least squares on the very inputs of each layer, which are taken here by other means."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import nn

from averaging_models import make
from llm.averaging.whole import Materials, regmean
from llm.errors import UserError
from llm.models.batches import Tokens
from regressions import draw

FEW = {"num_hidden_layers": 3}
RIDGE = 0.1
FREE = draw(2, 10)
REPLIES = [Tokens([0, *one.reply[:3]], one.reply[::-1]) for one in draw(3, 14)]


def build_of(kind: str):
    """(theta_0, theta, setting -> merged model) of two tiny models."""
    theta_0, theta = (make(kind, seed, **FEW) for seed in (0, 1))
    states = [{name: tensor.clone() for name, tensor in one.state_dict().items()} for one in (theta_0, theta)]
    written = {"free": FREE, "replies": REPLIES}
    folders = {"theta_0": Path("0"), "theta": Path("1")}
    live = make(kind, 1, **FEW)
    given = Materials(live, None, *states, {}, folders, {}.__getitem__, lambda which, count: written[which][:count], 0)
    return theta_0, theta, regmean.make(given)


@torch.no_grad()
def inputs(
    model: nn.Module, texts: list[Tokens], names: list[str], from_reply: bool = False
) -> dict[str, torch.Tensor]:
    """What linear layers are given at each token of texts that are read one by one, (tokens, features) in fp64."""
    seen: dict[str, list[torch.Tensor]] = {name: [] for name in names}
    modules = dict(model.named_modules())
    handles = [
        modules[name].register_forward_pre_hook(lambda _, given, name=name: seen[name].append(given[0][0].double()))
        for name in names
    ]
    for text in texts:
        model(input_ids=torch.tensor([text.context + text.reply]))
    for handle in handles:
        handle.remove()
    begins = [len(text.context) if from_reply else 0 for text in texts]
    return {
        name: torch.cat([x[first:] for x, first in zip(found, begins, strict=True)]) for name, found in seen.items()
    }


def least_squares(ends, x, strength: float) -> torch.Tensor:
    """[W, b] of the rows that answer as theta_0's to x[0] and as theta's to x[1], both with RIDGE rows of every direction."""
    size = ends[0].shape[1]
    x = [torch.cat([one, torch.ones(len(one), 1)], 1)[:, :size] for one in x]
    size_of = (strength * x[0].square().mean() + x[1].square().mean()) / (1 + strength)  # the mean diagonal
    rows, answers = [], []
    for end, one, weight in zip(ends, x, (strength, 1.0), strict=True):
        for block in (one / len(one) ** 0.5, (RIDGE * size_of) ** 0.5 * torch.eye(size).double()):
            rows.append(weight**0.5 * block)
            answers.append(rows[-1] @ end.T)
    return torch.linalg.lstsq(torch.cat(rows), torch.cat(answers)).solution.T


def expected(theta_0: nn.Module, theta: nn.Module, strength: float, merged_inputs: bool, from_reply: bool) -> dict:
    start, end = ({n: t.double() for n, t in one.state_dict().items()} for one in (theta_0, theta))
    alpha = 1 / (1 + strength)
    found = {name: (1 - alpha) * low + alpha * end[name] for name, low in start.items()}
    counts = []
    for texts, first in ((FREE, False), (REPLIES, from_reply)):
        ids = torch.tensor([one for text in texts for one in [*([] if first else text.context), *text.reply]])
        counts.append(torch.bincount(ids, minlength=64).double() / len(ids))
    ridge = RIDGE * (strength * counts[0] + counts[1]).mean()
    rows = (counts[1] + ridge * alpha) / (strength * counts[0] + counts[1] + ridge)
    table, head = "model.embed_tokens.weight", "lm_head.weight"
    found[table] = start[table] + rows[:, None] * (end[table] - start[table])
    is_tied = theta.config.tie_word_embeddings
    if is_tied:
        found[head] = found[table]
    models = [deepcopy(theta_0), deepcopy(theta)]
    linear = [name for name, module in theta.named_modules() if isinstance(module, nn.Linear)]
    for part in (table, "model.layers.0.", "model.layers.1.", "model.layers.2.", *([] if is_tied else ["lm_head"])):
        names = [name for name in linear if name.startswith(part)]
        x = [
            inputs(one, *texts)
            for one, texts in zip(models, ((FREE, names), (REPLIES, names, from_reply)), strict=True)
        ]
        for name in names:
            keys = [key for key in (f"{name}.weight", f"{name}.bias") if key in start]
            ends = [torch.cat([one[key].reshape(len(one[keys[0]]), -1) for key in keys], 1) for one in (start, end)]
            solved = least_squares(ends, [side[name] for side in x], strength)
            columns = start[keys[0]].shape[1]
            found |= dict(zip(keys, (solved[:, :columns], solved[:, -1]), strict=False))
        for one in models if merged_inputs else ():  # what comes next is given what has been through this part
            known = {n: t.float() for n, t in found.items() if n.startswith((part, "model.norm"))}
            one.load_state_dict(known, strict=False)
    return found


@pytest.mark.parametrize("kind", ["llama", "llama-tied-biases"])
@pytest.mark.parametrize("setting", [{}, {"positions": "reply"}, {"inputs": "merged"}], ids=str)
def test_each_layer_is_the_least_squares_of_its_own_inputs(kind, setting):
    theta_0, theta, build = build_of(kind)
    wanted = expected(theta_0, theta, 1.5, "inputs" in setting, "positions" in setting)
    for name, tensor in build({"strength": 1.5, **setting}).state_dict().items():
        torch.testing.assert_close(tensor.double(), wanted[name], rtol=1e-4, atol=1e-5, msg=name)


def test_positions_go_with_the_models_own_inputs_alone():
    *_, build = build_of("llama")
    all_of_them = {n: t.clone() for n, t in build({"strength": 1.0}).state_dict().items()}
    named = build({"strength": 1.0, "positions": "all"}).state_dict()
    assert all(torch.equal(tensor, all_of_them[name]) for name, tensor in named.items())
    with pytest.raises(UserError, match="positions = 'reply' is not allowed with inputs = 'merged'; allowed is all"):
        build({"strength": 1.0, "positions": "reply", "inputs": "merged"})
