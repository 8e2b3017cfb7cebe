"""Rigid registration of volumes of one head: coarsely by mutual information, then finely."""

import numpy as np
from nibabel.affines import from_matvec
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

COARSE_SHRINK = 2
"""Voxels of the coarse registration, in sizes of the finest axis."""

N_BINS = 32
COARSE_SAMPLED = 0.5
"""Part of the voxels in which mutual information is evaluated."""

FINE_SMOOTHING = 0.6
"""Voxels; takes the noise from gradients and leaves the edges."""

FINE_STEPS = 15
FINE_TOLERANCE_MM = 5e-4
"""Steps end when the edge of the head moves less than this, a hundredth of what matters."""

TUKEY = 4.685
"""Robust standard deviations beyond which a voxel is ignored: 95 % efficiency under noise."""

SMALLEST_SPREAD = 1e-3
"""Of the 99th percentile: without noise, what interpolation leaves is no outlier."""

GAIN = 6
"""The column of the gain, after three rotations and three translations."""

BLOCK_VOXELS = 512
"""Voxels with products that are summed at once: for so few, BLAS starts no threads of its own,
which would fight with those over volumes."""

FINE_VOXELS = 54_000
"""On which volumes are registered; more cost time and change nothing that matters."""

FEW_SLICES = 3
"""At most so many are registered roughly in their plane alone."""

LEAST_PART = 3
"""Least number of slices in a part of a volume to estimate its motion."""

PART_STEPS = 3
"""Of reweighting, when the parts of a volume are compared."""

HEAD_LEVEL = 0.1
"""Of the 99th percentile, above which a voxel is head and not air."""


def head_centre(volume: NDArray) -> NDArray[np.float64]:
    """Middle of the head in voxels, weighted by signal."""
    weight = np.clip(volume - HEAD_LEVEL * np.percentile(volume, 99), 0, None)
    if not weight.any():
        return (np.array(volume.shape) - 1) / 2
    return np.array(ndimage.center_of_mass(weight))


def head_region(smooth: NDArray) -> NDArray[np.bool_]:
    """Voxels of the head and around it: its edge against air says most."""
    head = smooth > HEAD_LEVEL * np.percentile(smooth, 99)
    return ndimage.binary_dilation(head, iterations=2)


def moves_nothing(pull: NDArray) -> bool:
    """Tell whether a pull (4, 4) leaves every voxel where it is.

    Examples
    --------
    >>> moves_nothing(np.eye(4)), moves_nothing(np.diag([1, 1, 1.001, 1]))
    (True, False)
    """
    return np.allclose(pull, np.eye(4), atol=1e-9)


def coarse_pull(moving: NDArray, fixed: NDArray, size: NDArray, centre: NDArray) -> NDArray:
    """Register two volumes roughly, by mutual information.

    Parameters
    ----------
    moving, fixed : (X, Y, Z) arrays
        Intensities.
    size : (3,) array
        Of voxels, mm.
    centre : (3,) array
        Of the head in `fixed`, mm along voxel axes.

    Returns
    -------
    (4, 4) array
        Rigid, mm along voxel axes: takes points of `fixed` to `moving`.
    """
    import SimpleITK as sitk

    scale = np.percentile(fixed, 99) or 1.0
    # A few slices are, as their mean, an image of two axes
    deep = np.array(fixed.shape) > FEW_SLICES
    axes, thin = np.flatnonzero(deep), tuple(np.flatnonzero(~deep))
    if len(axes) < 2:
        return np.eye(4)

    # Thick slices stay as they are, and so does an axis of few voxels
    steps = np.maximum(COARSE_SHRINK * size.min() / size + 1e-6, 1).astype(int)
    steps = np.where(np.array(fixed.shape) // steps >= 8, steps, 1)
    every = tuple(slice(None, None, step) for step in steps)

    def as_image(voxels: NDArray) -> sitk.Image:
        smooth = ndimage.gaussian_filter(voxels / scale, np.where(steps > 1, 0.5 * steps, 0))
        image = sitk.GetImageFromArray(
            np.ascontiguousarray(smooth[every].mean(thin).T, np.float32)
        )
        image.SetSpacing((size * steps)[axes].tolist())
        return image

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
    start = sitk.Euler3DTransform() if len(axes) == 3 else sitk.Euler2DTransform()
    start.SetCenter(centre[axes].tolist())
    method.SetInitialTransform(start, inPlace=True)
    try:
        method.Execute(as_image(fixed), as_image(moving))
    except RuntimeError:
        # An empty volume: there is nothing to go by
        return np.eye(4)
    turn, shift = np.eye(3), np.zeros(3)
    turn[np.ix_(axes, axes)] = np.reshape(start.GetMatrix(), (len(axes), -1))
    shift[axes] = start.GetTranslation()
    return from_matvec(turn, shift + centre - turn @ centre)


class FineModel:
    """Robust least squares between volumes of one contrast: inverse compositional Gauss-Newton.

    What a volume shows is a gain times the fixed image, moved a little, plus an offset. The gain
    is a polynomial of second order in space: the coil's field stays where it is when the head
    moves, and would otherwise bias the motion estimate. Voxels that fit badly (ghosts, a jaw that
    moves, lost signal) are weighted down.

    Parameters
    ----------
    fixed : (X, Y, Z) array
    size : (3,) array
        Of a voxel, mm.
    centre : (3,) array
        About which is turned, mm along voxel axes.
    most : int
        About so many voxels are used: every voxel, every second one, and so on.
    region : (X, Y, Z) bool array, optional
        Voxels of the fixed image that are used: muscle beside them may move by itself. By
        default the head and the edge around it.
    odd : bool
        Whether it is every third or fifth voxel instead of every second or fourth, so that both of
        two slices have their share.

    References
    ----------
    Baker and Matthews, International Journal of Computer Vision 56, 221 (2004),
    doi 10.1023/B:VISI.0000011205.11775.fd. Nestares and Heeger, Magnetic Resonance in Medicine
    43, 705 (2000): robust weights for volumes of one head.
    """

    def __init__(
        self,
        fixed: NDArray,
        size: NDArray,
        centre: NDArray,
        most: int = FINE_VOXELS,
        region: NDArray | None = None,
        odd: bool = False,
    ):
        self.size, self.centre = size, centre
        smooth = self._smooth(fixed)
        head = head_region(smooth) if region is None else region
        chosen = np.flatnonzero(head)
        chosen = chosen[:: max(1, round(len(chosen) / most)) | odd]
        self.voxels = np.stack(np.unravel_index(chosen, head.shape)).astype(float)
        self.points = self.voxels.T * size
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
        # The coil stays where it is while the head moves: its gain differs a little over the head
        reach = float(np.percentile(np.linalg.norm(arms, axis=1), 95)) or 1.0
        first, second = np.triu_indices(3)
        squares = arms[:, first] * arms[:, second] / reach**2
        gains = values * np.concatenate([arms / reach, squares], axis=1)
        # Change of intensity for a rotation (arms × gradient) and a translation; gain; offset
        flat = np.full_like(values, self.scale)
        columns = [np.cross(arms, gradient), gradient, values, flat, gains]
        self.columns = np.concatenate(columns, axis=1).T / self.scale
        self.reach = reach

    @staticmethod
    def _smooth(volume: NDArray) -> NDArray[np.float64]:
        return ndimage.gaussian_filter(np.asarray(volume, float), FINE_SMOOTHING, mode='nearest')

    def _places(
        self, pull: NDArray, shape: tuple[int, ...], every: int = 1
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Where a pull sends the voxels that are used, in voxels (3, N), and which it holds."""
        matrix = pull[:3, :3] * self.size / self.size[:, None]
        place = np.einsum('ij,jn->in', matrix, self.voxels[:, ::every])
        place += (pull[:3, 3] / self.size)[:, None]
        last = np.array(shape)[:, None] - 1.0
        # Rounding leaves no voxel of a single slice exactly in it
        slack = np.where(last == 0, 1e-6, 0.0)
        return place, ((place >= -slack) & (place <= last + slack)).all(axis=0)

    def align(self, moving: NDArray, start: NDArray) -> NDArray[np.float64]:
        """Find where the head is.

        Parameters
        ----------
        moving : (X, Y, Z) array
        start : (4, 4) array
            Not taken where no motion at all fits better.

        Returns
        -------
        (4, 4) array
            Rigid, mm along voxel axes, points of the fixed image to `moving`; no motion where
            `moving` does not show the head.
        """
        spline = ndimage.spline_filter(self._smooth(moving) / self.scale, order=3, mode='mirror')

        def look(pull: NDArray, every: int = 1) -> tuple[NDArray, NDArray]:
            place, inside = self._places(pull, moving.shape, every)
            values = np.zeros(len(inside))
            values[inside] = ndimage.map_coordinates(
                spline, place[:, inside], order=3, mode='mirror', prefilter=False
            )
            return inside, values

        def fit(pull: NDArray) -> float:
            every = 8
            inside, values = look(pull, every)
            values, fixed = values[inside], self.columns[GAIN, ::every][inside]
            if len(values) < 2 or values.std() == 0 or fixed.std() == 0:
                return -1.0
            return float(np.corrcoef(values, fixed)[0, 1])

        rest = np.eye(4)
        pull = start if fit(start) >= fit(rest) else rest
        columns, weights = in_blocks(self.columns), np.ones(len(self.points))
        for _ in range(FINE_STEPS):
            inside, values = look(pull)
            if inside.sum() < 10 * len(self.columns):
                return rest
            found, fresh = robust_step(columns, values, np.where(inside, weights, 0), inside)
            weights = np.where(inside, fresh, weights)
            if not np.isfinite(found).all() or found[GAIN] <= 0:
                return rest
            rotation, shift = found[:3] / found[GAIN], found[3:6] / found[GAIN]
            turn = Rotation.from_rotvec(rotation).as_matrix()
            move = from_matvec(turn, self.centre - turn @ self.centre + shift)
            pull = pull @ np.linalg.inv(move)
            if np.linalg.norm(rotation) * self.reach + np.linalg.norm(shift) < FINE_TOLERANCE_MM:
                break
        return pull

    def parts_moved(self, moving: NDArray, pull: NDArray, axis: int) -> float:
        """Measure how far parts of a volume's slices lie from each other.

        The slices of one scan are split into even and odd ones, as interleaved scans take them,
        and into a first and a second half. Each part is brought to the fixed image by itself.

        Parameters
        ----------
        moving : (X, Y, Z) array
        pull : (4, 4) array
            Of :meth:`align`.
        axis : int
            Of the slices.

        Returns
        -------
        float
            mm, mean over the voxels, of the split that shows more; 0 where there are too few
            slices to tell.
        """
        smooth = self._smooth(moving) / self.scale
        place, inside = self._places(pull, moving.shape)
        place = place[:, inside]
        if moves_nothing(pull):
            # On the voxels themselves nothing need be interpolated
            values = smooth[tuple(self.voxels[:, inside].astype(int))]
        else:
            values = ndimage.map_coordinates(smooth, place, order=3, mode='mirror')
        columns, arms = self.columns[:, inside], self.points[inside] - self.centre
        slices = np.rint(place[axis]).astype(int)
        middle = np.median(slices) if inside.any() else 0
        moved = []
        for part in (slices % 2 == 0, slices < middle):
            shifts = []
            for chosen in (part, ~part):
                if chosen.sum() < 10 * len(columns) or len(np.unique(slices[chosen])) < LEAST_PART:
                    return 0.0
                of_part, shown = in_blocks(columns[:, chosen]), values[chosen]
                every, weights = np.ones(len(shown), bool), np.ones(len(shown))
                for _ in range(PART_STEPS):
                    found, weights = robust_step(of_part, shown, weights, every)
                if not np.isfinite(found).all() or found[GAIN] <= 0:
                    return 0.0
                rotation, shift = found[:3] / found[GAIN], found[3:6] / found[GAIN]
                shifts.append(np.cross(rotation, arms) + shift)
            moved.append(float(np.linalg.norm(shifts[0] - shifts[1], axis=1).mean()))
        return max(moved)


def in_blocks(rows: NDArray) -> NDArray[np.float64]:
    """Cut rows (..., N) into blocks (B, ..., `BLOCK_VOXELS`), the last filled up with zeros."""
    *lead, n = rows.shape
    count = -(-n // BLOCK_VOXELS)
    filled = np.zeros((*lead, count * BLOCK_VOXELS))
    filled[..., :n] = rows
    return np.ascontiguousarray(np.moveaxis(filled.reshape(*lead, count, BLOCK_VOXELS), -2, 0))


def robust_step(
    columns: NDArray, values: NDArray, weights: NDArray, inside: NDArray
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coefficients of the columns in blocks, and the weights (N,) for the next step.

    Of values (N,) those `inside` count; the weights of others are zero.
    """
    weighted = columns * in_blocks(weights)[:, None]
    shown = in_blocks(values)
    normal = np.matmul(weighted, columns.transpose(0, 2, 1)).sum(axis=0)
    right = np.matmul(weighted, shown[:, :, None]).sum(axis=0)[:, 0]
    found = np.linalg.lstsq(normal, right, rcond=1e-10)[0]
    left = (shown - np.matmul(found, columns)).reshape(-1)[: len(values)]
    spread = 1.4826 * np.median(np.abs(left[inside])) + SMALLEST_SPREAD
    return found, np.clip(1 - (left / (TUKEY * spread)) ** 2, 0, None) ** 2
