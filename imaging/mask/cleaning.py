"""Cleaning of a brain probability: one connected brain without islands or holes."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from secondglance.imaging.pieces import IN_SLICE, opened

BRIDGE_MM = 0.4
"""Half the width of the bridges, to an eye or an ear tube, that are cut, mm."""


_ANY_MM, _FAR = 1.5, 0.6
"""A slice may reach this far beyond its neighbour: mm, and mm for every mm between them."""


_NEAR, _TOO_MUCH = 0.2, 0.15
"""Where a greater share lies farther than that, it is allowed this much, mm for every mm."""


_TAPERED, _WIDER = 0.65, 0.2
"""Once slices of a brain have shrunk to this share of the largest, it does not widen again by more
than this share for every mm: what does is the neck, or the snout."""


_SOLID = 0.5


_MOSTLY = 0.5


def one_brain(
    probability: ArrayLike,
    spacing: float,
    thickness: float,
    placed: ArrayLike | None = None,
) -> NDArray[np.float32]:
    """Keep the part of a probability that belongs to one brain.

    Thin bridges are cut. Of the remaining pieces, the one with the largest sum of probability is
    kept; probability inside the placed mask counts ten times. Other pieces, such as a separate
    paraflocculus, are kept if they lie mostly inside the placed mask. From the largest slice
    outwards, each slice may extend only a little beyond the one before it, or into the placed
    mask.

    Parameters
    ----------
    probability : (N, H, W) array
        Of brain, in [0, 1].
    spacing : float
        Of pixels, mm.
    thickness : float
        Distance of neighbouring slices, mm.
    placed : (N, H, W) bool array, optional
        Where another animal's mask was placed.

    Returns
    -------
    (N, H, W) float32 array
        The probability inside that piece and within a pixel about it, one in its holes, zero
        elsewhere; half is its outline.

    Examples
    --------
    >>> probability = np.zeros((1, 9, 12))
    >>> probability[0, 1:8, 1:8] = 0.9
    >>> probability[0, 4, 4] = 0.1
    >>> probability[0, 8, 11] = 0.9
    >>> brain = one_brain(probability, 0.3, 1.0) >= 0.5
    >>> int(brain.sum()), bool(brain[0, 8, 11])
    (45, False)
    """
    whole = np.asarray(probability, np.float32)
    # Slices without any brain, as lost ones are, do not part what lies on either side
    held = np.flatnonzero((whole >= _SOLID).any(axis=(1, 2)))
    if not len(held):
        return np.zeros_like(whole)
    brain = np.zeros_like(whole)
    where = None if placed is None else np.asarray(placed, bool)[held]
    brain[held] = _one_piece(whole[held], spacing, thickness * np.diff(held, prepend=0), where)
    return brain


def _one_piece(
    probability: NDArray, spacing: float, apart: NDArray, placed: NDArray | None
) -> NDArray[np.float32]:
    """`one_brain` of slices that all hold some; `apart` mm from the one before."""
    inside = probability >= _SOLID
    # Beyond the frame there is no brain
    framed = np.pad(inside, ((0, 0), (1, 1), (1, 1)))
    cut = np.stack([opened(image, BRIDGE_MM / spacing) for image in framed])[:, 1:-1, 1:-1]
    # Neighbouring slices touch where their pieces overlap, thick as they may be
    pieces, n_pieces = ndimage.label(cut)
    if n_pieces == 0:
        return np.zeros_like(probability)
    weight = probability if placed is None else probability * (1 + 9 * placed)
    mass = ndimage.sum_labels(weight, pieces, np.arange(1, n_pieces + 1))
    kept = np.zeros(n_pieces + 1, bool)
    kept[1 + int(np.argmax(mass))] = True
    if placed is not None:
        share = ndimage.mean(placed.astype(float), pieces, np.arange(1, n_pieces + 1))
        kept[1:] |= np.asarray(share) > _MOSTLY
    brain = _continue(_fill(kept[pieces]), spacing, apart, placed)
    # The outline stays where the probability has it, between pixels
    around = ndimage.binary_dilation(brain, IN_SLICE)
    return np.where(brain, np.maximum(probability, _SOLID), np.minimum(probability, 0.4999)) * (
        around.astype(np.float32)
    )


def expected_dice(mask: ArrayLike, probability: ArrayLike) -> float:
    """Expected Dice of a mask if the probabilities are right.

    Parameters
    ----------
    mask : bool array
    probability : array of the same shape
        Of brain, in [0, 1].

    Returns
    -------
    float
        In [0, 1]; zero for an empty mask.

    Examples
    --------
    >>> expected_dice([True, True, False], [1.0, 0.5, 0.1]).__round__(3)
    0.833
    """
    mask, probability = np.asarray(mask, bool), np.asarray(probability, float)
    total = mask.sum() + probability.sum()
    return float(2 * probability[mask].sum() / total) if mask.any() else 0.0


def _continue(brain: NDArray, spacing: float, apart: NDArray, placed: NDArray | None) -> NDArray:
    """Cut parts of a slice far beyond its neighbour nearer to the middle of the brain."""
    brain = brain.copy()
    area = np.pad(brain.sum(axis=(1, 2)), 1)
    # The middle: a large slice between two large ones, so that no slice vouches for itself
    middle = int(np.minimum(np.minimum(area[:-2], area[2:]), area[1:-1]).argmax())
    if len(brain) < 3:
        middle = int(area[1:-1].argmax())
    largest = area.max()
    outwards = [(n, n - 1) for n in range(middle + 1, len(brain))]
    outwards += [(n, n + 1) for n in range(middle - 1, -1, -1)]
    for n, before in outwards:
        if not brain[n].any():
            continue
        known = np.zeros(brain[n].shape, bool) if placed is None else placed[n]
        thickness = apart[max(n, before)]
        if not brain[before].any():
            brain[n] &= known
            continue
        beyond = (ndimage.distance_transform_edt(~brain[before]) * spacing) / thickness
        far = brain[n] & ~known & (beyond > _FAR + _ANY_MM / thickness)
        there, was = brain[n].sum(), brain[before].sum()
        widens = was < _TAPERED * largest and there > was * (1 + _WIDER * max(thickness, 0.5))
        if widens or far.sum() > _TOO_MUCH * there:
            # Another thing than the brain, of which it may be a part: no wider than before
            brain[n] &= known | (beyond <= _NEAR)
        else:
            brain[n] &= ~far
    return brain


def _fill(brain: NDArray) -> NDArray:
    """Fill the holes of every slice."""
    return ndimage.binary_fill_holes(brain, IN_SLICE)


def agreement(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    """Dice of two masks, slice by slice.

    Parameters
    ----------
    first, second : (N, H, W) bool arrays

    Returns
    -------
    (N,) array
        In [0, 1]; one where both are empty.

    Examples
    --------
    >>> agreement(np.ones((1, 2, 2)) > 0, np.eye(2)[None] > 0).round(3)
    array([0.667])
    """
    first, second = np.asarray(first, bool), np.asarray(second, bool)
    total = first.sum(axis=(1, 2)) + second.sum(axis=(1, 2))
    both = (first & second).sum(axis=(1, 2))
    return np.divide(2.0 * both, total, out=np.ones(len(total)), where=total > 0)
