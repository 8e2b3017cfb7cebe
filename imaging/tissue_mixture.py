"""Tissues of a brain by expectation maximisation with the priors of an atlas."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

_FLOOR = 0.02
"""Least prior of a tissue: where the atlas is wrong, the image can say so."""

_CLIPPED = (2.0, 99.5)
"""Percentiles of intensity; darker is signal drop-out, brighter are vessels."""

_OUTLIER = 1e-3
"""Density of intensities that fit no tissue: there priors decide."""

_LEAST_VARIANCE = 0.3
"""Of a tissue, beside the mean over tissues: none can shrink to a few pixels."""

_UNSURE = 0.05


@dataclass(frozen=True)
class Mixture:
    """Tissue fractions of a brain, and the intensities of the tissues.

    Attributes
    ----------
    fractions : (X, Y, Z, 3) float32 array
        WM, GM and CSF; they sum to one inside the mask and are 0 outside.
    means, deviations : (3,) array
        Of intensity, by tissue.
    """

    fractions: NDArray[np.float32]
    means: NDArray[np.float64]
    deviations: NDArray[np.float64]


def tissue_mixture(
    voxels: ArrayLike,
    mask: ArrayLike,
    priors: ArrayLike,
    *,
    prior_weight: float = 1.0,
    neighbour_weight: float = 0.6,
    neighbour_sigma: tuple[float, float, float] = (0.8, 0.8, 0.0),
    n_iterations: int = 15,
) -> Mixture:
    """Estimate tissue fractions from intensity, atlas and neighbours.

    A Gaussian mixture with the atlas as prior of its classes (Ashburner and Friston 2005,
    doi 10.1016/j.neuroimage.2005.02.018) and a mean-field Markov random field over neighbours
    (Zhang et al. 2001, doi 10.1109/42.906424).

    Parameters
    ----------
    voxels : (X, Y, Z) array
        Without coil field.
    mask : (X, Y, Z) bool array
        Of the brain.
    priors : (X, Y, Z, 3) array
        Of WM, GM and CSF, in [0, 1].
    prior_weight : float
        Power of the priors; 0 ignores them except to begin with.
    neighbour_weight : float
        Power of the mean of the neighbours' fractions.
    neighbour_sigma : tuple of float
        Of the Gaussian by which that mean is weighted, voxels.
    n_iterations : int

    Returns
    -------
    Mixture

    Examples
    --------
    >>> image = np.array([1.0, 1.1, 2.0, 2.1, 3.0, 3.1]).reshape(6, 1, 1)
    >>> prior = np.full((6, 1, 1, 3), 1 / 3) + np.repeat(np.eye(3), 2, 0).reshape(6, 1, 1, 3)
    >>> tissue_mixture(image, image > 0, prior).fractions.argmax(-1).ravel().tolist()
    [0, 0, 1, 1, 2, 2]
    """
    mask = np.asarray(mask, bool)
    inside = np.asarray(voxels, np.float64)[mask]
    prior = np.clip(np.asarray(priors, np.float64)[mask], 0, 1) + _FLOOR
    prior /= prior.sum(axis=1, keepdims=True)
    values = np.clip(inside, *np.percentile(inside, _CLIPPED))[:, None]
    scale = max(float(values.std()), 1e-12)
    values = values / scale
    share = prior.copy()
    means = deviations = np.zeros(prior.shape[1])
    volume = np.zeros((*mask.shape, prior.shape[1]))
    for _ in range(n_iterations):
        total = share.sum(axis=0)
        means = (share * values).sum(axis=0) / total
        variance = (share * (values - means) ** 2).sum(axis=0) / total
        variance = np.maximum(variance, max(_LEAST_VARIANCE * variance.mean(), 1e-6))
        deviations = np.sqrt(variance)
        likelihood = np.exp(-0.5 * ((values - means) / deviations) ** 2) / deviations + _OUTLIER
        volume[mask] = share
        near = np.stack(
            [
                ndimage.gaussian_filter(volume[..., k], neighbour_sigma)[mask]
                for k in range(volume.shape[-1])
            ],
            axis=-1,
        )
        near /= near.sum(axis=1, keepdims=True) + 1e-9
        log = (
            np.log(likelihood)
            + prior_weight * np.log(prior)
            + neighbour_weight * np.log(near + _UNSURE)
        )
        share = np.exp(log - log.max(axis=1, keepdims=True))
        share /= share.sum(axis=1, keepdims=True)
    fractions = np.zeros(volume.shape, np.float32)
    fractions[mask] = share
    return Mixture(fractions, means * scale, deviations * scale)
