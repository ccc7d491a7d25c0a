"""Online merging (Lu et al., arXiv 2405.17931): every step of the optimiser is merged with what tuning has given theta_0.

With tau = theta_0 - theta_pre and the step d that the optimiser has made, theta <- theta + pull tau' + (1 - pull) d', where
OnDARE drops numbers of both at random, keeps the share `keep` of them, divides these by it and clips tau' to [-1, 1]; OnTIES keeps the
largest numbers of each tensor, and of these those whose sign is that of tau' + d'. tau' is made once, d' at every step.
At keep = 1 and pull = 0 a step is the optimiser's own; at pull = 0 tau is left out, of the signs too. Their script has keep .01,
pull 1e-7 at a rate of 1e-6, so `pull` is a tenth of the rate; `pull`, their alpha, is what the paper trades reward against tax by.

This is the authors' code, which differs from their paper: equation 4 does not divide what OnDARE keeps by `keep`, and equations 5 and 7 elect the
sign of pull tau' + (1 - pull) d', in which a step outweighs tau, where the code elects that of tau' + d', nearly always tau's.
"""

from collections.abc import Callable

import numpy as np
import torch

from .memory import STEPS, Memory, count_step
from .mitigation import Materials, Mitigation

Tensors = list[torch.Tensor]
CLIP = 1.0


class OnlineMerging:
    """sparse: (tensors, generator) -> what is kept of them. signs: whether tau and a step elect a sign. memory: of the steps so far."""

    def __init__(self, sparse: Callable, signs: bool, pull: float, materials: Materials, memory: Memory) -> None:
        self.sparse, self.signs, self.pull, self.materials, self.memory = sparse, signs, pull, materials, memory
        self.tau: Tensors = []
        self.before: Tensors = []

    @torch.no_grad()
    def gradients(self, model: torch.nn.Module, theta_0: torch.nn.Module) -> None:
        """Before a step: where it begins."""
        if self.pull and not self.tau:
            pairs = zip(theta_0.parameters(), self.materials.pretrained().parameters(), strict=True)
            kept = self.sparse([tuned - start for tuned, start in pairs], self._generator(0))
            self.tau = kept if self.signs else [tensor.clamp(-CLIP, CLIP) for tensor in kept]
        self.before = [parameter.detach().clone() for parameter in model.parameters()]

    @torch.no_grad()
    def after_step(self, model: torch.nn.Module, theta_0: torch.nn.Module) -> None:
        """Correct the step to the merged one."""
        made = [parameter - before for parameter, before in zip(model.parameters(), self.before, strict=True)]
        kept = self.sparse(made, self._generator(count_step(self.memory)))
        for i, (parameter, step) in enumerate(zip(model.parameters(), made, strict=True)):
            parameter.add_(self._merged(i, kept[i]) - step)

    def _merged(self, i: int, step: torch.Tensor) -> torch.Tensor:
        if not self.pull:
            return step
        tau = self.tau[i]
        if self.signs:
            majority = torch.where(tau + step >= 0, 1.0, -1.0)
            tau, step = (tensor * (tensor.sign() == majority) for tensor in (tau, step))
        return self.pull * tau + (1 - self.pull) * step

    def _generator(self, step: int) -> torch.Generator:
        seed = np.random.SeedSequence([self.materials.seed, step]).generate_state(1, np.uint64)[0]
        return torch.Generator().manual_seed(int(seed) % 2**63)


def dropped(tensors: Tensors, generator: torch.Generator, keep: float) -> Tensors:
    """Each number kept with probability `keep` and divided by it, else 0."""
    if keep == 1:
        return tensors
    return [t * (torch.rand(t.shape, generator=generator).to(t) < keep) / keep for t in tensors]


def largest(tensors: Tensors, generator: torch.Generator, keep: float) -> Tensors:
    """The share `keep` of each tensor's numbers, rounded down, that are largest in size; all of a tensor where that is none."""
    found = []
    for tensor in tensors:
        count = int(keep * tensor.numel())
        if 1 <= count < tensor.numel():
            mask = torch.zeros(tensor.numel(), dtype=torch.bool)
            mask[tensor.abs().flatten().topk(count).indices] = True
            tensor = tensor * mask.view_as(tensor)
        found.append(tensor)
    return found


def _mitigation(sparse: Callable, signs: bool, setting: dict, materials: Materials) -> Mitigation:
    memory: Memory = {STEPS: torch.tensor(0)}
    merging = OnlineMerging(
        lambda tensors, generator: sparse(tensors, generator, setting["keep"]),
        signs,
        setting["pull"],
        materials,
        memory,
    )
    return Mitigation(gradients=merging.gradients, after_step=merging.after_step, memory=memory)


def ondare(setting: dict, materials: Materials) -> Mitigation:
    """setting: {"keep": in (0, 1], "pull": in [0, 1]}."""
    return _mitigation(dropped, False, setting, materials)


def onties(setting: dict, materials: Materials) -> Mitigation:
    """setting: {"keep": in (0, 1], "pull": in [0, 1]}."""
    return _mitigation(largest, True, setting, materials)
