"""How alike two maps are, whatever their unit."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage, stats

SSIM_SIGMA_PX = 1.5
"""Width of the Gaussian window; Wang et al. 2004."""


_C1, _C2 = 0.01**2, 0.03**2


def rank_correlation(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    """Spearman's correlation of the magnitudes of two stacks, slice by slice.

    Parameters
    ----------
    first, second : (N, H, W) arrays

    Returns
    -------
    (N,) array
        In [-1, 1]; NaN where a slice has one value throughout.

    Examples
    --------
    >>> rank_correlation([[[1.0, -2.0, 3.0]]], [[[1.0, 4.0, -9.0]]])
    array([1.])
    """
    out = []
    for a, b in zip(np.abs(first), np.abs(second), strict=True):
        varies = np.ptp(a) > 0 and np.ptp(b) > 0
        out.append(stats.spearmanr(a, b, axis=None).statistic if varies else np.nan)
    return np.array(out)


def ssim(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    """Structural similarity of the magnitudes of two stacks, slice by slice.

    Each slice is scaled by its 99.5th percentile and clipped at one, as it is displayed.

    Parameters
    ----------
    first, second : (N, H, W) arrays

    Returns
    -------
    (N,) array
        One where they are the same, about zero where they have nothing in common.

    References
    ----------
    Wang et al., *Image quality assessment: from error visibility to structural similarity*, IEEE
    Transactions on Image Processing 2004, equation 13.
    """
    return np.array(
        [
            _ssim(_shown(a), _shown(b))
            for a, b in zip(np.asarray(first), np.asarray(second), strict=True)
        ]
    )


def _shown(slice_: NDArray) -> NDArray[np.float64]:
    magnitude = np.abs(np.asarray(slice_, np.float64))
    high = np.percentile(magnitude, 99.5)
    return np.clip(magnitude / high, 0, 1) if high > 0 else np.zeros_like(magnitude)


def _ssim(a: NDArray, b: NDArray) -> float:
    def mean(values: NDArray) -> NDArray:
        # Eleven pixels wide, as in the paper
        return ndimage.gaussian_filter(values, SSIM_SIGMA_PX, radius=5, mode='reflect')

    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    both = mean(a * b) - mean_a * mean_b
    index = ((2 * mean_a * mean_b + _C1) * (2 * both + _C2)) / (
        (mean_a**2 + mean_b**2 + _C1) * (var_a + var_b + _C2)
    )
    return float(index.mean())
