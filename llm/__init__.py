"""Language models trained, aligned and averaged: the experiments of the paper."""

from functools import cache
from pathlib import Path


@cache
def version() -> str:
    """The package's version, in a git checkout of the project with its commit (a local version by PEP 440).

    "0.1.0" as installed from a wheel, "0.1.0+g4ea5d29" in a checkout, "0.1.0+g4ea5d29.dirty" if a file that git knows, or a
    new one in `llm`, differs from that commit; `results` and `figures`, which are written and never computed with, aside.
    It is read at the first call of a process, so that an editable installation gives the commit of now.
    """
    import tomllib
    from importlib import metadata

    root = Path(__file__).resolve().parents[1]
    try:
        project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    except (OSError, ValueError, KeyError):
        project = {}
    if project.get("name") != "alignment-tax":
        return metadata.version("alignment-tax")
    return project["version"] + _commit(root)


def _commit(root: Path) -> str:
    """`+g` and the commit of the repository whose top is `root` and which holds this package; empty where there is none."""
    place = _git(root, "rev-parse", "--show-prefix", "HEAD")  # "", the way from the repository's top, and the commit
    if place is None or place[0] or _git(root, "ls-files", "--error-unmatch", "llm/__init__.py") is None:
        return ""
    code = ("--", ".", ":(exclude)results", ":(exclude)figures")
    changes = _git(root, "status", "--porcelain", "--untracked-files=all", *code) or []
    dirty = any(not line.startswith("?? ") or line.startswith("?? llm/") for line in changes)
    return f"+g{place[1][:7]}{'.dirty' if dirty else ''}"


def _git(root: Path, *arguments: str) -> list[str] | None:
    """Lines that git prints, None where it fails or is missing; variables by which a git hook names its own repository are dropped."""
    import os
    import subprocess

    ours = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    command = ["git", "-C", str(root), "-c", "core.quotePath=false", *arguments]
    try:
        ours |= {"GIT_OPTIONAL_LOCKS": "0"}
        done = subprocess.run(command, env=ours, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.splitlines()
