"""Tissue labels and fractions inside a brain mask."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from secondglance.imaging.labels import TISSUES

_GREY = TISSUES.index('GM')


class TissueMaps(NamedTuple):
    """Tissues of a brain.

    Attributes
    ----------
    labels : (…) uint8 array
        Places in `secondglance.imaging.labels.CLASSES`; above 0 exactly where the mask is.
    fractions : (…, 3) float32 array
        WM, GM and CSF, each in [0, 1]; they sum to one inside the mask, and are 0 outside.
    """

    labels: NDArray[np.uint8]
    fractions: NDArray[np.float32]


def tissues_inside(probabilities: ArrayLike, mask: ArrayLike) -> TissueMaps:
    """Tissue labels and fractions inside a brain mask.

    Parameters
    ----------
    probabilities : (…, 4) array
        Of background, WM, GM and CSF.
    mask : (…) bool array
        Of the brain.

    Returns
    -------
    TissueMaps
        Grey matter, the most frequent, where all probabilities of tissue inside the mask are zero.

    Examples
    --------
    >>> found = tissues_inside([[0.5, 0.25, 0.125, 0.125], [0.1, 0.9, 0, 0]], [True, False])
    >>> found.labels.tolist(), found.fractions.tolist()
    ([1, 0], [[0.5, 0.25, 0.25], [0.0, 0.0, 0.0]])
    """
    mask = np.asarray(mask, bool)
    tissues = np.clip(np.asarray(probabilities, np.float32)[..., 1:], 0, 1)
    total = tissues.sum(axis=-1, keepdims=True)
    unseen = np.zeros(len(TISSUES), np.float32)
    unseen[_GREY] = 1
    fractions = np.where(total > 1e-6, tissues / np.maximum(total, 1e-6), unseen)
    fractions = np.where(mask[..., None], fractions, np.float32(0)).astype(np.float32)
    labels = np.where(mask, fractions.argmax(axis=-1) + 1, 0).astype(np.uint8)
    return TissueMaps(labels, fractions)
