"""What each way to pay less tax costs beyond one run of RLHF: training, data, and memory when the model is used.

Read off the methods' definitions (`llm.methods.METHODS`, whose `reference` is the source), not measured. Every averaged or merged
model has theta's size; the logits of two models need both.
"""

from dataclasses import dataclass

from ..methods import METHODS, names

ONE = "1 model"
GROUPS = {
    "ratio": "one ratio, or ratios by a rule",
    "parts": "ratios by part, given or sought",
    "sparse": "some of the changes",
    "regression": "a ratio per feature",
    "several": "several checkpoints, extrapolation, logits",
    "distilled": "trained on RSF's samples; PPO's penalty",
    "on-policy": "within every iteration of training",
}


@dataclass(frozen=True)
class Cost:
    """group: key of `GROUPS`. training, data: beyond one run of RLHF from theta_0 to theta. memory: when the model is used."""

    group: str
    training: str = "none"
    data: str = "none"
    memory: str = ONE


EACH = "a run for each strength"
SOUP = "as many runs as models"
COSTS: dict[str, Cost] = {
    **dict.fromkeys(("early-stopping", "ma", "slerp", "lines", "reverse-lines", "ma-matrices"), Cost("ratio")),
    **dict.fromkeys(("part", "pattern"), Cost("parts")),
    **dict.fromkeys(("ama", "ama-published"), Cost("parts", "some numbers", "theta's best replies")),
    "constrained": Cost("parts", "some numbers", "samples of both models"),
    "adamerging": Cost("parts", "some numbers", "labelled items of an ability"),
    "oracle": Cost("parts", "none", "reward of every candidate, on prompts"),
    **dict.fromkeys(("trim", "dare", "fapm", "breadcrumbs"), Cost("sparse")),
    **dict.fromkeys(("ties", "dots"), Cost("sparse", data="theta_pre")),
    "regmean": Cost("regression", "none", "samples of both models"),
    "aim": Cost("regression", "none", "theta_0's samples"),
    "extrapolate": Cost("several"),
    **dict.fromkeys(("extrapolate-early", "tail"), Cost("several", data="RLHF's iterations")),
    **dict.fromkeys(("soup", "model-stock"), Cost("several", SOUP)),
    "dera": Cost("several", memory="2 models"),
    **dict.fromkeys(("distilled", "l1", "l2", "kd", "lora", "sma"), Cost("distilled", EACH)),
    "kl": Cost("distilled", EACH),
    "er": Cost("distilled", EACH, "pre-training data"),
    **dict.fromkeys((f"{name}-on-policy" for name in ("l1", "l2", "kd", "lora", "sma")), Cost("on-policy", EACH)),
    **dict.fromkeys(("kl-anchor", "ema-anchor", "bema"), Cost("on-policy", EACH)),
    "er-on-policy": Cost("on-policy", EACH, "pre-training data"),
    "warp": Cost("on-policy", f"{EACH}, several times as long"),
    **dict.fromkeys(("ondare", "onties"), Cost("on-policy", EACH, "theta_pre")),
    "ogpsa": Cost("on-policy", EACH, "theta_0's samples"),
    "nspo": Cost("on-policy", EACH, "theta_0's samples"),
}
NO_DATA = "regmean-inputs-differences"  # the family, and what it begins, that does without its method's data
GENERAL = {"ogpsa-documents", "nspo-documents", "nspo-attention-documents"}  # that take general text instead of samples


def cost_of(method: str, family: str = "") -> Cost:
    """The cost of a method, or of one of its families (`llm.methods.family`)."""
    cost = COSTS[method]
    data = "none" if family.startswith(NO_DATA) else "general text" if family in GENERAL else cost.data
    return Cost(cost.group, cost.training, data, cost.memory)


def compared() -> list[str]:
    """The methods that the comparison is about: early stopping and all that average, or change training."""
    return [name for name in METHODS if name == "early-stopping" or name in names("averaging", "training")]
