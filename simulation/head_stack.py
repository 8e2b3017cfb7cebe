"""Simulated whole heads as stacks of neighbouring slices.

`secondglance.simulation.head_slices` draws every slice by itself. Here all slices of one head
share pose, contrast, coil and thickness; muscle, ear tubes and the coil's field change smoothly
from slice to slice.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import special

from secondglance.imaging.pose import HeadStack
from secondglance.simulation.animal import Animal, cut_slices
from secondglance.simulation.contrast import draw_contrast, vary_tissues
from secondglance.simulation.deformation import resample
from secondglance.simulation.head_slices import BEYOND_MM, random_grid, render_heads

THICKNESS_MM = (0.3, 1.2)
"""Distance of neighbouring slices that is drawn, mm."""


_FINEST = 32
"""Points along an axis from which on random values are noise, each by itself."""


Size = int | tuple[int, ...] | None
"""What a random generator is asked for: one value, so many, or an array of a shape."""

Values = float | NDArray[np.float64]


class AlongHead:
    """Random generator with values that change smoothly along a head.

    Has the methods of `numpy.random.Generator` that the drawing of slices uses. A value per slice
    has the requested distribution, and its correlation with that of a slice d mm away is
    exp(−(d / reach)² / 2); single values and noise are independent.
    """

    def __init__(self, rng: np.random.Generator, positions: NDArray, reach_mm: float) -> None:
        self._rng = rng
        start, end = positions[0] - 3 * reach_mm, positions[-1] + 3 * reach_mm
        knots = np.arange(start, end + reach_mm, reach_mm)
        weights = np.exp(-(((positions[:, None] - knots) / reach_mm) ** 2))
        self._weights = weights / np.linalg.norm(weights, axis=1, keepdims=True)

    def _smooth(self, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Standard normal values, alike along the first axis."""
        knots = self._rng.standard_normal((self._weights.shape[1], int(np.prod(shape[1:]))))
        return (self._weights @ knots).reshape(shape)

    def _shape(self, size: Size) -> tuple[int, ...] | None:
        if size is None:
            return None
        shape = (int(size),) if isinstance(size, int | np.integer) else tuple(size)
        return shape if shape[0] == len(self._weights) else None

    def random(self, size: Size = None) -> Any:
        shape = self._shape(size)
        if shape is None:
            return self._rng.random(size)
        return np.clip(special.ndtr(self._smooth(shape)), 0.0, 1.0 - 1e-12)

    def uniform(self, low: Values = 0.0, high: Values = 1.0, size: Size = None) -> Any:
        return low + (np.asarray(high) - low) * self.random(size)

    def normal(self, loc: Values = 0.0, scale: Values = 1.0, size: Size = None) -> Any:
        shape = self._shape(size)
        return (
            self._rng.normal(loc, scale, size)
            if shape is None
            else (loc + scale * self._smooth(shape))
        )

    def standard_normal(self, size: Size, dtype: type = np.float64) -> Any:
        shape = self._shape(size)
        if shape is None or shape[-1] >= _FINEST:
            return self._rng.standard_normal(size, dtype=dtype)
        return self._smooth(shape).astype(dtype)

    def integers(self, low: int, high: int, size: Size = None) -> Any:
        if self._shape(size) is None:
            return self._rng.integers(low, high, size)
        return np.floor(self.uniform(low, high, size)).astype(np.int64)

    def choice(self, values: ArrayLike, size: Size, p: ArrayLike) -> NDArray:
        return np.asarray(values)[np.searchsorted(np.cumsum(p)[:-1], self.random(size), 'right')]


def along_head(rng: np.random.Generator, positions: NDArray) -> np.random.Generator:
    """Make a generator for the slices of one head.

    Parameters
    ----------
    rng : numpy.random.Generator
    positions : (N,) array
        Of the slices, mm.

    Returns
    -------
    numpy.random.Generator
        An `AlongHead`: values change smoothly over 3 to 60 mm, drawn for each head.
    """
    reach = float(np.exp(rng.uniform(np.log(3.0), np.log(60.0))))
    return cast(np.random.Generator, AlongHead(rng, positions, reach))


def draw_head(
    animal: Animal, rng: np.random.Generator, thickness: float | None = None
) -> HeadStack:
    """Scan an animal as a whole head.

    One in four stacks is cut off within the brain at one end, the others reach up to `BEYOND_MM`
    past its front, and end in the cord or the medulla; one in ten has lost a slice.

    Parameters
    ----------
    animal : Animal
    rng : numpy.random.Generator
    thickness : float, optional
        Distance of the slices, mm; within `THICKNESS_MM` where not given.

    Returns
    -------
    HeadStack
    """
    thickness = float(rng.uniform(*THICKNESS_MM)) if thickness is None else thickness
    low, high = animal.extent_mm
    ends = np.array([low, high]) + rng.uniform(0.0, BEYOND_MM, 2)
    if rng.random() < 0.25:
        inwards = rng.uniform(0.1, 0.4) * (high - low)
        end = int(rng.integers(2))
        ends[end] = (low + inwards, high - inwards)[end]
    positions = np.arange(ends[0], ends[1], thickness)
    n = len(positions)
    along = along_head(rng, positions)
    maps = vary_tissues(cut_slices(animal, positions, np.full(n, thickness)), along)
    maps = _posed(maps, rng, along, animal.spacing)
    images, labels = render_heads(maps, along, animal.spacing, contrast=draw_contrast(rng))
    if rng.random() < 0.1 and n > 4:
        lost = int(rng.integers(1, n - 1))
        images[lost], labels[lost] = 0, 0
    return HeadStack(
        images[:, 0].numpy(),
        positions - positions.mean(),
        animal.spacing,
        labels[:, 0].numpy().astype(np.uint8),
    )


def _posed(
    maps: torch.Tensor, rng: np.random.Generator, along: np.random.Generator, spacing: float
) -> torch.Tensor:
    """Pose the slices of one head alike, with a little of its own for each."""
    n, _, h, w = maps.shape
    grid, scale = random_grid((1, h, w), rng, spacing)
    drift = torch.from_numpy(np.asarray(along.normal(0.0, 0.02, (n, 2)), np.float32))
    grid = grid + drift[:, None, None]
    posed = resample(maps, grid)
    posed[:, -1] *= float(scale[0])
    return posed
