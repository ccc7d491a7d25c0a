"""`python -m llm bench`: what the project's own generation and training cost next to those of well-known libraries."""
