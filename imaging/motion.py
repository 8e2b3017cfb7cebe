"""Rigid motion of a head between volumes: estimation, correction and measures."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from nibabel.affines import apply_affine, voxel_sizes
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from secondglance.imaging.registration import (
    FINE_VOXELS,
    FineModel,
    coarse_pull,
    head_centre,
    moves_nothing,
)

MEAN_FROM = 4
"""Volumes from which on their mean is a better target than one of them; it holds each of them
too, and of few it would pull a volume to where it already is."""

FIRST_VOXELS = 27_000
"""On which volumes are registered with one of them, before they are with their mean."""

MEANS_OF_BRAIN = 2
"""Most means to which volumes are brought in turn, when an earlier estimate is improved."""

NOISE_LIKENESS = 0.2
"""Correlation of neighbouring voxels below which a volume is noise; a head at SNR 3 has 0.6."""

LEAST_LIKENESS = 0.5
"""Share of the usual correlation with the mean below which a volume was not registered."""

WITHIN_VOLUME = 0.24
"""Of a pixel: distance between parts of a volume from which on it is reported; at rest it is 0.01
to 0.1."""

PART_VOXELS = 36_000
"""On which the parts of a volume are compared."""

AGREEMENT = 0.03
"""Of a voxel: estimates by head and by brain that differ less differ by noise alone."""

DECIMALS = 9
"""Of a matrix: sums differ in the sixteenth from run to run, and results are cached by content."""


def estimate_motion(
    volumes: ArrayLike,
    affine: ArrayLike,
    reference: int | None = None,
    n_threads: int = 1,
    *,
    region: ArrayLike | None = None,
    start: ArrayLike | None = None,
    mean: ArrayLike | None = None,
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
    region : (X, Y, Z) bool array, optional
        Voxels of the reference that are used, such as the brain and its edge. By default the
        head.
    start : (T, 4, 4) array, optional
        World mm, volume to reference: an earlier estimate that is improved.
    mean : (X, Y, Z) array, optional
        Of the volumes brought together by `start`, where it is at hand.

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
    to_world = affine @ np.diag([*(1 / size), 1.0])
    votes = None if region is None else np.asarray(region, bool)

    use_mean = n_volumes >= MEAN_FROM
    series = list(np.moveaxis(volumes, -1, 0))
    with ThreadPoolExecutor(max_workers=n_threads) as pool:
        if start is None:
            pulls = _coarse_pulls(pool, series, reference, size, centre)
        else:
            inverse = np.linalg.inv(to_world)
            pulls = [inverse @ np.linalg.inv(m) @ to_world for m in np.asarray(start, float)]
        if start is None or not use_mean:
            most = FIRST_VOXELS if use_mean else FINE_VOXELS
            model = FineModel(fixed, size, centre, most, votes)
            pulls = list(pool.map(model.align, series, pulls))
        # The mean has less noise than any volume, so all are registered to it again; the mean is
        # recomputed if muscle motion had blurred it
        for _ in range((1 if start is None else MEANS_OF_BRAIN) if use_mean else 0):
            target = _mean_of(pool, series, pulls, size) if mean is None else np.asarray(mean)
            model = FineModel(target, size, centre, region=votes)
            before, mean = pulls, None
            pulls = list(pool.map(model.align, series, before))
            apart = residual_displacement(before, pulls, model.points)
            if apart.mean() < AGREEMENT * np.prod(size) ** (1 / 3):
                break

    # A pull takes points of the mean to a volume: the mean's frame is left for the reference's
    matrices = np.stack([pulls[reference] @ np.linalg.inv(pull) for pull in pulls])
    matrices = to_world @ matrices @ np.linalg.inv(to_world)
    matrices = matrices.round(DECIMALS)
    matrices[reference] = np.eye(4)
    return matrices, int(reference)


def _coarse_pulls(
    pool: ThreadPoolExecutor, series: list[NDArray], reference: int, size: NDArray, centre: NDArray
) -> list[NDArray]:
    """First estimates: a pull a volume towards the reference."""

    def pull(t: int) -> NDArray:
        if t == reference:
            return np.eye(4)
        # Rounded: the sums in it are not the same to the last bit from run to run
        return coarse_pull(series[t], series[reference], size, centre).round(DECIMALS)

    return list(pool.map(pull, range(len(series))))


def _mean_of(
    pool: ThreadPoolExecutor, series: list[NDArray], pulls: list[NDArray], size: NDArray
) -> NDArray[np.float32]:
    """Mean of volumes, each read where its pull sends the voxels."""
    total = np.zeros(series[0].shape, np.float32)
    # Summed as they come: a long series is not held once more
    for moved in pool.map(_pull, series, [_voxels(pull, size) for pull in pulls]):
        total += moved
    total /= len(series)
    return total


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


def world_to_pull(matrix: ArrayLike, frame: ArrayLike) -> NDArray[np.float64]:
    """Turn the motion of a volume in world mm into a pull.

    Parameters
    ----------
    matrix : (4, 4) array
        World mm, volume to reference.
    frame : (4, 4) array
        From the coordinates of the pull to world mm; an affine for voxels.

    Returns
    -------
    (4, 4) array
        Takes points of the reference to the volume, in the coordinates of `frame`.

    Examples
    --------
    >>> shift, halves = np.eye(4), np.diag([0.5, 0.5, 0.5, 1])
    >>> shift[:3, 3] = 1, 2, 3
    >>> world_to_pull(shift, halves)[:3, 3].tolist()
    [-2.0, -4.0, -6.0]
    """
    frame = np.asarray(frame, float)
    return np.linalg.inv(frame) @ np.linalg.inv(np.asarray(matrix, float)) @ frame


def pull_to_world(pull: ArrayLike, frame: ArrayLike) -> NDArray[np.float64]:
    """Turn a pull in the coordinates of `frame` into world mm, volume to reference.

    The inverse of :func:`world_to_pull`, with its parameters.

    Examples
    --------
    >>> shift, halves = np.eye(4), np.diag([0.5, 0.5, 0.5, 1])
    >>> shift[:3, 3] = 2, 4, 6
    >>> pull_to_world(shift, halves)[:3, 3].tolist()
    [-1.0, -2.0, -3.0]
    """
    frame = np.asarray(frame, float)
    return frame @ np.linalg.inv(np.asarray(pull, float)) @ np.linalg.inv(frame)


def _voxels(pull: NDArray, size: NDArray) -> NDArray[np.float64]:
    """Turn a matrix in mm along voxel axes into one in voxels."""
    return np.diag([*(1 / size), 1.0]) @ pull @ np.diag([*size, 1.0])


def _pull(volume: NDArray, pull: NDArray) -> NDArray[np.float32]:
    """Read a volume where `pull` (4, 4) sends each voxel of the new grid; cubic splines."""
    if moves_nothing(pull):
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
    # In place: a long series is held once
    moved = np.empty(volumes.shape, np.float32)

    def one(t: int) -> None:
        moved[..., t] = _pull(volumes[..., t], world_to_pull(np.asarray(matrices)[t], affine))

    with ThreadPoolExecutor(max_workers=n_threads) as pool:
        list(pool.map(one, range(volumes.shape[-1])))
    return moved


def looks_like_noise(volume: ArrayLike) -> bool:
    """Tell whether neighbouring voxels of a volume have nothing in common.

    Parameters
    ----------
    volume : (X, Y, Z) array

    Returns
    -------
    bool

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> looks_like_noise(rng.random((9, 9, 9))), looks_like_noise(np.indices((9, 9, 9))[0])
    (True, False)
    """
    volume = np.asarray(volume, float)
    rest = volume - volume.mean()
    variance = (rest**2).mean()
    if variance == 0:
        return False
    likeness = [
        (rest.take(range(n - 1), axis) * rest.take(range(1, n), axis)).mean() / variance
        for axis, n in enumerate(volume.shape)
        if n > 1
    ]
    # Thick slices differ from each other; within one, neighbours of a head are alike
    return bool(likeness and max(likeness) < NOISE_LIKENESS)


def unlike_mean(volumes: ArrayLike, region: ArrayLike | None = None) -> NDArray[np.bool_]:
    """Find volumes that could not be registered: they do not show what the others show.

    Parameters
    ----------
    volumes : (X, Y, Z, T) array
        After the correction.
    region : (X, Y, Z) bool array, optional
        Where they are compared; by default everywhere.

    Returns
    -------
    (T,) bool array
        True where the correlation with the median of all is less than `LEAST_LIKENESS` times the
        median correlation; of two volumes neither can be named.
    """
    volumes = np.asarray(volumes, np.float32)
    n_volumes = volumes.shape[3]
    if region is None:
        values = volumes.reshape(-1, n_volumes)
    else:
        values = volumes[np.asarray(region, bool)]
    if n_volumes < 3 or len(values) < 2:
        return np.zeros(n_volumes, bool)
    median = _median(values)
    with np.errstate(invalid='ignore', divide='ignore'):
        likeness = np.nan_to_num(
            [np.corrcoef(values[:, t], median)[0, 1] for t in range(n_volumes)]
        )
    return likeness < LEAST_LIKENESS * np.median(likeness)


def _median(values: NDArray) -> NDArray:
    """Median over the volumes of (M, T) values; some voxels at a time, as it copies them."""
    parts = np.array_split(values, -(-values.size // 2**20) or 1)
    return np.concatenate([np.median(part, axis=1) for part in parts])


def within_volume_motion(
    volumes: ArrayLike,
    affine: ArrayLike,
    matrices: ArrayLike,
    slice_axis: int,
    *,
    corrected: ArrayLike | None = None,
    region: ArrayLike | None = None,
    keep: ArrayLike | None = None,
    n_threads: int = 1,
) -> NDArray[np.float64]:
    """Measure how far parts of each volume's slices lie from each other.

    Parameters
    ----------
    volumes : (X, Y, Z, T) array
        Before the correction.
    affine : (4, 4) array
        Voxel to world mm.
    matrices : (T, 4, 4) array
        World mm, volume to reference.
    slice_axis : int
    corrected : (X, Y, Z, T) array, optional
        The volumes after the correction, where they are at hand.
    region : (X, Y, Z) bool array, optional
        Of the reference; by default the head.
    keep : (T,) bool array, optional
        Volumes of which the mean is made that all are compared with.
    n_threads : int

    Returns
    -------
    (T,) array
        mm, of even against odd slices or of the first half against the second, whichever is more
        (:meth:`secondglance.imaging.registration.FineModel.parts_moved`); less than true where
        parts lie several tenths of a mm apart. Zero with fewer than three volumes: with two,
        either may have moved.
    """
    volumes = np.asarray(volumes, np.float32)
    keep = np.ones(volumes.shape[-1], bool) if keep is None else np.asarray(keep, bool)
    if keep.sum() < 3:
        return np.zeros(volumes.shape[-1])
    size = voxel_sizes(np.asarray(affine, float))
    to_world = np.asarray(affine, float) @ np.diag([*(1 / size), 1.0])
    if corrected is None:
        still = resample_motion(volumes[..., keep], affine, np.asarray(matrices)[keep], n_threads)
    else:
        still = np.asarray(corrected, np.float32)
        still = still if keep.all() else still[..., keep]
    # The median, so that a volume with moved slices does not define the reference
    target = _median(still.reshape(-1, still.shape[-1])).reshape(still.shape[:3])
    votes = None if region is None else np.asarray(region, bool)
    model = FineModel(target, size, head_centre(target) * size, PART_VOXELS, votes, odd=True)

    def one(t: int) -> float:
        pull = world_to_pull(np.asarray(matrices)[t], to_world)
        return model.parts_moved(volumes[..., t], pull, slice_axis)

    with ThreadPoolExecutor(max_workers=n_threads) as pool:
        return np.array(list(pool.map(one, range(volumes.shape[-1]))))


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
    """Convert rigid motion to six parameters a volume.

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


def framewise_displacement(
    parameters: ArrayLike, radius_mm: float, volumes: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Sum the absolute change of the six parameters from each volume to the next.

    Parameters
    ----------
    parameters : (T, 6) array
        Of :func:`motion_parameters`; NaN for volumes that were left out.
    radius_mm : float
        Of the head, at which rotations are turned into mm; `HEAD_RADIUS_MM` has it by species.
    volumes : (T,) int array, optional
        Their places in the scan, ascending; by default they follow each other.

    Returns
    -------
    (T,) array
        mm; NaN for a volume without a neighbour in time: the first, and those that follow a
        diffusion-weighted volume or one that was left out.

    References
    ----------
    Power et al., NeuroImage 59, 2142 (2012), doi 10.1016/j.neuroimage.2011.10.018.

    Examples
    --------
    >>> framewise_displacement([[0, 0, 0, 0, 0, 0], [0.1, 0, 0, 0.01, 0, 0]], 10)
    array([nan, 0.2])
    >>> framewise_displacement([[0] * 6, [0.1] * 6, [0.1] * 6], 10, volumes=[0, 4, 5])
    array([nan, nan,  0.])
    """
    parameters = np.asarray(parameters, float) * np.array([1, 1, 1, *[radius_mm] * 3])
    steps = np.abs(np.diff(parameters, axis=0)).sum(axis=1)
    if volumes is not None:
        steps[np.diff(np.asarray(volumes)) != 1] = np.nan
    return np.concatenate([[np.nan], steps])


def itk_text(matrices: ArrayLike, scale: float = 1.0) -> str:
    """Write rigid motion as ITK and ANTs read it.

    Parameters
    ----------
    matrices : (T, 4, 4) array
        World mm (RAS+), volume to reference.
    scale : float
        By how much the lengths of the images' header are too large: tools that apply the text
        take the header at its word.

    Returns
    -------
    str
        One transform a volume. They map points of the reference to the volume (LPS+, mm of the
        header), as ITK needs to resample the volume on the reference.

    Examples
    --------
    >>> shift = np.eye(4)
    >>> shift[:3, 3] = 1, 2, 3
    >>> print(itk_text([shift]).splitlines()[3])
    Parameters: 1 0 0 0 1 0 0 0 1 1 2 -3
    """
    lines = ['#Insight Transform File V1.0']
    flip = np.diag([-1.0, -1, 1, 1])
    for t, matrix in enumerate(np.asarray(matrices, float)):
        pull = world_to_pull(matrix, flip)
        values = [*pull[:3, :3].ravel(), *(pull[:3, 3] * scale)]
        lines += [
            f'#Transform {t}',
            'Transform: MatrixOffsetTransformBase_double_3_3',
            'Parameters: ' + ' '.join(f'{value + 0.0:.12g}' for value in values),
            'FixedParameters: 0 0 0',
        ]
    return '\n'.join(lines) + '\n'


def moved_most(rows: list[dict], radius: float) -> tuple[int, int, float] | None:
    """Find the volume that the motion correction moved most.

    Parameters
    ----------
    rows : list of dict
        Motion, a row a volume; volumes that were left out have none.
    radius : float
        Of the head, mm: what a rotation is counted at.

    Returns
    -------
    (int, int, float) or None
        Its place among the corrected volumes, its place in the scan, and how far it was moved,
        mm; None where nothing moved.

    Examples
    --------
    >>> still = dict.fromkeys(('trans_x', 'trans_y', 'trans_z', 'rot_x', 'rot_y', 'rot_z'), 0.0)
    >>> moved_most([{'volume': 4, **still}, {'volume': 7, **still, 'rot_x': 0.02}], 10.0)
    (1, 7, 0.2)
    >>> moved_most([{'volume': 4, **still}], 10.0)
    """
    kept = [row for row in rows if isinstance(row['trans_x'], int | float)]
    if not kept:
        return None
    shifts = np.array([[row[f'trans_{a}'] for a in 'xyz'] for row in kept], float)
    turns = np.array([[row[f'rot_{a}'] for a in 'xyz'] for row in kept], float)
    moved = np.linalg.norm(shifts, axis=1) + radius * np.linalg.norm(turns, axis=1)
    place = int(np.nan_to_num(moved).argmax())
    if not moved[place] > 0:
        return None
    return place, int(kept[place]['volume']), float(moved[place])
