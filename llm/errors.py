"""The one exception that the command line turns into a sentence."""


class UserError(Exception):
    """Bad input. Its text is one sentence that names the argument, its value and what is allowed; exit code 2."""
