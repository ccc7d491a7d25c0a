"""Snakemake on a folder of its own, as tests run it."""

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def graph(
    folder: Path, *options: str, target: str = "core", preset: str | Path = "smoke", config: tuple[str, ...] = ()
) -> subprocess.Popen:
    """Snakemake on targets for seed 0, working in `folder`, in a process group of its own. config: settings beside those."""
    arguments = ["--snakefile", REPOSITORY / "Snakefile", "--directory", folder, "--cores", "2", *options]
    settings = [f"preset={preset}", "seeds=0", f"out={folder / 'out'}", f"results={folder / 'results'}"]
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "snakemake",
            *map(str, arguments),
            "--config",
            *settings,
            *config,
            "--",
            *target.split(),
        ],
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
