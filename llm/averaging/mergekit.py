"""Recipes of mergekit's (0.1.5) that `average` can follow: linear, slerp and ties, where they mean the same here.

They mean the same as formulas. mergekit rounds to `dtype` on the way, takes linear interpolation where a cosine is above .9995
(weights differ by less than 2e-4 of themselves then), keeps int(density * values) of a tensor's changes where round(..) are kept here,
and lets the positive one of two changes win that cancel, where none does here. Everything else is refused by its key.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..grouping import layer_ranks

_KEYS = ("merge_method", "models", "slices", "base_model", "parameters", "dtype", "out_dtype")


def options_of(path: Path, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe as the options of `average`; "rule" gives ratios that are not the same for all tensors.

    Raises UserError, naming the key, for what is not read or means something else here.
    """
    method = recipe["merge_method"]
    if not isinstance(method, str) or method not in _METHODS:
        raise UserError(f"{path}: merge_method = {method!r} is not allowed; allowed are {', '.join(_METHODS)}.")
    for key in recipe:
        if key not in _KEYS:
            raise UserError(f"{path}: {key} of mergekit's recipes is not read; allowed are {', '.join(_KEYS)}.")
    dtype = recipe.get("out_dtype") or recipe.get("dtype")
    return _METHODS[method](_Recipe(path, recipe)) | ({"dtype": dtype} if dtype else {})


class _Recipe:
    """models: name -> its parameters, in order. parameters: those of all. layers: how many the slice has; None without slices."""

    def __init__(self, path: Path, recipe: Mapping[str, Any]) -> None:
        self.path, self.base = path, recipe.get("base_model")
        self.parameters, self.layers = self.settings(recipe), None
        if "slices" in recipe and "models" in recipe:
            raise UserError(f"{path}: models and slices are both given; allowed is one of them.")
        models = self._of_slice(recipe["slices"]) if "slices" in recipe else recipe.get("models")
        known = isinstance(models, list) and all(isinstance(one, dict) and "model" in one for one in models)
        if not known or len(models) < 2:
            raise UserError(
                f"{path}: models = {models!r:.80} is not allowed; allowed are two or more with the key model each."
            )
        self.models = {str(one["model"]): self.settings(one) for one in models}
        if len(self.models) < len(models):
            raise UserError(f"{path}: models has one of them twice; allowed is each once.")
        for one in models:
            self.only([key for key in one if key != "layer_range"], "model", "parameters")

    def _of_slice(self, slices: Any) -> list[dict]:
        """The sources of the one slice that is all layers."""
        one = slices[0] if isinstance(slices, list) and len(slices) == 1 and isinstance(slices[0], dict) else {}
        sources = one.get("sources")
        if not isinstance(sources, list) or not sources or not all(isinstance(source, dict) for source in sources):
            raise UserError(
                f"{self.path}: slices = {slices!r:.80} is not allowed; allowed is one with the key sources."
            )
        self.only(list(one), "sources", "parameters", "base_model")
        first, *others = [source.get("layer_range") for source in sources]
        if any(other != first for other in others) or not isinstance(first, list) or len(first) != 2 or first[0] != 0:
            raise UserError(
                f"{self.path}: layer_range = {first!r:.80} is not allowed; allowed is [0, number of layers], the same in all sources."
            )
        self.layers, self.base = first[1], one.get("base_model", self.base)
        self.parameters |= self.settings(one)
        return sources

    def settings(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters of the recipe, of a slice or of a model."""
        found = given.get("parameters") or {}
        if not isinstance(found, dict):
            raise UserError(f"{self.path}: parameters = {found!r:.80} is not allowed; allowed is KEY: VALUE.")
        return dict(found)

    def only(self, given: Iterable[str], *known: str) -> None:
        odd = next((key for key in given if key not in known), None)
        if odd is not None:
            raise UserError(f"{self.path}: parameter {odd} is not read; allowed are {', '.join(known)}.")

    def fixed(self, key: str, value: Any, default: Any) -> None:
        """UserError unless a parameter has the one value that is allowed, given or by its default."""
        if (found := self.parameters.get(key, default)) != value:
            raise UserError(f"{self.path}: {key} = {found!r} is not allowed; allowed is {str(value).lower()}.")

    def of_all(self, key: str, models: Sequence[str], default: Any = None) -> list[Any]:
        """A parameter's setting for each model: its own, or that of all."""
        return [self.checked(key, self.models[m].get(key, self.parameters.get(key, default))) for m in models]

    def checked(self, key: str, setting: Any) -> Any:
        """A number, a list of numbers over the layers, or a list of {filter, value}; UserError for another."""
        if isinstance(setting, dict):
            setting = [setting]
        if isinstance(setting, list) and setting and all(isinstance(one, dict) for one in setting):
            for one in setting:
                self.only(one, "filter", "value")
                if not isinstance(one.get("filter"), str | None):
                    raise UserError(f"{self.path}: filter = {one['filter']!r:.80} is not allowed; allowed is a text.")
            return [{"filter": one.get("filter"), "value": self.checked(key, one.get("value"))} for one in setting]
        several = isinstance(setting, list) and bool(setting)
        try:
            numbers = [float(one) for one in (setting if several else [setting]) if not isinstance(one, bool)]
        except (TypeError, ValueError):
            numbers = []
        if len(numbers) != (len(setting) if several else 1) or min(numbers) < 0:
            raise UserError(
                f"{self.path}: {key} = {setting!r:.80} is not allowed; allowed are numbers from 0, by filters or in a list."
            )
        return numbers if several else numbers[0]

    def ratios(self, key: str, settings: list[Any], share: Callable[..., float]) -> dict[str, Any]:
        """ "alpha" for all tensors, or where settings or slices ask for it a "rule". share: settings' values -> theta's ratio."""
        if self.layers is None and all(isinstance(setting, float) for setting in settings):
            return {"alpha": self.share(key, share, settings)}
        return {"rule": partial(_ratios, of=partial(self.share, key, share), settings=settings, layers=self.layers)}

    def share(
        self, key: str, share: Callable[..., float], values: list[float | None], name: str = "all tensors"
    ) -> float:
        if any(value is None for value in values):
            raise UserError(f"{self.path}: {key} has no value for {name}; allowed is one for every tensor.")
        if share is _of_two and not sum(values):
            raise UserError(
                f"{self.path}: {key} = 0 in both models is not allowed for {name}; allowed is a sum above 0."
            )
        if not 0 <= (ratio := share(*values)) <= 1:
            raise UserError(
                f"{self.path}: {key} = {ratio:g} is not allowed for {name}; allowed are numbers from 0 to 1."
            )
        return ratio


def _of_two(first: float, second: float) -> float:
    return second / (first + second)


def _linear(recipe: _Recipe) -> dict[str, Any]:
    recipe.only(recipe.parameters, "weight", "normalize")
    names = list(recipe.models)
    if recipe.base is not None and str(recipe.base) not in names:
        raise UserError(
            f"{recipe.path}: base_model = {recipe.base!r} is not allowed with linear; allowed is one of models."
        )
    for own in recipe.models.values():
        recipe.only(own, "weight")
    weights = recipe.of_all("weight", names)
    plain = all(isinstance(weight, float) for weight in weights)
    if not plain or abs(sum(weights) - 1) > 1e-9:
        recipe.fixed("normalize", True, True)
    found: dict[str, Any] = {"theta_0": names[0], "theta": names[1], "method": "ma"}
    if len(names) == 2:
        return found | recipe.ratios("weight", weights, _of_two)
    if not plain or recipe.layers is not None or not sum(weights[1:]):
        raise UserError(
            f"{recipe.path}: weight is {weights!r:.80}, allowed of more than two models is one number each."
        )
    return found | {"with": names[2:], "weight": weights[1:], "alpha": sum(weights[1:]) / sum(weights)}


def _slerp(recipe: _Recipe) -> dict[str, Any]:
    recipe.only(recipe.parameters, "t")
    names, base = list(recipe.models), str(recipe.base)
    if base not in names or len(names) != 2:
        raise UserError(
            f"{recipe.path}: base_model = {base!r} is not allowed with slerp; allowed is one of two models: {', '.join(names)}."
        )
    for own in recipe.models.values():
        recipe.only(own)
    t = recipe.checked("t", recipe.parameters.get("t"))
    theta = next(name for name in names if name != base)
    return {"theta_0": base, "theta": theta, "method": "slerp"} | recipe.ratios("t", [t], float)


def _ties(recipe: _Recipe) -> dict[str, Any]:
    recipe.only(recipe.parameters, "weight", "density", "normalize", "rescale", "lambda", "int8_mask")
    names = [name for name in recipe.models if name != str(recipe.base)]
    if recipe.base is None or len(names) != 2:
        raise UserError(
            f"{recipe.path}: models = {', '.join(names)} is not allowed with ties; allowed are two beside the base_model."
        )
    for name in names:
        recipe.only(recipe.models[name], "weight", "density")
    for key, value in (("normalize", True), ("rescale", False), ("lambda", 1)):
        recipe.fixed(key, value, value)
    density = recipe.of_all("density", names, 1.0)
    if not isinstance(density[0], float) or density[0] != density[1] or not 0 < density[0] <= 1:
        raise UserError(
            f"{recipe.path}: density = {density!r:.80} is not allowed; allowed is one number in (0, 1] for both models."
        )
    found = {"theta_0": names[0], "theta": names[1], "theta_pre": str(recipe.base), "method": "ties"}
    weights = recipe.of_all("weight", names)
    return found | {"option": {"keep": density[0]}} | recipe.ratios("weight", weights, _of_two)


_METHODS = {"linear": _linear, "slerp": _slerp, "ties": _ties}


def _ratios(
    names: Iterable[str],
    tied: Mapping[str, str],
    alpha: float,
    of: Callable[[list[float | None], str], float],
    settings: list[Any],
    layers: int | None,
) -> dict[str, tuple[str, float]]:
    """Tensor name -> (label, ratio), as for a rule of `averaging.schedule`."""
    ranks = layer_ranks(names)
    count = max(filter(None, ranks.values()))
    if layers is not None and layers != count:
        raise UserError(
            f"layer_range = [0, {layers}] is not allowed; allowed is all of the model's layers, [0, {count}]."
        )
    ratios = {}
    for name, rank in ranks.items():
        place = 0.0 if rank is None else (rank - 1) / (count - 1) if count > 1 else 1.0
        ratio = of([_value(setting, tied.get(name, name), place) for setting in settings], name)
        ratios[name] = (f"ratio {ratio:.6g}", ratio)
    return ratios


def _value(setting: Any, name: str, place: float) -> float | None:
    """A setting's value for a tensor whose layer lies at `place` in [0, 1], as mergekit has it: 0 outside of the layers."""
    if isinstance(setting, float):
        return setting
    if isinstance(setting[0], dict):
        fits = (one for one in setting if one["filter"] in (None, "*") or one["filter"] in name)
        chosen = next(fits, None)
        return None if chosen is None else _value(chosen["value"], name, place)
    scaled = place * (len(setting) - 1)
    below = int(scaled)
    above = min(len(setting) - 1, below + 1)
    return (1 - (scaled - below)) * setting[below] + (scaled - below) * setting[above]
