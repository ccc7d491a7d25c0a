"""L2 penalty: loss + lambda ||theta - theta_0||_2^2 over all parameters (the paper, section 4)."""

from .mitigation import Materials, Mitigation, differences


def make(setting: dict, materials: Materials) -> Mitigation:
    """setting: {"strength": lambda >= 0}."""

    def penalty(model, theta_0, batch):
        return setting["strength"] * sum(difference.square().sum() for difference in differences(model, theta_0))

    return Mitigation(penalty=penalty)
