"""Rigid motion of a head between volumes: found, undone, and put in figures."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from nibabel.affines import apply_affine, voxel_sizes
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from secondglance.imaging.registration import FineModel, coarse_pull, head_centre

"""At which a rotation is turned into millimetres; 50 mm is a human's."""

MEAN_FROM = 4
"""Volumes from which on their mean is a better target than one of them; it holds each of them
too, and of few it would pull a volume to where it already is."""

DECIMALS = 9
"""Of a matrix: sums differ in the sixteenth from run to run, and results are cached by content."""


def estimate_motion(
    volumes: ArrayLike,
    affine: ArrayLike,
    reference: int | None = None,
    n_threads: int = 1,
) -> tuple[NDArray[np.float64], int]:
    """Find the rigid motion of every volume towards a reference volume.

    Parameters
    ----------
    volumes : (X, Y, Z, T) array
    affine : (4, 4) array
        Voxel to world mm, RAS+.
    reference : int, optional
        Volume that the others are brought to; by default the one most like all others.
    n_threads : int
        Volumes that are registered at the same time; the result does not depend on it.

    Returns
    -------
    matrices : (T, 4, 4) array
        World mm of a volume to world mm of the reference.
    reference : int
    """
    volumes = np.asarray(volumes, np.float32)
    affine = np.asarray(affine, float)
    n_volumes = volumes.shape[-1]
    if reference is None:
        reference = typical_volume(volumes)
    if n_volumes == 1:
        return np.eye(4)[None], 0
    # In a frame of its own: voxel axes, millimetres; the affine is brought back at the end
    size = voxel_sizes(affine)
    fixed = volumes[..., reference]
    centre = head_centre(fixed) * size

    use_mean = n_volumes >= MEAN_FROM
    series = list(np.moveaxis(volumes, -1, 0))
    with ThreadPoolExecutor(max_workers=n_threads) as pool:

        def coarse(t: int) -> NDArray:
            if t == reference:
                return np.eye(4)
            # Rounded: the sums in it are not the same to the last bit from run to run
            return coarse_pull(series[t], fixed, size, centre).round(DECIMALS)

        starts = list(pool.map(coarse, range(n_volumes)))
        model = FineModel(fixed, size, centre, every=4 if use_mean else 1)
        pulls = list(pool.map(model.align, series, starts))
        if use_mean:
            # The mean has less noise than any volume, so that all are brought to it once more
            voxel_pulls = [_voxels(pull, size) for pull in pulls]
            mean = np.mean(list(pool.map(_pull, series, voxel_pulls)), axis=0)
            model = FineModel(mean, size, centre, every=2)
            pulls = list(pool.map(model.align, series, pulls))

    to_world = affine @ np.diag([*(1 / size), 1.0])
    # A pull takes points of the mean to a volume: the mean's frame is left for the reference's
    matrices = np.stack([pulls[reference] @ np.linalg.inv(pull) for pull in pulls])
    matrices = to_world @ matrices @ np.linalg.inv(to_world)
    matrices = matrices.round(DECIMALS)
    matrices[reference] = np.eye(4)
    return matrices, int(reference)


def typical_volume(volumes: ArrayLike) -> int:
    """Find the volume that correlates best with all others: a robust reference.

    Parameters
    ----------
    volumes : (X, Y, Z, T) array

    Returns
    -------
    int
    """
    volumes = np.asarray(volumes, np.float32)
    if volumes.shape[-1] < 3:
        return 0
    # Every second voxel says as much, in an eighth of the time
    with np.errstate(invalid='ignore', divide='ignore'):  # an empty volume correlates with none
        table = np.corrcoef(volumes[::2, ::2, ::2].reshape(-1, volumes.shape[-1]).T)
    return int(np.nan_to_num(table).sum(axis=0).argmax())


def _voxels(pull: NDArray, size: NDArray) -> NDArray[np.float64]:
    """Turn a matrix in mm along voxel axes into one in voxels."""
    return np.diag([*(1 / size), 1.0]) @ pull @ np.diag([*size, 1.0])


def _pull(volume: NDArray, pull: NDArray) -> NDArray[np.float32]:
    """Read a volume where `pull` (4, 4) sends each voxel of the new grid; cubic splines."""
    if np.allclose(pull, np.eye(4), atol=1e-9):
        return volume
    out = ndimage.affine_transform(volume, pull[:3, :3], pull[:3, 3], order=3, mode='nearest')
    # Splines overshoot at edges: nothing darker than the volume's own darkest voxel
    return np.maximum(out, volume.min())


def resample_motion(
    volumes: ArrayLike, affine: ArrayLike, matrices: ArrayLike, n_threads: int = 1
) -> NDArray[np.float32]:
    """Bring every volume to the reference, with one interpolation.

    Parameters
    ----------
    volumes : (X, Y, Z, T) array
    affine : (4, 4) array
        Voxel to world mm.
    matrices : (T, 4, 4) array
        World mm, volume to reference.
    n_threads : int

    Returns
    -------
    (X, Y, Z, T) float32 array
        Cubic splines; never below the smallest value of the volume, nearest beyond its edge.
    """
    volumes = np.asarray(volumes, np.float32)
    affine = np.asarray(affine, float)

    def one(t: int) -> NDArray:
        matrix = np.asarray(matrices, float)[t]
        return _pull(volumes[..., t], np.linalg.inv(affine) @ np.linalg.inv(matrix) @ affine)

    with ThreadPoolExecutor(max_workers=n_threads) as pool:
        return np.stack(list(pool.map(one, range(volumes.shape[-1]))), axis=-1)


def residual_displacement(
    matrices: ArrayLike, truth: ArrayLike, points_mm: ArrayLike
) -> NDArray[np.float64]:
    """Measure how far estimated motion leaves points from where they truly belong.

    Parameters
    ----------
    matrices, truth : (T, 4, 4) arrays
        World mm, volume to reference.
    points_mm : (P, 3) array
        World mm, such as the brain's voxels.

    Returns
    -------
    (T,) array
        Mean distance over the points, mm.

    Examples
    --------
    >>> moved = np.eye(4)
    >>> moved[0, 3] = 0.5
    >>> residual_displacement([moved], [np.eye(4)], [[0, 0, 0], [1, 2, 3]])
    array([0.5])
    """
    points = np.asarray(points_mm, float)
    return np.array(
        [
            np.linalg.norm(apply_affine(a, points) - apply_affine(b, points), axis=1).mean()
            for a, b in zip(np.asarray(matrices), np.asarray(truth), strict=True)
        ]
    )


def motion_parameters(matrices: ArrayLike, centre_mm: ArrayLike) -> NDArray[np.float64]:
    """Put rigid motion in six figures a volume.

    Parameters
    ----------
    matrices : (T, 4, 4) array
        World mm, volume to reference.
    centre_mm : (3,) array
        Point about which the head is taken to turn.

    Returns
    -------
    (T, 6) array
        Translation of that point in mm, then rotations about x, y and z in radians.
    """
    matrices = np.asarray(matrices, float)
    centre = np.asarray(centre_mm, float)
    translations = np.stack([apply_affine(matrix, centre) - centre for matrix in matrices])
    turns = Rotation.from_matrix(matrices[:, :3, :3]).as_euler('xyz')
    return np.concatenate([translations, turns], axis=1)


def framewise_displacement(parameters: ArrayLike, radius_mm: float) -> NDArray[np.float64]:
    """Sum the absolute change of the six parameters from each volume to the next.

    Parameters
    ----------
    parameters : (T, 6) array
        Of :func:`motion_parameters`.
    radius_mm : float
        Of the head, at which rotations are turned into mm; `HEAD_RADIUS_MM` has it by species.

    Returns
    -------
    (T,) array
        mm; zero for the first volume.

    References
    ----------
    Power et al., NeuroImage 59, 2142 (2012), doi 10.1016/j.neuroimage.2011.10.018.

    Examples
    --------
    >>> framewise_displacement([[0, 0, 0, 0, 0, 0], [0.1, 0, 0, 0.01, 0, 0]], 10)
    array([0. , 0.2])
    """
    parameters = np.asarray(parameters, float) * np.array([1, 1, 1, *[radius_mm] * 3])
    steps = np.abs(np.diff(parameters, axis=0)).sum(axis=1)
    return np.concatenate([[0.0], steps])
