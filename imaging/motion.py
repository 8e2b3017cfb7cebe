"""Rigid motion of a head between volumes: found, undone, and put in figures."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from nibabel.affines import apply_affine, voxel_sizes
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

HEAD_RADIUS_MM = {'rat': 10.0, 'mouse': 5.0}
"""At which a rotation is turned into millimetres; 50 mm is a human's."""

LEVELS = ((2, 1.0), (1, 0.5))
"""Shrink factor and smoothing (voxels) of the coarse and of the fine registration."""

N_BINS = 32
SAMPLED = 0.35
"""Part of the voxels in which the metric is evaluated."""


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
    matrices = np.tile(np.eye(4), (n_volumes, 1, 1))
    others = [t for t in range(n_volumes) if t != reference]
    if others:
        fixed = volumes[..., reference]
        with ThreadPoolExecutor(max_workers=n_threads) as pool:
            found = pool.map(lambda t: _register(volumes[..., t], fixed, affine), others)
            for t, matrix in zip(others, found, strict=True):
                matrices[t] = matrix
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
    table = np.corrcoef(volumes[::2, ::2, ::2].reshape(-1, volumes.shape[-1]).T)
    return int(np.nan_to_num(table).sum(axis=0).argmax())


def _register(moving: NDArray, fixed: NDArray, affine: NDArray) -> NDArray[np.float64]:
    """Rigid matrix (4, 4) in world mm from a moving volume to a fixed one."""
    import SimpleITK as sitk

    size = voxel_sizes(affine)
    scale = np.percentile(fixed, 99) or 1.0

    def as_image(voxels):
        # In a frame of its own: voxel axes, millimetres; the affine is brought back at the end
        image = sitk.GetImageFromArray(np.ascontiguousarray((voxels / scale).T, np.float32))
        image.SetSpacing(size.tolist())
        return image

    fixed_image, moving_image = as_image(fixed), as_image(moving)
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetMetricAsMattesMutualInformation(numberOfHistogramBins=N_BINS)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(SAMPLED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=0.5,
        minStep=1e-4,
        numberOfIterations=120,
        relaxationFactor=0.6,
        gradientMagnitudeTolerance=1e-8,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([factor for factor, _ in LEVELS])
    method.SetSmoothingSigmasPerLevel([sigma * float(size.min()) for _, sigma in LEVELS])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    start = sitk.Euler3DTransform()
    weight = np.clip(fixed - 0.1 * scale, 0, None)
    start.SetCenter((np.array(ndimage.center_of_mass(weight)) * size).tolist())
    method.SetInitialTransform(start, inPlace=True)
    method.Execute(fixed_image, moving_image)

    # The transform takes points of the fixed image to the moving one
    turn = np.array(start.GetMatrix()).reshape(3, 3)
    centre = np.array(start.GetCenter())
    local = np.eye(4)
    local[:3, :3] = turn
    local[:3, 3] = np.array(start.GetTranslation()) + centre - turn @ centre
    to_world = affine @ np.diag([*(1 / size), 1.0])
    return to_world @ np.linalg.inv(local) @ np.linalg.inv(to_world)


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
        volume, matrix = volumes[..., t], np.asarray(matrices, float)[t]
        if np.allclose(matrix, np.eye(4), atol=1e-9):
            return volume
        pull = np.linalg.inv(affine) @ np.linalg.inv(matrix) @ affine
        out = ndimage.affine_transform(volume, pull[:3, :3], pull[:3, 3], order=3, mode='nearest')
        return np.maximum(out, volume.min())

    with ThreadPoolExecutor(max_workers=n_threads) as pool:
        return np.stack(list(pool.map(one, range(volumes.shape[-1]))), axis=-1)


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
        Of the head, at which rotations are turned into mm; see `HEAD_RADIUS_MM`.

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
