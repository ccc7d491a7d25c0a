"""OGPSA, orthogonal gradient projection (Sun et al., arXiv 2602.07892): gradients lose what they share with those of general text.

Of every tensor's gradient g the part in the span of reference gradients is taken away, g <- g - U U^T g, U an orthonormal basis of
them. A reference gradient is that of the mean loss on a part of the reference examples; they are computed anew at the start of every
iteration and every `interval` steps (their code: two data sets, 200 examples of each, every 30 steps; for DPO every 5).

The references have to be data of others, as theirs are: of theta_0's own samples at temperature 1 the expected gradient of the loss is zero at
theta_0 (the score has mean zero), so what they give there is noise (in the microcosm the cosine between reference gradients of two sets
of 64 free samples is -.001 at theta_0, .58 after an iteration of RSF; of documents .76 and .82).
"""

import torch

from ...errors import UserError
from ...models.batches import pad_right
from ..loop import token_loss
from .mitigation import Example, Materials, Mitigation


class Orthogonal:
    """examples: of general text. rank: how many reference gradients, 0 for none. interval: steps between renewals, >= 1."""

    def __init__(self, examples: list[Example], rank: int, interval: int, pad_id: int) -> None:
        parts = [examples[k::rank] for k in range(min(rank, len(examples)))]
        self.batches = [pad_right(part, pad_id) for part in parts]
        self.interval, self.steps = interval, 0
        self.bases: list[torch.Tensor] = []

    def gradients(self, model: torch.nn.Module, theta_0: torch.nn.Module) -> None:
        if self.batches and self.steps % self.interval == 0:
            self.bases = self._renewed(model)
        self.steps += 1
        for parameter, basis in zip(model.parameters(), self.bases):
            flat = parameter.grad.view(-1)
            for _ in range(2):  # the second time takes away what rounding has left
                flat.sub_(basis @ (basis.T @ flat))

    def _renewed(self, model: torch.nn.Module) -> list[torch.Tensor]:
        """An orthonormal basis for each parameter, (numbers of the parameter, rank); the gradients that stand there are left alone."""
        parameters = list(model.parameters())
        found = [torch.autograd.grad(token_loss(model, batch), parameters) for batch in self.batches]
        return [orthonormal(torch.stack([grad.flatten() for grad in of_one], dim=1)) for of_one in zip(*found)]


def orthonormal(vectors: torch.Tensor) -> torch.Tensor:
    """A basis of the columns' span, (n, k) -> (n, at most k); columns that others span are left out."""
    basis, sizes, _ = torch.linalg.svd(vectors, full_matrices=False)
    return basis[:, sizes > 1e-6 * sizes.max().clamp(min=torch.finfo(sizes.dtype).tiny)]


def make(setting: dict, materials: Materials) -> Mitigation:
    """setting: {"rank": >= 0, "interval": steps, "samples": examples, "reference": "free" or "documents"}."""
    if setting["rank"] > setting["samples"]:
        raise UserError(
            f"rank = {setting['rank']} is not allowed with samples = {setting['samples']}; allowed is at most one gradient a sample."
        )
    examples = materials.reference(setting["reference"], setting["samples"]) if setting["rank"] else []
    projection = Orthogonal(examples, setting["rank"], setting["interval"], materials.pad_id)
    return Mitigation(gradients=projection.gradients)
