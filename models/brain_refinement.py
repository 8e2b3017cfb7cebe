"""Refinement of the brain probability by a network that also takes neighbouring slices.

Matos et al. 2019 place another animal's mask by a translation and propose *another connectionist
system* for future work. This is such a network: a small U-Net that refines the brain probability
of the first glance. Its input is a slice of the image with its neighbours, the first glance at
these, the saliency and the placed mask. Neighbouring slices show what one slice alone does not,
such as where brain becomes spinal cord or olfactory nerve.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from secondglance.imaging.grids import holds_signal
from secondglance.imaging.intensity import near_head, normalise_slices
from secondglance.models.inference import (
    each_batch,
    pad_to_stride,
    slices_at_once,
    window_of_head,
)
from secondglance.models.unet import UNet
from secondglance.models.weights import LoadedModel

CONTEXT_MM = (-4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0)
"""Distances along the stack at which the first glance is taken as input, mm."""


NEAR_MM = (-1.0, 0.0, 1.0)
"""The same for the image."""


FAR_MM = (-2.0, 0.0, 2.0)
"""The same for the placed mask."""


THIN_MM = 2.5
"""A stack that is thinner has too few slices to be refined by its own alone, mm."""

N_CHANNELS = len(CONTEXT_MM) + len(NEAR_MM) + len(FAR_MM) + 1


LOGIT_LIMIT = 6.0
"""Logits of the first glance are clipped here, so that the refinement can always correct them."""


def refinement_channels(
    images: ArrayLike,
    probability: ArrayLike,
    enhanced: ArrayLike,
    placed: ArrayLike,
    positions: ArrayLike,
    chosen: ArrayLike | None = None,
) -> NDArray[np.float32]:
    """Compose the input channels of the network for each slice.

    Parameters
    ----------
    images : (N, H, W) array
        Normalised by `normalise_slices`.
    probability : (N, H, W) array
        Of brain, by the first glance.
    enhanced : (N, H, W) array
        Enhanced saliency, in [0, 1].
    placed : (N, H, W) array
        Another animal's mask, placed; 0 or 1.
    positions : (N,) array
        Of the slices, mm, ascending.
    chosen : sequence of int, optional
        Which slices; all where not given.

    Returns
    -------
    (M, 14, H, W) float32 array
        The first glance's logits at `CONTEXT_MM`, the image at `NEAR_MM`, the placed mask at
        `FAR_MM`, and the saliency. Beyond the stack there is nothing: zeros, and no brain.
    """
    positions = np.asarray(positions, float)
    chosen = np.arange(len(positions)) if chosen is None else np.asarray(chosen)
    here = positions[chosen]
    parts = []
    for volume, offsets, made, empty in (
        (probability, CONTEXT_MM, _scaled_logits, -1.0),
        (images, NEAR_MM, _single, 0.0),
        (placed, FAR_MM, _single, 0.0),
        (enhanced, (0.0,), _single, 0.0),
    ):
        parts += [_at(np.asarray(volume), positions, here + d, made, empty) for d in offsets]
    return np.stack(parts, axis=1)


def logits_of(probability: ArrayLike) -> NDArray[np.float32]:
    """Turn a probability to its logit.

    Parameters
    ----------
    probability : array of any shape
        In [0, 1].

    Returns
    -------
    float32 array of that shape
        Within ± `LOGIT_LIMIT`.
    """
    least = 1 / (1 + np.exp(LOGIT_LIMIT))
    p = np.clip(np.asarray(probability, np.float32), least, 1 - least)
    return np.log(p / (1 - p)).astype(np.float32)


def _scaled_logits(probability: NDArray) -> NDArray[np.float32]:
    return logits_of(probability) / LOGIT_LIMIT


def _single(values: NDArray) -> NDArray[np.float32]:
    return values.astype(np.float32)


def _at(
    volume: NDArray,
    positions: NDArray,
    where: NDArray,
    made: Callable[[NDArray], NDArray[np.float32]],
    empty: float,
) -> NDArray[np.float32]:
    """What is `made` of slices, (M, H, W), at positions between those of a stack.

    `empty` half a slice beyond it.
    """
    n = len(positions)
    index = np.interp(where, positions, np.arange(n))
    low = np.minimum(index.astype(int), max(n - 2, 0))
    high = np.minimum(low + 1, n - 1)
    part = (index - low)[:, None, None].astype(np.float32)
    between = (1 - part) * made(volume[low]) + part * made(volume[high])
    apart = (positions[-1] - positions[0]) / (n - 1) if n > 1 else 1.0
    beyond = (where < positions[0] - apart / 2) | (where > positions[-1] + apart / 2)
    return np.where(beyond[:, None, None], np.float32(empty), between)


def refine(
    model: LoadedModel,
    stack: ArrayLike,
    probability: ArrayLike,
    enhanced: ArrayLike,
    placed: ArrayLike,
    positions: ArrayLike,
    device: str = 'cpu',
    batch_size: int | None = None,
) -> NDArray[np.float32]:
    """Refine the brain probability of a whole head.

    Parameters
    ----------
    model : LoadedModel
        Of the refinement.
    stack : (N, H, W) array
        Intensities in any unit.
    probability, enhanced, placed, positions
        As of `refinement_channels`.
    device : str
    batch_size : int, optional
        Slices at once, by default as of `secondglance.models.inference`.

    Returns
    -------
    (N, H, W) float32 array
        Probability of brain; zero in slices without signal, and away from the head.
    """
    stack = np.asarray(stack)
    # Lost slices are skipped: the next slice with signal is the neighbour
    held = np.flatnonzero(holds_signal(stack))
    taken, where = _continued(held, np.asarray(positions, float)[held])
    net = model.quick.to(device)
    window = window_of_head(stack, net.stride)
    images = normalise_slices(stack[taken])[:, *window]
    first, salient, moved = (
        np.asarray(values)[taken][:, *window] for values in (probability, enhanced, placed)
    )
    begin = (len(taken) - len(held)) // 2
    found = np.zeros(stack.shape, np.float32)

    def improve(part: slice) -> None:
        chosen = np.arange(part.start, part.stop)
        channels = refinement_channels(images, first, salient, moved, where, begin + chosen)
        found[held[chosen], *window] = refine_channels(net, channels, device)

    most = batch_size or slices_at_once(device, images.shape[-2:])
    each_batch(improve, len(held), device, most)
    return np.where(near_head(stack), found, np.float32(0))


def _continued(
    slices: NDArray[np.intp], positions: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Continue a thin slab by its end slices: one without neighbours would be no brain.

    Examples
    --------
    >>> _continued(np.array([7]), np.array([2.0]))[1].tolist()
    [-2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    """
    n = len(slices)
    apart = float(np.diff(positions).mean()) if n > 1 else 1.0
    if not n or n * apart >= THIN_MM:
        return slices, positions
    more = int(np.ceil(max(CONTEXT_MM) / apart))
    beyond = apart * np.arange(1, more + 1)
    return (
        np.pad(slices, more, mode='edge'),
        np.concatenate([positions[0] - beyond[::-1], positions, positions[-1] + beyond]),
    )


def refine_channels(
    net: UNet, channels: NDArray[np.float32], device: str = 'cpu'
) -> NDArray[np.float32]:
    """Run the refinement on its input channels.

    Parameters
    ----------
    net : UNet
        Of the refinement.
    channels : (M, C, H, W) float32 array
        As of `refinement_channels`.
    device : str

    Returns
    -------
    (M, H, W) float32 array
        Probability of brain.
    """
    padded, (rows, columns) = pad_to_stride(torch.from_numpy(channels), net.stride)
    with torch.no_grad():
        logits = refined_logits(net.eval(), padded.to(device))[..., rows, columns]
    return logits.sigmoid()[:, 0].cpu().numpy()


def refined_logits(net: torch.nn.Module, channels: torch.Tensor) -> torch.Tensor:
    """Add the network's correction to the logits of the first glance.

    Parameters
    ----------
    net : torch.nn.Module
        Of the refinement.
    channels : (B, C, H, W) tensor

    Returns
    -------
    (B, 1, H, W) tensor
    """
    middle = CONTEXT_MM.index(0.0)
    return LOGIT_LIMIT * channels[:, middle : middle + 1] + net(channels).float()
