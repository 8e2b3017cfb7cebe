"""Tissue labels and fractions inside a brain mask."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from secondglance.imaging.labels import TISSUES

_GREY = TISSUES.index('GM')

LEAST_LABELLED = 0.8
"""Labels hold at least this share of the volume that the fractions of a tissue have."""

MOST_ODDS = 4.0
"""Odds of a tissue are multiplied by this at most."""

_STEP = 1.02


class TissueMaps(NamedTuple):
    """Tissues of a brain.

    Attributes
    ----------
    labels : (…) uint8 array
        Places in `secondglance.imaging.labels.CLASSES`; above 0 exactly where the mask is.
    fractions : (…, 3) float32 array
        WM, GM and CSF, each in [0, 1]; they sum to one inside the mask, and are 0 outside.
    amounts : (…, 3) float32 array
        Part of each voxel that is WM, GM and CSF: the fractions, unless it is known what part of
        a voxel is brain; then their sum is this part, above zero also beside the mask.
    """

    labels: NDArray[np.uint8]
    fractions: NDArray[np.float32]
    amounts: NDArray[np.float32]

    @property
    def share(self) -> NDArray[np.float32]:
        """Part of each voxel that is brain, (…), in [0, 1]."""
        return self.amounts.sum(axis=-1)


def label_tissues(fractions: ArrayLike, mask: ArrayLike) -> NDArray[np.uint8]:
    """Label the tissue of every voxel of a brain.

    The tissue with the largest fraction, unless labels would lose most of a tissue that fills no
    voxel by itself, such as the tracts of a mouse's brainstem. Where the labels of a tissue have
    less than `LEAST_LABELLED` of the volume of its fractions, its fractions are multiplied by a
    factor, the same for all voxels, until they do; by `MOST_ODDS` at most.

    Parameters
    ----------
    fractions : (…, 3) array
        WM, GM and CSF, each in [0, 1].
    mask : (…) bool array
        Of the brain.

    Returns
    -------
    (…) uint8 array
        Places in `secondglance.imaging.labels.CLASSES`; above 0 exactly where the mask is.

    Examples
    --------
    >>> label_tissues([[0.1, 0.9, 0], [0.45, 0.55, 0], [0.1, 0.9, 0]], [True, True, True])
    array([2, 1, 2], dtype=uint8)
    """
    mask = np.asarray(mask, bool)
    inside = np.asarray(fractions, np.float32)[mask]
    enough = LEAST_LABELLED * inside.sum(axis=0, dtype=float)
    odds = np.ones(len(TISSUES), np.float32)
    while True:
        found = (inside * odds).argmax(axis=-1)
        short = (np.bincount(found, minlength=len(TISSUES)) < enough) & (odds < MOST_ODDS)
        if not short.any():
            break
        odds[short] *= _STEP
    labels = np.zeros(mask.shape, np.uint8)
    labels[mask] = found + 1
    return labels


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
        Voxels of the mask count as brain as a whole.

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
    return TissueMaps(label_tissues(fractions, mask), fractions, fractions)
