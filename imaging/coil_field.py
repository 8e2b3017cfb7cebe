"""The coil's field in a brain: smooth, multiplicative, removed."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

_LEAST_SIDE = 4
"""Voxels of the brain along every axis from which on a field can be told."""


def remove_field(
    volume: ArrayLike, mask: ArrayLike, voxel_size: Sequence[float]
) -> NDArray[np.float32]:
    """Divide by the coil's field inside a mask; zero outside it.

    Parameters
    ----------
    volume : (X, Y, Z) array
    mask : (X, Y, Z) bool array
    voxel_size : three floats
        mm.

    Returns
    -------
    (X, Y, Z) float32 array
        With the mean that the volume has inside the mask. Of a mask of fewer than four voxels
        along an axis the volume's own values.

    References
    ----------
    N4: Tustison et al., IEEE Transactions on Medical Imaging 29, 1310 (2010),
    doi 10.1109/TMI.2010.2046908.
    """
    volume, mask = np.asarray(volume, np.float32), np.asarray(mask, bool)
    places = np.argwhere(mask)
    brain = np.where(mask, volume, 0).astype(np.float32)
    if not len(places) or (np.ptp(places, axis=0) + 1 < _LEAST_SIDE).any():
        return brain
    import SimpleITK as sitk

    low, high = places.min(axis=0), places.max(axis=0) + 1
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))

    def as_image(voxels: NDArray) -> sitk.Image:
        image = sitk.GetImageFromArray(np.ascontiguousarray(voxels[box].T))
        image.SetSpacing([float(size) for size in voxel_size])
        return image

    correct = sitk.N4BiasFieldCorrectionImageFilter()
    # Sums over threads would not be the same from run to run
    correct.SetNumberOfThreads(1)
    correct.SetMaximumNumberOfIterations([30, 30, 20])
    scale = float(brain[mask].mean()) or 1.0
    image = as_image(np.maximum(volume / scale, 1e-3).astype(np.float32))
    correct.Execute(image, as_image(mask.astype(np.uint8)))
    field = sitk.GetArrayFromImage(correct.GetLogBiasFieldAsImage(image)).T
    freed = np.zeros_like(brain)
    freed[box] = brain[box] / np.exp(field)
    total = float(freed[mask].mean())
    return (freed * (scale / total) if total > 0 else freed).astype(np.float32)
