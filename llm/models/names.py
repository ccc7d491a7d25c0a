"""What a live model's parameters are called in the files that it comes from."""

from collections.abc import Collection

from ..errors import UserError


def stored_names(model, stored: Collection[str]) -> dict[str, str]:
    """Parameter, a tied one by its first name -> the stored tensor that it is, which may have the base model's name without the prefix;
    without those that are stored in another way, such as fused experts.
    """
    prefix = f"{model.base_model_prefix}."
    aliases: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        aliases.setdefault(id(parameter), []).append(name)
    found = {}
    for names in aliases.values():
        known = [n for name in names for n in (name, name.removeprefix(prefix)) if n in stored]
        if known:
            found[names[0]] = known[0]
    return found


def check_one_by_one(model, names: Collection[str], method: str) -> None:
    """UserError for a model with a parameter that is stored in another way, so that it is not among `stored_names`: a method that looks at
    whole tensors would see another one there.
    """
    odd = next((name for name, _ in model.named_parameters() if name not in names), None)
    if odd is not None:
        raise UserError(
            f"method {method} needs tensors stored one by one as transformers has them in memory, but {odd} is not among "
            "theta's; models with fused experts are such."
        )
