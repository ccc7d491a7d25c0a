"""SMA, stochastic moving averaging: elastic reset (Noukhovitch et al., "Language model alignment with elastic reset",
NeurIPS 2023; the paper, section 4).

A moving average of the weights follows training. Every so many steps the model is put back to the average, and the
average back to theta_0. The optimiser's moments are kept, as long as there is one optimiser: RSF begins each
iteration with a new one, so that at an interval of one iteration none survives a reset. Steps are counted, and averaged, over all iterations of alignment.
"""

import torch

from .memory import Memory, count_step, follow, keep, kept, steps
from .mitigation import Materials, Mitigation


class ElasticReset:
    """What happens after each step.

    decay: in [0, 1], what the average keeps of itself a step: at 0 it is the model itself, so nothing happens; at 1 it
        stays at theta_0, so every reset undoes all training.
    interval: steps between resets, >= 1.
    memory: of the steps so far and the average.
    """

    def __init__(self, decay: float, interval: int, memory: Memory | None = None) -> None:
        self.decay, self.interval = decay, interval
        self.memory: Memory = {} if memory is None else memory

    @torch.no_grad()
    def __call__(self, model: torch.nn.Module, theta_0: torch.nn.Module) -> None:
        if steps(self.memory) % self.interval == 0:
            keep(self.memory, "average", theta_0)
        average = kept(self.memory, "average", theta_0)
        follow(average, model, self.decay)
        if count_step(self.memory) % self.interval == 0:
            for mean, parameter in zip(average, model.parameters(), strict=True):
                parameter.copy_(mean)


def make(setting: dict, materials: Materials) -> Mitigation:
    """setting: {"strength": the average's decay in [0, 1], "interval": steps from reset to reset}."""
    memory: Memory = {}
    return Mitigation(after_step=ElasticReset(setting["strength"], setting["interval"], memory), memory=memory)
