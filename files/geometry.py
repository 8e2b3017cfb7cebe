"""Geometry of NIfTI files: affine in the animal's millimetres, slice grid, species of a mask."""

from pathlib import Path

import nibabel as nib
import numpy as np

from secondglance.imaging.grids import SliceGrid
from secondglance.imaging.pose import Pose
from secondglance.imaging.species import header_scale, species_of_brain


def grid_of(path: str | Path, pose: Pose) -> SliceGrid:
    """Lay out the slice grid of the NIfTI at `path` from its header alone."""
    image = nib.load(path)
    return pose.grid(image.shape[:3], affine_of(image), dim_info_of(image))


def dim_info_of(image: nib.spatialimages.SpatialImage) -> int | None:
    """Slice axis that a NIfTI header names, if any."""
    header = image.header
    return header.get_dim_info()[2] if isinstance(header, nib.Nifti1Header) else None


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
