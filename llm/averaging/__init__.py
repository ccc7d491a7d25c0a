"""Methods after training: averaging theta_0 and theta with one ratio, or one per part of the network.

alpha is always the share of the post-RLHF model: theta(alpha) = (1 - alpha) theta_0 + alpha theta.

    average(theta_0, theta, ratios)   state dicts, modules (in place) or model folders
    optimise_ratios(...)              AMA: ratios of a given mean at which replies are likeliest
    Grouping, assign                  which tensors share a ratio, from their names alone

They are imported when they are first used, so that importing this package costs nothing.
"""

from importlib import import_module

_HOMES = {"average": "api", "optimise_ratios": "ama.optimise", "Grouping": "..grouping", "assign": "..grouping"}
__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES[name]
    return getattr(import_module(home if home.startswith(".") else f".{home}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
