"""Outlier shifts of slices are replaced by a robust line along the head."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def reconcile(
    shifts: ArrayLike,
    weights: ArrayLike,
    positions: ArrayLike,
    tolerance_px: float = 2.0,
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
    """Replace shifts that a robust line through all slices contradicts.

    The line is the weighted median of the slopes between all pairs of slices (Theil-Sen), and
    the weighted median of what it leaves.

    Parameters
    ----------
    shifts : (N, 2) array
        Pixels, found slice by slice.
    weights : (N,) array
        Trust in each, such as its peak correlation; slices of weight 0 are not used.
    positions : (N,) array
        Along the stack, mm.
    tolerance_px : float
        A shift farther than this from the line is replaced by it.

    Returns
    -------
    shifts : (N, 2) array
        Pixels; whole where the slice's own was kept.
    replaced : (N,) bool array
    confidence : (N,) array
        In [0, 1]: how near to the line a slice's own shift was, exp(−(d / tolerance)²).
    """
    shifts = np.asarray(shifts, float)
    weights = np.asarray(weights, float)
    positions = np.asarray(positions, float)
    voting = np.flatnonzero(weights > 0)
    if len(voting) == 0:
        return shifts.copy(), np.zeros(len(shifts), bool), np.zeros(len(shifts))
    line = np.empty_like(shifts)
    a, b = (voting[k] for k in np.triu_indices(len(voting), 1))
    run = positions[b] - positions[a]
    apart = run != 0
    for axis in range(2):
        slope = 0.0
        # Two slices make a line that neither contradicts: a slope needs more
        if len(voting) > 2 and apart.any():
            slopes = (shifts[b, axis] - shifts[a, axis])[apart] / run[apart]
            trust = (weights[a] * weights[b])[apart] * np.abs(run[apart])
            slope = weighted_median(slopes, trust)
        rest = shifts[voting, axis] - slope * positions[voting]
        line[:, axis] = slope * positions + weighted_median(rest, weights[voting])
    distance = np.linalg.norm(shifts - line, axis=1)
    replaced = (distance > tolerance_px) | (weights <= 0)
    confidence = np.where(weights > 0, np.exp(-((distance / tolerance_px) ** 2)), 0.0)
    return np.where(replaced[:, None], line, shifts), replaced, confidence


def weighted_median(values: ArrayLike, weights: ArrayLike) -> float:
    """Value at which half of the weight lies below.

    Parameters
    ----------
    values, weights : (N,) arrays
        Weights are 0 or more, and not all 0.

    Examples
    --------
    >>> weighted_median([1, 2, 10], [1, 1, 1])
    2.0
    """
    values, weights = np.asarray(values, float), np.asarray(weights, float)
    order = np.argsort(values)
    cumulative = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(cumulative, cumulative[-1] / 2)])
