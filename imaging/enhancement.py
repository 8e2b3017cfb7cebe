"""Enhancement of saliency under a log-normal model of its magnitude."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

PEAK = 2.0
"""Standard score that is kept whole; Matos et al. 2019."""

WIDTH = 0.5
"""Width of what is kept about the peak, in standard scores; Matos et al. 2019."""

N_QUANTILES = 32
"""Points of a quantile plot."""


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


@dataclass(frozen=True)
class LognormalFit:
    """How log-normal the magnitude of a saliency is, slice by slice; NaN in empty slices.

    Attributes
    ----------
    mu, sigma : (N,) arrays
        Mean and standard deviation of the logarithm of the magnitude where it is not zero.
    ks_distance : (N,) array
        Kolmogorov-Smirnov distance of that logarithm to the normal of the same two moments.
    theoretical, observed : (Q,) and (N, Q) arrays
        Quantiles of the standard normal and of the standardised logarithm.
    """

    mu: NDArray[np.float64]
    sigma: NDArray[np.float64]
    ks_distance: NDArray[np.float64]
    theoretical: NDArray[np.float64]
    observed: NDArray[np.float64]


def lognormal_fit(saliency: ArrayLike) -> LognormalFit:
    """Fit a log-normal to the magnitude of every slice and measure the fit.

    Parameters
    ----------
    saliency : (N, H, W) array
        Signed gradient.

    Returns
    -------
    LognormalFit
    """
    magnitude = np.abs(np.asarray(saliency, np.float64))
    levels = (np.arange(N_QUANTILES) + 0.5) / N_QUANTILES
    n = len(magnitude)
    mu, sigma, distance = (np.full(n, np.nan) for _ in range(3))
    observed = np.full((n, N_QUANTILES), np.nan)
    for index, values in enumerate(magnitude):
        logarithm = np.log(values[values > 0])
        if len(logarithm) < 2 or not logarithm.std() > 0:
            continue
        mu[index], sigma[index] = logarithm.mean(), logarithm.std()
        z = (logarithm - mu[index]) / sigma[index]
        distance[index] = stats.kstest(z, 'norm', method='asymp').statistic
        observed[index] = np.quantile(z, levels)
    return LognormalFit(mu, sigma, distance, stats.norm.ppf(levels), observed)
