"""The one exception that the command line turns into a sentence, and what other exceptions bring to it."""


class UserError(Exception):
    """Bad input. Its text is one sentence that names the argument, its value and what is allowed; exit code 2."""


def first_line(error: BaseException) -> str:
    """What an exception of a library says, short enough for a sentence; its kind if it says nothing."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
