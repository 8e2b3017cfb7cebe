"""Poses and bends of simulated slices, as grids for `torch.nn.functional.grid_sample`."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.nn import functional


def pose_grid(
    shape: tuple[int, int, int],
    angle: ArrayLike,
    scale: ArrayLike,
    flip: ArrayLike,
    shift: NDArray,
) -> torch.Tensor:
    """Grid (B, H, W, 2) that turns, scales, mirrors and moves slices in plane.

    Parameters
    ----------
    shape : (B, H, W)
    angle : float or (B,) array
        Radians.
    scale : float, (B,) or (B, 2) array
        By which a slice grows; of two, the first is along the last axis.
    flip : float or (B,) array
        −1 swaps left and right, 1 does not.
    shift : (B, 2) array
        In halves of the field of view.
    """
    b, h, w = shape
    scale = np.asarray(scale, float)
    along, across = scale.T if scale.ndim == 2 else (scale, scale)
    flip = np.asarray(flip)
    theta = np.zeros((b, 2, 3), np.float32)
    # grid_sample's x is the last axis (ventral to dorsal), its y left to right.
    theta[:, 0, 0], theta[:, 0, 1] = np.cos(angle) / along, np.sin(angle) / along
    theta[:, 1, 0], theta[:, 1, 1] = -flip * np.sin(angle) / across, flip * np.cos(angle) / across
    theta[:, :, 2] = shift
    return functional.affine_grid(torch.from_numpy(theta), [b, 1, h, w], align_corners=False)


def bend_grid(
    grid: torch.Tensor, bend: torch.Tensor, epi: torch.Tensor, axis: ArrayLike, spacing: float
) -> torch.Tensor:
    """Bend a grid in plane, and squeeze it along one axis as the field of an EPI does.

    Parameters
    ----------
    grid : tensor, shape (B, H, W, 2)
    bend : tensor, shape (B, 2, H, W)
        Displacement, mm.
    epi : tensor, shape (B, 1, H, W)
        Displacement along `axis`, mm.
    axis : int or (B,) array of int
        0 or 1.
    spacing : float
        In plane, mm.
    """
    direction = torch.from_numpy(np.eye(2, dtype=np.float32)[np.asarray(axis, int)])[
        ..., None, None
    ]
    moved = (bend + epi * direction) * (2.0 / (grid.shape[1] * spacing))
    return grid + moved.permute(0, 2, 3, 1)


def resample(maps: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """Sample maps at a grid, linearly.

    Parameters
    ----------
    maps : (B, C, H, W) tensor
    grid : (B, h, w, 2) tensor
        Where to sample, in [-1, 1] along W and H, as `torch.nn.functional.grid_sample` has it.

    Returns
    -------
    (B, C, h, w) tensor
        Beyond the edge of the maps, their edge is repeated.
    """
    return functional.grid_sample(maps, grid, padding_mode='border', align_corners=False)
