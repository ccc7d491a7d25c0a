"""SMA, stochastic moving averaging: elastic reset (Noukhovitch et al., "Language model alignment with elastic reset",
NeurIPS 2023; the paper, section 4).

A moving average of the weights follows training. Every so many steps the model is put back to the average, and the
average back to theta_0. The optimiser's moments are kept.
"""

import torch

from .mitigation import Materials, Mitigation


class ElasticReset:
    """What happens after each step.

    decay: in [0, 1], what the average keeps of itself a step: at 0 it is the model itself, so nothing happens; at 1 it
        stays at theta_0, so every reset undoes all training.
    interval: steps between resets, >= 1.
    """

    def __init__(self, decay: float, interval: int) -> None:
        self.decay, self.interval = decay, interval
        self.average: list[torch.Tensor] = []
        self.steps = 0

    @torch.no_grad()
    def __call__(self, model: torch.nn.Module, theta_0: torch.nn.Module) -> None:
        if self.steps % self.interval == 0:
            self.average = [start.detach().clone() for start in theta_0.parameters()]
        for mean, parameter in zip(self.average, model.parameters(), strict=True):
            mean.mul_(self.decay).add_(parameter, alpha=1 - self.decay)
        self.steps += 1
        if self.steps % self.interval == 0:
            for mean, parameter in zip(self.average, model.parameters(), strict=True):
                parameter.copy_(mean)


def make(setting: dict, materials: Materials) -> Mitigation:
    """setting: {"strength": the average's decay in [0, 1], "interval": steps from reset to reset}."""
    return Mitigation(after_step=ElasticReset(setting["strength"], setting["interval"]))
