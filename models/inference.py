"""From stacks of slices to probabilities: intensity normalisation, padding, batches."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from secondglance.imaging.errors import InputError
from secondglance.imaging.intensity import normalise_slices


def resolve_device(name: str) -> str:
    """Resolve ``auto``, and check that torch has the device.

    Parameters
    ----------
    name : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Returns
    -------
    str
        For ``auto``, ``cuda`` where torch can use it, else ``cpu``; others stay.

    Raises
    ------
    InputError
        If there is no such device.
    """
    if not re.fullmatch(r'auto|cpu|cuda(:\d+)?', name):
        raise InputError(f'--device {name} is not known: give auto, cpu, cuda or cuda:N.')
    if name == 'auto':
        return 'cuda' if torch.cuda.is_available() else 'cpu'
    if name.startswith('cuda'):
        if not torch.cuda.is_available():
            raise InputError(f'--device {name}: torch finds no GPU here; give --device cpu.')
        if ':' in name and int(name.partition(':')[2]) >= torch.cuda.device_count():
            raise InputError(
                f'--device {name}: torch finds {torch.cuda.device_count()} GPUs, numbered from 0.'
            )
    return name


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


PIXELS_AT_ONCE = 40_000
"""On a processor: larger batches leave its caches, and take longer and more memory."""

SLICES_ON_CARD = 64
"""The same on a graphics card, which small batches leave idle."""


def slices_at_once(device: str, size: Sequence[int]) -> int:
    """Count the slices (H, W) that a network best takes at once on a device.

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


def predict(
    model,
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
    images = torch.from_numpy(normalise_slices(np.asarray(stack)))[:, None]
    padded, (rows, columns) = pad_to_stride(images, model.stride)
    net = model.net.to(device).eval()
    probabilities = np.empty((len(stack), len(model.classes), *stack.shape[1:]), np.float32)

    def segment(part: slice) -> None:
        with torch.no_grad():
            found = net(padded[part].to(device)).softmax(dim=1)[..., rows, columns]
        probabilities[part] = found.cpu().numpy()

    most = batch_size or slices_at_once(device, padded.shape[-2:])
    each_batch(segment, len(stack), device, most)
    return probabilities
