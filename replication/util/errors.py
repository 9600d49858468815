"""The exception whose message is meant for the user."""


class UserError(Exception):
    """A problem that the user can fix: one sentence that names the file or value and says what to do.

    The command line prints the message without a traceback and exits with code 2.
    """
