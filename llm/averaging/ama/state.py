"""What a run of `adapt` that was stopped leaves behind, so that it goes on where it was."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from ...errors import UserError
from ...files import write_text
from .descent import AmaState


@dataclass(frozen=True)
class RunState:
    """The state file: whose run it is, and how far that has come."""

    path: Path
    run: dict
    reached: AmaState | None

    @classmethod
    def open(cls, out: Path, run: dict) -> "RunState":
        """The state that a run with these very arguments has left, or the beginning of one."""
        path = out.with_name(f".{out.name}.state")
        run = json.loads(json.dumps(run))
        if path.exists():
            found = json.loads(path.read_text("utf-8"))
            if found["run"] != run:
                raise UserError(
                    f"out is {str(out)!r}, for which {path.name} holds a run with other arguments; "
                    "finish that one, or remove the file."
                )
            return cls(path, run, AmaState(**found["reached"]) if found["reached"] else None)
        if out.with_suffix(".samples.jsonl").exists() and "prompts" in run["sources"]:
            raise UserError(f"{out.with_suffix('.samples.jsonl')} exists; give it as --data, or remove it.")
        state = cls(path, run, None)
        state.save(None)
        return state

    def save(self, reached: AmaState | None) -> None:
        content = {"run": self.run, "reached": asdict(reached) if reached else None}
        write_text(self.path, json.dumps(content))
