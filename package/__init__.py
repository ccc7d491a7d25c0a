"""The installed package: `alignment_tax.llm` and `alignment_tax.theory` are the folders `llm` and `theory` of the repository."""

from importlib.metadata import version

__version__ = version("alignment-tax")
