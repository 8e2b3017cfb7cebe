"""Simulated acquisition failures, to test whether they are noticed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from secondglance.imaging.pose import HeadStack

FAILURES: tuple[str, ...] = ('empty slices', 'half brain', 'wrong species', 'turned', 'blank')
"""Kinds of `simulate_failure`."""


def simulate_failure(head: HeadStack, kind: str, rng: np.random.Generator) -> HeadStack:
    """Simulate an acquisition failure; labels remain only where the brain is still visible.

    Parameters
    ----------
    head : HeadStack
    kind : str
        One of `FAILURES`: a fifth to half of the slices lost; one side of the head without
        signal; an animal a third to half the size; lying on its side or back; noise alone.
    rng : numpy.random.Generator

    Returns
    -------
    HeadStack

    Raises
    ------
    ValueError
        For another kind.
    """
    images, labels = head.images.copy(), np.array(head.labels)
    if kind == 'empty slices':
        n = len(images)
        lost = rng.choice(n, max(1, int(n * rng.uniform(0.2, 0.5))), replace=False)
        images[lost], labels[lost] = 0, 0
    elif kind == 'half brain':
        middle = np.flatnonzero((labels > 0).any(axis=(0, 2))).mean()
        gone = slice(None, int(middle)) if rng.random() < 0.5 else slice(int(middle), None)
        images[:, gone], labels[:, gone] = 0, 0
    elif kind == 'wrong species':
        images, labels = _smaller(images, labels, rng.uniform(0.35, 0.5))
    elif kind == 'turned':
        turns = int(rng.integers(1, 4))
        images = np.rot90(images, turns, axes=(1, 2)).copy()
        labels = np.rot90(labels, turns, axes=(1, 2)).copy()
    elif kind == 'blank':
        images = rng.rayleigh(1.0, images.shape).astype(np.float32)
        labels[:] = 0
    else:
        raise ValueError(f'{kind!r} is not one of {FAILURES}')
    return replace(head, images=images, labels=labels)


def _smaller(images: NDArray, labels: NDArray, size: float) -> tuple[NDArray, NDArray]:
    """Shrink slices about their middle."""
    theta = torch.eye(2, 3) / size
    grid = functional.affine_grid(
        theta.expand(len(images), -1, -1), [len(images), 1, *images.shape[1:]], align_corners=False
    )
    image, label = torch.from_numpy(images)[:, None], torch.from_numpy(labels).float()[:, None]
    image = functional.grid_sample(image, grid, padding_mode='border', align_corners=False)
    label = functional.grid_sample(label, grid, mode='nearest', align_corners=False)
    return image[:, 0].numpy(), label[:, 0].numpy().astype(np.uint8)
