"""The staircase that bf16 makes of the path from theta_0 to theta, on weights and updates drawn at random or on a pair of models."""

from pathlib import Path

import numpy as np

from ..averaging.files.arithmetic import STORAGE, NotFinite, mix, narrow, widen
from ..averaging.files.chunks import Span, fp64, not_finite
from ..averaging.files.output import rounded_at_random
from ..averaging.files.pairing import pair
from ..averaging.precision import Effect
from ..errors import UserError
from ..models.folder import read_folder

SIZES = (512, 256, 128, 64, 16)  # weights over the standard deviation of their updates
ALPHAS = (0.2, 0.5, 0.8)
_BLOCK = 1 << 20


def table(values: int = 400_000, seed: int = 0) -> str:
    """A Markdown table: a row an update's size and ratio."""
    lines = [
        "| update's standard deviation | asked alpha | nearest: effective alpha | weights changed | stochastic: effective alpha "
        "| terms rounded first: effective alpha | equal weights altered |",
        "|---|---|---|---|---|---|---|",
    ]
    for size in SIZES:
        for alpha in ALPHAS:
            found = measured(size, alpha, values, seed)
            nearest, stochastic, apart = (found[key] for key in ("nearest", "stochastic", "terms rounded first"))
            lines.append(
                f"| weight / {size} | {alpha:g} | {nearest.alpha:.3f} | {nearest.changed:.1%} | {stochastic.alpha:.3f} "
                f"| {apart.alpha:.3f} | {found['altered']:.1%} |"
            )
    return "\n".join(lines)


def of_pair(theta_0: Path, theta: Path) -> str:
    """A Markdown table of a pair of model folders, both rounded to bf16 first: a row a ratio. UserError for adapters."""
    found = {alpha: Effect() for alpha in ALPHAS}
    folders = [read_folder(theta_0, "theta-0"), read_folder(theta, "theta")]
    for folder in folders:
        if folder.is_adapter:
            raise UserError(
                f"{folder.name} is {str(folder.path)!r}, an adapter; merge it first (`average --alpha 1 --full`)."
            )
    pairing = pair(folders[0], folders[1], False)
    for name, right in pairing.theta.items():
        for start in range(0, right.elements if name not in pairing.tied and right.dtype in STORAGE else 0, _BLOCK):
            spans = (Span(one, start, min(start + _BLOCK, right.elements)) for one in (pairing.theta_0[name], right))
            low, high = (narrow(fp64(span), "BF16") for span in spans)
            for alpha, effect in found.items():
                try:
                    made = mix(low, "BF16", high, "BF16", alpha)
                except NotFinite as error:
                    side = str(error)
                    raise not_finite(pairing.theta_0[name] if side == "theta_0" else right, side) from None
                before, after, average = (widen(one, "BF16").astype(np.float64) for one in (low, high, made))
                effect.add(before, after, average, alpha)
    lines = [
        "| asked alpha | effective alpha | weights changed from theta_0 | from theta | weights in which the two differ |",
        "|---|---|---|---|---|",
    ]
    for alpha, effect in found.items():
        shares = " | ".join(f"{one / effect.values:.1%}" for one in (effect.from_low, effect.from_high, effect.moved))
        lines.append(f"| {alpha:g} | {'-' if effect.alpha is None else f'{effect.alpha:.3f}'} | {shares} |")
    return "\n".join(lines)


def measured(size: float, alpha: float, values: int, seed: int) -> dict:
    """Way of rounding -> `Effect`, and "altered": of weights that are equal in both models the share that the last way changes.

    Weights are normal, rounded to bf16; theta's are theirs plus normal numbers times weight / size, rounded to bf16.
    """
    rng = np.random.default_rng(seed)
    low = narrow(rng.normal(scale=0.02, size=values), "BF16")
    before = widen(low, "BF16").astype(np.float64)
    high = narrow(before + rng.normal(size=values) * before / size, "BF16")
    after = widen(high, "BF16").astype(np.float64)
    exact = (1 - alpha) * before + alpha * after
    made = {
        "nearest": widen(mix(low, "BF16", high, "BF16", alpha), "BF16"),
        "stochastic": rounded_at_random(exact, "BF16", rng),
        "terms rounded first": terms_rounded(before, after, alpha),
    }
    effects = {}
    for way, average in made.items():
        effects[way] = Effect()
        effects[way].add(before, after, average.astype(np.float64), alpha)
    altered = (terms_rounded(before, before, alpha) != before).mean()
    return effects | {"altered": float(altered)}


def terms_rounded(low: np.ndarray, high: np.ndarray, alpha: float) -> np.ndarray:
    """The average with each product rounded to bf16 before the sum is, as tensors in bf16 do it; fp64 in and out."""
    terms = [widen(narrow(share * model, "BF16"), "BF16") for share, model in ((1 - alpha, low), (alpha, high))]
    return widen(narrow(terms[0].astype(np.float64) + terms[1], "BF16"), "BF16").astype(np.float64)
