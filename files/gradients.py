"""Reading b-values."""

from pathlib import Path

import numpy as np

from secondglance.imaging.errors import InputError


def read_bvals(path: str | Path) -> np.ndarray:
    """Read a ``.bval`` file.

    Returns
    -------
    (T,) array
        s/mm².

    Raises
    ------
    InputError
        If it cannot be read as numbers.
    """
    try:
        return np.array(Path(path).read_text().split(), dtype=float)
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise InputError(f'{path} cannot be read as b-values ({error}): mend it.') from error
