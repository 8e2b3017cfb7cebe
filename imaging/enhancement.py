"""Enhancement of saliency under a log-normal model of its magnitude."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from secondglance.imaging.published import PEAK, WIDTH


def enhance(
    saliency: ArrayLike,
    head: ArrayLike | None = None,
    *,
    peak: float = PEAK,
    width: float = WIDTH,
) -> NDArray[np.float32]:
    """Keep strong edges of a saliency map; damp weak ones, and the too strong that artefacts give.

    The magnitude is expanded to [0, 255] and compressed, ln(1 + g); of its standard score z inside
    the head the value is exp(−((z − peak) / width)²). Slice by slice.

    Parameters
    ----------
    saliency : (N, H, W) array
        Signed gradient.
    head : (N, H, W) bool array, optional
        Where the head is: air changes nothing. By default everywhere.
    peak, width : float
        In standard scores.

    Returns
    -------
    (N, H, W) float32 array
        In [0, 1]; zero outside the head, and in slices where the saliency is everywhere the same.

    References
    ----------
    Matos et al. 2019, doi 10.1007/978-3-030-19823-7_25.

    Examples
    --------
    >>> enhance(np.zeros((1, 4, 4))).max()
    np.float32(0.0)
    """
    magnitude = np.abs(np.asarray(saliency, np.float64))
    inside = np.ones(magnitude.shape, bool) if head is None else np.asarray(head, bool)
    enhanced = np.zeros(magnitude.shape, np.float32)
    for image, where, out in zip(magnitude, inside, enhanced, strict=True):
        values = image[where]
        span = np.ptp(values) if values.size else 0.0
        if span > 0:
            compressed = np.log1p(255 * (values - values.min()) / span)
            z = (compressed - compressed.mean()) / compressed.std()
            out[where] = np.exp(-(((z - peak) / width) ** 2))
    return enhanced
