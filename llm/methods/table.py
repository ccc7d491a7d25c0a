"""The table of methods: an entry each."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from ..errors import UserError
from .families import (
    REGRESSION,
    ama_family,
    by_entry,
    by_number,
    by_projection,
    by_what_is_given,
    part_family,
    pattern_family,
    regmean_family,
    shades,
)
from .method import Look, Method, Option, Order

PAPER = "arXiv 2309.06256"
BY_STRENGTH = {"strength": Option(least=0)}
RESETS = {"strength": Option(least=0, most=1), "interval": Option(least=1, whole=True)}
ADAPTERS = {
    "rank": Option(least=1, whole=True),
    "lora_alpha": Option(least=0, above=True),
    "targets": Option(words=("mlp", "mlp+attention"), numbers=False),
}
MERGED_ONLINE = {"keep": Option(least=0, most=1, above=True), "pull": Option(least=0, most=1)}
ITERATIONS = {"iteration": Option(least=1, whole=True)}  # of its own, of which the last stands for those beyond
REFERENCE = {"samples": Option(least=1, whole=True), "reference": Option(words=("free", "documents"), numbers=False)}
ALONG_ALPHA = Order(("alpha",), starts="theta_0", ends="theta")  # alpha = 0 is theta_0 itself, 1 is theta
FROM_THETA_0 = Order(("alpha",), starts="theta_0")  # alpha = 1 is a model of its own
FROM_ITERATION_0 = Order(("iteration",), starts="theta_0")
FROM_ELSEWHERE = Order(("alpha",))  # and so is alpha = 0
SHARE = Option(least=0, most=1, above=True)  # of values that are kept
ALONG_STRENGTH = Order(("strength",), falling=True, starts="theta_0", ends="distilled")
METHODS: dict[str, Method] = {}


def _mitigation(
    name: str,
    look: Look,
    reference: str = f"{PAPER}, section 4",
    options: Mapping[str, Option] = BY_STRENGTH,
    order: Order = ALONG_STRENGTH,
) -> Method:
    """A method of training with a family of its own, in a file of its name."""
    return Method(name, "training", {name: look}, reference, f"training.mitigations.{name}:make", options, order=order)


ALONG_PENALTY = Order(
    ("strength",), falling=True, starts="theta_0", ends="theta"
)  # without it, it is the algorithm itself
ON_POLICY: Literal["on-policy"] = "on-policy"


def _on_policy(
    name: str,
    look: Look | Mapping[str, Look],
    reference: str,
    options: Mapping[str, Option] = BY_STRENGTH,
    order: Order | None = ALONG_PENALTY,
    file: str = "",
    **others: Any,
) -> Method:
    """A method that changes every iteration of RSF or DPO. file: "file:function" of `llm.training.mitigations`, where it is no `make` in a file of its name."""
    looks, code = look if isinstance(look, Mapping) else {name: look}, f"training.mitigations.{file or name + ':make'}"
    return Method(
        name, "training", looks, reference, code, options, order=order, after=("rsf", "dpo"), how=ON_POLICY, **others
    )


def register(method: Method) -> Method:
    """Put a method into the table; its name must be new."""
    if method.name in METHODS:
        raise UserError(f"method = {method.name!r} is there already; allowed are new names")
    METHODS[method.name] = method
    return method


# A table, an entry a few lines: the formatter would give each argument a line of its own.
# fmt: off
for _method in (
    Method("chance", "model", {}, "guessing"),
    Method("reward_model", "model", {}, "the learned reward on held-out pairs"),
    Method("theta_0", "model", {"theta_0": Look(r"$\theta_0$ (before RLHF)", "#000000", "-", r"$\theta_0$")}, PAPER),
    Method("theta", "model", {"theta": Look(r"$\theta$ (after RLHF)", "#7a0019", "-", r"$\theta$")}, PAPER),
    Method("early-stopping", "model", {"early-stopping": Look("early stopping", "#7f7f7f")}, f"{PAPER}, section 4",
        order=Order(("iteration",), starts="theta_0")),
    Method("ma", "averaging", {"ma": Look("model averaging (MA)", "#0072b2", "-", "MA")}, "arXiv 2109.01903",
        "averaging.merge.linear:LINEAR", order=ALONG_ALPHA, hub=True),
    Method("slerp", "averaging", {"slerp": Look("spherical averaging (SLERP)", "#1f4e9c", "--", "SLERP")},
        "Shoemake, SIGGRAPH 1985", "averaging.merge.slerp:SLERP", order=ALONG_ALPHA),
    Method("part", "averaging", {
        "part-input": Look("input part only", "#009e73", "-", "input part"),
        "part-middle": Look("middle part only", "#e69f00", "-", "middle part"),
        "part-output": Look("output part only", "#56b4e9", "-", "output part"),
        "part-embeddings": Look("embeddings only", "#4b2e83", ":", "embeddings"),
        "part-input-embeddings-first": Look("input part and embeddings only", "#24a643", "--", "input + emb."),
    }, f"{PAPER}, figure 4", "averaging.merge.linear:LINEAR",
        options={"part": Option(of_groups=True), "embeddings": Option(words=("first",), numbers=False, needed=False)},
        order=Order(("alpha",), ends="theta"),  # alpha = 0 puts the part back, and that is no theta_0
        family=part_family, hub=True),
    Method("ama", "averaging", {
        "ama": Look("adaptive averaging (AMA)", "#d55e00", "-", "AMA"),
        "ama-own-embeddings": Look("AMA, embeddings apart", "#dd8fbe", "-", "AMA, emb. apart"),
        "ama-own-embeddings-head": Look("AMA, embeddings and head apart", "#9c2f5d", "-", "AMA, + head apart"),
        "ama-6": Look("AMA, K = 6", "#8c3b00"),
    }, f"{PAPER}, section 5",
        options={"samples": Option(least=1, whole=True, words=("all",), needed=False),
                 "regulariser": Option(least=0, needed=False)},
        searches="ama.work", grouped=True, order=ALONG_ALPHA, family=ama_family, hub=True),
    Method("oracle", "averaging", {
        "oracle-reward": Look("oracle, learned reward", "#00695c", "-", "oracle, learned"),
        "oracle-gold_reward": Look("oracle, gold reward", "#5a189a", "-", "oracle, gold"),
    }, f"{PAPER}, equation 3", options={"chosen_by": Option(words=("reward", "gold_reward"), numbers=False)},
        searches="oracle.work", grouped=True, order=ALONG_ALPHA, family=by_entry("chosen_by")),
    Method("adamerging", "averaging", {"adamerging": Look("AdaMerging", "#cdb843", "--")}, "arXiv 2310.02575",
        searches="ama.labelled_work", grouped=True, parts="layers", order=ALONG_ALPHA),
    Method("pattern", "averaging", {
        "pattern-output-less": Look(r"$(a,\,a,\,a-.1)$", "#1b7d4f"),
        "pattern-rest-less": Look(r"$(a,\,a-.1,\,a-.1)$", "#c8791a"),
        "pattern-output-more": Look(r"$(a,\,a,\,a+.1)$", "#8fd3b5"),
        "pattern-rest-more": Look(r"$(a,\,a+.1,\,a+.1)$", "#f0bf6b"),
    }, f"{PAPER}, figure 9", "averaging.merge.linear:LINEAR",
        options={"offsets": Option(least=-1, most=1, tuples=True)}, grouped=True, order=Order(("alpha",)),  # the first part's
        family=pattern_family, hub=True),
    Method("regmean", "averaging", {
        "regmean": Look("regression averaging (RegMean)", "#c2185b", "-", "RegMean"),
        "regmean-layers-increasing": Look("RegMean, lambda falling from layer to layer (as LiNeS)", "#5d0f2f", "-.", "RegMean, by layer"),
        "regmean-inputs-merged": Look("RegMean++, layer by layer", "#7b1fa2", "--", "RegMean++"),
        "regmean-inputs-differences": Look("RegMean without samples", "#90a4ae", ":", "RegMean, no samples"),
    }, "arXiv 2212.09849", "averaging.whole.regmean:make", options=BY_STRENGTH | REGRESSION, whole=True,
        order=Order(("strength",), falling=True, starts="theta_0", ends="theta"), family=regmean_family, hub=True),
    Method("constrained", "averaging", {"constrained": Look("tax-constrained ratios", "#00838f", "-.", "constrained")},
        f"{PAPER}, section 5, without its mean", "averaging.whole.constrained:make", options=BY_STRENGTH, whole=True,
        order=Order(("strength",), falling=True, starts="theta_0", ends="theta")),
    Method("aim", "averaging",
        shades("aim", "AIM", "omega", {0.2: "#087eea", 0.4: "#b9774e", 0.6: "#321065", 0.8: "#2fe55a"}, ":"),
        "arXiv 2502.02421", "averaging.whole.aim:make", {"omega": Option(least=0, most=1, default=0.4)}, whole=True,
        order=FROM_THETA_0, family=by_number("aim", "omega")),
    Method("trim", "averaging",
        shades("trim", "trimmed", "keep", {0.1: "#34c7a2", 0.2: "#3b5bfe", 0.3: "#79650f", 0.6: "#84829e"}),
        "arXiv 2306.01708, section 4, its first step", "averaging.merge.trim:TRIM", {"keep": replace(SHARE, default=0.2)},
        order=FROM_THETA_0, family=by_number("trim", "keep")),
    Method("dare", "averaging", shades("dare", "DARE", "p", {0.5: "#400cbb", 0.7: "#66d923", 0.9: "#25c24b"}, "--") | shades(
        "dare", "DARE", "p, mask", {(0.5, 0): "#2a99a5", (0.9, 0): "#374232"}, ":", "mask"),
        "arXiv 2311.03099", "averaging.merge.dare:DARE",
        {"drop": Option(least=0, most=0.999, default=0.9), "mask": Option(least=0, whole=True, needed=False, default=0)},
        order=FROM_THETA_0, family=by_number("dare", "drop", "mask")),
    Method("fapm", "averaging", shades("fapm", "FAPM", "keep", {0.1: "#482251", 0.3: "#de5d2e", 0.6: "#6c58fc"}, "-."),
        "arXiv 2509.08255", "averaging.merge.fapm:FAPM", {"keep": replace(SHARE, default=0.1)},
        order=FROM_THETA_0, family=by_number("fapm", "keep")),
    Method("breadcrumbs", "averaging",
        shades("breadcrumbs", "breadcrumbs", "density", {0.3: "#e6720f", 0.6: "#69c56b", 0.9: "#7a060a"}, ":") | shades(
            "breadcrumbs", "breadcrumbs", "density, gamma", {(0.1, 0.006): "#969b08", (0.15, 0.006): "#025a1d", (0.2, 0.006): "#8e6b5e"}, "--", "gamma"),
        "arXiv 2312.06795", "averaging.merge.breadcrumbs:BREADCRUMBS",
        {"density": replace(SHARE, default=0.9), "gamma": Option(least=0, most=1, needed=False, default=0.01)},
        order=FROM_THETA_0, family=by_number("breadcrumbs", "density", "gamma")),
    Method("ties", "averaging", shades("ties", "TIES", "keep", {0.1: "#beb929", 0.2: "#156927", 0.6: "#8a32d8"}) | shades(
        "ties", "TIES", "keep, scale", {(0.2, 1): "#e79e4a", (0.2, 1.5): "#e75690", (0.2, 2): "#613ad6", (0.6, 1): "#5f5228"}, "--", "scale"),
        "arXiv 2306.01708", "averaging.merge.ties:TIES",
        {"keep": replace(SHARE, default=0.2), "scale": Option(least=0, above=True, needed=False, default=1.0)},
        order=FROM_ELSEWHERE, family=by_number("ties", "keep", "scale"), theta_pre=True),
    Method("dots", "averaging", shades("dots", "DoTS", "sft", {0.5: "#43c8c6", 1: "#d35063", 2: "#f79882"}, "--") | shades(
        "dots", "DoTS", "sft, keep", {(0.5, 0.3): "#e4a7db", (1, 0.3): "#2e6c5e", (2, 0.3): "#77a066"}, ":", "keep"),
        "arXiv 2605.00610", "averaging.merge.dots:DOTS",
        {"keep": replace(SHARE, needed=False, default=0.3), "sft": Option(least=0, most=2, default=1.0)},
        order=FROM_ELSEWHERE, family=by_number("dots", "sft", "keep"), theta_pre=True, most=2.0),
    Method("extrapolate", "averaging", {"extrapolate": Look("extrapolation (ExPO)", "#8a2e80", ":", "ExPO")},
        "arXiv 2404.16792", "averaging.merge.extrapolate:EXTRAPOLATE", order=ALONG_ALPHA, most=2.0, hub=True),
    Method("lines", "averaging", {
        "lines-alpha": Look("LiNeS", "#50d689", "-"),
        "lines-theta": Look(r"LiNeS, rest at $\theta$", "#3a9578", "--"),
    }, "arXiv 2410.17146", "averaging.schedule.lines:ratios",
        {"outer": Option(words=("alpha", "theta"), numbers=False, default="alpha")},
        order=Order(("alpha",), ends="theta"), family=by_number("lines", "outer"), hub=True),
    Method("reverse-lines", "averaging", {
        "reverse-lines-alpha": Look("reverse LiNeS", "#640fe7", "-."),
        "reverse-lines-theta": Look(r"reverse LiNeS, rest at $\theta$", "#4a1252", ":"),
    }, "arXiv 2410.17146, with the layers counted from the last", "averaging.schedule.lines:reverse",
        {"outer": Option(words=("alpha", "theta"), numbers=False, default="alpha")},
        order=Order(("alpha",), ends="theta"), family=by_number("reverse-lines", "outer"), hub=True),
    Method("ma-matrices", "averaging",
        {"ma-matrices": Look(r"MA, embeddings and norms at $\theta_0$", "#24279e", "--", "MA, matrices")},
        f"the public code of {PAPER}", "averaging.schedule.matrices:ratios", order=FROM_THETA_0, hub=True),
    Method("ama-published", "averaging", {  # rows without options: eps 1e-6, no regulariser
        "ama-published": Look("AMA as in the published code, without its eps", "#ffa948", "-.", "AMA, published, no eps"),
        "ama-published-eps-0.2-regulariser-0.0001": Look("AMA as in the published code", "#42c6c6", "-.", "AMA, published"),
    }, f"the public code of {PAPER}", options={"eps": Option(least=0, needed=False), "regulariser": Option(least=0, needed=False)},
        searches="ama.work", grouped=True, order=FROM_THETA_0, matrices=True,
        family=by_what_is_given("ama-published", "eps", "regulariser")),
    Method("extrapolate-early", "averaging",
        shades("extrapolate-early", "extrapolated", "iteration", {2: "#33981b", 3: "#0b0b73", 4: "#dd9e69", 5: "#2246cd"}, ":"),
        "arXiv 2404.16792", "averaging.whole.early:make", {"iteration": Option(least=1, whole=True)}, whole=True,
        order=Order(("alpha",), starts="theta_0"), family=by_number("extrapolate-early", "iteration"), most=3.0),
    Method("tail", "averaging",
        shades("tail", "mean of the last", "", {2: "#620f63", 3: "#102fb0", 4: "#67cbb6"}, "-."),
        "arXiv 1803.05407", "averaging.whole.tail:make", {"last": Option(least=1, whole=True)}, whole=True,
        order=FROM_THETA_0, family=by_number("tail", "last")),
    Method("soup", "averaging", shades("soup", "soup of runs:", "", {2: "#c8a219", 3: "#f695f8"}),
        "arXiv 2203.05482", "averaging.whole.soup:make", {"runs": Option(least=2, whole=True)}, whole=True,
        order=FROM_THETA_0, family=by_number("soup", "runs")),
    Method("model-stock", "averaging", {
        "model-stock-tensor": Look("Model Stock", "#440ae7", "--"),
        "model-stock-model": Look("Model Stock, one ratio", "#4990a5", ":"),
    }, "arXiv 2403.19522", "averaging.whole.stock:make",
        {"runs": Option(least=2, whole=True), "per": Option(words=("tensor", "model"), numbers=False)}, whole=True,
        order=Order(("runs",)), family=by_number("model-stock", "per")),
    Method("dera", "averaging", {"dera": Look("DeRa (logits)", "#865243", "-", "DeRa")},
        "arXiv 2402.02992", "averaging.whole.dera:make", whole=True, order=ALONG_ALPHA, most=1.5),
    Method("distilled", "training", {"distilled": Look("distilled, no penalty", "#444444", "-", "distilled")},
        f"{PAPER}, section 4", "training.mitigations.mitigation:distilled"),
    _mitigation("l1", Look("L1 penalty", "#332288", "--", "L1")),
    _mitigation("l2", Look("L2 penalty", "#6fc7b5", "--", "L2")),
    _mitigation("kd", Look("knowledge distillation", "#117733", "--", "KD")),
    Method("lora", "training", {
        "lora-mlp": Look("LoRA, MLP", "#999933", "--"),
        "lora-mlp-attention": Look("LoRA, MLP + attention", "#6a32e5", "--", "LoRA, + att."),
    }, "arXiv 2106.09685", "training.mitigations.lora:make",
        options=ADAPTERS, order=Order(("lora_alpha", "rank"), starts="theta_0", ends="distilled"), family=by_entry("targets")),
    _mitigation("sma", Look("stochastic moving averaging", "#4a2c12", "--", "SMA"), "arXiv 2312.07551", RESETS),
    _mitigation("er", Look("experience replay", "#882255", "--", "ER"),
        order=Order(("strength",), falling=True, ends="distilled")),  # without end it is no theta_0
    Method("kl", "training", {"kl": Look("KL reward penalty", "#e39be3", "--", "KL")}, f"{PAPER}, figure 8",
        options=BY_STRENGTH, after=("ppo",), how="penalty", order=Order(("strength",), falling=True, starts="theta_0"), hub=True),
    _on_policy("l1-on-policy", Look("L1 penalty, on-policy", "#4547b1", "-.", "L1 on-policy"), f"{PAPER}, section 4", file="l1:make"),
    _on_policy("l2-on-policy", Look("L2 penalty, on-policy", "#57bcb3", "-.", "L2 on-policy"), f"{PAPER}, section 4", file="l2:make"),
    _on_policy("kd-on-policy", Look("distillation, on-policy", "#3c9a55", "-.", "KD on-policy"), f"{PAPER}, section 4", file="kd:make"),
    _on_policy("lora-on-policy", {
        "lora-mlp-on-policy": Look("LoRA, MLP, on-policy", "#b5b54d", "-."),
        "lora-mlp-attention-on-policy": Look("LoRA, MLP + attention, on-policy", "#8f66f0", "-.", "LoRA, + att., on-policy"),
    }, "arXiv 2106.09685", ADAPTERS, Order(("lora_alpha", "rank"), starts="theta_0", ends="theta"), "lora:make",
        family=by_entry("targets", "lora", "-on-policy")),
    _on_policy("sma-on-policy", Look("elastic reset", "#7a4a28", "-."), "arXiv 2312.07551", RESETS, file="sma:make"),
    _on_policy("er-on-policy", Look("experience replay, on-policy", "#8f306b", "-.", "ER on-policy"), f"{PAPER}, section 4",
        order=Order(("strength",), falling=True, ends="theta"), file="er:make"),
    _on_policy("kl-anchor", Look(r"KL to $\theta_0$ in the loss", "#c27ba0", "-.", "KL anchor"), "arXiv 1909.08593", file="kl_anchor:make"),
    _on_policy("ema-anchor", shades("ema-anchor", "KL to a moving average", "rate", {0.01: "#2a6f97", 0.1: "#61a5c2"}, "-.", short="EMA anchor"),
        "arXiv 2406.16768, section 3.1", {"strength": Option(least=0), "rate": Option(least=0, most=1)},
        file="ema_anchor:make", family=by_number("ema-anchor", "rate")),
    _on_policy("bema", {
        "bema": Look("bias-corrected moving average", "#468faf", "-.", "BEMA"),
        "ema": Look("moving average", "#89c2d9", "-.", "EMA"),
    }, "arXiv 2508.00180",
        {"strength": Option(least=0, most=1), "bias_power": Option(least=0, words=("none",)),
         "lag": Option(least=1), "interval": Option(least=1, whole=True), "multiplier": Option(least=0, above=True)},
        Order(("multiplier", "strength"), falling=True, starts="theta_0"),
        family=lambda setting: "ema" if setting["bias_power"] == "none" else "bema"),
    _on_policy("warp", {
        **shades("warp", "WARP", "share", {0.3: "#e4572e", 0.6: "#a8321a", 1: "#6b1d0f"}, "-."),
        "warp-starts": Look("WARP, its last starting points", "#f4a58a", "-.", "WARP, starts"),
    }, "arXiv 2406.16768",
        {"share": Option(least=0, most=1), "runs": Option(least=1, most=9, whole=True), "anchor": Option(least=0),
         "rate": Option(least=0, most=1), "eta": Option(least=0, most=1, needed=False)}, Order(("eta", "share"), starts="theta_0"),
        family=lambda setting: f"warp-{setting['share']:g}" if "eta" in setting else "warp-starts", afterwards=("eta",)),
    _on_policy("ondare", Look("online merging (OnDARE)", "#a05195", "-.", "OnDARE"), "arXiv 2405.17931",
        MERGED_ONLINE | ITERATIONS, FROM_ITERATION_0, "online_merging:ondare", afterwards=("iteration",)),
    _on_policy("onties", Look("online merging (OnTIES)", "#d45087", "-.", "OnTIES"), "arXiv 2405.17931",
        MERGED_ONLINE, Order(("keep", "pull")), "online_merging:onties"),  # without pull, keep 1 is theta
    _on_policy("ogpsa", {
        "ogpsa": Look("orthogonal gradients (OGPSA)", "#665191", "-.", "OGPSA"),
        "ogpsa-documents": Look("orthogonal gradients (OGPSA), documents", "#9b8ac4", "-.", "OGPSA, documents"),
    }, "arXiv 2602.07892", {"rank": Option(least=0, whole=True), "interval": Option(least=1, whole=True), **REFERENCE, **ITERATIONS},
        FROM_ITERATION_0, family=by_projection("ogpsa"), afterwards=("iteration",)),
    _on_policy("nspo", {
        "nspo": Look("null space (NSPO), MLP", "#2f4b7c", "-.", "NSPO"),
        "nspo-attention": Look("null space (NSPO), MLP + attention", "#4f74b3", "-.", "NSPO, + att."),
        "nspo-documents": Look("null space (NSPO), MLP, documents", "#8fa8d6", "-.", "NSPO, documents"),
        "nspo-attention-documents": Look(
            "null space (NSPO), MLP + attention, documents", "#b3c4e6", "-.", "NSPO, + att., documents"),
    }, "arXiv 2512.11391", {"threshold": Option(least=0), "targets": ADAPTERS["targets"], **REFERENCE},
        Order(("threshold",), ends="theta"), family=by_projection("nspo")),
    Method("rsf", "alignment", {"rsf": Look("RSF", "#0b6e4f")}, "arXiv 2304.06767", "stages.rsf:rsf", hub=True),
    Method("dpo", "alignment", {"dpo": Look("DPO", "#1764e6")}, "arXiv 2305.18290", "stages.dpo:dpo", hub=True,
        learns_from="preferences.json"),
    Method("ppo", "alignment", {"ppo": Look("PPO", "#7d3c98")}, "arXiv 1707.06347", "stages.ppo:ppo", hub=True),
    Method("rsf-gold", "alignment", {"rsf-gold": Look("RSF, gold reward", "#b8860b", "-", "RSF, gold")}, "arXiv 2304.06767",
        "stages.rsf:rsf", section="rsf", given={"judge": "gold"}),
    Method("rsf-run2", "alignment", {"rsf-run2": Look("RSF, second run", "#4f9d80", "--", "RSF, run 2")}, "arXiv 2304.06767",
        "stages.rsf:rsf", section="rsf", given={"stream": 2}),
    Method("rsf-run3", "alignment", {"rsf-run3": Look("RSF, third run", "#8cc5b0", ":", "RSF, run 3")}, "arXiv 2304.06767",
        "stages.rsf:rsf", section="rsf", given={"stream": 3}),
):
    register(_method)
# fmt: on
