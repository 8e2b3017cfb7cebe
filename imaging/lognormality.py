"""Whether saliency is log-normal, as its enhancement supposes, or otherwise distributed."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

N_QUANTILES = 32
"""Points of a quantile plot."""

LEAST_VALUES = 8
"""Fewer values than this are not fitted."""


@dataclass(frozen=True)
class LognormalFit:
    """Goodness of the log-normal fit of a saliency's magnitude, by slice; NaN in empty slices.

    Attributes
    ----------
    mu, sigma : (N,) arrays
        Mean and standard deviation of the logarithm of the magnitude where it is not zero.
    ks_distance : (N,) array
        Kolmogorov-Smirnov distance of that logarithm to the normal of the same two moments.
    anderson_darling : (N,) array
        Anderson-Darling statistic of the same, which weighs the tails more; above 0.75 chance
        alone would give so much in 5 % of samples, if pixels were independent.
    aic : dict of (N,) arrays
        Akaike's criterion a value of maximum-likelihood fits: ``lognormal``, ``gamma``,
        ``weibull``, ``halfnormal``; the lowest describes the slice best.
    theoretical, observed : (Q,) and (N, Q) arrays
        Quantiles of the standard normal and of the standardised logarithm.
    """

    mu: NDArray[np.float64]
    sigma: NDArray[np.float64]
    ks_distance: NDArray[np.float64]
    anderson_darling: NDArray[np.float64]
    aic: dict[str, NDArray[np.float64]]
    theoretical: NDArray[np.float64]
    observed: NDArray[np.float64]

    def best(self) -> list[str]:
        """Name the distribution that describes each slice best; empty where none was fitted."""
        names = list(self.aic)
        table = np.array([self.aic[name] for name in names]).T
        return [names[int(np.argmin(row))] if np.isfinite(row).all() else '' for row in table]


def lognormal_fit(saliency: ArrayLike) -> LognormalFit:
    """Fit a log-normal to the magnitude of every slice, measure the fit, and compare it.

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
    mu, sigma, distance, anderson = (np.full(n, np.nan) for _ in range(4))
    aic = {name: np.full(n, np.nan) for name in DISTRIBUTIONS}
    observed = np.full((n, N_QUANTILES), np.nan)
    for index, slice_ in enumerate(magnitude):
        values = slice_[slice_ > 0]
        logarithm = np.log(values)
        # The deviation of equal values need not be zero to the last digit
        if len(values) < LEAST_VALUES or not np.ptp(logarithm) > 0:
            continue
        mu[index], sigma[index] = logarithm.mean(), logarithm.std()
        z = (logarithm - mu[index]) / sigma[index]
        distance[index] = _kolmogorov_smirnov(z)
        anderson[index] = _anderson_darling(z)
        observed[index] = np.quantile(z, levels)
        for name, (fit, n_parameters) in DISTRIBUTIONS.items():
            aic[name][index] = 2 * n_parameters / len(values) - 2 * fit(values, logarithm)
    return LognormalFit(mu, sigma, distance, anderson, aic, special.ndtri(levels), observed)


def _kolmogorov_smirnov(z: NDArray) -> float:
    """Kolmogorov-Smirnov distance of standardised values to the standard normal."""
    below = special.ndtr(np.sort(z))
    steps = np.arange(len(z) + 1) / len(z)
    return float(max((steps[1:] - below).max(), (below - steps[:-1]).max()))


def _anderson_darling(z: NDArray) -> float:
    """Anderson-Darling statistic of standardised values against the standard normal."""
    z = np.sort(z)
    n = len(z)
    weight = 2 * np.arange(1, n + 1) - 1
    return float(-n - (weight * (special.log_ndtr(z) + special.log_ndtr(-z[::-1]))).sum() / n)


# Mean log-likelihood of values at its maximum
def _lognormal(values: NDArray, logarithm: NDArray) -> float:
    sigma = logarithm.std()
    return float(-np.log(sigma) - 0.5 * np.log(2 * np.pi) - 0.5 - logarithm.mean())


def _gamma(values: NDArray, logarithm: NDArray) -> float:
    mean = values.mean()
    gap = np.log(mean) - logarithm.mean()
    shape = (3 - gap + np.sqrt((gap - 3) ** 2 + 24 * gap)) / (12 * gap)
    for _ in range(8):
        error = np.log(shape) - special.digamma(shape) - gap
        shape -= error / (1 / shape - special.polygamma(1, shape))
    scale = mean / shape
    return float(
        (shape - 1) * logarithm.mean() - shape - shape * np.log(scale) - special.gammaln(shape)
    )


def _weibull(values: NDArray, logarithm: NDArray) -> float:
    # About their own geometric mean powers stay within range
    centred = logarithm - logarithm.mean()

    # Newton's method from the shape that has the same standard deviation
    shape = np.pi / np.sqrt(6) / centred.std()
    for _ in range(30):
        power = np.exp(shape * (centred - centred.max()))
        power /= power.sum()
        mean = (power * centred).sum()
        slope = (power * (centred - mean) ** 2).sum() + shape**-2
        step = (mean - 1 / shape) / slope
        shape -= np.clip(step, -shape, shape / 2)
        if abs(step) < 1e-12 * shape:
            break
    log_scale = special.logsumexp(shape * centred, b=1 / len(centred)) / shape
    return float(np.log(shape) - shape * log_scale - 1 - logarithm.mean())


def _halfnormal(values: NDArray, logarithm: NDArray) -> float:
    sigma = np.sqrt(np.mean(values**2))
    return float(0.5 * np.log(2 / np.pi) - np.log(sigma) - 0.5)


DISTRIBUTIONS = {
    'lognormal': (_lognormal, 2),
    'gamma': (_gamma, 2),
    'weibull': (_weibull, 2),
    'halfnormal': (_halfnormal, 1),
}
"""Fits that are compared, each with its number of parameters."""
