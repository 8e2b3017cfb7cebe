"""Enhancement of saliency under a log-normal model of its magnitude."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

PEAK = 2.0
"""Standard score that is kept whole; Matos et al. 2019."""

WIDTH = 0.5
"""Width of what is kept about the peak, in standard scores; Matos et al. 2019."""


def enhance(saliency: ArrayLike, peak: float = PEAK, width: float = WIDTH) -> NDArray[np.float32]:
    """Keep strong edges of a saliency map; damp weak ones, and the too strong that artefacts give.

    The magnitude is expanded to [0, 255] and compressed, ln(1 + g); of its standard score z the
    value is exp(−((z − peak) / width)²). Slice by slice.

    Parameters
    ----------
    saliency : (N, H, W) array
        Signed gradient.
    peak, width : float
        In standard scores.

    Returns
    -------
    (N, H, W) float32 array
        In [0, 1]; zero in slices where the saliency is everywhere the same.

    References
    ----------
    Matos et al. 2019, doi 10.1007/978-3-030-19823-7_25.

    Examples
    --------
    >>> enhance(np.zeros((1, 4, 4))).max()
    np.float32(0.0)
    """
    magnitude = np.abs(np.asarray(saliency, np.float64))
    low = magnitude.min(axis=(1, 2), keepdims=True)
    span = magnitude.max(axis=(1, 2), keepdims=True) - low
    varies = span > 0
    compressed = np.log1p(255 * (magnitude - low) / np.where(varies, span, 1))
    sigma = compressed.std(axis=(1, 2), keepdims=True)
    z = (compressed - compressed.mean(axis=(1, 2), keepdims=True)) / np.where(varies, sigma, 1)
    return np.where(varies, np.exp(-(((z - peak) / width) ** 2)), 0).astype(np.float32)
