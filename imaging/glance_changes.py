"""Differences between the first and the second glance."""

import numpy as np
from numpy.typing import NDArray

from secondglance.imaging.labels import TISSUES
from secondglance.imaging.metrics import dice

REMOVED, ADDED, CHANGED = 1, 2, 3
"""Values of a map of changes: tissue removed, added, relabelled."""


def changes(first: NDArray, second: NDArray) -> NDArray[np.uint8]:
    """Map the change of each pixel's label.

    Parameters
    ----------
    first, second : int arrays of one shape
        Labels: 0 background, 1 WM, 2 GM, 3 CSF.

    Returns
    -------
    uint8 array
        0 where nothing changed, else `REMOVED`, `ADDED` or `CHANGED`.

    Examples
    --------
    >>> changes(np.array([0, 1, 1, 0]), np.array([0, 0, 2, 3]))
    array([0, 1, 3, 2], dtype=uint8)
    """
    was, now = first > 0, second > 0
    out = np.zeros(first.shape, np.uint8)
    out[was & ~now] = REMOVED
    out[~was & now] = ADDED
    out[was & now & (first != second)] = CHANGED
    return out


def compare_glances(first: NDArray, second: NDArray, labels: NDArray, mask: NDArray) -> list[dict]:
    """Compare both glances, tissue by tissue.

    Parameters
    ----------
    first, second : (N, 4, H, W) arrays
        Class probabilities.
    labels : (N, H, W) int array
        Of the second glance: 0 background, 1 WM, 2 GM, 3 CSF.
    mask : (N, H, W) bool array
        Brain.

    Returns
    -------
    list of dict
        A row a tissue and one for the ``brain``: ``first_share`` and ``second_share``, of the
        voxels in the mask (NaN where it is empty); ``same``, the Dice of the two;
        ``first_certainty`` and ``second_certainty``, the mean probability of the label inside the
        mask where it was given (NaN where it was not).
    """
    before, inside = first.argmax(1), int(mask.sum())
    rows = []
    for value, name in [*enumerate(TISSUES, start=1), (0, 'brain')]:
        was = before == value if value else before > 0
        now = labels == value if value else labels > 0
        row = {
            'label': name,
            'first_share': float(was.sum() / inside) if inside else float('nan'),
            'second_share': float(now.sum() / inside) if inside else float('nan'),
            'same': dice(was, now),
        }
        for glance, probabilities, where in (
            ('first', first, was & mask),
            ('second', second, now),
        ):
            sure = probabilities[:, value] if value else 1 - probabilities[:, 0]
            row[f'{glance}_certainty'] = float(sure[where].mean()) if where.any() else float('nan')
        rows.append(row)
    return rows
