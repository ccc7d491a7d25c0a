"""Snakemake on a folder of its own, as tests run it."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import forked

REPOSITORY = Path(__file__).parents[2]


def graph(folder: Path, *options: str, **of) -> subprocess.Popen:
    """Snakemake on targets for seed 0, working in `folder`, in a process group of its own. of: as for `_arguments`."""
    return subprocess.Popen(
        [sys.executable, "-m", "snakemake", *_arguments(folder, *options, **of)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        start_new_session=True,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def output(process: subprocess.Popen) -> str:
    said, _ = process.communicate(timeout=500)
    assert process.returncode == 0, said
    return said


def dry_run(folder: Path, *options: str, refused: bool = False, **of) -> str:
    """What `graph --dry-run` says, in a copy of this process, which has imported everything already. refused: whether it is to fail."""
    import snakemake.cli

    with tempfile.TemporaryFile("w+") as out:
        given = _arguments(folder, "--dry-run", *options, **of)
        child = forked.start(lambda: snakemake.cli.main(given), folder, (out.fileno(), out.fileno()))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        out.seek(0)
        said = out.read()
    assert (code != 0) == refused, said
    return said


def _arguments(
    folder: Path, *options: str, target: str = "core", preset: str | Path = "smoke", config: tuple[str, ...] = ()
) -> list[str]:
    """Of Snakemake. config: settings beside preset, seeds and folders."""
    given = ["--snakefile", REPOSITORY / "Snakefile", "--directory", folder, "--cores", "2", *options]
    settings = [f"preset={preset}", "seeds=0", f"out={folder / 'out'}", f"results={folder / 'results'}"]
    return [*map(str, given), "--config", *settings, *config, "--", *target.split()]
