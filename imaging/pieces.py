"""Pieces of a mask: connected ones, and those that are thick."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

IN_SLICE = ndimage.generate_binary_structure(2, 1)[None]
"""A pixel of a stack (N, H, W) and those that it touches in its slice, none in other slices."""


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


def opened(
    mask: NDArray[np.bool_], radius: float, spacing: Sequence[float] | None = None
) -> NDArray[np.bool_]:
    """Open a mask with a disc, or a ball: keep what it fits into.

    Parameters
    ----------
    mask : bool array
        Of any number of axes.
    radius : float
        In pixels, or in the unit of `spacing`. Beyond the frame there is no edge.
    spacing : sequence of float, optional
        Of the pixels along each axis.

    Returns
    -------
    bool array
        Empty where the disc fits nowhere.

    Examples
    --------
    >>> row = np.array([[0, 1, 1, 1, 1, 1, 0, 1, 0]], bool)
    >>> opened(np.repeat(row, 3, axis=0), 2)[1].astype(int).tolist()
    [0, 1, 1, 1, 1, 1, 0, 0, 0]
    """
    kept = np.zeros_like(mask)
    box = ndimage.find_objects(mask.astype(np.uint8))
    if not box:
        return kept
    # Only the box around the mask matters, with the edge where it has one
    where = tuple(slice(max(along.start - 1, 0), along.stop + 1) for along in box[0])
    inside = mask[where]
    core = ndimage.distance_transform_edt(inside, sampling=spacing) > radius
    if core.any():
        kept[where] = inside & (ndimage.distance_transform_edt(~core, sampling=spacing) <= radius)
    return kept
