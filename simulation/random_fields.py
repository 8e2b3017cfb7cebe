"""Smooth random fields in volumes and slices, and random values shaped for slices."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional


def smooth_field(
    shape: tuple[int, ...], rng: np.random.Generator, points: int = 4
) -> NDArray[np.float32]:
    """Draw a smooth random field of about unit variance.

    Parameters
    ----------
    shape : tuple of int
    rng : numpy.random.Generator
    points : int
        Random values along each axis; fewer is smoother.

    Returns
    -------
    array of `shape`, float32
    """
    coarse = rng.standard_normal([points] * len(shape)).astype(np.float32)
    where = np.meshgrid(*(np.linspace(0, points - 1, n) for n in shape), indexing='ij')
    return ndimage.map_coordinates(coarse, where, order=3, mode='nearest', output=np.float32)


def elastic_displacement(
    shape: tuple[int, ...], rng: np.random.Generator, amplitude: float, points: int = 5
) -> NDArray[np.float32]:
    """Draw a smooth displacement by which the shapes of two animals differ.

    Parameters
    ----------
    shape : tuple of int
    rng : numpy.random.Generator
    amplitude : float
        Standard deviation of each component, in the unit wanted back.
    points : int
        Random values along each axis; fewer is smoother.

    Returns
    -------
    (len(shape), *shape) array, float32
    """
    return np.stack([amplitude * smooth_field(shape, rng, points) for _ in shape])


def smooth_noise(
    shape: tuple[int, ...], rng: np.random.Generator, strength: NDArray, points: int
) -> torch.Tensor:
    """Smooth noise of standard deviation `strength` (B,) from `points` × `points` values."""
    coarse = normal((*shape[:2], points, points), rng) * column(strength)
    return _bicubic(points, shape[2]) @ coarse @ _bicubic(points, shape[3]).T


@lru_cache(maxsize=64)
def _bicubic(points: int, size: int) -> torch.Tensor:
    """Matrix (size, points) that interpolates; several times faster than torch's own way."""
    unit = torch.eye(points)[None, None]
    return functional.interpolate(unit, (size, points), mode='bicubic', align_corners=True)[0, 0]


def normal(shape: tuple[int, ...], rng: np.random.Generator) -> torch.Tensor:
    return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))


def column(values: NDArray) -> torch.Tensor:
    """One value a slice, (B,), shaped to multiply (B, C, H, W)."""
    return torch.from_numpy(np.asarray(values, np.float32))[:, None, None, None]
