"""What pydantic finds wrong in settings as one sentence of the project's: key, value, what is allowed."""

from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ..errors import short

_COUNTED = {"integer": "whole numbers", "number": "numbers"}
_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_OF_NUMBERS = ("greater_than", "less_than", "finite_number", "int_", "float_")  # how pydantic's names of problems begin

_KINDS = {  # pydantic's names of problems with the kind of a value -> what it should have been
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type", "dataclass_type"), "keys with values"),
    **dict.fromkeys(("tuple_type", "list_type"), "a list"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    "string_type": "a text",
    "path_type": "a path",
}


def sentence(error: ValidationError, read: TypeAdapter, skip: int = 0) -> str:
    """The first problem. read: what found it. skip: how many of the first names in the key's place are no keys."""
    first = error.errors()[0]
    place = first["loc"][skip:]
    key = ".".join(map(str, place))
    if first["type"] == "missing":
        return f"the key {key} is missing; every key must be given"
    if first["type"] == "refused":
        return f"{key}: {first['msg']}" if key else first["msg"]
    return f"{key or 'the file'} = {short(first['input'])} is not allowed; {_allowed(first, _schema_at(read, place))}"


def of_option(name: str, error: ValidationError, kind: Any, low: float | None, high: float | None) -> str:
    """The same of an option of the command line, of type `kind` and with these bounds."""
    first = error.errors()[0]
    bounds = {key: bound for key, bound in (("minimum", low), ("maximum", high)) if bound is not None}
    schema = {"type": {int: "integer", float: "number"}.get(kind)} | bounds
    return f"{name} = {short(first['input'])} is not allowed; {_allowed(first, schema)}"


def _allowed(first: Any, schema: dict) -> str:
    said = first["msg"].removeprefix("Value error, ").rstrip(".")
    if first["type"].startswith(_OF_NUMBERS):
        kind = schema.get("type", "integer" if first["type"].startswith("int_") else "number")
        known = {
            _BOUNDS[key]: bound for key, bound in first.get("ctx", {}).items() if key in _BOUNDS
        }  # the one that is passed
        return f"allowed are {_COUNTED.get(kind, 'numbers')}{_range(known | schema)}"
    if first["type"] in _KINDS:
        return f"allowed is {_KINDS[first['type']]}"
    if first["type"] == "too_short":
        return f"allowed is a list of at least {first['ctx']['min_length']}"
    if said.startswith("Input should be "):
        return f"allowed is {said.removeprefix('Input should be ')}"
    return f"{said[:1].lower()}{said[1:]}"


def _range(schema: dict) -> str:
    """ " from 0 to below 1" and the like; "" where any number is allowed."""
    words = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "to below"}
    return "".join(f" {word} {_number(schema[key])}" for key, word in words.items() if key in schema)


def _number(bound: float) -> str:
    return str(int(bound)) if float(bound).is_integer() and abs(bound) < 1e15 else f"{bound:g}"


def _schema_at(read: TypeAdapter, place: Sequence[int | str]) -> dict:
    """The JSON schema of the value at a place in settings; empty where it has none of its own."""
    whole = read.json_schema()

    def resolved(node: dict) -> dict:
        while "$ref" in node:
            node = whole["$defs"][node["$ref"].rpartition("/")[2]]
        choices = [one for one in node.get("anyOf", []) if one.get("type") != "null"]
        return resolved(choices[0]) if len(choices) == 1 else node

    node = resolved(whole)
    for part in place:
        inner = node.get("properties", {}).get(part) or node.get("items") or node.get("additionalProperties")
        node = resolved(inner) if isinstance(inner, dict) else {}
    return node
