"""Geometry of NIfTI files: affine in the animal's millimetres, slice grid, species of a mask."""

from pathlib import Path

import nibabel as nib
import numpy as np

from secondglance.imaging.grids import SliceGrid, slice_grid
from secondglance.imaging.species import header_scale, species_of_brain


def grid_of(
    path: str | Path, spacing: float, slice_axis: str, quarter_turns: int = 0
) -> SliceGrid:
    """Lay out the slice grid of the NIfTI at `path` from its header alone.

    Parameters
    ----------
    path : str or Path
    spacing : float
        In-plane spacing of the stack, mm.
    slice_axis : {'auto', 'i', 'j', 'k'}
    quarter_turns : int
        By which slices are turned in plane.

    Returns
    -------
    SliceGrid
    """
    image = nib.load(path)
    return slice_grid(
        image.shape[:3],
        affine_of(image),
        spacing,
        slice_axis=slice_axis,
        dim_info=image.header.get_dim_info()[2],
        quarter_turns=quarter_turns,
    )


def scale_of(image) -> float:
    """By how much the millimetres of an image's header are too many; mostly 1."""
    return header_scale(image.shape, nib.affines.voxel_sizes(image.affine))


def affine_of(image) -> np.ndarray:
    """Affine (4, 4) of an image in the animal's own millimetres, whatever its header's are."""
    scale = scale_of(image)
    return image.affine if scale == 1 else np.diag([1 / scale] * 3 + [1.0]) @ image.affine


def species_of_mask(path: str | Path) -> str:
    """Name the species that a brain mask on disk is of; as of `species_of_brain`."""
    image = nib.load(path)
    return species_of_brain(np.asarray(image.dataobj) > 0, affine_of(image))
