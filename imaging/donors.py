"""A brain mask for a whole head from another animal: match, correlate, reconcile, place."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from secondglance.imaging.errors import InputError
from secondglance.imaging.matching import SliceMatch, match_slices
from secondglance.imaging.placement import (
    best_shift,
    centre_on,
    correlate,
    place_mask,
    standardise,
)
from secondglance.imaging.reconciliation import reconcile


@dataclass(frozen=True)
class Donor:
    """Another animal, as a stack at the network's spacing.

    Attributes
    ----------
    enhanced : (M, h, w) array
        Enhanced saliency of its whole head, in [0, 1], of the weights that look at the subject.
    mask : (M, h, w) bool array
        Its brain.
    positions : (M,) array
        Of its slices, mm, ascending.
    """

    enhanced: NDArray
    mask: NDArray
    positions: NDArray


@dataclass(frozen=True)
class StackPlacement:
    """A donor's mask on a subject.

    Attributes
    ----------
    mask : (N, H, W) bool array
        Empty in slices that the donor does not reach.
    shifts : (N, 2) array
        Pixels along H and W by which the donor's mask, centred in the frame, was moved.
    peaks, ratios : (N,) arrays
        Correlation coefficient at the slice's own best shift, and over its second peak.
    confidence : (N,) array
        In [0, 1]; see :func:`~secondglance.imaging.reconciliation.reconcile`.
    donor_slice : (N,) int array
        -1 where the donor does not reach.
    replaced : (N,) bool array
        Whether the other slices overruled the slice's own shift.
    score : float
        Mean correlation by which donors are compared.
    """

    mask: NDArray[np.bool_]
    shifts: NDArray[np.float64]
    peaks: NDArray[np.float32]
    ratios: NDArray[np.float32]
    confidence: NDArray[np.float64]
    donor_slice: NDArray[np.int64]
    replaced: NDArray[np.bool_]
    score: float


def place_stack(
    enhanced: ArrayLike, positions: ArrayLike, donor: Donor, tolerance_px: float = 2.0
) -> StackPlacement:
    """Place a donor's brain mask on a subject.

    Parameters
    ----------
    enhanced : (N, H, W) array
        The subject's enhanced saliency.
    positions : (N,) array
        Of its slices, mm, ascending.
    donor : Donor
    tolerance_px : float
        Distance from the fit over slices beyond which a shift is replaced.

    Returns
    -------
    StackPlacement

    Examples
    --------
    >>> enhanced = np.zeros((1, 5, 5))
    >>> enhanced[0, 1:4, 1:4] = [[0, 1, 0], [1, 0, 1], [0, 1, 1]]
    >>> donor = Donor(enhanced, np.pad(np.ones((1, 3, 3), bool), [(0, 0), (1, 1), (1, 1)]), [0.0])
    >>> moved = np.roll(enhanced, 1, axis=2)
    >>> place_stack(moved, [0.0], donor).shifts
    array([[0., 1.]])
    """
    return place_from_bank(enhanced, positions, [donor], tolerance_px)[0]


def place_from_bank(
    enhanced: ArrayLike, positions: ArrayLike, donors: Sequence[Donor], tolerance_px: float = 2.0
) -> tuple[StackPlacement, int]:
    """Place the mask of the donor whose slices correlate best with the subject's.

    Parameters
    ----------
    enhanced : (N, H, W) array
        The subject's enhanced saliency.
    positions : (N,) array
        mm, ascending.
    donors : sequence of Donor
    tolerance_px : float

    Returns
    -------
    StackPlacement
    int
        Index of the donor taken.

    Raises
    ------
    InputError
        If there is no donor.
    """
    if not len(donors):
        raise InputError('There is no donor to take a brain mask from: name at least one.')
    enhanced = np.asarray(enhanced, np.float32)
    matches = []
    framed = []
    for donor in donors:
        kernels, mask = kernels_of(donor, (enhanced.shape[1], enhanced.shape[2]))
        matches.append(match_slices(enhanced, positions, kernels, donor.positions))
        framed.append((kernels, mask))
    best = int(np.argmax([match.score for match in matches]))
    kernels, mask = framed[best]
    return _place(enhanced, positions, kernels, mask, matches[best], tolerance_px), best


def kernels_of(
    donor: Donor, shape: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Make a donor's kernels: its enhanced saliency inside its mask (Matos et al. 2019, Fig. 7a).

    Parameters
    ----------
    donor : Donor
    shape : (H, W)
        In-plane size of the subject.

    Returns
    -------
    kernels : (M, H, W) float32 array
    mask : (M, H, W) bool array
        Both with the brain in the middle of the frame.
    """
    mask = np.asarray(donor.mask, bool)
    kernels = np.where(mask, np.asarray(donor.enhanced, np.float32), np.float32(0))
    kernels, mask = centre_on(mask, shape, kernels, mask)
    return kernels, mask


def _place(
    enhanced: NDArray,
    positions: ArrayLike,
    kernels: NDArray,
    mask: NDArray,
    match: SliceMatch,
    tolerance_px: float,
) -> StackPlacement:
    """Move the matched slices of a mask to where they correlate best."""
    reached = match.nearest >= 0
    chosen = np.maximum(match.nearest, 0)
    kernels = np.where(reached[:, None, None], kernels[chosen], 0)
    mask = mask[chosen] & reached[:, None, None]
    shifts, peaks, ratios = best_shift(correlate(standardise(enhanced), standardise(kernels)))
    agreed, replaced, confidence = reconcile(
        shifts, np.where(reached, np.maximum(peaks, 0), 0), positions, tolerance_px
    )
    return StackPlacement(
        mask=np.stack([place_mask(m, shift) for m, shift in zip(mask, agreed, strict=True)]),
        shifts=agreed,
        peaks=peaks,
        ratios=ratios,
        confidence=confidence,
        donor_slice=match.nearest,
        replaced=replaced,
        score=match.score,
    )
