"""The one error that a user's mistake raises."""


class InputError(ValueError):
    """What the user gave cannot be used.

    The message is one sentence that names the file or value and the remedy; the command line
    prints it as it is and exits with a non-zero status.
    """
