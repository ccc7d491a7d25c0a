"""The one exception that the command line turns into a sentence, and what other exceptions bring to it."""

import sys
from collections.abc import Callable, Iterable
from functools import wraps


class UserError(Exception):
    """Bad input. Its text is one sentence that names the argument, its value and what is allowed; exit code 2."""


def first_line(error: BaseException) -> str:
    """What an exception of a library says, short enough for a sentence; its kind if it says nothing."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def short(value: object) -> str:
    """A value as a sentence shows it."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def dimensions(shape: Iterable[int]) -> str:
    """A tensor's shape as a sentence shows it."""
    return "x".join(map(str, shape)) or "scalar"


def told_in_a_sentence(main: Callable[[], None]) -> Callable[[], None]:
    """A program that prints what `one_sentence` makes of an error, and ends with exit code 2; other errors are raised."""

    @wraps(main)
    def run() -> None:
        try:
            main()
        except Exception as error:
            sentence = one_sentence(error)
            if sentence is None:
                raise
            line = "".join(letter if letter.isprintable() else " " for letter in sentence)  # names may hold anything
            print(f"error: {line}", file=sys.stderr)
            sys.exit(2)

    return run


def one_sentence(error: Exception) -> str | None:
    """How an exception is reported: bad input, a missing package, a failure of the disk, a device whose memory is full, training that
    diverges; None for others.
    """
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename is not None else ""
        return f"{place}{error.strerror or first_line(error)}"
    if isinstance(error, ModuleNotFoundError):
        return not_installed(error)
    if type(error).__name__ == "OutOfMemoryError":  # torch's, which is not imported here
        return f"the device's memory is full ({first_line(error)}); give a smaller batch, or a device with more"
    return str(error) if isinstance(error, UserError | FloatingPointError) else None


def not_installed(error: ModuleNotFoundError) -> str | None:
    """The sentence that names the extra of a missing package; None for a module that no extra of ours has."""
    from importlib import metadata

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    module = (error.name or "").partition(".")[0]
    try:
        ours = metadata.metadata("alignment-tax")
    except metadata.PackageNotFoundError:
        return None
    for needed in map(Requirement, ours.get_all("Requires-Dist") or []):
        if canonicalize_name(needed.name) == canonicalize_name(module) and needed.marker:
            for extra in ours.get_all("Provides-Extra") or []:
                if needed.marker.evaluate({"extra": extra}):
                    return f"{module} is not installed; {how_to_install(extra)}"
    return None


def how_to_install(extra: str) -> str:
    """What to give for the packages of an extra, or, where it is empty, for those that are always needed."""
    return f"give `pip install '.{f'[{extra}]' if extra else ''}'` in a checkout first"
