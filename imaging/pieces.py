"""Connected pieces of a mask."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def largest_piece(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep the largest connected piece of a mask.

    Parameters
    ----------
    mask : bool array
        Of any number of axes; pixels touch along them.

    Returns
    -------
    bool array
        Empty where `mask` is.

    Examples
    --------
    >>> largest_piece(np.array([True, False, True, True])).tolist()
    [False, False, True, True]
    """
    pieces, n_pieces = ndimage.label(mask)
    if n_pieces < 2:
        return mask
    return pieces == 1 + np.bincount(pieces.ravel())[1:].argmax()
