"""`python -m llm.training.distributed JOB`: one process of a training run. A UserError is one sentence and exit code 2.

Processes of a launch fail together and the launcher reports it at length, so the sentence is also left in a file beside
the job, where `llm.training.distributed.launch` finds it.
"""

import sys
from contextlib import suppress
from pathlib import Path

from ...errors import UserError, one_sentence
from .jobs import read_job, refusal_file, run_job


def main(path: Path) -> int:
    """The exit code."""
    try:
        run_job(read_job(path))
    except (UserError, OSError, FloatingPointError) as error:
        sentence = one_sentence(error)
        print(f"error: {sentence}", file=sys.stderr)
        with suppress(OSError):  # of a full disk
            refusal_file(path).write_text(sentence, "utf-8")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
