"""Spatial transforms on disk, as ITK and ANTs read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from secondglance.imaging.smooth_transform import SmoothTransform

FIELD_MM = 0.5
"""Spacing of the displacement field, mm of the scan's world."""

_TO_LPS = np.diag([-1.0, -1.0, 1.0])


def write_itk_transform(
    transform: SmoothTransform,
    path: str | Path,
    *,
    to_points: ArrayLike,
    from_target: ArrayLike,
    corners: ArrayLike,
    spacing: float = FIELD_MM,
) -> str:
    """Write a map from a scan to an atlas as an ITK composite transform (``.h5``).

    ``antsApplyTransforms -i ATLAS -r SCAN -t FILE`` brings a map of the atlas to the scan.
    A displacement field (the splines) is followed by an affine map; beyond the field the affine
    map goes on alone.

    Parameters
    ----------
    transform : SmoothTransform
        Between axes of its own.
    path : path
        Ending in ``.h5``.
    to_points : (4, 4) array
        From the scan's world (RAS+, mm) to the points that `transform` takes.
    from_target : (4, 4) array
        From what `transform` gives to the atlas' world (RAS+, mm).
    corners : (M, 3) array
        Points of the scan's world around which the field is written.
    spacing : float
        Of the field, mm of the scan's world.

    Returns
    -------
    str
        The path.
    """
    import SimpleITK as sitk

    to_points, from_target = np.asarray(to_points, float), np.asarray(from_target, float)
    straight = from_target @ _square(transform.affine) @ to_points
    corners = np.asarray(corners, float)
    low, high = corners.min(axis=0), corners.max(axis=0)
    shape = np.maximum(np.ceil((high - low) / spacing).astype(int) + 1, 2)
    axes = [a + spacing * np.arange(n) for a, n in zip(low, shape, strict=True)]
    world = np.stack(np.meshgrid(*axes, indexing='ij'), axis=-1)
    mapped = _move(from_target, transform.apply(_move(to_points, world)))
    # The field comes first: what the affine map makes of it must be where the splines lead
    moved = _move(np.linalg.inv(straight), mapped) - world

    # ITK counts left and posterior as positive: rows of x and y turn round with their signs
    turned = (moved @ _TO_LPS)[::-1, ::-1].transpose(2, 1, 0, 3)
    field = sitk.GetImageFromArray(np.ascontiguousarray(turned), isVector=True)
    field.SetSpacing([float(spacing)] * 3)
    field.SetOrigin([float(-axes[0][-1]), float(-axes[1][-1]), float(axes[2][0])])
    affine = sitk.AffineTransform(3)
    matrix = _TO_LPS @ straight[:3, :3] @ _TO_LPS
    affine.SetMatrix(matrix.ravel().tolist())
    affine.SetTranslation((_TO_LPS @ straight[:3, 3]).tolist())
    # The transform that was added last is applied first
    both = sitk.CompositeTransform(
        [affine, sitk.DisplacementFieldTransform(sitk.Cast(field, sitk.sitkVectorFloat64))]
    )
    sitk.WriteTransform(both, str(path))
    return str(path)


def _square(affine: NDArray) -> NDArray:
    return np.vstack([affine, [0.0, 0.0, 0.0, 1.0]])


def _move(matrix: NDArray, points: NDArray) -> NDArray:
    return points @ matrix[:3, :3].T + matrix[:3, 3]
