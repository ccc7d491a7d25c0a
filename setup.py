"""What pyproject.toml cannot say: the packages of the wheel, listed from the folders, and README as a package index shows it."""

import re
import tomllib
from pathlib import Path

from setuptools import find_packages, setup

FOLDER = Path(__file__).parent


def readme() -> str:
    """README.md with links and pictures that work outside the repository: those of this version's tag."""
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    repository, tag = project["urls"]["Repository"], f"v{project['version']}"
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"\]\((?!https?:|#)([^)]+)\)", rf"]({repository}/blob/{tag}/\1)", text)
    return re.sub(r'(src|srcset)="(?!https?:)([^"]+)"', rf'\1="{repository}/raw/{tag}/\2"', text)


ours = find_packages(include=["llm", "llm.*", "theory", "theory.*"])
setup(
    packages=["alignment_tax", *(f"alignment_tax.{name}" for name in ours)],
    long_description=readme(),
    long_description_content_type="text/markdown",
)
