"""Diffusion weighting: b0 volumes, and gradient directions after motion correction."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from secondglance.imaging.errors import InputError

B0_THRESHOLD = 50.0
"""s/mm²; above 0, because imaging gradients alone give a b0 volume some weighting."""

_LARGEST_IN_MS = 20.0
"""b-values up to this one, not all alike, are ms/µm² and not s/mm²."""

_LARGEST_B = 1e6
"""s/mm²; no scanner reaches it."""


def select_b0(
    bvals: ArrayLike | None,
    n_volumes: int,
    threshold: float = B0_THRESHOLD,
    all_b0: bool = False,
) -> NDArray[np.int64]:
    """Find the volumes without diffusion weighting.

    Parameters
    ----------
    bvals : (T,) array or None
        s/mm²; None where there is no ``.bval``.
    n_volumes : int
        Of the image.
    threshold : float
        s/mm²; volumes of at most this b-value are b0.
    all_b0 : bool
        Whether all volumes are b0, as of an EPI time series.

    Returns
    -------
    (B,) int array
        Ascending, at least one.

    Raises
    ------
    InputError
        If there are more volumes than one and nothing says which are b0, the number of b-values
        is not that of the volumes, or none is small enough.

    Examples
    --------
    >>> select_b0([5, 1000, 0], 3)
    array([0, 2])
    """
    if all_b0 or (bvals is None and n_volumes == 1):
        return np.arange(n_volumes)
    if bvals is None:
        raise InputError(
            f'there is no .bval for {n_volumes} volumes; add one, or give --all-b0 if none of '
            'them is diffusion-weighted.'
        )
    values = np.asarray(bvals, float).ravel()
    if len(values) != n_volumes:
        raise InputError(
            f'there are {len(values)} b-values for {n_volumes} volumes; give one for each.'
        )
    if not np.isfinite(values).all() or (values < 0).any():
        raise InputError('there are b-values that are negative or no numbers; correct the .bval.')
    if values.max() <= min(_LARGEST_IN_MS, threshold) and np.ptp(values) > 0:
        raise InputError(
            f'b-values of {values.min():g} to {values.max():g} are not s/mm²: are they ms/µm²? '
            'Multiply them by 1000, or give --all-b0 if no volume is diffusion-weighted.'
        )
    if values.max() > _LARGEST_B:
        raise InputError(
            f'b-values of up to {values.max():g} are not s/mm²: are they s/m²? Divide them by '
            '1000000.'
        )
    chosen = np.flatnonzero(values <= threshold)
    if not len(chosen):
        raise InputError(
            f'no volume has a b-value of at most {threshold:g} s/mm² (the smallest is '
            f'{values.min():g}); raise --b0-threshold.'
        )
    return chosen


def leave_out_empty(
    volumes: NDArray, chosen: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Leave out volumes of a series that hold nothing but one value.

    Parameters
    ----------
    volumes : (X, Y, Z, T) array
    chosen : (B,) int array
        Places of volumes in the series.

    Returns
    -------
    kept, empty : int arrays
        Of the places.

    Raises
    ------
    InputError
        If none is kept.

    Examples
    --------
    >>> series = np.zeros((2, 1, 1, 3))
    >>> series[0, ..., [0, 2]] = 7
    >>> leave_out_empty(series, np.arange(3))
    (array([0, 2]), array([1]))
    """
    holds = np.array([np.ptp(volumes[..., place]) > 0 for place in chosen], bool)
    if not holds.any():
        raise InputError('every volume without diffusion weighting holds nothing but one value.')
    return chosen[holds], chosen[~holds]


def rotate_bvecs(bvecs: ArrayLike, matrices: ArrayLike, affine: ArrayLike) -> NDArray[np.float64]:
    """Turn gradient directions with the volumes that motion correction turned.

    Parameters
    ----------
    bvecs : (3, T) array
        As in a ``.bvec``: along the voxel axes, x against the first where these are right-handed.
    matrices : (T, 4, 4) array
        World mm, volume to reference; the rotation nearest to each is used.
    affine : (4, 4) array
        Voxel to world mm of the volumes.

    Returns
    -------
    (3, T) array

    References
    ----------
    Leemans and Jones, Magnetic Resonance in Medicine 61, 1336 (2009), doi 10.1002/mrm.21890.
    """
    linear = np.asarray(affine, float)[:3, :3]
    axes = linear / np.linalg.norm(linear, axis=0)
    if np.linalg.det(axes) > 0:
        axes = axes * np.array([-1, 1, 1])
    turned = np.empty(np.shape(bvecs))
    for t, (direction, matrix) in enumerate(
        zip(np.asarray(bvecs, float).T, np.asarray(matrices, float), strict=True)
    ):
        u, _, v = np.linalg.svd(matrix[:3, :3])
        turned[:, t] = np.linalg.solve(axes, u @ v @ axes @ direction)
    return turned
