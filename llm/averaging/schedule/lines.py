"""LiNeS, layer-increasing scaling (Wang et al., arXiv 2410.17146): shallow layers near theta_0, deep ones at theta.

Layer l of L gets the ratio a + b (l - 1) / (L - 1), and with one task b = 1 - a, so that the last layer is theta's; a is tuned and is
called alpha here. What lies outside the layers gets a (the authors'), or stays theta's (`outer`). alpha = 1 is theta; alpha = 0
is not theta_0. `reverse` counts the layers from the last one, the direction of the ratios that AMA finds: it is no method of theirs.
"""

from collections.abc import Iterable, Mapping

from ...grouping import layer_ranks


def ratios(
    names: Iterable[str], tied: Mapping[str, str], alpha: float, outer: str = "alpha"
) -> dict[str, tuple[str, float]]:
    """Tensor name -> (label, ratio). Tied tensors lie outside the layers."""
    ranks = layer_ranks(names)
    steps = max(1, max(filter(None, ranks.values())) - 1)
    elsewhere = "outer", 1.0 if outer == "theta" else alpha
    return {
        name: elsewhere if rank is None else (f"layer{rank}", _between(alpha, (rank - 1) / steps))
        for name, rank in ranks.items()
    }


def reverse(
    names: Iterable[str], tied: Mapping[str, str], alpha: float, outer: str = "alpha"
) -> dict[str, tuple[str, float]]:
    """The same with the first layer theta's and the last at alpha."""
    found = ratios(names, tied, alpha, outer)
    last = max(int(label.removeprefix("layer")) for label, _ in found.values() if label != "outer")
    by_label = dict(found.values())
    return {
        name: (label, ratio if label == "outer" else by_label[f"layer{last + 1 - int(label.removeprefix('layer'))}"])
        for name, (label, ratio) in found.items()
    }


def _between(alpha: float, depth: float) -> float:
    """a + (1 - a) depth, exactly a at depth 0 and 1 at depth 1."""
    return (1 - depth) * alpha + depth
