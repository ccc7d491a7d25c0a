"""How AMA computes on two loaded models: without a third copy of the weights where that is possible,
else with one.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ...grouping import labels, ratios
from ..live import mix_
from .descent import Gradient, shares
from .optimise import IGNORED, ratio_gradient
from .streamed import Unmixable, mixing, streamed_gradient

Losses = Callable[[Mapping[str, float], dict], torch.Tensor]


@dataclass(frozen=True)
class Engine:
    """gradient: (group -> ratio, batch) -> (loss, slopes (groups,)). losses: the same -> `reply_losses`.

    copies: how many times the weights of a model are in memory.
    """

    gradient: Gradient
    losses: Losses
    copies: int


def engine_for(model, theta: Mapping[str, torch.Tensor], assignment: Mapping[str, str], probe: dict) -> Engine:
    """`streamed.py` where a run over the batch `probe` shows that the model allows it, else a live third
    copy.

    model: holds theta_0. theta: a state dict on the same device. Buffers are not mixed on the way, so
    models that differ in them take the third copy too.
    """
    if any(not torch.equal(buffer, theta.get(name, buffer)) for name, buffer in model.named_buffers()):
        return _in_place(model, theta, assignment)
    gradient = streamed_gradient(model, theta, assignment)
    try:
        gradient(dict.fromkeys(labels(assignment), 0.5), probe)
    except Unmixable:
        return _in_place(model, theta, assignment)
    return Engine(gradient, _streamed_losses(model, theta, assignment), 2)


@torch.no_grad()
def reply_losses(model, batch: dict) -> torch.Tensor:
    """Mean of -log p(token | those before it) over each reply's tokens, in nats; (rows,) in fp64."""
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False).logits[:, :-1]
    labels_ = batch["labels"][:, 1:]
    losses = F.cross_entropy(logits.float().transpose(1, 2), labels_, ignore_index=IGNORED, reduction="none").double()
    return losses.sum(dim=1) / (labels_ != IGNORED).sum(dim=1)


def _streamed_losses(model, theta: Mapping[str, torch.Tensor], assignment: Mapping[str, str]) -> Losses:
    groups = labels(assignment)
    share = shares(assignment, groups)

    def losses(alphas: Mapping[str, float], batch: dict) -> torch.Tensor:
        place = torch.tensor([alphas[group] for group in groups], dtype=torch.float64)
        with mixing(model, theta, assignment, {label: row @ place for label, row in share.items()}):
            return reply_losses(model, batch)

    return losses


def _in_place(model, theta: Mapping[str, torch.Tensor], assignment: Mapping[str, str]) -> Engine:
    live, theta_0 = deepcopy(model).requires_grad_(True), model.state_dict()

    def losses(alphas: Mapping[str, float], batch: dict) -> torch.Tensor:
        mix_(live, theta_0, theta, ratios(assignment, alphas))
        return reply_losses(live, batch)

    def gradient(alphas: Mapping[str, float], batch: dict) -> tuple[float, torch.Tensor]:
        return ratio_gradient(live, theta_0, theta, assignment, alphas, batch)

    return Engine(gradient, losses, 3)
