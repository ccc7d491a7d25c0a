"""`python -m llm`."""

from .cli import main

main()
