"""What several commands on model folders share: options, settings from a file, bars of progress."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ..errors import UserError


def folder_of(option: str) -> Callable[[str], Path]:
    """A parser of an option's value: a folder, or a model of the hub's cache."""

    def found(given: str | Path) -> Path:
        from ..models.cache import local_model

        return local_model(given, option)

    return found


Theta0 = Annotated[
    Path,
    typer.Option(
        "--theta-0",
        parser=folder_of("theta-0"),
        metavar="MODEL",
        help="Model before RLHF: a folder, or ORG/NAME or ORG/NAME@REVISION in the hub's cache.",
    ),
]
Theta = Annotated[
    Path,
    typer.Option(
        "--theta",
        parser=folder_of("theta"),
        metavar="MODEL",
        help="Model after RLHF, likewise, or a LoRA adapter on theta-0.",
    ),
]
Tasks = Annotated[str, typer.Option(help="Comma-separated: FILE.jsonl, NAME=FILE.jsonl, or names of lm-eval tasks.")]
With = Annotated[
    list[str] | None,
    typer.Option(
        "--with", metavar="MODEL", help="Another run from theta-0 (repeatable): theta is the mean of all, a soup."
    ),
]
Weight = Annotated[
    list[float] | None,
    typer.Option(help="With --with: theta's weight, then each one's, in their order; equal by default."),
]
ThetaPre = Annotated[
    str | None, typer.Option(metavar="MODEL", help="With ties and dots: the model that theta-0 was tuned from.")
]
RewardModel = Annotated[
    Path | None,
    typer.Option(
        "--reward-model",
        parser=folder_of("reward-model"),
        metavar="MODEL",
        help="Reward model: a sequence classifier with one output.",
    ),
]
RewardCommand = Annotated[
    str | None, typer.Option(help='Or a program: lines {"prompt", "reply", "finished"} in, a number a line out.')
]
Seed = Annotated[int, typer.Option(help="Of every random choice.")]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ..")]


Config = Annotated[Path | None, typer.Option("--config", help="YAML file of all other settings.")]


def in_panel(title: str) -> partial:
    """`typer.Option` for options that the help shows under a title of their own."""
    return partial(typer.Option, rich_help_panel=title)


def settings_from(kind: type, file: Path | None, given: dict):
    """The settings `kind`: `given` on the command line, all others from the YAML file where it has them.

    Raises UserError, one sentence, for a key or value that is not allowed, or a key that is given twice.
    """
    from pydantic import TypeAdapter, ValidationError

    from ..config.files import read_yaml
    from ..config.words import sentence

    if file is not None and not file.is_file():
        raise UserError(f"config is {str(file)!r}, which is no file.")
    found = (read_yaml(file) or {}) if file is not None else {}
    if not isinstance(found, dict):
        raise UserError(f"{file} holds {found!r}; allowed are keys with values.")
    for key in found.keys() & given.keys():
        raise UserError(f"{file}: {key} is an option of the command line; allowed in the file are the other settings.")
    read: TypeAdapter = TypeAdapter(kind)
    try:
        return read.validate_python(found | given)
    except ValidationError as error:
        said = sentence(error, read)
        # a rule on several settings begins with the one that it refuses
        named = list(error.errors()[0]["loc"][:1]) or said.split()
        of_file = {str(key) for key in found}
        first = next((key for key in named if str(key) in of_file or key in given), None)
        where = f"{file}: " if str(first) in of_file else ""
        raise UserError(f"{where}{said}.") from None


def task_names(text: str) -> tuple[str, ...]:
    """What --tasks lists, with commas."""
    return tuple(task.strip() for task in text.split(",") if task.strip())


class Progress:
    """Bars on standard error, on a terminal only, one a unit ("B", "step")."""

    def __enter__(self) -> "Progress":
        self._bars: dict = {}
        return self

    def __exit__(self, *_) -> None:
        for bar in self._bars.values():
            bar.close()

    def show(self, unit: str, done: int, total: int, label: str = "", **how) -> None:
        from tqdm import tqdm

        if unit not in self._bars:
            self._bars[unit] = tqdm(total=total, unit=unit, disable=None, **how)
        self._bars[unit].update(done - self._bars[unit].n)
        if label:
            self.write(f"{unit} {min(done + 1, total)}/{total}: {label}")

    def steps(self, unit: str) -> Callable[[str, int, int], None]:
        """A function of (what is done next, how much is done, of how much) that shows it."""
        return lambda label, done, total: self.show(unit, done, total, label if done < total else "")

    @staticmethod
    def write(line: str) -> None:
        """A line on standard output, above the bars."""
        from tqdm import tqdm

        tqdm.write(line)
