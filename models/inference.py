"""From stacks of slices to probabilities: intensity normalisation, padding, batches."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

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


SLICES_AT_ONCE = 8
"""On a processor: larger batches leave its caches, and take longer and more memory."""

SLICES_ON_CARD = 64
"""The same on a graphics card, which small batches leave idle."""


def batches(n_slices: int, device: str, most: int | None = None) -> Iterator[slice]:
    """Cut a stack into batches of nearly the same size.

    Parameters
    ----------
    n_slices : int
    device : str
        Torch device.
    most : int, optional
        Slices of a batch; by default as the device likes.

    Yields
    ------
    slice

    Examples
    --------
    >>> [(part.start, part.stop) for part in batches(9, 'cpu')]
    [(0, 4), (4, 9)]
    """
    most = most or (SLICES_AT_ONCE if device == 'cpu' else SLICES_ON_CARD)
    # A batch of a single slice is rounded differently: none is left over
    ends = np.linspace(0, n_slices, -(-n_slices // most) + 1).round().astype(int)
    for start, stop in itertools.pairwise(ends):
        yield slice(int(start), int(stop))


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
        Slices at once, as of `batches`.

    Returns
    -------
    array of float32, shape (N, n_classes, H, W)
        Probabilities, in [0, 1]; their sum over classes is one.
    """
    images = torch.from_numpy(normalise_slices(np.asarray(stack)))[:, None]
    padded, (rows, columns) = pad_to_stride(images, model.stride)
    net = model.net.to(device).eval()
    probabilities = np.empty((len(stack), len(model.classes), *stack.shape[1:]), np.float32)
    with torch.no_grad():
        for part in batches(len(stack), device, batch_size):
            found = net(padded[part].to(device)).softmax(dim=1)[..., rows, columns]
            probabilities[part] = found.cpu().numpy()
    return probabilities
