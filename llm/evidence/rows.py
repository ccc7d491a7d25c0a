"""Result rows: one measured number a row, in JSON lines, checked when written and when read.

A row says what was measured (`metric`, `split`), on which model (`preset`, `seed`, `rlhf`, `method`,
`setting`), the number with its standard error over `n` items, and what it cost. Everything that draws or
compares reads rows through this file, so that a missing or damaged row is an error with a name, never a gap
in a figure.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, ValidationInfo, field_validator
from pydantic_core import to_json

from ..errors import UserError, short
from ..files import DIGITS, parse_json, write_text
from ..methods import METHODS, names
from .groups import decode

if TYPE_CHECKING:  # stages write rows, and need no pandas for it
    import pandas as pd

IDENTITY = ("preset", "rlhf", "method", "setting_key", "seed", "split", "metric")

Text = Annotated[str, Field(min_length=1, description="a non-empty string")]
DECIMALS = 5  # of an item's contribution
_LONG = re.compile(rb"(?<![.\d])\d{%d}" % (DIGITS + 1))  # a whole number that `parse_json` refuses
Number = Annotated[float, Field(allow_inf_nan=False, description="a finite number")]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False, description="a finite number >= 0")]


class Row(BaseModel):
    """One measured number.

    `value` and `stderr` (None: not known) are in the metric's own unit: qa, reading_f1 and win_rate in [0, 1], bleu in
    [0, 100], length in words, rewards unbounded. `stderr` is the standard error over the `n` items of the
    row, never over seeds. `setting` is what identifies the model beyond its method, for example {"part":
    "input", "alpha": 0.2}; alpha is the post-RLHF share. `seconds` is the wall-clock time of the measurement.
    `items` (in the rows of presets that keep them) is what each item contributed, to `DECIMALS` places, in an order that is
    the same for all models of a seed: `value` is its mean. `groups` is the compact form of it (`llm.evidence.groups`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    preset: Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f]+$", description="a text without control characters")]
    seed: Annotated[int, Field(ge=0, description="an integer >= 0")]
    rlhf: Annotated[str, Field(description=f"one of none, {', '.join(names('alignment'))}")]
    method: Text
    setting: Annotated[dict[str, JsonValue], Field(description="an object with finite JSON values")]
    metric: Text
    value: Number
    stderr: Annotated[NotNegative | None, Field(description="a finite number >= 0, or null")]
    n: Annotated[int, Field(ge=1, description="an integer >= 1")]
    split: Text
    seconds: NotNegative
    version: Text
    items: Annotated[
        list[Number] | None, Field(description="a list of n finite numbers whose mean is the value, or left out")
    ] = None
    groups: Annotated[str | None, Field(description="groups of items as base64, or left out")] = None

    @field_validator("rlhf")
    @classmethod
    def _is_an_algorithm(cls, rlhf: str) -> str:
        if rlhf != "none" and not (rlhf in METHODS and METHODS[rlhf].kind == "alignment"):
            raise ValueError("not an algorithm")
        return rlhf

    @field_validator("groups")
    @classmethod
    def _are_readable(cls, text: str | None) -> str | None:
        if text is not None:
            decode(text)
        return text

    @field_validator("items")
    @classmethod
    def _make_the_value(cls, items: list[float] | None, info: ValidationInfo) -> list[float] | None:
        if items is None or not {"n", "value"} <= info.data.keys():
            return items
        if len(items) != info.data["n"] or abs(sum(items) / len(items) - info.data["value"]) > 10.0**-DECIMALS:
            raise ValueError("not the items of the value")
        return items

    @cached_property
    def setting_key(self) -> str:
        """The canonical key of the setting (the function `setting_key`); ValueError where it has none."""
        return setting_key(self.setting)


def setting_key(setting: Mapping[str, JsonValue]) -> str:
    """Canonical JSON of a setting, equal for settings that mean the same.

    Keys are sorted; numbers are taken to 12 significant digits and whole numbers lose their point, so that
    {"alpha": 0}, {"alpha": 0.0} and {"alpha": 1e-17 - 1e-17} are one setting and 0.1 + 0.2 is 0.3.
    """
    return _key(to_json(dict(setting), inf_nan_mode="constants"))


@lru_cache(maxsize=10_000)
def _key(setting: bytes) -> str:
    return json.dumps(_canonical(json.loads(setting)), sort_keys=True, allow_nan=False, separators=(", ", ": "))


def _canonical(value: JsonValue, room: int = 10) -> JsonValue:
    if not room:
        raise ValueError("a setting is nested too deeply")
    if isinstance(value, Mapping):
        return {str(key): _canonical(inner, room - 1) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_canonical(inner, room - 1) for inner in value]
    if isinstance(value, float):
        rounded = float(f"{value:.12g}")
        return int(rounded) if rounded.is_integer() else rounded
    return value


def parse_row(fields: Any, where: str) -> Row:
    """A checked row from its fields; `where` opens the error's sentence, for example "core.jsonl, line 3"."""
    if not isinstance(fields, Mapping):
        raise UserError(f"{where}: {short(fields)} is no result row; a row is an object with the keys {_keys()}.")
    try:
        row = Row(**fields)
        _ = row.setting_key  # raises for what is not finite, or nested too deeply
    except ValidationError as error:
        raise UserError(f"{where}: {_sentence(error)}") from None
    except ValueError:
        raise UserError(
            f"{where}: setting = {short(fields['setting'])} is not allowed; it must be "
            f"{Row.model_fields['setting'].description}."
        ) from None
    return row


def _sentence(error: ValidationError) -> str:
    """The first problem of a row in one sentence: key, value, what is allowed."""
    problem = error.errors()[0]
    key = str(problem["loc"][0])
    if problem["type"] == "missing":
        return f"the key {key} is missing; it must be {Row.model_fields[key].description}."
    if problem["type"] == "extra_forbidden":
        return f"{key} = {short(problem['input'])} is an unknown key; allowed are {_keys()}."
    return f"{key} = {short(problem['input'])} is not allowed; it must be {Row.model_fields[key].description}."


def _keys() -> str:
    return ", ".join(Row.model_fields)


def _identity(row: Row) -> tuple:
    return row.preset, row.rlhf, row.method, row.setting_key, row.seed, row.split, row.metric


def write_rows(path: str | Path, rows: Iterable[Row | Mapping[str, Any]]) -> None:
    """Write rows to `path` atomically, sorted, with floats that read back exactly.

    The same rows in any order give the same bytes. Raises UserError for a row outside the schema or measured twice.
    """
    path = Path(path)
    checked = [
        row if isinstance(row, Row) else parse_row(row, f"row {number} for {path.name}")
        for number, row in enumerate(rows, 1)
    ]
    by_identity: dict[tuple, Row] = {}
    for row in checked:
        if by_identity.setdefault(_identity(row), row) is not row:
            raise UserError(f"{path.name}: two rows for {_name(_identity(row))}; each number has one row.")
    write_text(path, "".join(_line(row) + "\n" for _, row in sorted(by_identity.items())))


def _line(row: Row) -> str:
    return row.model_dump_json(exclude={key for key in ("items", "groups") if getattr(row, key) is None})


def collect_rows(sources: Iterable[str | Path], to: str | Path) -> int:
    """Check the rows of several .jsonl files and write them all into the file `to`, atomically; how many there are. UserError for none."""
    files = [Path(source) for source in sources]
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise UserError(f"results: {missing[0]} is no file; give .jsonl files.")
    rows = [row for file in files for _, row in _read_file(file)]
    if not rows:
        raise UserError(
            f"results: {', '.join(map(str, files))} hold no rows; a row is an object with the keys {_keys()}."
        )
    write_rows(to, rows)
    return len(rows)


def _name(identity: Sequence) -> str:
    return ", ".join(f"{key.removesuffix('_key')} = {value}" for key, value in zip(IDENTITY, identity, strict=True))


def read_rows(path: str | Path) -> "pd.DataFrame":
    """All rows of a .jsonl file, or of the .jsonl files directly inside a folder, as a frame.

    Columns: the row's keys, and `setting_key`, the canonical JSON string of `setting`, to group and compare
    by; `items` holds the items, or where a row has groups of them what these contribute (one list a row, whose mean is the
    value). Raises UserError, in one sentence, for a missing path, no rows at all, a bad row (file, line, key,
    value, what is allowed) or a number that is there twice.
    """
    import pandas as pd

    path = Path(path)
    if not path.exists():
        raise UserError(f"results: {path} does not exist; it must be a .jsonl file or a folder of them.")
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    seen: dict[tuple, str] = {}
    records = []
    for file in files:
        for where, row in _read_file(file):
            identity = _identity(row)
            if identity in seen:
                raise UserError(f"{where}: the row for {_name(identity)} is already there ({seen[identity]}).")
            seen[identity] = where
            records.append(vars(row) | {"items": _paired(row), "setting_key": row.setting_key})
    if not records:
        raise UserError(f"results: {path} holds no rows; it must be a .jsonl file or a folder of them with rows.")
    return pd.DataFrame(records).drop(columns="groups").astype({"stderr": float})


def _paired(row: Row) -> list[float] | None:
    if row.items is not None or row.groups is None:
        return row.items
    return (row.value + decode(row.groups)).tolist()


def _read_file(file: Path) -> Iterator[tuple[str, Row]]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            where = f"{file}, line {number}"
            yield where, _as_written(line) or _parse_line(line, where)


def _as_written(line: bytes) -> Row | None:
    """The row of a line that `write_rows` would write like this, None for any other line: checked by the library alone, which halves
    the time of reading.
    """
    if _LONG.search(line):
        return None
    try:
        row = Row.model_validate_json(line)
        # pydantic keeps the last of a key that stands twice; the bytes then differ
        return row if row.setting_key and _line(row).encode() + b"\n" == line else None
    except ValueError:
        return None


def _parse_line(line: bytes, where: str) -> Row:
    try:
        fields = parse_json(line)
    except ValueError as error:
        raise UserError(
            f"{where}: {short(line.decode(errors='replace').strip())} is no JSON ({error}); a line must be one JSON object."
        ) from None
    return parse_row(fields, where)
