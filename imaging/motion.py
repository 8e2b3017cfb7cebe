"""Rigid motion of a head between volumes: found, undone, and put in figures."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from nibabel.affines import apply_affine, from_matvec, voxel_sizes
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

HEAD_RADIUS_MM = {'rat': 10.0, 'mouse': 5.0}
"""At which a rotation is turned into millimetres; 50 mm is a human's."""

COARSE = (2, 1.0)
"""Shrink factor and smoothing (voxels) of the coarse registration."""

N_BINS = 32
COARSE_SAMPLED = 0.5
"""Part of the voxels in which mutual information is evaluated."""

FINE_SMOOTHING = 0.6
"""Voxels; takes the noise from gradients and leaves the edges."""

FINE_STEPS = 15
FINE_TOLERANCE_MM = 5e-4
"""Steps end when the edge of the head moves less than this, a hundredth of what matters."""

TUKEY = 4.685
"""Robust standard deviations beyond which a voxel has no say: 95 % efficiency under noise."""

HEAD_LEVEL = 0.1
"""Of the 99th percentile, above which a voxel is head and not air."""


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
    centre = _head_centre(fixed) * size

    with ThreadPoolExecutor(max_workers=n_threads) as pool:

        def refine(target: NDArray, starts: list[NDArray], every: int = 1) -> list[NDArray]:
            model = _FineModel(target, size, centre, every)
            return list(pool.map(model.align, np.moveaxis(volumes, -1, 0), starts))

        def coarse(t: int) -> NDArray:
            return np.eye(4) if t == reference else _coarse(volumes[..., t], fixed, size, centre)

        pulls = refine(fixed, list(pool.map(coarse, range(n_volumes))), every=4)
        # The mean has less noise than any volume, so that all are brought to it once more
        aligned = pool.map(_pull, np.moveaxis(volumes, -1, 0), [_voxels(p, size) for p in pulls])
        pulls = refine(np.mean(list(aligned), axis=0), pulls)

    to_world = affine @ np.diag([*(1 / size), 1.0])
    # A pull takes points of the mean to a volume: the mean's frame is left for the reference's
    matrices = np.stack([pulls[reference] @ np.linalg.inv(pull) for pull in pulls])
    matrices = to_world @ matrices @ np.linalg.inv(to_world)
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
    table = np.corrcoef(volumes[::2, ::2, ::2].reshape(-1, volumes.shape[-1]).T)
    return int(np.nan_to_num(table).sum(axis=0).argmax())


def _head_centre(volume: NDArray) -> NDArray[np.float64]:
    """Middle of the head in voxels, weighted by signal."""
    weight = np.clip(volume - HEAD_LEVEL * np.percentile(volume, 99), 0, None)
    if not weight.any():
        return (np.array(volume.shape) - 1) / 2
    return np.array(ndimage.center_of_mass(weight))


def _coarse(moving: NDArray, fixed: NDArray, size: NDArray, centre: NDArray) -> NDArray:
    """Rigid (4, 4), mm along voxel axes, points of `fixed` to `moving`; by mutual information."""
    import SimpleITK as sitk

    scale = np.percentile(fixed, 99) or 1.0

    def as_image(voxels):
        image = sitk.GetImageFromArray(np.ascontiguousarray((voxels / scale).T, np.float32))
        image.SetSpacing(size.tolist())
        return image

    shrink, sigma = COARSE
    method = sitk.ImageRegistrationMethod()
    # Volumes are what runs in parallel; sums over threads would not be reproducible either
    method.SetNumberOfThreads(1)
    method.SetMetricAsMattesMutualInformation(numberOfHistogramBins=N_BINS)
    method.SetMetricSamplingStrategy(method.REGULAR)
    # The samples are jittered: without a seed of their own no two runs would be alike
    method.SetMetricSamplingPercentage(COARSE_SAMPLED, seed=1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=0.5,
        minStep=0.01,
        numberOfIterations=60,
        relaxationFactor=0.5,
        gradientMagnitudeTolerance=1e-8,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    # An axis of a single slice, or of a few, is left as it is
    method.SetShrinkFactorsPerLevel([shrink if min(fixed.shape) >= 16 else 1])
    method.SetSmoothingSigmasPerLevel([sigma * float(size.min())])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    start = sitk.Euler3DTransform()
    start.SetCenter(centre.tolist())
    method.SetInitialTransform(start, inPlace=True)
    method.Execute(as_image(fixed), as_image(moving))
    turn = np.array(start.GetMatrix()).reshape(3, 3)
    return from_matvec(turn, np.array(start.GetTranslation()) + centre - turn @ centre)


class _FineModel:
    """Robust least squares between volumes of one contrast: inverse compositional Gauss-Newton.

    What a volume shows is a gain times the fixed image, moved a little, plus an offset; voxels
    that fit badly (ghosts, a jaw that moves, lost signal) are weighted down.

    Parameters
    ----------
    fixed : (X, Y, Z) array
    size : (3,) array
        Of a voxel, mm.
    centre : (3,) array
        About which is turned, mm along voxel axes.
    every : int
        Only every so manieth voxel of the head has a say.

    References
    ----------
    Baker and Matthews, International Journal of Computer Vision 56, 221 (2004),
    doi 10.1023/B:VISI.0000011205.11775.fd. Nestares and Heeger, Magnetic Resonance in Medicine
    43, 705 (2000): robust weights for volumes of one head.
    """

    def __init__(self, fixed: NDArray, size: NDArray, centre: NDArray, every: int = 1):
        self.size, self.centre = size, centre
        smooth = self._smooth(fixed)
        head = smooth > HEAD_LEVEL * np.percentile(smooth, 99)
        # The edge of the head against air says most
        head = ndimage.binary_dilation(head, iterations=2)
        chosen = np.flatnonzero(head)[::every]
        self.points = np.stack(np.unravel_index(chosen, head.shape), axis=-1) * size
        self.scale = float(np.percentile(smooth, 99)) or 1.0
        arms = self.points - centre
        gradient = np.stack(
            [
                np.gradient(smooth, step, axis=axis).flat[chosen]
                if smooth.shape[axis] > 1
                else np.zeros(len(chosen))
                for axis, step in enumerate(size)
            ],
            axis=-1,
        )
        values = smooth.flat[chosen][:, None]
        # Change of intensity for a rotation (arms × gradient) and a translation; gain; offset
        columns = [np.cross(arms, gradient), gradient, values, np.ones_like(values) * self.scale]
        self.columns = np.ascontiguousarray(np.concatenate(columns, axis=1).T) / self.scale
        self.reach = float(np.percentile(np.linalg.norm(arms, axis=1), 95))

    @staticmethod
    def _smooth(volume: NDArray) -> NDArray[np.float64]:
        return ndimage.gaussian_filter(np.asarray(volume, float), FINE_SMOOTHING, mode='nearest')

    def align(self, moving: NDArray, start: NDArray) -> NDArray[np.float64]:
        """Rigid (4, 4), mm along voxel axes, points of the fixed image to `moving`."""
        spline = ndimage.spline_filter(self._smooth(moving) / self.scale, order=3, mode='mirror')
        last = np.array(moving.shape)[:, None] - 1.0
        pull = start
        for _ in range(FINE_STEPS):
            index = (apply_affine(pull, self.points) / self.size).T
            seen = ((index >= 0) & (index <= last)).all(axis=0)
            if seen.sum() < 10 * len(self.columns):
                return start
            columns = self.columns[:, seen]
            values = ndimage.map_coordinates(
                spline, index[:, seen], order=3, mode='mirror', prefilter=False
            )
            step = self._step(columns, values)
            if step is None:
                return start
            turn = Rotation.from_rotvec(step[:3]).as_matrix()
            move = from_matvec(turn, self.centre - turn @ self.centre + step[3:])
            pull = pull @ np.linalg.inv(move)
            if (
                np.linalg.norm(step[:3]) * self.reach + np.linalg.norm(step[3:])
                < FINE_TOLERANCE_MM
            ):
                break
        return pull

    @staticmethod
    def _step(columns: NDArray, values: NDArray) -> NDArray[np.float64] | None:
        """Rotation vector and translation (6,) that the fixed image lacks; None where unknown."""
        weights = np.ones(len(values))
        for _ in range(2):
            weighted = columns * weights
            # Not by matrix products: their threads would fight with those over volumes
            normal = np.einsum('in,jn->ij', weighted, columns)
            found = np.linalg.lstsq(normal, np.einsum('in,n->i', weighted, values), rcond=1e-10)[0]
            left = values - np.einsum('in,i->n', columns, found)
            spread = 1.4826 * np.median(np.abs(left))
            if spread == 0:
                break
            weights = np.clip(1 - (left / (TUKEY * spread)) ** 2, 0, None) ** 2
        gain = found[6]
        if not np.isfinite(found).all() or gain <= 0:
            return None
        return found[:6] / gain


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
