"""Motion of every volume of a series, of those with diffusion weighting too."""

import numpy as np
from nibabel.affines import voxel_sizes
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from secondglance.imaging.motion import DECIMALS, estimate_motion, pull_to_world, resample_motion
from secondglance.imaging.registration import (
    FINE_SMOOTHING,
    FineModel,
    coarse_pull,
    head_centre,
    head_region,
)

SHELL_WIDTH = 100.0
"""s/mm²; b-values that differ by less show the head in the same contrast."""

CONTRAST_STEPS = 2
"""Of giving the b0 mean the contrast of weighted volumes, and registering to it."""


def shells(bvals: ArrayLike, weighted: ArrayLike) -> list[NDArray[np.int64]]:
    """Group the diffusion-weighted volumes by b-value.

    Parameters
    ----------
    bvals : (T,) array
        s/mm².
    weighted : (T,) bool array
        Whether the volume is diffusion-weighted.

    Returns
    -------
    list of arrays
        Places of the volumes, from the smallest b-value to the largest.

    Examples
    --------
    >>> found = shells([0, 1000, 2010, 0, 1020, 1990], [False, True, True, False, True, True])
    >>> [group.tolist() for group in found]
    [[1, 4], [2, 5]]
    """
    bvals = np.asarray(bvals, float)
    places = np.flatnonzero(weighted)
    places = places[np.argsort(bvals[places], kind='stable')]
    breaks = np.flatnonzero(np.diff(bvals[places]) > SHELL_WIDTH) + 1
    return [np.sort(group) for group in np.split(places, breaks) if len(group)]


def as_contrast(
    image: ArrayLike, other: ArrayLike, where: ArrayLike, n_bins: int = 24
) -> NDArray[np.float32]:
    """Give an image the contrast of another: the other's mean at each of its intensities.

    Parameters
    ----------
    image, other : (X, Y, Z) arrays
    where : (X, Y, Z) bool array
        Voxels in which intensities are compared.
    n_bins : int
        Each of equally many voxels.

    Returns
    -------
    (X, Y, Z) float32 array

    Examples
    --------
    >>> image = np.array([0, 0, 1, 1, 2, 2.0])
    >>> as_contrast(image, [5, 7, 1, 3, 9, 9], np.ones(6, bool), 3).tolist()
    [6.0, 6.0, 2.0, 2.0, 9.0, 9.0]
    """
    image, other = np.asarray(image, float), np.asarray(other, float)
    where = np.asarray(where, bool)
    values, others = image[where], other[where]
    edges = np.unique(np.quantile(values, np.linspace(0, 1, n_bins + 1)))
    bins = np.clip(np.searchsorted(edges, values, side='right') - 1, 0, max(len(edges) - 2, 0))
    count = np.bincount(bins)
    held = count > 0
    middle = np.bincount(bins, values)[held] / count[held]
    mean = np.bincount(bins, others)[held] / count[held]
    return np.interp(image, middle, mean).astype(np.float32)


def nearest_known(n_volumes: int, known: ArrayLike, matrices: ArrayLike) -> NDArray[np.float64]:
    """Give volumes without an estimate that of the volume nearest in time.

    Parameters
    ----------
    n_volumes : int
    known : (K,) int array
        Volumes with an estimate.
    matrices : (K, 4, 4) array

    Returns
    -------
    (T, 4, 4) array

    Examples
    --------
    >>> shifts = np.tile(np.eye(4), (2, 1, 1))
    >>> shifts[1, 0, 3] = 7
    >>> nearest_known(5, [1, 4], shifts)[:, 0, 3].tolist()
    [0.0, 0.0, 0.0, 7.0, 7.0]
    """
    apart = np.abs(np.arange(n_volumes)[:, None] - np.asarray(known)[None])
    return np.asarray(matrices, float)[apart.argmin(axis=1)]


def series_motion(
    volumes: ArrayLike,
    affine: ArrayLike,
    weighted: list[NDArray[np.int64]],
    known: ArrayLike,
    matrices: ArrayLike,
    mean: ArrayLike,
    n_threads: int = 1,
) -> NDArray[np.float64]:
    """Find the motion of every volume towards the reference of the b0 volumes.

    Volumes of one b-value are brought to each other first, by least squares as b0 volumes are.
    Their mean is then brought to the mean of the b0 volumes, which looks different: coarsely by
    mutual information, then by least squares to the b0 mean in the contrast of theirs.
    A volume without an estimate has that of its neighbour in time.

    Parameters
    ----------
    volumes : (X, Y, Z, T) array
    affine : (4, 4) array
        Voxel to world mm of the animal.
    weighted : list of int arrays
        Diffusion-weighted volumes by b-value, as :func:`shells` groups them.
    known : (K,) int array
        Volumes with known motion.
    matrices : (K, 4, 4) array
        Theirs: world mm, volume to reference.
    mean : (X, Y, Z) array
        Of the b0 volumes, on the reference.
    n_threads : int

    Returns
    -------
    (T, 4, 4) array
        World mm, volume to reference.
    """
    volumes = np.asarray(volumes, np.float32)
    affine = np.asarray(affine, float)
    found = {
        int(t): matrix
        for t, matrix in zip(np.asarray(known, int), np.asarray(matrices, float), strict=True)
    }
    size = voxel_sizes(affine)
    to_world = affine @ np.diag([*(1 / size), 1.0])
    fixed = np.asarray(mean, np.float32)
    centre = head_centre(fixed) * size
    smooth = ndimage.gaussian_filter(fixed, FINE_SMOOTHING)
    head = head_region(smooth)
    for group in weighted:
        # What holds nothing cannot be brought anywhere
        group = np.array([t for t in group if volumes[..., t].std() > 0], int)
        if not len(group):
            continue
        within, _ = estimate_motion(volumes[..., group], affine, n_threads=n_threads)
        average = resample_motion(volumes[..., group], affine, within, n_threads).mean(axis=3)
        # Rounded: sums differ in the last bit from run to run
        pull = coarse_pull(average, fixed, size, centre).round(DECIMALS)
        for _ in range(CONTRAST_STEPS):
            moved = resample_motion(average[..., None], affine, [pull_to_world(pull, to_world)])
            alike = as_contrast(smooth, moved[..., 0], head)
            pull = FineModel(alike, size, centre).align(average, pull)
        across = pull_to_world(pull, to_world)
        found |= {int(t): across @ matrix for t, matrix in zip(group, within, strict=True)}
    places = sorted(found)
    return nearest_known(volumes.shape[-1], places, [found[t] for t in places]).round(DECIMALS)
