"""Presets and sweeps read from their YAML files, in one place."""

import re
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from ..errors import UserError
from ..files import DIGITS, read_text
from .base import Settings, either
from .hub import HubPreset
from .local import MicrocosmPreset, SmollmPreset
from .preset import Preset
from .sweep import Sweep
from .words import sentence

_SCALARS = {f"tag:yaml.org,2002:{kind}" for kind in ("bool", "float", "int", "null", "str")}
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9_]*)")
LARGEST = 100_000  # characters of a file, and values in it when aliases are written out

# All kinds of presets, told apart by their key `data`
AnyPreset = Annotated[MicrocosmPreset | SmollmPreset | HubPreset, Field(discriminator="data")]

KINDS: dict[str, type[Preset]] = {
    get_args(kind.model_fields["data"].annotation)[0]: kind for kind in (MicrocosmPreset, SmollmPreset, HubPreset)
}
ANY_PRESET = TypeAdapter(AnyPreset)


def load_preset(name: str) -> AnyPreset:
    """A preset by the name of its file in llm/presets, or by the path of a YAML file; its key `data` says of which kind it is.

    A file may begin with `base:`, the name of a preset or the path of a file (from the folder of the one that names it), and then give
    its own name and what differs.
    """
    path = _find("presets", name)
    preset = _checked(ANY_PRESET, path, _read("presets", path))
    for sweep, labels in (preset.entries or {}).items():
        _refuse_unknown(path, f"entries = {sweep!r}", {sweep}, names("sweeps"))
        _refuse_unknown(
            path, f"entries.{sweep} = {list(labels)}", set(labels), [e.label for e in load_sweep(sweep).averaging]
        )
    return preset


def load_sweep(name: str) -> Sweep:
    """A sweep by the name of its file in llm/sweeps, or by the path of a YAML file; `base:` as in a preset's."""
    path = _find("sweeps", name)
    return _checked(TypeAdapter(Sweep), path, _read("sweeps", path))


def names(folder: Literal["presets", "sweeps"]) -> list[str]:
    """The names that come with the package."""
    files = resources.files(__package__.rpartition(".")[0]).joinpath(folder).iterdir()
    return sorted(p.name.removesuffix(".yaml") for p in files if p.name.endswith(".yaml"))


def _refuse_unknown(path, what: str, given: set[str], allowed: list[str]) -> None:
    if given - set(allowed):
        raise UserError(f"{path}: {what} is an unknown name; allowed are {', '.join(allowed) or 'none'}")


def _find(folder: Literal["presets", "sweeps"], name: str, beside: Path = Path()):
    package = resources.files(__package__.rpartition(".")[0])
    path = beside / name if name.endswith((".yaml", ".yml")) else package.joinpath(folder, f"{name}.yaml")
    if not path.is_file():
        known = ", ".join(names(folder))
        where = "" if beside == Path() else f" from {beside}"
        raise UserError(f"{folder[:-1]} = {name!r} is unknown; allowed are {known}, or the path of a YAML file{where}")
    return path


def read_yaml(path: Path) -> object:
    """The content of a YAML file; UserError for what is no YAML in UTF-8, has a key twice, or is far larger than settings are."""
    text = read_text(path, LARGEST + 1).removeprefix("\ufeff")
    try:
        if len(text) > LARGEST:
            raise ValueError(f"it has more than {LARGEST} characters")
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None


class _Loader(yaml.SafeLoader):
    """Refuses keys that are given twice, whole numbers beyond 64 bits, and aliases that stand for themselves or for too much."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.nodes, self.sizes = 0, dict[int, int]()

    def compose_node(self, parent, index):
        before, is_alias = self.nodes, self.check_event(yaml.AliasEvent)
        node = super().compose_node(parent, index)
        if is_alias and id(node) not in self.sizes:
            raise ValueError("an alias stands within what it stands for")
        self.nodes += self.sizes[id(node)] if is_alias else 1
        self.sizes.setdefault(id(node), self.nodes - before)
        if self.nodes > LARGEST:
            raise ValueError(f"its aliases stand for more than {LARGEST} values")
        return node

    def construct_mapping(self, node, deep=False):
        keys: set[Any] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            value = self.construct_object(key) if key.tag in _SCALARS else key.value  # 1 and 1.0 are one key
            if value in keys:
                raise ValueError(f"the key {key.value} stands twice")
            keys.add(value)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node):
        number = super().construct_yaml_int(node)
        if abs(number) >= 10**DIGITS:
            raise ValueError(f"a whole number has more than {DIGITS} digits")
        if not _DECIMAL.fullmatch(node.value):  # YAML 1.1 reads 010 as 8 and 1:30 as 90
            raise ValueError(f"{node.value} is no whole number in decimal digits")
        return number


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def _checked(read: TypeAdapter, path, given: object):
    try:
        return read.validate_python(given)
    except ValidationError as error:
        raise UserError(f"{path}: {_sentence(error, read)}") from None


def _read(folder: Literal["presets", "sweeps"], path, above: tuple[Path, ...] = ()) -> Any:
    """What a file holds, on top of its base if it has one, which may have one, too; above: the files that are based on it."""
    given = read_yaml(path)
    if not isinstance(given, dict) or "base" not in given:
        return given
    beside = path.parent if isinstance(path, Path) else Path()
    found, above = _find(folder, str(given["base"]), beside), (*above, path.resolve())
    if found.resolve() in above:
        raise UserError(f"{path}: base = {given['base']!r} is not allowed; it is based on this file itself")
    base = _read(folder, found, above)
    if not isinstance(base, dict):
        raise UserError(f"{path}: base = {given['base']!r} is not allowed; it holds no settings")
    own = {key: value for key, value in given.items() if key != "base"}
    kind = Sweep if folder == "sweeps" else KINDS.get(str(base.get("data")), Preset)
    return _merged(kind, {key: value for key, value in base.items() if key != "name"}, own)


def _merged(kind: type[Settings], base: dict, given: dict) -> dict:
    """`base` with what `given` says; groups of settings are merged key by key, anything else (a mixture, say) is replaced."""
    result = dict(base)
    for key, value in given.items():
        inner = _group(kind, key)
        both = inner is not None and isinstance(value, dict) and isinstance(base.get(key), dict)
        result[key] = _merged(inner, base[key], value) if both else value
    return result


def _group(kind: type[Settings], key: str) -> type[Settings] | None:
    """The settings that a key is a group of, whether it may be left out or not; None for any other key."""
    annotation = kind.model_fields[key].annotation if key in kind.model_fields else None
    choices = get_args(annotation) or (annotation,)
    return next((choice for choice in choices if isinstance(choice, type) and issubclass(choice, Settings)), None)


def _sentence(error: ValidationError, read: TypeAdapter) -> str:
    """The first problem: key, value, what is allowed. A preset's kind, which pydantic has in the key's place, is no key."""
    first = error.errors()[0]
    if first["type"] == "union_tag_not_found":
        return "the key data is missing; every key must be given"
    if first["type"] == "union_tag_invalid":
        return f"data = {first['input']['data']!r} is not allowed; allowed is {either(KINDS)}"
    own = KINDS.get(str(first["loc"][0])) if first["loc"] else None
    return sentence(error, TypeAdapter(own) if own else read, skip=own is not None)
