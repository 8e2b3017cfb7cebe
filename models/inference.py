"""From stacks of slices to probabilities: intensity normalisation, padding, batches."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import nn

from secondglance.imaging.intensity import head_mask, normalise_slices
from secondglance.models.weights import LoadedModel


def pad_to_stride(images: torch.Tensor, stride: int) -> tuple[torch.Tensor, tuple[slice, slice]]:
    """Zero-pad the last two axes evenly up to multiples of `stride`; never crop.

    Parameters
    ----------
    images : tensor, shape (..., H, W)
    stride : int
        Pixels.

    Returns
    -------
    padded : tensor, shape (..., H', W')
    inside : tuple of two slices
        Where the original lies in the padded one: ``padded[..., *inside]`` is `images`.
    """
    height, width = images.shape[-2:]
    missing_h, missing_w = -height % stride, -width % stride
    top, left = missing_h // 2, missing_w // 2
    padded = nn.functional.pad(images, (left, missing_w - left, top, missing_h - top))
    return padded, (slice(top, top + height), slice(left, left + width))


HEAD_MARGIN = 48
"""Pixels around the head that a network takes, where there are more: its output in a pixel hardly
depends on what lies farther away, which is air."""

_WORTH_CUTTING = 0.75
"""A side is cut where this share of it or less remains."""

_ISLAND = 0.02
"""What is smaller than this share of the largest object in a field of view is no head."""


def window_of_head(stack: NDArray, stride: int) -> tuple[slice, slice]:
    """Find the part of wide slices that a network need take: the heads, with a margin.

    Parameters
    ----------
    stack : (N, H, W) array
        Intensities in any unit.
    stride : int
        The part begins and ends at multiples of it, so that the network pools the same pixels.

    Returns
    -------
    tuple of two slices
        Along H and W; the whole of a side that is not much longer than the head.
    """
    window = (slice(None), slice(None))
    # No head has less: most fields of view need not be looked at
    if max(stack.shape[1:]) * _WORTH_CUTTING <= 2 * HEAD_MARGIN + stride:
        return window
    heads = head_mask(stack)
    # In a slice of noise alone, all of it is taken for a head
    heads = heads[~heads.all(axis=(1, 2))]
    labels, count = ndimage.label(heads.any(axis=0))
    if not count:
        return window
    areas = np.bincount(labels.ravel())[1:]
    kept = np.isin(labels, 1 + np.flatnonzero(areas >= _ISLAND * areas.max()))
    sides = []
    for axis, length in enumerate(kept.shape):
        shown = np.flatnonzero(kept.any(axis=1 - axis))
        start = max(0, shown[0] - HEAD_MARGIN) // stride * stride
        stop = min(length, -(-(shown[-1] + 1 + HEAD_MARGIN) // stride) * stride)
        worth = stop - start <= _WORTH_CUTTING * length
        sides.append(slice(start, stop) if worth else slice(None))
    return sides[0], sides[1]


PIXELS_AT_ONCE = 40_000
"""On a processor: larger batches leave its caches, and take longer and more memory."""

SLICES_ON_CARD = 64
"""The same on a graphics card, which small batches leave idle."""


def slices_at_once(device: str, size: Sequence[int]) -> int:
    """Count the slices (H, W) that a network best takes at once on a device.

    Parameters
    ----------
    device : str
        ``cpu``, or one of CUDA.
    size : (int, int)
        Height and width of a slice, pixels.

    Returns
    -------
    int
        At least 2.

    Examples
    --------
    >>> slices_at_once('cpu', (96, 96)), slices_at_once('cpu', (400, 400))
    (4, 2)
    """
    height, width = size
    return SLICES_ON_CARD if device != 'cpu' else max(2, PIXELS_AT_ONCE // (height * width))


def batches(n_slices: int, most: int, *, least: int = 1) -> Iterator[slice]:
    """Cut a stack into batches of nearly the same size.

    Parameters
    ----------
    n_slices : int
    most : int
        Slices of a batch; one more where a single slice would be left.
    least : int
        Batches that are wished for, as far as each has two slices.

    Yields
    ------
    slice

    Examples
    --------
    >>> [(part.start, part.stop) for part in batches(9, 8)]
    [(0, 4), (4, 9)]
    >>> [(part.start, part.stop) for part in batches(5, 8, least=4)]
    [(0, 2), (2, 5)]
    """
    # A batch of a single slice is rounded differently: none is left over
    count = min(max(-(-n_slices // most), least), max(1, n_slices // 2)) if n_slices else 0
    ends = np.linspace(0, n_slices, count + 1).round().astype(int)
    for start, stop in itertools.pairwise(ends):
        yield slice(int(start), int(stop))


def each_batch(work: Callable[[slice], None], n_slices: int, device: str, most: int) -> None:
    """Call a function with every batch of a stack, on a processor with one thread a batch.

    The threads of one operation wait for each other at its end, and round differently; batches
    do neither: results are the same for any number of threads.

    Parameters
    ----------
    work : callable
        Takes a slice, and keeps what it finds. Gradients are on when it is called.
    n_slices : int
    device : str
        Torch device.
    most : int
        Slices of a batch, as of `slices_at_once`.
    """
    threads = torch.get_num_threads() if device == 'cpu' else 1
    parts = list(batches(n_slices, most, least=threads))

    def alone(part: slice) -> None:
        torch.set_num_threads(1)
        work(part)

    if threads == 1:
        with torch.enable_grad():
            for part in parts:
                work(part)
        return
    try:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(alone, parts))
    finally:
        # The number is of each thread, and of those that are yet to come
        torch.set_num_threads(threads)


def background_alone(n_classes: int, shape: Sequence[int]) -> NDArray[np.float32]:
    """Probabilities (N, C, H, W) of slices (N, H, W) that show nothing but background.

    Examples
    --------
    >>> background_alone(3, (1, 1, 2))[0, :, 0].tolist()
    [[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]
    """
    probabilities = np.zeros((shape[0], n_classes, *shape[1:]), np.float32)
    probabilities[:, 0] = 1
    return probabilities


def predict(
    model: LoadedModel,
    stack: NDArray,
    device: str = 'cpu',
    batch_size: int | None = None,
) -> NDArray[np.float32]:
    """Segment a stack of slices.

    Parameters
    ----------
    model : LoadedModel
        Network and what it was trained with (`secondglance.models.weights.load_weights`).
    stack : array, shape (N, H, W)
        Intensities in any unit, at the in-plane spacing of the weights.
    device : str
        Torch device.
    batch_size : int, optional
        Slices at once; by default as of `slices_at_once`.

    Returns
    -------
    array of float32, shape (N, n_classes, H, W)
        Probabilities, in [0, 1]; their sum over classes is one.
    """
    window = window_of_head(stack, model.stride)
    images = torch.from_numpy(normalise_slices(np.asarray(stack))[:, *window])[:, None]
    padded, (rows, columns) = pad_to_stride(images, model.stride)
    net = model.quick.to(device)
    probabilities = background_alone(len(model.classes), stack.shape)

    def segment(part: slice) -> None:
        with torch.no_grad():
            found = net(padded[part].to(device)).softmax(dim=1)[..., rows, columns]
        probabilities[part, :, *window] = found.cpu().numpy()

    most = batch_size or slices_at_once(device, padded.shape[-2:])
    each_batch(segment, len(stack), device, most)
    return probabilities
