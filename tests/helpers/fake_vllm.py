"""vLLM's stand-in (tests/files/fake-vllm) installed for a test."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

from llm.training.distributed import vllm_writer

FAKE = Path(__file__).parents[1] / "files" / "fake-vllm"


def installed(monkeypatch, log: Path) -> Iterator[Path]:
    """The file where engines leave a line; they run in this process."""
    monkeypatch.syspath_prepend(FAKE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FAKE), str(FAKE.parents[2])]))
    monkeypatch.setenv("FAKE_VLLM_LOG", str(log))
    monkeypatch.setattr(vllm_writer, "_memory", lambda gpu: 0.5)
    monkeypatch.setattr(vllm_writer, "subprocess", SimpleNamespace(run=within))
    yield log
    for name in [name for name in sys.modules if name.partition(".")[0] == "vllm"]:
        del sys.modules[name]  # lm-eval's own module keeps the stand-in, since it can be loaded only once


def within(command: list[str], env: dict[str, str], close_fds: bool) -> subprocess.CompletedProcess:
    assert command[:3] == [sys.executable, "-m", "llm.training.distributed.vllm_writer"]
    vllm_writer.main(*map(Path, command[3:]))
    return subprocess.CompletedProcess(command, 0)
