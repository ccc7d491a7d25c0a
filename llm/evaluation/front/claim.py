"""Whose run an output folder holds: the first measured point makes it a run's, and only the same run goes on in it."""

import json
from collections.abc import Mapping
from pathlib import Path

from ...errors import UserError
from ...files import read_made, remove_partial, require_place, write_json

FILE = "settings.json"
GROWING = ("methods", "tasks")
_OF_FILES = ("file", "folder", "sha256")  # what describes a file or a model, beside names of files and their hashes


class Claim:
    """described: all that decides the numbers; its "methods" and "tasks", name -> what decides its own, may be more or fewer than
    those of the run that the folder holds, of which they are then a part.
    """

    def __init__(self, out: Path, described: Mapping) -> None:
        self.out, self.own = out, json.loads(json.dumps(described))

    def check(self) -> None:
        """UserError if the folder is another run's, or cannot be made; it is not touched."""
        out, file = self.out, self.out / FILE
        if out.is_dir():
            remove_partial(file)
        if file.is_file():
            try:
                theirs = read_made(file, _checked)
            except UserError:
                raise UserError(f"out is {str(out)!r}, whose {FILE} is damaged; give a new folder.") from None
            mine = {key: value for key, value in self.own.items() if key not in GROWING}
            other = {key: value for key, value in theirs.items() if key not in GROWING}
            for key in GROWING:
                shared = self.own[key].keys() & theirs[key].keys()
                mine |= {name: self.own[key][name] for name in sorted(shared)}
                other |= {name: theirs[key][name] for name in sorted(shared)}
                self.own[key] = theirs[key] | self.own[key]
            if mine != other:
                what = _first_difference(mine, other, "")
                raise UserError(
                    f"out is {str(out)!r}, which holds a run with other arguments ({what}); give a new folder."
                )
        elif out.exists() and not (out.is_dir() and not any(out.iterdir())):
            raise UserError(f"out is {str(out)!r}, which exists and holds no run; give a new folder.")
        else:
            require_place(out)

    def make(self) -> None:
        """Write what the folder holds by now; UserError if it has become another run's."""
        self.check()
        file = self.out / FILE
        if not file.is_file() or read_made(file) != self.own:
            write_json(file, self.own)


def _checked(found: dict) -> dict:
    """The content of the file; an error for another shape."""
    return found | {key: dict(found[key]) for key in GROWING}


def _first_difference(own: object, theirs: object, name: str) -> str:
    """The name of the first option that differs, with both its values where they are short; of a file or a model the name alone."""
    if isinstance(own, dict) and isinstance(theirs, dict):
        key = next(key for key in [*own, *theirs] if own.get(key) != theirs.get(key))
        if name and (key in _OF_FILES or "." in key):
            return name
        return _first_difference(own.get(key), theirs.get(key), key)
    values = f": {json.dumps(theirs)}, now {json.dumps(own)}"
    return name + (values if len(values) < 60 and own is not None and theirs is not None else "")
