"""Placement of a mask by the cross-correlation of saliency with a kernel."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft

NEIGHBOURHOOD = 3
"""Pixels about a peak that belong to it; the second peak is looked for beyond."""


def standardise(images: ArrayLike) -> NDArray[np.float32]:
    """Give each image mean zero and norm one, so that correlations can be compared.

    Parameters
    ----------
    images : (..., H, W) array

    Returns
    -------
    (..., H, W) float32 array
        Images of one value become zero.
    """
    images = np.asarray(images, np.float32)
    centred = images - images.mean(axis=(-2, -1), keepdims=True)
    norm = np.sqrt((centred**2).sum(axis=(-2, -1), keepdims=True))
    return np.divide(centred, norm, out=np.zeros_like(centred), where=norm > 1e-12)


def correlate(images: ArrayLike, kernels: ArrayLike) -> NDArray[np.float32]:
    """Cross-correlate images with kernels of the same size, at every shift.

    Parameters
    ----------
    images, kernels : (..., H, W) arrays
        Leading axes are broadcast.

    Returns
    -------
    (..., 2H - 1, 2W - 1) float32 array
        ``surface[..., H - 1 + dy, W - 1 + dx]`` is the sum of the image times the kernel moved by
        (dy, dx); nothing wraps around. The zero shift lies in the middle.
    """
    images = np.asarray(images, np.float32)
    kernels = np.asarray(kernels, np.float32)
    height, width = images.shape[-2:]
    shape = [fft.next_fast_len(2 * n - 1, real=True) for n in (height, width)]
    product = fft.rfft2(images, shape) * np.conj(fft.rfft2(kernels, shape))
    surface = fft.irfft2(product, shape)
    # Negative shifts stand at the end: they are brought before the positive ones
    surface = np.roll(surface, (height - 1, width - 1), axis=(-2, -1))
    return np.ascontiguousarray(surface[..., : 2 * height - 1, : 2 * width - 1], np.float32)


def peaks_with(images: NDArray[np.float32]) -> Callable[[NDArray, NDArray], NDArray[np.float32]]:
    """Make ready to find how well many kernels correlate with the same images, at best.

    Parameters
    ----------
    images : (N, H, W) float32 array

    Returns
    -------
    callable
        From a kernel (H, W), and the choice of images (N,) bool, to the highest value of
        `correlate` with each of these, or zero. The images are transformed once, and nothing is
        put in order: half the work.
    """
    height, width = images.shape[-2:]
    shape = [fft.next_fast_len(2 * n - 1, real=True) for n in (height, width)]
    spectra = fft.rfft2(images, shape)

    def peaks(kernel: NDArray, chosen: NDArray) -> NDArray[np.float32]:
        if not chosen.any():
            return np.zeros(0, np.float32)
        surface = fft.irfft2(spectra[chosen] * np.conj(fft.rfft2(kernel, shape)), shape)
        # Beyond its shifts the padded frame holds zeros, as the shifts without overlap do
        return surface.max(axis=(1, 2)).astype(np.float32)

    return peaks


def centre_on(mask: NDArray, shape: tuple[int, int], *stacks: NDArray) -> tuple[NDArray, ...]:
    """Frame stacks again, with the middle of a mask's bounding box in the middle.

    Parameters
    ----------
    mask : (N, h, w) bool array
        The middle of the frame where it is empty.
    shape : (H, W)
        In-plane size of the new frame.
    *stacks : (N, h, w) arrays

    Returns
    -------
    tuple of (N, H, W) arrays
        Zero where the old frame does not reach.
    """
    framed = [np.zeros((len(stack), *shape), stack.dtype) for stack in stacks]
    into, out_of = [], []
    for axis, size in enumerate(shape):
        extent = mask.shape[axis + 1]
        inside = np.flatnonzero(mask.any(axis=(0, 2 - axis)))
        middle = (inside[0] + inside[-1] + 1) // 2 if len(inside) else extent // 2
        first = middle - size // 2  # of the new frame, in the old one
        low, high = max(first, 0), min(first + size, extent)
        out_of.append(slice(low, high))
        into.append(slice(low - first, high - first))
    for new, old in zip(framed, stacks, strict=True):
        new[:, into[0], into[1]] = old[:, out_of[0], out_of[1]]
    return tuple(framed)


def best_shift(
    surface: ArrayLike,
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """Find the shift at which a correlation is highest.

    Parameters
    ----------
    surface : (..., 2H - 1, 2W - 1) array
        Of :func:`correlate`.

    Returns
    -------
    shift : (..., 2) int array
        Pixels along H and W by which the kernel must move.
    peak : (...) array
        The correlation there.
    peak_ratio : (...) array
        Peak over the highest value outside its neighbourhood; 1 where there is no second.
    """
    surface = np.asarray(surface, np.float32)
    *lead, height, width = surface.shape
    flat = surface.reshape(-1, height, width)
    index = flat.reshape(len(flat), -1).argmax(axis=1)
    rows, columns = np.divmod(index, width)
    peak = flat[np.arange(len(flat)), rows, columns]
    far = (np.abs(np.arange(height)[:, None] - rows[:, None, None]) > NEIGHBOURHOOD) | (
        np.abs(np.arange(width) - columns[:, None, None]) > NEIGHBOURHOOD
    )
    second = np.where(far, flat, -np.inf).max(axis=(1, 2))
    ratio = np.divide(peak, second, out=np.ones_like(peak), where=second > 1e-12)
    shift = np.stack([rows - height // 2, columns - width // 2], axis=-1)
    # Where nothing correlates, nothing is moved
    shift[peak <= 0] = 0
    return shift.reshape(*lead, 2), peak.reshape(lead), ratio.reshape(lead)


def place_mask(mask: ArrayLike, shift: ArrayLike) -> NDArray[np.bool_]:
    """Move a mask by whole pixels; what leaves the frame is lost, nothing wraps around.

    Parameters
    ----------
    mask : (H, W) bool array
    shift : (2,) array
        Pixels along H and W, rounded to whole ones.

    Returns
    -------
    (H, W) bool array

    Examples
    --------
    >>> place_mask(np.eye(3, dtype=bool), (0, 1)).astype(int)
    array([[0, 1, 0],
           [0, 0, 1],
           [0, 0, 0]])
    """
    mask = np.asarray(mask, bool)
    moved = np.zeros_like(mask)
    into, out_of = [], []
    for size, by in zip(mask.shape, np.rint(shift).astype(int), strict=True):
        into.append(slice(max(by, 0), max(size + min(by, 0), 0)))
        out_of.append(slice(max(-by, 0), max(size - max(by, 0), 0)))
    moved[tuple(into)] = mask[tuple(out_of)]
    return moved
