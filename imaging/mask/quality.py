"""Probability that a brain mask is good: that its Dice with one by hand is at least `GOOD_DICE`.

Logistic regression on the agreement of first glance, refinement and placed mask. The coefficients
are fitted on animals that neither network was trained on
(`secondglance.models.training.calibration`) and stored in the header of the refinement's weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from secondglance.imaging.mask.cleaning import agreement, expected_dice

GOOD_DICE = 0.95
"""Dice from which a mask counts as good."""


USUAL_MM3 = 1900.0
"""Brain of a rat, mm³."""


EVIDENCE: tuple[str, ...] = (
    'expected_first',
    'expected_refined',
    'like_first',
    'like_refined',
    'like_placed',
    'correlation',
    'size',
    'steadiness',
)
"""Features of a whole mask; see `mask_features`."""


SLICE_EVIDENCE = EVIDENCE[:6]
"""Features of a mask in one slice."""


@dataclass(frozen=True)
class MaskEvidence:
    """Probabilities and placed mask of one head, from which masks are made and judged.

    Attributes
    ----------
    first, refined : (N, H, W) array
        Probability of brain, by the first glance and by the refinement.
    placed : (N, H, W) bool array
        Another animal's mask.
    peaks : (N,) array
        Correlation coefficient at its place, slice by slice.
    voxel_mm3 : float
        Volume of a pixel of a slice, in the size of a rat.
    """

    first: NDArray
    refined: NDArray
    placed: NDArray
    peaks: NDArray
    voxel_mm3: float


def mask_features(mask: ArrayLike, evidence: MaskEvidence) -> NDArray[np.float64]:
    """Compute the features of a mask.

    Parameters
    ----------
    mask : (N, H, W) bool array
    evidence : MaskEvidence

    Returns
    -------
    (8,) array
        In the order of `EVIDENCE`: Dice to be expected by the first glance and by the refinement,
        Dice with either and with the placed mask, mean correlation of the placed mask, how usual
        the volume is, and how alike neighbouring slices are. The first five are
        −log10(1.01 − Dice): 2 at best, as good a step from 0.9 to 0.99 as from 0 to 0.9.
    """
    mask = np.asarray(mask, bool)
    expected = [expected_dice(mask, p) for p in (evidence.first, evidence.refined)]
    masks = (evidence.first >= 0.5, evidence.refined >= 0.5, evidence.placed)
    alike = [float(agreement(mask.reshape(1, 1, -1), m.reshape(1, 1, -1))[0]) for m in masks]
    held = np.asarray(mask.any(axis=(1, 2)))
    correlation = float(np.mean(np.maximum(evidence.peaks, 0)[held])) if held.any() else 0.0
    volume = mask.sum() * evidence.voxel_mm3
    size = -abs(np.log((volume + 1.0) / USUAL_MM3))
    pairs = held[1:] & held[:-1]
    steady = float(agreement(mask[1:], mask[:-1])[pairs].mean()) if pairs.any() else 0.0
    return np.array([*_stretched(expected), *_stretched(alike), correlation, size, steady])


def slice_features(mask: ArrayLike, evidence: MaskEvidence) -> NDArray[np.float64]:
    """Compute the features of a mask, slice by slice.

    Parameters
    ----------
    mask : (N, H, W) bool array
    evidence : MaskEvidence

    Returns
    -------
    (N, 6) array
        In the order of `SLICE_EVIDENCE`; as of `mask_features`.
    """
    mask = np.asarray(mask, bool)
    columns: list[ArrayLike] = []
    for probability in (evidence.first, evidence.refined):
        columns.append(
            [
                # For an empty slice: the probability that there is no brain
                expected_dice(m, p) if m.any() else float(np.exp(-0.1 * p[p >= 0.5].sum()))
                for m, p in zip(mask, probability, strict=True)
            ]
        )
    for other in (evidence.first >= 0.5, evidence.refined >= 0.5, evidence.placed):
        columns.append(agreement(mask, other))
    stretched = [_stretched(column) for column in columns]
    return np.stack([*stretched, np.maximum(evidence.peaks, 0)], axis=1)


def _stretched(dice: ArrayLike) -> NDArray[np.float64]:
    return -np.log10(1.01 - np.clip(np.asarray(dice, float), 0.0, 1.0))


@dataclass(frozen=True)
class Calibration:
    """Logistic regression from features to the probability that a mask is good.

    Attributes
    ----------
    weights, slice_weights : tuple of float
        Of `EVIDENCE` and `SLICE_EVIDENCE`, the constant last.
    """

    weights: tuple[float, ...]
    slice_weights: tuple[float, ...]

    def of_mask(self, mask: ArrayLike, evidence: MaskEvidence) -> float:
        """Probability that the Dice of a whole mask is at least `GOOD_DICE`; 0 if it is empty."""
        if not np.any(mask):
            return 0.0
        return float(probability_of(mask_features(mask, evidence), self.weights))

    def of_slices(self, mask: ArrayLike, evidence: MaskEvidence) -> NDArray[np.float64]:
        """The same of each slice, (N,)."""
        return probability_of(slice_features(mask, evidence), self.slice_weights)

    def to_plain(self) -> dict[str, list[float]]:
        """As plain values, for a header."""
        return {'weights': list(self.weights), 'slice_weights': list(self.slice_weights)}

    @classmethod
    def from_plain(cls, plain: Mapping[str, list[float]]) -> 'Calibration':
        """What `to_plain` gave; KeyError or ValueError where it is another thing."""
        found = cls(tuple(plain['weights']), tuple(plain['slice_weights']))
        lengths = len(EVIDENCE) + 1, len(SLICE_EVIDENCE) + 1
        if (len(found.weights), len(found.slice_weights)) != lengths:
            raise ValueError(f'calibration of other evidence: {plain}')
        return found


def probability_of(evidence: NDArray, weights: ArrayLike) -> NDArray[np.float64]:
    """Logistic function of weighted evidence (..., K); the constant is the last weight."""
    weights = np.asarray(weights, float)
    return special.expit(evidence @ weights[:-1] + weights[-1])


def fit_logistic(evidence: ArrayLike, good: ArrayLike, penalty: float = 1.0) -> tuple[float, ...]:
    """Fit logistic regression with no weight below zero.

    A larger feature never lowers the probability: a weight that would be negative is set to
    zero.

    Parameters
    ----------
    evidence : (n, K) array
    good : (n,) bool array
    penalty : float
        Of the squared weights of standardised evidence.

    Returns
    -------
    tuple of float
        K weights and the constant.

    Examples
    --------
    >>> weights = fit_logistic([[0.0], [1.0], [2.0], [3.0]], [False, False, True, True], 0.01)
    >>> probability_of(np.array([[1.5]]), weights).round(2)
    array([0.5])
    """
    from scipy.optimize import minimize

    evidence, good = np.asarray(evidence, float), np.asarray(good, float)
    mean, spread = evidence.mean(axis=0), evidence.std(axis=0) + 1e-9
    standard = np.column_stack([(evidence - mean) / spread, np.ones(len(evidence))])

    def loss(w: NDArray) -> tuple[float, NDArray]:
        z = standard @ w
        value = np.sum(np.logaddexp(0, z) - good * z) + penalty / 2 * np.sum(w[:-1] ** 2)
        slope = standard.T @ (special.expit(z) - good)
        slope[:-1] += penalty * w[:-1]
        return value, slope

    k = evidence.shape[1]
    bounds = [(0.0, None)] * k + [(None, None)]
    found = minimize(loss, np.zeros(k + 1), jac=True, bounds=bounds, method='L-BFGS-B').x
    weights = found[:-1] / spread
    return (*map(float, weights), float(found[-1] - weights @ mean))
