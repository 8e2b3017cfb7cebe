"""Errors with a message for the user."""


class InputError(ValueError):
    """What the user gave cannot be used.

    The message is one sentence that names the file or value and the remedy; the command line
    prints it as it is and exits with a non-zero status.
    """


class SurroundingsError(InputError):
    """Something other than the scan cannot be used: the disk, a folder, the machine.

    It is never recorded as a failure of the scan: the next call tries again.
    """
