"""BEMA, a bias-corrected moving average of the weights (Block and Zhang, arXiv 2508.00180): training goes on as it would, and the
model that is measured is

    theta' = alpha_t (theta_t - theta_0) + EMA_t,   EMA_t = (1 - beta_t) EMA_t-1 + beta_t theta_t,
    beta_t = (rho + gamma t)^-kappa,   alpha_t = (rho + gamma t)^-eta,

renewed every phi steps (their numbers: kappa .5, eta .2, rho 10, gamma 1, phi 400). Without the first term it is a plain moving average,
which lags behind training. Steps are counted over all iterations of alignment.

The powers know no length of training: where it is straight, theta' - theta_0 is .29 of theta - theta_0 after 7,000 steps (about theirs) and
1.3 of it after 72 renewed at each, which is extrapolation. So the clock matters: gamma, TRL's `multiplier`, says how many steps of theirs one
of ours stands for; gamma 100, phi 4 give .30 after 72. The larger gamma, the nearer to theta_0. Their repository has 1 + rho + t, and
beta_t at least 1e-4; TRL, as here, neither. No setting changes what is trained, so RSF's samples are shared (`llm.stages.rsf`).
"""

import torch

from .memory import Memory, count_step, follow, kept
from .mitigation import Materials, Mitigation


class Bema:
    """kappa: >= 0; at 0 the average is the model itself. eta: >= 0, or None without the correction. rho: >= 1. phi: >= 1 steps.
    gamma: > 0.
    """

    def __init__(self, kappa: float, eta: float | None, rho: float, phi: int, gamma: float, memory: Memory) -> None:
        self.kappa, self.eta, self.rho, self.phi, self.gamma, self.memory = kappa, eta, rho, phi, gamma, memory

    @torch.no_grad()
    def after_step(self, model: torch.nn.Module, theta_0: torch.nn.Module) -> None:
        step, average = count_step(self.memory), kept(self.memory, "average", theta_0)
        if step % self.phi:
            return
        clock = self.rho + self.gamma * step
        follow(average, model, 1 - clock**-self.kappa)
        share = 0.0 if self.eta is None else clock**-self.eta
        weights = zip(average, model.parameters(), theta_0.parameters(), strict=True)
        for i, (mean, parameter, start) in enumerate(weights):
            self.memory[f"result.{i}"] = mean + share * (parameter - start)

    @torch.no_grad()
    def finish(self, model: torch.nn.Module, theta_0: torch.nn.Module) -> None:
        """Put the average into the model; theta_0 where there have been fewer than phi steps."""
        for parameter, result in zip(model.parameters(), kept(self.memory, "result", theta_0), strict=True):
            parameter.copy_(result)


def make(setting: dict, materials: Materials) -> Mitigation:
    """setting: {"strength": kappa in [0, 1], "bias_power": eta >= 0 or "none", "lag": rho, "interval": phi, "multiplier": gamma}."""
    memory: Memory = {}
    eta = None if setting["bias_power"] == "none" else setting["bias_power"]
    average = Bema(setting["strength"], eta, setting["lag"], setting["interval"], setting["multiplier"], memory)
    return Mitigation(after_step=average.after_step, memory=memory, finish=average.finish)
