"""The one exception that is meant for the person at the keyboard."""


class UserError(Exception):
    """A mistake that the user can mend: one sentence that names the file or value and says what to do.

    The command line prints the sentence without a traceback and exits with code 2.
    """
