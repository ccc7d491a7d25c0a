"""BEMA, a bias-corrected moving average of the weights (Block and Zhang, arXiv 2508.00180): training goes on as it would, and the
model that is measured is

    theta' = alpha_t (theta_t - theta_0) + EMA_t,   EMA_t = (1 - beta_t) EMA_t-1 + beta_t theta_t,
    beta_t = (rho + t)^-kappa,   alpha_t = (rho + t)^-eta,

renewed every phi steps (their code: kappa .5, eta .2, rho 10, phi 400). Without the first term it is a plain moving average, which lags
behind training. Steps are counted over all iterations of alignment.
"""

import torch

from .memory import Memory, count_step, follow, kept
from .mitigation import Materials, Mitigation


class Bema:
    """kappa: >= 0; at 0 the average is the model itself. eta: >= 0, or None without the correction. rho >= 1, phi >= 1 steps."""

    def __init__(self, kappa: float, eta: float | None, rho: float, phi: int, memory: Memory) -> None:
        self.kappa, self.eta, self.rho, self.phi, self.memory = kappa, eta, rho, phi, memory

    @torch.no_grad()
    def after_step(self, model: torch.nn.Module, theta_0: torch.nn.Module) -> None:
        step, average = count_step(self.memory), kept(self.memory, "average", theta_0)
        if step % self.phi:
            return
        follow(average, model, 1 - (self.rho + step) ** -self.kappa)
        share = 0.0 if self.eta is None else (self.rho + step) ** -self.eta
        weights = zip(average, model.parameters(), theta_0.parameters(), strict=True)
        for i, (mean, parameter, start) in enumerate(weights):
            self.memory[f"result.{i}"] = mean + share * (parameter - start)

    @torch.no_grad()
    def finish(self, model: torch.nn.Module, theta_0: torch.nn.Module) -> None:
        """Put the average into the model; theta_0 where there have been fewer than phi steps."""
        for parameter, result in zip(model.parameters(), kept(self.memory, "result", theta_0), strict=True):
            parameter.copy_(result)


def make(setting: dict, materials: Materials) -> Mitigation:
    """setting: {"strength": kappa in [0, 1], "bias_power": eta >= 0 or "none", "lag": rho, "interval": phi}."""
    memory: Memory = {}
    eta = None if setting["bias_power"] == "none" else setting["bias_power"]
    average = Bema(setting["strength"], eta, setting["lag"], setting["interval"], memory)
    return Mitigation(after_step=average.after_step, memory=memory, finish=average.finish)
