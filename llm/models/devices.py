"""What torch has on this machine."""

from ..errors import UserError


def require_gpu(asked: str) -> None:
    """UserError where torch sees no GPU; `asked` is what asks for one, as "name = value"."""
    import torch

    if not torch.cuda.is_available():
        raise UserError(f"{asked} is not allowed: this machine has no GPU that torch can use; allowed is cpu")
