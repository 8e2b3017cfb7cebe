"""Normalisation of intensities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NORMALISATION = 'slice-p99-clip1.5'
"""Name of what `normalise_slices` does; weights record the one that they were trained with."""


_PERCENTILE = 99.0


_CEILING = 1.5


def normalise_slices(stack: NDArray) -> NDArray[np.float32]:
    """Scale each slice by the 99th percentile of its positive voxels.

    Parameters
    ----------
    stack : array, shape (N, H, W)
        Intensities in any unit.

    Returns
    -------
    array of float32, shape (N, H, W)
        In [0, 1.5]; a slice without positive voxels is zero throughout.

    Examples
    --------
    >>> float(normalise_slices(np.full((1, 2, 2), 7.0)).max())
    1.0
    """
    scaled = np.zeros(stack.shape, np.float32)
    for image, out in zip(stack, scaled, strict=True):
        positive = image[image > 0]
        if positive.size:
            scale = np.percentile(positive, _PERCENTILE)
            np.clip(image / scale, 0.0, _CEILING, out=out, casting='same_kind')
    return scaled
