"""Intensities of a head: which pixels show it, and their normalisation."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from secondglance.imaging.pieces import IN_SLICE

NORMALISATION = 'slice-p99-clip1.5'
"""Name of what `normalise_slices` does; weights record the one that they were trained with."""

_PERCENTILE = 99.0

_CEILING = 1.5

FLOOR = 0.02
"""Share of the highest intensity below which intensities are alike."""

LEAST_CONTRAST = 2.5
"""Least ratio of head to air; a slice of less contrast shows no air."""

EMPTY = 1.3
"""A part of a slice that is darker than this many times `FLOOR` of the highest is empty."""

AIR_CONTRAST = 3.0
"""Least ratio of head to air beside emptiness."""

AIR_SPREAD = 0.2
"""Most spread of the logarithm of smoothed air; the darker part of a head has more."""

SPIKE = 5.0
"""Intensities above this many times the 99th percentile are spikes."""

SMOOTH_PX = 1.5
"""Width of the smoothing under which the head is found."""

NEAR_PX = 3
"""Pixels beyond the head in which there may be brain: signal drops out near air."""


def head_pixels(image: ArrayLike) -> NDArray[np.bool_]:
    """Tell which pixels of a slice show the head.

    The slice is smoothed, so that noise of air becomes even, and split in two by Otsu's threshold
    of the logarithm of its intensities: air is one peak of their histogram, however much of it
    the slice shows. Where the darker part is empty, as beyond the field of view, what is left is
    split again, if its darker part is as even as noise of air.

    Parameters
    ----------
    image : (H, W) array
        Intensities in any unit.

    Returns
    -------
    (H, W) bool array
        All false where no pixel is positive.

    References
    ----------
    Otsu, *A threshold selection method from gray-level histograms*, IEEE Trans. SMC 1979.

    Examples
    --------
    >>> image = np.zeros((40, 40))
    >>> image[8:32, 8:32] = 100
    >>> int(head_pixels(image).sum()), int(head_pixels(np.pad(image, 30)).sum())
    (764, 764)
    """
    image = np.asarray(image, np.float64)
    positive = image[image > 0]
    if not positive.size:
        return np.zeros(image.shape, bool)
    even = np.clip(image, 0, SPIKE * np.percentile(positive, _PERCENTILE))
    smooth = ndimage.gaussian_filter(even, SMOOTH_PX, mode='nearest')
    floor = FLOOR * smooth.max()
    logarithm = np.log(np.maximum(smooth, floor))
    if np.ptp(logarithm) == 0:
        return np.ones(smooth.shape, bool)
    threshold, dark, bright = _otsu(logarithm)
    if bright - dark < np.log(LEAST_CONTRAST):
        return np.ones(smooth.shape, bool)
    head = logarithm >= threshold
    shown = logarithm[head]
    if dark - np.log(floor) < np.log(EMPTY) and np.ptp(shown) > 0:
        threshold, dark, bright = _otsu(shown)
        darker = shown[shown < threshold]
        spread = 1.4826 * np.median(np.abs(darker - np.median(darker)))
        if bright - dark >= np.log(AIR_CONTRAST) and spread <= AIR_SPREAD:
            head &= logarithm >= threshold
    return head


def _remembered(
    find: Callable[[NDArray], NDArray[np.bool_]],
) -> Callable[[ArrayLike], NDArray[np.bool_]]:
    """Keep what a function found in the last stack: most stages of a scan ask for the same one."""

    @functools.lru_cache(maxsize=1)
    def known(content: bytes, shape: tuple[int, ...], dtype: str) -> NDArray[np.bool_]:
        return find(np.frombuffer(content, dtype).reshape(shape))

    @functools.wraps(find)
    def found(stack: ArrayLike) -> NDArray[np.bool_]:
        stack = np.asarray(stack)
        return known(stack.tobytes(), stack.shape, stack.dtype.str).copy()

    return found


@_remembered
def _heads(stack: NDArray) -> NDArray[np.bool_]:
    """`head_pixels` of each slice of a stack."""
    heads = np.zeros(stack.shape, bool)
    for image, out in zip(stack, heads, strict=True):
        out[:] = head_pixels(image)
    return heads


def _otsu(logarithm: NDArray[np.float64]) -> tuple[float, float, float]:
    """Otsu's threshold, and the mean of what lies below and above it."""
    counts, edges = np.histogram(logarithm, 128)
    values = (edges[:-1] + edges[1:]) / 2
    below, total = np.cumsum(counts), np.cumsum(counts * values)
    above = below[-1] - below
    with np.errstate(divide='ignore', invalid='ignore'):
        between = below * above * (total / below - (total[-1] - total) / above) ** 2
    at = int(np.nanargmax(between[:-1]))
    dark, bright = total[at] / below[at], (total[-1] - total[at]) / above[at]
    return float(edges[1 + at]), float(dark), float(bright)


@_remembered
def head_mask(stack: ArrayLike) -> NDArray[np.bool_]:
    """Find the head in each slice.

    Parameters
    ----------
    stack : (N, H, W) array
        Intensities in any unit.

    Returns
    -------
    (N, H, W) bool array
        Of `head_pixels`, gaps of a few pixels closed, islands removed, holes filled.
    """
    mask = _heads(stack)
    # Within slices alone
    near = ndimage.generate_binary_structure(2, 2)[None]
    closed = ndimage.binary_closing(np.pad(mask, [(0, 0), (3, 3), (3, 3)]), near, iterations=3)
    opened = ndimage.binary_opening(closed, near)
    kept = np.where(opened.any(axis=(1, 2), keepdims=True), opened, closed)
    return ndimage.binary_fill_holes(kept, IN_SLICE)[:, 3:-3, 3:-3]


def near_head(stack: ArrayLike) -> NDArray[np.bool_]:
    """Find the head in each slice and what lies within `NEAR_PX` of it: nothing else is brain.

    Parameters
    ----------
    stack : (N, H, W) array
        Intensities in any unit.

    Returns
    -------
    (N, H, W) bool array
    """
    return ndimage.binary_dilation(head_mask(stack), IN_SLICE, iterations=NEAR_PX)


def normalise_slices(stack: NDArray) -> NDArray[np.float32]:
    """Scale each slice by the 99th percentile of the pixels that show the head.

    Parameters
    ----------
    stack : array, shape (N, H, W)
        Intensities in any unit.

    Returns
    -------
    array of float32, shape (N, H, W)
        In [0, 1.5]; a slice without positive voxels is zero throughout.

    Examples
    --------
    >>> float(normalise_slices(np.full((1, 2, 2), 7.0)).max())
    1.0
    """
    scaled = np.zeros(stack.shape, np.float32)
    for image, head, out in zip(stack, _heads(stack), scaled, strict=True):
        inside = image[head & (image > 0)]
        if inside.size:
            scale = np.percentile(inside, _PERCENTILE)
            np.clip(image / scale, 0.0, _CEILING, out=out, casting='same_kind')
    return scaled
