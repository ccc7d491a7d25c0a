"""Files and folders that appear whole, and JSON that is read or refused by the name of its file."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from glob import escape
from pathlib import Path
from typing import Any

from .errors import UserError, first_line

DIGITS = 18  # of a whole number in JSON and YAML: what fits into 64 bits
put_in_place: list[Path] = []  # by this process: what a stop leaves behind


def up_to_date(output: Path, *inputs: Path) -> bool:
    """Whether a file is there and not older than the files it was made from, which must be there too."""
    if not all(path.is_file() for path in (output, *inputs)):
        return False
    return output.stat().st_mtime_ns >= max((path.stat().st_mtime_ns for path in inputs), default=0)


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """Where to make a file or folder that takes the place of `path`, synced to the disk, if the block succeeds.

    It lies in a folder of its own beside `path`, which is removed in any case, or by the next run if this one is killed.
    Folders above are made as needed. Raises OSError with the name of `path` for failures of the disk.
    """
    aside = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_partial(path)
        aside.mkdir()
        made = aside / path.name
        yield made
        for file in made.rglob("*") if made.is_dir() else [made]:
            if file.is_file():
                _sync(file)
        if made.is_dir() and path.exists():
            os.replace(path, aside / "old")
        os.replace(made, path)
        put_in_place.append(path)
    except OSError as error:
        if error.errno is not None and (error.filename is None or aside.name in str(error.filename)):
            error.filename, error.filename2 = str(path), None
        raise
    except Exception as error:
        if type(error).__name__ != "SafetensorError":  # of a library that is not imported here
            raise
        raise UserError(f"{path} cannot be written ({first_line(error)}).") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def remove_partial(path: Path) -> None:
    """Remove what processes that are dead, or had this one's number, have left of `path`."""
    for left in path.parent.glob(f".{escape(path.name)}.partial-*"):
        process = left.name.rpartition("-")[2]
        if process.isdecimal() and (int(process) == os.getpid() or _is_dead(int(process))):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)


def _is_dead(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:
        pass
    return False


def _sync(file: Path) -> None:
    with file.open("rb") as opened:
        os.fsync(opened.fileno())


@contextmanager
def by_one(path: Path) -> Iterator[None]:
    """Let one process at a time into the block that makes `path`, if it is not there by then."""
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # it ends with the process, however that ends
        yield


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 aside, then rename; folders are made as needed."""
    with written(path) as aside:
        aside.write_text(text, "utf-8")


def write_json(path: Path, value) -> None:
    """One JSON value, one element a line where it is a list."""
    if isinstance(value, list):
        text = "[\n" + ",\n".join(json.dumps(element) for element in value) + "\n]\n"
    else:
        text = json.dumps(value, indent=1) + "\n"
    write_text(path, text)


def parse_json(text: bytes) -> Any:
    """The value of JSON text in UTF-8; ValueError, one line, for what is no JSON, has a key twice or a number of too many digits."""
    try:
        content = json.loads(text.decode("utf-8-sig"), object_pairs_hook=unique_keys, parse_int=_integer)
        if rb"\ud" in text.lower():
            json.dumps(content, ensure_ascii=False).encode()  # half a pair of surrogates is no character
        return content
    except (ValueError, RecursionError) as error:
        raise ValueError(first_line(error)) from None


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The dict of the pairs, in one pass; ValueError that names a key which stands twice."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} stands twice")
        found[key] = value
    return found


def _integer(text: str) -> int:
    if len(text) > DIGITS:
        raise ValueError(f"a whole number has {len(text)} digits; allowed are {DIGITS}")
    return int(text)


def read_made(path: Path, take: Callable[[Any], Any] = lambda content: content) -> Any:
    """What an earlier run has left in a JSON file, through `take`; UserError for a file that is torn or of another shape."""
    try:
        return take(parse_json(path.read_bytes()))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        reason = first_line(error) if isinstance(error, ValueError) else "its content is not what a run leaves"
        raise UserError(f"{path} is damaged ({reason}); remove it and give the same command again.") from None


def kept_answer(path: Path, asked: Any, inputs: Iterable[Path], find: Callable[[], Any]) -> Any:
    """What `find` gives for what is `asked`, both JSON: kept in the file, and found anew where that is older than `inputs` or was asked else.

    Of several processes that ask at a time one finds it, and the others wait for it.
    """
    asked = json.loads(json.dumps(asked))

    def kept(content: Any) -> tuple[Any, Any]:
        return (content.get("asked"), content.get("found")) if isinstance(content, dict) else (None, None)

    with by_one(path):
        if up_to_date(path, *inputs):
            before, found = read_made(path, kept)
            if before == asked:
                return found
        write_json(path, {"asked": asked, "found": find()})
    return read_made(path, lambda content: content["found"])


def described_file(path: Path) -> dict[str, str]:
    """Its name and SHA-256."""
    with path.open("rb") as file:
        return {"file": path.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def read_lines(path: Path, option: str = "", example: str = "") -> list[tuple[str, dict]]:
    """`each_line`, all in memory."""
    return list(each_line(path, option, example))


def require_place(out: Path) -> None:
    """UserError unless a new file or folder can be put there."""
    if out.is_symlink() and not out.exists():
        raise UserError(f"out is {str(out)!r}, a link to nothing; give a new folder.")
    parent = out.resolve().parent
    if not parent.is_dir():
        raise UserError(f"out is {str(out)!r}, but the folder it is to be in does not exist.")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise UserError(f"out is {str(out)!r}, but nothing can be written into the folder it is to be in.")


def require_file(path: Path, option: str, allowed: str) -> None:
    """UserError that names the option and what a file may hold, where there is none."""
    if not path.is_file():
        named = f"--{option} " if option else ""
        raise UserError(f"{named}{str(path)!r} is no file; give one that holds {allowed}.")


def each_line(path: Path, option: str = "", example: str = "") -> Iterator[tuple[str, dict]]:
    """("file, line n", object) for each line of a JSONL file that is not blank, one at a time; UserError if there is none.

    option, example: what gave the file, as "prompts", and what a line may be, for messages.
    """
    named, allowed = f"--{option} " if option else "", "one JSON object a line" + (f", as {example}" if example else "")
    require_file(path, option, allowed)
    found = False
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            where = f"{named}{path}, line {number}"
            try:
                row = parse_json(line) if line.strip() else None
            except ValueError as error:
                raise UserError(f"{where} is no JSON ({error}); allowed is {allowed}.") from None
            if isinstance(row, dict):
                found = True
                yield where, row
            elif line.strip():
                raise UserError(f"{where} holds {row!r:.80}; allowed is {allowed}.")
    if not found:
        raise UserError(f"{named}{path} holds no lines; allowed is {allowed}.")


def read_text(path: Path, longest: int = -1) -> str:
    """Text in UTF-8, the first `longest` characters where it is not negative; UserError for other bytes."""
    try:
        with path.open(encoding="utf-8", newline="") as opened:
            return opened.read(longest)
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no text in UTF-8 ({first_line(error)}).") from None


def text_of(row: dict, key: str, where: str) -> str:
    """The text under `key`; UserError if it is missing or no text."""
    if not isinstance(row.get(key), str):
        raise UserError(
            f'{where}: {key} = {row.get(key)!r:.80} is not allowed; allowed is a text, as {{"{key}": "text"}}.'
        )
    return row[key]


def put_between(page: Path, texts: Mapping[str, str]) -> None:
    """Replace what stands between the marks <!-- name --> and <!-- end of name --> of a Markdown page, for every name -> text.

    Raises UserError, and leaves the page as it is, where it lacks one of the marks or has them in another order.
    """
    whole = read_text(page)
    for name, text in texts.items():
        begin, end = marks(name)
        before, found, rest = whole.partition(begin)
        _, found_end, after = rest.partition(end)
        if not (found and found_end):
            raise UserError(f"page = {page} has no place for the {name}; it must hold the marks {begin} and {end}.")
        whole = f"{before}{begin}\n{text}\n{end}{after}"
    write_text(page, whole)


def marks(name: str) -> tuple[str, str]:
    """What stands before and after a part of a page that is made by a command."""
    return f"<!-- {name} -->", f"<!-- end of {name} -->"
