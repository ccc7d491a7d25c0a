"""The commands of the command line, each a plain function; llm/cli.py gives them their names."""
