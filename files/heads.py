"""Reading a head, with or without a brain mask, as a stack of slices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from secondglance.files.geometry import affine_of
from secondglance.files.nifti import check_donor, read_volume
from secondglance.imaging.errors import InputError
from secondglance.imaging.grids import SliceGrid, slice_grid


@dataclass(frozen=True)
class Head:
    """One head as a stack, with its brain where there is a mask.

    Attributes
    ----------
    stack : (N, H, W) float32 array
    brain : (N, H, W) bool array or None
    grid : SliceGrid
    """

    stack: NDArray[np.float32]
    brain: NDArray[np.bool_] | None
    grid: SliceGrid


def read_head(
    image_path: Path,
    mask_path: Path | None,
    spacing: float,
    slice_axis: str = 'auto',
    quarter_turns: int = 0,
) -> Head:
    """Read one volume of a head, and a mask of its brain, as a stack.

    Parameters
    ----------
    image_path : path
    mask_path : path, optional
        On the same grid.
    spacing : float
        In plane, mm.
    slice_axis : {'auto', 'i', 'j', 'k'}
    quarter_turns : int
        By which the slices are turned.

    Returns
    -------
    Head

    Raises
    ------
    InputError
        If a file cannot be read, the image has several volumes, or the grids differ.
    """
    image, voxels = read_volume(image_path)
    if voxels.ndim != 3:
        raise InputError(f'{image_path} has {voxels.shape[3]} volumes: give one, or their mean.')
    if mask_path is not None:
        check_donor(image_path, mask_path)
    dim_info = image.header.get_dim_info()[2]
    grid = slice_grid(voxels.shape, affine_of(image), spacing, slice_axis, dim_info, quarter_turns)
    brain = None
    if mask_path is not None:
        brain = grid.to_stack(np.asarray(read_volume(mask_path)[1]) > 0) >= 0.5
    return Head(grid.to_stack(voxels), brain, grid)
