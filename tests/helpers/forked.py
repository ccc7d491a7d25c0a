"""Work in a copy of this process, which has imported everything already."""

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path


def start(work: Callable[[], object], folder: Path, outputs: tuple[int, int]) -> int:
    """The process that works in `folder` and writes to these two; it ends with 0, with the code of SystemExit, or with 1 and a traceback."""
    child = os.fork()
    if child == 0:
        os._exit(_done(work, folder, outputs))
    return child


def _done(work: Callable[[], object], folder: Path, outputs: tuple[int, int]) -> int:
    try:
        for number, output in enumerate(outputs, 1):
            os.dup2(output, number)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
        os.chdir(folder)
        work()
    except SystemExit as stop:
        return stop.code or 0
    except BaseException:  # else the copy would go on with the tests
        traceback.print_exc()
        return 1
    finally:
        sys.stderr.flush()
        sys.stdout.flush()
    return 0
