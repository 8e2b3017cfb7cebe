"""Reading b-values."""

from pathlib import Path

import numpy as np

from secondglance.files.nifti import check_there
from secondglance.imaging.errors import InputError

_LARGEST_FILE = 1 << 22
"""Bytes; a hundred thousand volumes have fewer."""


def read_bvals(path: str | Path) -> np.ndarray:
    """Read a ``.bval`` file.

    Returns
    -------
    (T,) array
        s/mm².

    Raises
    ------
    InputError
        If it is not here, or cannot be read as numbers.
    """
    check_there(Path(path))
    try:
        with Path(path).open('rb') as stream:
            content = stream.read(_LARGEST_FILE + 1)
        if len(content) > _LARGEST_FILE:
            raise InputError(f'{path} is too large to hold b-values: is it the right file?')
        # Spreadsheets put a mark at the beginning, and commas in between
        words = content.decode('utf-8-sig').replace(',', ' ').split()
        if not words:
            raise InputError(f'{path} is empty: give one b-value in s/mm² a volume.')
        return np.array(words, dtype=float)
    except OSError as error:
        raise InputError(f'{path} cannot be read ({error.strerror}): correct it.') from error
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f'{path} holds something other than numbers: give one b-value in s/mm² a volume.'
        ) from error
