"""Scale and in-plane rotation of a donor's mask on the subject."""

from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from secondglance.imaging.placement.correlation import standardise

IN_PLANE_SCALES = (0.8, 0.9, 1.0, 1.1, 1.2)


DEGREES = (-12.0, -6.0, 0.0, 6.0, 12.0)
"""Tried first; then each half as far apart, about the best, `REFINEMENTS` times."""


REFINEMENTS = 2


REACH_PX = 20
"""Farthest shift of the whole stack that is tried."""


RIM_PX = 3
"""Of what lies about a donor's brain, kept for finding its size."""


DRIFT_PX = 1.0
"""How far neighbouring slices may lie off the stack's common shift; they agree in the end."""


MOST_SLICES = 16
"""Slices by which scale and angle are found; more cost time and tell little."""


def rim_kernels(enhanced: NDArray, mask: NDArray) -> NDArray[np.float32]:
    """Keep a donor's enhanced saliency inside its mask and `RIM_PX` about it.

    A kernel that ends with the mask has lost the outer half of the brain's edge: it fits best
    when it is made too large.
    """
    mask = np.asarray(mask, bool)
    if not mask.any():
        return np.zeros(mask.shape, np.float32)
    in_plane = np.zeros((1, 3, 3), bool)
    in_plane[0, 1], in_plane[0, :, 1] = True, True
    wide = ndimage.binary_dilation(mask, in_plane, iterations=RIM_PX)
    return np.where(wide, np.asarray(enhanced, np.float32), np.float32(0))


def align(enhanced: NDArray, rim: NDArray) -> tuple[float, float]:
    """Find scale and rotation in plane, one for the whole stack.

    From coarse to fine; of every candidate the correlation surfaces of the slices are summed and
    blurred by how far slices may drift: a stack has one shift, so no slice can run away with a
    scale of its own.

    Parameters
    ----------
    enhanced : (N, H, W) array
        Enhanced saliency of the subject.
    rim : (N, H, W) array
        Of the donor's slice that goes with each, from :func:`rim_kernels`, its brain in the
        middle of the frame; empty where the donor does not reach.

    Returns
    -------
    scale : float
        Pixels of the subject for one of the donor.
    degrees : float
        From the axis of H towards that of W.

    Examples
    --------
    >>> align(np.zeros((1, 9, 9)), np.zeros((1, 9, 9)))
    (1.0, 0.0)
    """
    telling = np.flatnonzero(rim.max(axis=(1, 2)) > 0)
    if not len(telling):
        return 1.0, 0.0
    chosen = telling[:: -(-len(telling) // MOST_SLICES)]
    shape = [fft.next_fast_len(2 * n - 1, real=True) for n in enhanced.shape[1:]]
    spectrum = fft.rfft2(standardise(enhanced[chosen]), shape)
    tried: dict[tuple[float, float], float] = {}

    def score(scale: float, degrees: float) -> float:
        key = (round(scale, 6), round(degrees, 6))
        if key not in tried:
            moved = standardise(transform(rim[chosen], scale, degrees))
            tried[key] = _common_peak(spectrum * np.conj(fft.rfft2(moved, shape)), shape)
        return tried[key]

    # What is no better than the donor as it is does not change it
    best = (1.0, 0.0)
    for scale, degrees in product(IN_PLANE_SCALES, DEGREES):
        if score(scale, degrees) > score(*best):
            best = (scale, degrees)
    steps = (IN_PLANE_SCALES[1] - IN_PLANE_SCALES[0], DEGREES[1] - DEGREES[0])
    for _ in range(REFINEMENTS):
        steps = (steps[0] / 2, steps[1] / 2)
        middle = best
        for by_scale, by_angle in product((-1, 0, 1), repeat=2):
            other = (middle[0] + by_scale * steps[0], middle[1] + by_angle * steps[1])
            if score(*other) > score(*best):
                best = other
    return best


def _common_peak(spectra: NDArray, shape: list[int]) -> float:
    """Highest mean over slices of their correlation surfaces, each blurred by its drift."""
    # Blurring and averaging are linear: one surface comes back from the sum of all
    surface = fft.irfft2(spectra.mean(axis=0), shape)
    surface = np.roll(surface, (REACH_PX, REACH_PX), axis=(0, 1))
    surface = surface[: 2 * REACH_PX + 1, : 2 * REACH_PX + 1]
    return float(ndimage.gaussian_filter(surface, DRIFT_PX).max())


def transform(stack: NDArray, scale: float, degrees: float) -> NDArray[np.float32]:
    """Scale and turn every slice about the middle of its frame.

    Parameters
    ----------
    stack : (N, H, W) array
    scale, degrees : float
        As of :func:`align`.

    Returns
    -------
    (N, H, W) float32 array
        Linearly interpolated; zero beyond the frame.
    """
    stack = np.asarray(stack, np.float32)
    if scale == 1 and degrees == 0:
        return stack.copy()
    angle = np.deg2rad(degrees)
    # From where each pixel of the result is taken: the inverse
    back = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / scale
    middle = (np.array(stack.shape[1:]) // 2).astype(float)
    matrix = np.eye(3)
    matrix[1:, 1:] = back
    offset = np.concatenate([[0.0], middle - back @ middle])
    moved = ndimage.affine_transform(stack, matrix, offset=offset, order=1)
    return np.asarray(moved, np.float32)
