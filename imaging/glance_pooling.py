"""Tissues by both glances, where these agree."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from secondglance.imaging.labels import TISSUES
from secondglance.imaging.metrics import dice
from secondglance.imaging.tissues import TissueMaps, label_tissues

WEIGHT = 0.2
"""Of the first glance beside the second, where they agree."""

LEAST_AGREEMENT, AGREEMENT = 0.55, 0.7
"""Dice of the tissue on which both glances agree least: below the former the first does not count,
from the latter on it has its whole weight."""

_FLOOR = 0.01
"""Smaller fractions count as this: neither glance alone can exclude a tissue."""

_BALANCED = 1e-4
_MOST_STEPS = 50


def weight_of_first(first: NDArray, second: NDArray) -> float:
    """Tell how much the first glance counts, by how far both glances agree.

    The first glance learnt tissues from simulated animals alone. Of a scan in whose contrast it
    sees them as the second does, its errors are others than those of the second. Of other scans
    (EPI that lost signal, mice) it takes so much for CSF that it would do harm.

    Parameters
    ----------
    first, second : (…) int arrays
        Labels of the voxels of a brain: 1 WM, 2 GM, 3 CSF.

    Returns
    -------
    float
        In [0, `WEIGHT`].

    Examples
    --------
    >>> weight_of_first(np.array([1, 2, 3]), np.array([1, 2, 3]))
    0.2
    >>> weight_of_first(np.array([1, 2, 3, 3]), np.array([1, 2, 2, 2]))
    0.0
    """
    agreement = [dice(first == k, second == k) for k in range(1, len(TISSUES) + 1)]
    # A tissue that neither sees says nothing
    least = min((value for value in agreement if np.isfinite(value)), default=0.0)
    share = (least - LEAST_AGREEMENT) / (AGREEMENT - LEAST_AGREEMENT)
    return WEIGHT * float(np.clip(share, 0, 1))


def pool_glances(first: TissueMaps, second: TissueMaps, mask: NDArray) -> tuple[TissueMaps, float]:
    """Let both glances decide where the tissues are.

    Fractions are the weighted geometric mean of both, balanced so that the mask holds as much of
    each tissue as the second glance sees: the first does not know fractions.

    Parameters
    ----------
    first, second : TissueMaps
        Of (X, Y, Z) voxels.
    mask : (X, Y, Z) bool array
        Of the brain.

    Returns
    -------
    TissueMaps
        Amounts beside the mask are those of the second glance, and so is the part of a voxel that
        is brain.
    float
        Weight of the first glance, in [0, `WEIGHT`]; at 0 the maps are those of the second.
    """
    weight = weight_of_first(first.labels[mask], second.labels[mask])
    if not weight:
        return second, weight
    seen, again = (np.maximum(one.fractions[mask], _FLOOR) for one in (first, second))
    share = second.share[mask]
    found = balance(
        seen**weight * again ** (1 - weight), second.amounts[mask].sum(axis=0, dtype=float), share
    )
    fractions, amounts = np.zeros_like(second.fractions), second.amounts.copy()
    fractions[mask], amounts[mask] = found, found * share[:, None]
    return TissueMaps(label_tissues(fractions, mask), fractions, amounts), weight


def balance(fractions: NDArray, totals: NDArray, share: NDArray) -> NDArray[np.float32]:
    """Multiply the odds of each tissue by a factor, so that there is a given amount of each.

    Parameters
    ----------
    fractions : (M, C) array
        Above 0; each row counts by its proportions.
    totals : (C,) array
        Sums over the rows, each times its share; together the sum of the shares.
    share : (M,) array
        How much each row counts, in [0, 1].

    Returns
    -------
    (M, C) float32 array
        Rows sum to one.

    Examples
    --------
    >>> balance(np.array([[0.5, 0.5], [0.8, 0.2]]), np.array([1.0, 1.0]), np.ones(2)).round(3)
    array([[0.333, 0.667],
           [0.667, 0.333]], dtype=float32)
    """
    odds = np.ones(len(totals))
    for _ in range(_MOST_STEPS):
        found = fractions * odds
        found /= found.sum(axis=1, keepdims=True)
        has = share @ found
        if np.abs(has - totals).max() <= _BALANCED * share.sum():
            break
        odds *= totals / has
    return found.astype(np.float32)
