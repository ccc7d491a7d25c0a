"""The packages of the wheel, listed from the folders; everything else about the distribution stands in pyproject.toml."""

from setuptools import find_packages, setup

ours = find_packages(include=["llm", "llm.*", "theory", "theory.*"])
setup(packages=["alignment_tax", *(f"alignment_tax.{name}" for name in ours)])
