"""MA of the linear layers alone, embeddings and norms at theta_0: what the published merge script of the paper's authors does
(it mixes `nn.Linear` and copies the rest from theta_0; their experiments may have used other code).

Told by names: all tensors but embeddings and norms, the norms within layers among the latter. A head that is tied to the
embeddings stays theta_0's with them. alpha = 0 is theta_0; alpha = 1 is not theta.
"""

from collections.abc import Iterable, Mapping

from ...grouping import is_linear


def ratios(names: Iterable[str], tied: Mapping[str, str], alpha: float) -> dict[str, tuple[str, float]]:
    """Tensor name -> (label, ratio)."""
    return {name: ("linear", alpha) if is_linear(tied.get(name, name)) else ("theta_0", 0.0) for name in names}
