"""Enhancement of saliency under a log-normal model of its magnitude: the equation of the paper."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from secondglance.imaging.published import PEAK, WIDTH


@dataclass(frozen=True)
class EnhancementSteps:
    """Values of the pixels of one slice, step by step; (K,) arrays.

    Attributes
    ----------
    magnitude : array
        Of the gradient, expanded to [0, 255].
    compressed : array
        ln(1 + magnitude).
    score : array
        Standard score of that.
    enhanced : array
        exp(−((score − peak) / width)²), in [0, 1].
    """

    magnitude: NDArray[np.float64]
    compressed: NDArray[np.float64]
    score: NDArray[np.float64]
    enhanced: NDArray[np.float64]


def weight_of(score: ArrayLike, peak: float = PEAK, width: float = WIDTH) -> NDArray[np.float64]:
    """Enhanced saliency of standard scores, exp(−((score − peak) / width)²), in [0, 1].

    Examples
    --------
    >>> weight_of([1.5, 2.0], peak=2.0, width=0.5).round(3).tolist()
    [0.368, 1.0]
    """
    return np.exp(-(((np.asarray(score, np.float64) - peak) / width) ** 2))


def enhancement_steps(
    saliency: ArrayLike, *, peak: float = PEAK, width: float = WIDTH
) -> EnhancementSteps | None:
    """Enhance the pixels of one slice, and keep what each step made of them.

    Parameters
    ----------
    saliency : (K,) array
        Signed gradient of the pixels inside the head.
    peak, width : float
        In standard scores.

    Returns
    -------
    EnhancementSteps or None
        None where the saliency is everywhere the same.

    Examples
    --------
    >>> steps = enhancement_steps([0.0, -1.0, 3.0])
    >>> steps.magnitude.tolist(), steps.compressed.round(2).tolist()
    ([0.0, 85.0, 255.0], [0.0, 4.45, 5.55])
    """
    values = np.abs(np.asarray(saliency, np.float64))
    span = np.ptp(values) if values.size else 0.0
    if not span > 0:
        return None
    magnitude = 255 * (values - values.min()) / span
    compressed = np.log1p(magnitude)
    score = (compressed - compressed.mean()) / compressed.std()
    return EnhancementSteps(magnitude, compressed, score, weight_of(score, peak, width))


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
    >>> float(enhance(np.zeros((1, 4, 4))).max())
    0.0
    """
    saliency = np.asarray(saliency)
    inside = np.ones(saliency.shape, bool) if head is None else np.asarray(head, bool)
    enhanced = np.zeros(saliency.shape, np.float32)
    for image, where, out in zip(saliency, inside, enhanced, strict=True):
        steps = enhancement_steps(image[where], peak=peak, width=width)
        if steps is not None:
            out[where] = steps.enhanced
    return enhanced
