"""The grid of the second glance: anchored to the brain and cut to its mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from secondglance.imaging.errors import InputError
from secondglance.imaging.species import BRAIN_SIZE

SPACING_MM = 0.2
"""In-plane spacing for a rat, mm; for other species times `BRAIN_SIZE`."""

MARGIN_MM = 0.6
"""Margin around the brain mask that is kept, mm of a rat."""

STRIDE = 16
"""Height and width of the grid are multiples of it: what a U-Net of five levels needs."""

_KEYS = -0.5
"""Parameter of the cubic kernel (Keys 1981, doi 10.1109/TASSP.1981.1163711)."""


@dataclass(frozen=True)
class BrainGrid:
    """Pixels at fixed distances from the centre of a brain mask, in every slice of a stack.

    Attributes
    ----------
    stack_shape : tuple of int
        (N, H, W) of the stack.
    in_plane_mm : float
        Pixel size of the stack, mm.
    spacing_mm : float
        Pixel size of this grid, mm.
    centre : tuple of float
        Centroid of the mask along H and W, in pixels of the stack.
    start : tuple of int
        First pixel of this grid along H and W, counted from the centroid.
    shape : tuple of int
        (h, w) of this grid.
    """

    stack_shape: tuple[int, int, int]
    in_plane_mm: float
    spacing_mm: float
    centre: tuple[float, float]
    start: tuple[int, int]
    shape: tuple[int, int]

    def offsets_mm(self, axis: int) -> NDArray[np.float64]:
        """Distance of each row (axis 0) or column (axis 1) from the centroid, mm."""
        index = np.arange(self.shape[axis], dtype=np.float64)
        return (self.start[axis] + index) * self.spacing_mm

    def to_grid(self, stack: ArrayLike, *, linear: bool = False) -> NDArray[np.float32]:
        """Resample slices (..., H, W) to this grid, (..., h, w); zero beyond the stack.

        Cubic unless `linear`; going coarser, what lies between the pixels is averaged.
        """
        matrices = []
        for axis in (0, 1):
            where = self.centre[axis] + self.offsets_mm(axis) / self.in_plane_mm
            stretch = max(1.0, self.spacing_mm / self.in_plane_mm)
            matrices.append(_weights(self.stack_shape[1 + axis], where, stretch, linear))
        return _apply(matrices, np.asarray(stack, np.float32))

    def to_stack(self, values: ArrayLike, *, linear: bool = False) -> NDArray[np.float32]:
        """Resample values (..., h, w) to the stack, (..., H, W): the way back.

        Beyond this grid the values at its edge go on.
        """
        matrices = []
        for axis in (0, 1):
            pixels = np.arange(self.stack_shape[1 + axis])
            where = (pixels - self.centre[axis]) * self.in_plane_mm / self.spacing_mm
            where = np.clip(where - self.start[axis], 0, self.shape[axis] - 1)
            stretch = max(1.0, self.in_plane_mm / self.spacing_mm)
            matrices.append(_weights(self.shape[axis], where, stretch, linear, edge=True))
        return _apply(matrices, np.asarray(values, np.float32))


def brain_grid(
    mask: ArrayLike,
    in_plane_mm: float,
    species: str,
    spacing_mm: float = SPACING_MM,
    stride: int = STRIDE,
) -> BrainGrid:
    """Lay a grid over the brain of a stack.

    Nothing of it depends on how large the field of view is, and where a pixel lies depends on the
    centroid of the mask alone.

    Parameters
    ----------
    mask : (N, H, W) array
        Probability or share of brain; brain is where it is at least 0.5.
    in_plane_mm : float
        Pixel size of the stack, mm.
    species : {'rat', 'mouse'}
    spacing_mm : float
        Pixel size of the grid for a rat, mm.
    stride : int
        Height and width are multiples of it, pixels.

    Returns
    -------
    BrainGrid

    Raises
    ------
    InputError
        If the mask is empty.
    """
    brain = np.asarray(mask) >= 0.5
    if not brain.any():
        raise InputError('The brain mask is empty: there is nothing to segment.')
    scale = BRAIN_SIZE[species]
    spacing = spacing_mm * scale
    centre, start, shape = [], [], []
    for axis in (0, 1):
        held = brain.sum(axis=(0, 2 - axis)).astype(float)
        pixels = np.arange(len(held))
        middle = float((held * pixels).sum() / held.sum())
        ends = np.flatnonzero(held)[[0, -1]]
        reach = (ends - middle) * in_plane_mm + np.array([-1.0, 1.0]) * MARGIN_MM * scale
        # In whole strides from the centroid: the network pools the same pixels together, however
        # far the mask reaches
        first = int(np.floor(reach[0] / spacing)) // stride
        last = int(np.ceil(reach[1] / spacing)) // stride
        centre.append(middle)
        start.append(first * stride)
        shape.append((last + 1 - first) * stride)
    n, height, width = brain.shape
    return BrainGrid(
        (n, height, width),
        float(in_plane_mm),
        spacing,
        (centre[0], centre[1]),
        (start[0], start[1]),
        (shape[0], shape[1]),
    )


def _apply(matrices: list[NDArray[np.float32]], stack: NDArray) -> NDArray[np.float32]:
    """Multiply rows and columns of a stack by matrices that are nearly empty.

    Their sums are the same on every machine; those of dense products depend on its libraries.
    """
    for matrix in matrices:
        # Rows become columns, and the other way round
        ahead = np.moveaxis(stack, -2, 0)
        found = sparse.csr_array(matrix) @ ahead.reshape(len(ahead), -1)
        stack = np.moveaxis(found.reshape(-1, *ahead.shape[1:]), 0, -1)
    return np.ascontiguousarray(stack)


def _weights(
    n: int, where: NDArray, stretch: float, linear: bool, *, edge: bool = False
) -> NDArray[np.float32]:
    """Matrix (M, n) that interpolates n pixels at M places; `stretch` widens its kernel."""
    away = np.abs(where[:, None] - np.arange(n)) / stretch
    if linear:
        kernel = np.clip(1 - away, 0, None)
    else:
        near = ((_KEYS + 2) * away - (_KEYS + 3)) * away**2 + 1
        far = ((_KEYS * away - 5 * _KEYS) * away + 8 * _KEYS) * away - 4 * _KEYS
        kernel = np.where(away <= 1, near, np.where(away < 2, far, 0.0))
    total = kernel.sum(axis=1, keepdims=True)
    inside = edge | ((where >= -0.5) & (where <= n - 0.5))
    shares = np.divide(kernel, total, out=np.zeros_like(kernel), where=np.abs(total) > 1e-6)
    return (shares * np.reshape(inside, (-1, 1) if np.ndim(inside) else (1, 1))).astype(np.float32)
