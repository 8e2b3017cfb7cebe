"""Matching of the slices of a donor with those of a subject."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from secondglance.imaging.placement.correlation import peaks_with, standardise

REVERSED = 0.95
"""Factor on the score of a stack in reverse order of the donor's: wrong headers are rarer than
chance matches."""


SPACING_SCALES = np.linspace(0.85, 1.15, 13)
"""Donor millimetres per subject millimetre along the slices that are tried."""


OFFSET_STEP = 0.25
"""Step of the offsets that are tried, mm."""


LEAST_OVERLAP = 0.5
"""Part of the shorter stack that a match must cover."""


EXTENSION_MM = 1.0
"""How far past half a slice beyond its end a donor's last slice may still be used: brains are
often cut off by the field of view, a donor's as a subject's."""


EXTENSION_CORRELATION = 0.5
"""Part of the median correlation of the matched slices that such a slice must reach, since
beyond the brain there is nothing to place."""


BAND = 2.0
"""Kernels beside its own in the match of halved images with which a slice is correlated."""


LEAST_SIDE = 32
"""Pixels of the shorter side below which images are not halved."""


@dataclass(frozen=True)
class SliceMatch:
    """The donor's slice for each of the subject's.

    Attributes
    ----------
    nearest : (N,) int array
        The nearest donor slice, -1 where the donor does not reach.
    offset_mm, scale : float
        Donor position = scale × subject position + offset; a negative scale is that of slices
        that run the other way than their header says.
    score : float
        Mean correlation of the matched slices, less where the two stacks overlap little.
    correlation : (N, M) array
        Highest normalised correlation of every slice with the kernels within `BAND` of its own
        in the match of halved images; zero with the others.
    """

    nearest: NDArray[np.int64]
    offset_mm: float
    scale: float
    score: float
    correlation: NDArray[np.float32]


def match_slices(
    subject: ArrayLike,
    subject_positions: ArrayLike,
    kernels: ArrayLike,
    donor_positions: ArrayLike,
) -> SliceMatch:
    """Match slices by the offset and spacing at which they correlate best.

    Parameters
    ----------
    subject : (N, H, W) array
        Enhanced saliency.
    subject_positions : (N,) array
        Along the stack, mm, ascending.
    kernels : (M, H, W) array
        The donor's enhanced saliency inside its mask.
    donor_positions : (M,) array
        mm, ascending.

    Returns
    -------
    SliceMatch
        A slice beyond the donor's end by up to half a donor slice takes the end slice; by
        `EXTENSION_MM` more, only if it looks like it (`EXTENSION_CORRELATION`).
    """
    return matches_of(subject, subject_positions)(kernels, donor_positions)


def matches_of(
    subject: ArrayLike, subject_positions: ArrayLike
) -> Callable[[ArrayLike, ArrayLike], SliceMatch]:
    """Make ready to match many donors with the same subject, which is transformed once.

    Parameters
    ----------
    subject, subject_positions
        As of :func:`match_slices`.

    Returns
    -------
    callable
        From kernels and positions of a donor to what :func:`match_slices` gives.
    """
    positions = np.asarray(subject_positions, float)
    images = np.asarray(subject, np.float32)
    n = len(images)
    correlations = correlations_with(images)
    # Nearly all slices and kernels have nothing to do with each other: half the pixels show that
    coarsely = min(images.shape[1:]) >= LEAST_SIDE
    coarse_correlations = correlations_with(halved(images)) if coarsely else None

    def match(kernels: ArrayLike, donor_positions: ArrayLike) -> SliceMatch:
        kernels = np.asarray(kernels, np.float32)
        donor = np.asarray(donor_positions, float)
        m = len(kernels)
        near = np.ones((n, m), bool)
        if coarse_correlations is not None and m > 2 * BAND + 1:
            coarse = _best_line(coarse_correlations(halved(kernels), None), positions, donor)
            away = np.abs(_on_line(coarse, positions, donor)[:, None] - np.arange(m))
            near = away <= np.maximum(BAND, away.min(axis=1, keepdims=True))
        table = correlations(kernels, near)
        best = _best_line(table, positions, donor)
        score, offset, scale = best
        index = _on_line(best, positions, donor)
        inside = (index >= -0.5) & (index <= m - 0.5)
        end = np.clip(np.rint(index), 0, m - 1).astype(np.int64)
        alike = table[np.arange(n), end]
        # mm; negative inside
        beyond = np.maximum(-0.5 - index, index - (m - 0.5)) * _spacing(donor)
        if inside.any():
            least = max(EXTENSION_CORRELATION * float(np.median(alike[inside])), 1e-6)
            inside |= (beyond <= EXTENSION_MM + 1e-6) & (alike >= least)
        return SliceMatch(
            nearest=np.where(inside, end, -1),
            offset_mm=offset,
            scale=scale,
            score=float(score),
            correlation=table,
        )

    return match


def _spacing(donor: NDArray) -> float:
    """Distance of the donor's slices, mm."""
    return (donor[-1] - donor[0]) / (len(donor) - 1) if len(donor) > 1 else 1.0


def _on_line(
    line: tuple[float, float, float], positions: NDArray, donor: NDArray
) -> NDArray[np.float64]:
    """Indices into the donor's slices, broken and beyond its ends too, by score, offset, scale."""
    _, offset, scale = line
    return (scale * positions + offset - donor[0]) / _spacing(donor)


def _best_line(table: NDArray, positions: NDArray, donor: NDArray) -> tuple[float, float, float]:
    """Score, offset, mm, and scale at which slices correlate best with the donor's."""
    n, m = table.shape
    extent = min(np.ptp(positions), np.ptp(donor)) if m > 1 and n > 1 else 0.0
    # Where subject and donor are centred alike, equal scores are settled in favour of that
    reach = (np.ptp(positions) + np.ptp(donor)) / 2
    offsets = np.arange(-reach, reach + OFFSET_STEP / 2, OFFSET_STEP)
    best = (-np.inf, 0.0, 1.0)
    scales = np.asarray(SPACING_SCALES) if n > 1 and m > 1 else np.ones(1)
    for scale in (*scales, *-scales) if n > 2 and m > 2 else scales:
        index = (scale * positions + offsets[:, None] - donor[0]) / _spacing(donor)
        inside = (index >= -0.5) & (index <= m - 0.5)
        n_inside = inside.sum(axis=1)
        covered = n_inside * (np.ptp(positions) / max(n - 1, 1))
        enough = (n_inside > 0) & (covered >= LEAST_OVERLAP * extent)
        if not enough.any():
            continue
        values = np.where(inside[enough], _interpolated(table, index[enough]), 0)
        # A longer overlap is better evidence: the mean alone would favour a few good slices
        scores = values.sum(axis=1) / n_inside[enough] * np.sqrt(n_inside[enough] / n)
        if scale < 0:
            scores *= REVERSED
        scores -= 1e-4 * np.abs(offsets[enough]) + 1e-3 * abs(abs(scale) - 1)
        at = int(scores.argmax())
        if scores[at] > best[0]:
            best = (float(scores[at]), float(offsets[enough][at]), float(scale))
    return best


def halved(stack: NDArray) -> NDArray:
    """Mean over two by two pixels of slices (N, H, W); an odd last row or column is left out.

    Examples
    --------
    >>> halved(np.arange(6.0).reshape(1, 2, 3)).tolist()
    [[[2.0]]]
    """
    height, width = (side // 2 * 2 for side in stack.shape[1:])
    even, odd = stack[:, :height:2, :width], stack[:, 1:height:2, :width]
    rows = even + odd
    return (rows[..., ::2] + rows[..., 1::2]) / 4


def peak_correlations(
    images: ArrayLike, kernels: ArrayLike, which: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Highest normalised correlation over all shifts, of images with kernels.

    Parameters
    ----------
    images : (N, H, W) array
    kernels : (M, H, W) array
    which : (N, M) bool array, optional
        With which kernels an image is correlated, by default with all.

    Returns
    -------
    (N, M) array
        Zero for an image or a kernel of one value, and where they are not correlated.
    """
    return correlations_with(images)(kernels, which)


def correlations_with(
    images: ArrayLike,
) -> Callable[[ArrayLike, NDArray[np.bool_] | None], NDArray[np.float32]]:
    """Make ready to correlate the same images with many kernels.

    Parameters
    ----------
    images : (N, H, W) array

    Returns
    -------
    callable
        From kernels, and which of them to take or None, to what :func:`peak_correlations` gives.
    """
    images = standardise(images)
    peaks = peaks_with(images)

    def correlations(kernels: ArrayLike, which: NDArray[np.bool_] | None) -> NDArray[np.float32]:
        kernels = standardise(kernels)
        which = np.ones((len(images), len(kernels)), bool) if which is None else which
        table = np.zeros(which.shape, np.float32)
        # One kernel at a time against all images keeps the memory to that of a stack
        for kernel, chosen, column in zip(kernels, which.T, table.T, strict=True):
            column[chosen] = peaks(kernel, chosen)
        return table

    return correlations


def _interpolated(table: NDArray, index: NDArray) -> NDArray:
    """Read the table's row n at the broken column index[..., n]."""
    m = table.shape[1]
    index = np.clip(index, 0, m - 1)
    low = np.minimum(index.astype(int), max(m - 2, 0))
    high = np.minimum(low + 1, m - 1)
    part = index - low
    rows = np.arange(len(table))
    return (1 - part) * table[rows, low] + part * table[rows, high]
