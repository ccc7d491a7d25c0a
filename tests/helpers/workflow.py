"""Snakemake on a folder of its own, as tests run it."""

import os
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

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
        child = os.fork()
        if child == 0:
            os._exit(_listed(snakemake.cli.main, folder, _arguments(folder, "--dry-run", *options, **of), out.fileno()))
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        out.seek(0)
        said = out.read()
    assert (code != 0) == refused, said
    return said


def _listed(main, folder: Path, arguments: list[str], out: int) -> int:
    try:
        for number in (1, 2):
            os.dup2(out, number)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
        os.chdir(folder)
        main(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)
    except BaseException:  # else the copy would go on with the tests
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def _arguments(
    folder: Path, *options: str, target: str = "core", preset: str | Path = "smoke", config: tuple[str, ...] = ()
) -> list[str]:
    """Of Snakemake. config: settings beside preset, seeds and folders."""
    given = ["--snakefile", REPOSITORY / "Snakefile", "--directory", folder, "--cores", "2", *options]
    settings = [f"preset={preset}", "seeds=0", f"out={folder / 'out'}", f"results={folder / 'results'}"]
    return [*map(str, given), "--config", *settings, *config, "--", *target.split()]
