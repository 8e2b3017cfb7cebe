"""Environment variables for this process and those that it starts, set for a while."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

ASKS_NO_NETWORK = {'NO_ET': '1', 'NIPYPE_NO_ET': '1'}
"""With it, Nipype and Pydra ask no server for newer versions of themselves."""


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set environment variables that are not set, and remove them at the end.

    Parameters
    ----------
    **variables : str
        Name and value; one that is set already stays as it is.
    """
    added = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
