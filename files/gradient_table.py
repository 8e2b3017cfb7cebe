"""Reading b-values and gradient directions."""

from pathlib import Path

import numpy as np

from secondglance.files.nifti import check_there
from secondglance.imaging.errors import InputError

LARGEST_TABLE = 1 << 22
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
            content = stream.read(LARGEST_TABLE + 1)
        if len(content) > LARGEST_TABLE:
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


def read_bvecs(path: str | Path, n_volumes: int) -> np.ndarray:
    """Read a ``.bvec`` file: three rows, or three columns, of `n_volumes` numbers.

    Parameters
    ----------
    path : path
    n_volumes : int
        Of the series.

    Returns
    -------
    (3, T) array

    Raises
    ------
    InputError
        If it is not here, holds something other than numbers, or directions of other volumes.
    """
    check_there(Path(path))
    try:
        text = Path(path).read_text(encoding='utf-8-sig').replace(',', ' ')
        rows = [line.split() for line in text.splitlines() if line.strip()]
        table = np.array(rows, dtype=float)
    except (OSError, ValueError) as error:
        raise InputError(
            f'{path} cannot be read as gradient directions: give three rows of numbers.'
        ) from error
    if table.shape == (n_volumes, 3) and n_volumes != 3:
        table = table.T
    if table.shape != (3, n_volumes) or not np.isfinite(table).all():
        raise InputError(
            f'{path} must hold three rows of {n_volumes} directions, one per volume; its table '
            f'is {" × ".join(map(str, table.shape))}.'
        )
    return table
