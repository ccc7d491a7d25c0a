"""`python -m llm`."""

from llm.cli import main

main()
