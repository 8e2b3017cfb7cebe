"""A brain mask for a whole head from another animal: match, correlate, reconcile, place."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from secondglance.imaging.errors import InputError
from secondglance.imaging.placement.correlation import (
    best_shift,
    centre_on,
    correlate,
    place_mask,
    standardise,
)
from secondglance.imaging.placement.shifts import reconcile
from secondglance.imaging.placement.similarity import align, rim_kernels, transform
from secondglance.imaging.placement.slice_matching import SliceMatch, matches_of

MARGIN_PX = 16
"""Pixels about the head into which a donor's mask may reach."""


@dataclass(frozen=True)
class Donor:
    """Another animal, as a stack at the network's spacing.

    Attributes
    ----------
    enhanced : (M, h, w) array
        Enhanced saliency of its whole head, in [0, 1], under the weights that segment the subject.
    mask : (M, h, w) bool array
        Its brain.
    positions : (M,) array
        Of its slices, mm in the size of a rat, ascending.
    animal : str
        Label of the animal with its prefix, if known.
    """

    enhanced: NDArray
    mask: NDArray
    positions: NDArray
    animal: str = ''


@dataclass(frozen=True)
class DonorMatch:
    """The donor that fits a subject best, with a donor slice for each slice of the subject.

    Attributes
    ----------
    index : int
        Of the donor taken.
    scores : list of float
        Mean correlation of every donor.
    slices : SliceMatch
    kernels : (N, H, W) float32 array
        For each slice of the subject its donor slice's kernel, in the middle of the frame.
    mask : (N, H, W) bool array
        That slice's mask; empty where the donor does not reach.
    scale, degrees : float
        By which both were scaled and turned.
    """

    index: int
    scores: list[float]
    slices: SliceMatch
    kernels: NDArray[np.float32]
    mask: NDArray[np.bool_]
    scale: float = 1.0
    degrees: float = 0.0


@dataclass(frozen=True)
class Placement:
    """A donor's mask on a subject.

    Attributes
    ----------
    mask : (N, H, W) bool array
        Empty in slices that the donor does not reach.
    shifts : (N, 2) array
        Pixels along H and W by which the donor's mask, centred in the frame, was moved.
    own_shifts : (N, 2) array
        The same, as each slice had it before slices were reconciled.
    peaks, ratios : (N,) arrays
        Correlation coefficient at the slice's own best shift, and over its second peak.
    confidence : (N,) array
        In [0, 1]; see :func:`~secondglance.imaging.placement.shifts.reconcile`.
    donor_slice : (N,) int array
        -1 where the donor does not reach.
    replaced : (N,) bool array
        Whether the slice's own shift was an outlier and was replaced.
    match : DonorMatch
        The donor taken, and which of its slices goes with which.
    """

    mask: NDArray[np.bool_]
    shifts: NDArray[np.float64]
    own_shifts: NDArray[np.int64]
    peaks: NDArray[np.float32]
    ratios: NDArray[np.float32]
    confidence: NDArray[np.float64]
    donor_slice: NDArray[np.int64]
    replaced: NDArray[np.bool_]
    match: DonorMatch


def place_stack(
    enhanced: ArrayLike, positions: ArrayLike, donor: Donor, tolerance_px: float = 2.0
) -> Placement:
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
    Placement

    Examples
    --------
    >>> enhanced = np.zeros((1, 5, 5))
    >>> enhanced[0, 1:4, 1:4] = [[0, 1, 0], [1, 0, 1], [0, 1, 1]]
    >>> donor = Donor(enhanced, np.pad(np.ones((1, 3, 3), bool), [(0, 0), (1, 1), (1, 1)]), [0.0])
    >>> moved = np.roll(enhanced, 1, axis=2)
    >>> place_stack(moved, [0.0], donor).shifts
    array([[0., 1.]])
    """
    return place_from_bank(enhanced, positions, [donor], tolerance_px)


def place_from_bank(
    enhanced: ArrayLike,
    positions: ArrayLike,
    donors: Sequence[Donor],
    tolerance_px: float = 2.0,
    similarity: bool = False,
    n_threads: int = 1,
) -> Placement:
    """Place the mask of the donor that correlates best with the subject.

    Parameters
    ----------
    enhanced : (N, H, W) array
        The subject's enhanced saliency.
    positions : (N,) array
        mm, ascending.
    donors : sequence of Donor
    tolerance_px : float
    similarity : bool
        Whether the mask may be scaled and turned in plane, or is moved alone (the paper).
    n_threads : int
        Donors at the same time; the result does not depend on it.

    Returns
    -------
    Placement

    Raises
    ------
    InputError
        If there is no donor.
    """
    enhanced = np.asarray(enhanced, np.float32)
    frame = _head_frame(enhanced)
    head = _reframed(enhanced, frame)
    found = match_donors(head, positions, donors, similarity, n_threads)
    placed = _place(head, positions, found, tolerance_px)
    rows, columns = (
        slice(-part.start, side - part.start)
        for part, side in zip(frame, enhanced.shape[1:], strict=True)
    )
    moved = _moved(frame, enhanced)
    return replace(
        placed,
        mask=_reframed(placed.mask, (rows, columns)),
        shifts=placed.shifts + moved,
        own_shifts=placed.own_shifts + moved,
    )


def match_donors(
    enhanced: ArrayLike,
    positions: ArrayLike,
    donors: Sequence[Donor],
    similarity: bool = False,
    n_threads: int = 1,
) -> DonorMatch:
    """Find the best correlated donor, match its slices and, if asked, estimate its size.

    Parameters
    ----------
    enhanced, positions, donors, similarity, n_threads
        As of :func:`place_from_bank`.

    Returns
    -------
    DonorMatch

    Raises
    ------
    InputError
        If there is no donor.
    """
    if not len(donors):
        raise InputError('There is no donor to take a brain mask from: name at least one.')
    enhanced = np.asarray(enhanced, np.float32)
    shape = (enhanced.shape[1], enhanced.shape[2])
    framed = [kernels_of(donor, shape) for donor in donors]

    match_with = matches_of(enhanced, positions)
    with ThreadPoolExecutor(n_threads) as pool:
        kernels_each, places = [kernels for kernels, _ in framed], [d.positions for d in donors]
        matches = list(pool.map(match_with, kernels_each, places))
    scores = [float(match.score) for match in matches]
    best = int(np.argmax(scores))
    match, (kernels, mask), donor = matches[best], framed[best], donors[best]
    scale, degrees = 1.0, 0.0
    if similarity:
        (rim,) = centre_on(donor.mask, shape, rim_kernels(donor.enhanced, donor.mask))
        scale, degrees = align(enhanced, _chosen(rim, match))
        # Slices match better in the right size, and the size is found better by the right slices
        match = match_with(transform(kernels, scale, degrees), donor.positions)
        scale, degrees = align(enhanced, _chosen(rim, match))
        kernels = transform(kernels, scale, degrees)
        mask = transform(mask.astype(np.float32), scale, degrees) >= 0.5
    return DonorMatch(
        best, scores, match, _chosen(kernels, match), _chosen(mask, match), scale, degrees
    )


def surfaces_of(
    enhanced: ArrayLike, kernels: ArrayLike, slices: Sequence[int]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Correlate some slices with their kernels at every shift, as the placement does.

    Parameters
    ----------
    enhanced : (N, H, W) array
        The subject's enhanced saliency.
    kernels : (N, h, w) array
        Of :class:`DonorMatch`.
    slices : sequence of int
        Which to correlate.

    Returns
    -------
    surfaces : (len(slices), 2h - 1, 2w - 1) float32 array
        Correlation coefficients.
    first : (2,) int array
        Shift of their first element, pixels along H and W; the next ones follow by one pixel.
    """
    enhanced = np.asarray(enhanced, np.float32)
    frame = _head_frame(enhanced)
    chosen = np.asarray(slices, int)
    of_slices = np.asarray(kernels, np.float32)[chosen]
    surfaces = _surfaces(_reframed(enhanced[chosen], frame), of_slices)
    return surfaces, np.array(_moved(frame, enhanced)) - np.array(of_slices.shape[1:]) + 1


def _surfaces(head: NDArray, kernels: NDArray) -> NDArray[np.float32]:
    return correlate(standardise(head), standardise(kernels))


def _moved(frame: tuple[slice, slice], enhanced: NDArray) -> list[int]:
    """Shift of what is not moved in the frame: shifts refer to the middle of the whole slice."""
    return [
        part.start + (part.stop - part.start) // 2 - side // 2
        for part, side in zip(frame, enhanced.shape[1:], strict=True)
    ]


def _head_frame(enhanced: NDArray) -> tuple[slice, slice]:
    """Rows and columns about the head, where enhanced saliency is above zero.

    Correlations are then the same however much air the field of view holds.
    """
    frame = []
    for axis in (1, 2):
        inside = np.flatnonzero(enhanced.any(axis=(0, 3 - axis)))
        ends = (inside[0], inside[-1] + 1) if len(inside) else (0, enhanced.shape[axis])
        frame.append(slice(int(ends[0]) - MARGIN_PX, int(ends[1]) + MARGIN_PX))
    return frame[0], frame[1]


def _reframed(stack: NDArray, frame: tuple[slice, slice]) -> NDArray:
    """Cut out rows and columns of a stack, zero where they lie beyond it."""
    out = np.zeros((len(stack), *(part.stop - part.start for part in frame)), stack.dtype)
    pairs = []
    for part, side in zip(frame, stack.shape[1:], strict=True):
        low, high = max(part.start, 0), min(part.stop, side)
        pairs.append((slice(low - part.start, high - part.start), slice(low, high)))
    (to_h, of_h), (to_w, of_w) = pairs
    out[:, to_h, to_w] = stack[:, of_h, of_w]
    return out


def _chosen(stack: NDArray, match: SliceMatch) -> NDArray:
    """Take for each slice of the subject its donor slice, or nothing beyond the donor's reach."""
    reached = (match.nearest >= 0)[:, None, None]
    return np.where(reached, stack[np.maximum(match.nearest, 0)], np.zeros((), stack.dtype))


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
    enhanced: NDArray, positions: ArrayLike, found: DonorMatch, tolerance_px: float
) -> Placement:
    """Move the matched slices of a mask to where they correlate best."""
    match = found.slices
    reached = match.nearest >= 0
    shifts, peaks, ratios = best_shift(_surfaces(enhanced, found.kernels))
    agreed, replaced, confidence = reconcile(
        shifts, np.where(reached, np.maximum(peaks, 0), 0), positions, tolerance_px
    )
    return Placement(
        mask=np.stack([place_mask(m, shift) for m, shift in zip(found.mask, agreed, strict=True)]),
        shifts=agreed,
        own_shifts=shifts,
        peaks=peaks,
        ratios=ratios,
        confidence=confidence,
        donor_slice=match.nearest,
        replaced=replaced,
        match=found,
    )
