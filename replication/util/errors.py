"""The exception whose message is meant for the user."""


class UserError(Exception):
    """A problem that the user can fix: one sentence that names the file or value and says what to do.

    The command line prints the message without a traceback and exits with code 2.
    """


def error_text(error: BaseException) -> str:
    """Return the text of an exception on one line, or the name of its type if it has none.

    >>> error_text(ValueError("no header")), error_text(EOFError())
    ('no header', 'EOFError')
    """
    return " ".join(str(error).split()) or type(error).__name__
