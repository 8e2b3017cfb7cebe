"""Smooth random fields, and random values shaped for batches of slices."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional


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
