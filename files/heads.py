"""Reading a head, with or without a brain mask, as a stack of slices."""

from __future__ import annotations

from pathlib import Path

from secondglance.files.nifti import check_donor, check_values, read_volume
from secondglance.files.nifti_header import check_geometry
from secondglance.imaging.errors import InputError
from secondglance.imaging.grids import SliceGrid
from secondglance.imaging.pose import HeadStack, Pose


def read_head(image_path: Path, mask_path: Path | None, pose: Pose) -> tuple[HeadStack, SliceGrid]:
    """Read one volume of a head, and a mask of its brain, as a stack.

    Parameters
    ----------
    image_path : path
    mask_path : path, optional
        On the same grid.
    pose : Pose

    Returns
    -------
    head : HeadStack
        With the mask as labels.
    grid : SliceGrid

    Raises
    ------
    InputError
        If a file cannot be read, the image has several volumes, or the grids differ.
    """
    image, voxels = read_volume(image_path)
    if voxels.ndim != 3:
        raise InputError(f'{image_path} has {voxels.shape[3]} volumes: give one, or their mean.')
    check_values(image_path, voxels)
    mask = None
    if mask_path is not None:
        check_donor(image_path, mask_path)
        mask = read_volume(mask_path)[1]
    grid = pose.grid(voxels.shape, check_geometry(image, voxels).affine)
    return pose.stack(grid, voxels, mask), grid
