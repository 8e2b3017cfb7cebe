"""Reading and writing stacks of slices."""

from pathlib import Path

import nibabel as nib
import numpy as np


def read_stack(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a stack from disk.

    Parameters
    ----------
    path : str or Path
        NIfTI of shape (H, W, N) or, for probabilities, (H, W, N, C).

    Returns
    -------
    stack : (N, H, W) or (N, C, H, W) float32 array
    affine : (4, 4) array, voxel of the file to world mm
    """
    image = nib.load(path)
    voxels = np.asarray(image.dataobj, dtype=np.float32)
    order = (2, 0, 1) if voxels.ndim == 3 else (2, 3, 0, 1)
    return np.ascontiguousarray(voxels.transpose(order)), image.affine


def write_stack(stack: np.ndarray, affine: np.ndarray, path: str | Path) -> str:
    """Write a stack as NIfTI.

    Parameters
    ----------
    stack : (N, H, W) or (N, C, H, W) array
        In the file it is (H, W, N[, C]).
    affine : (4, 4) array
        Voxel of the file to world mm.
    path : path

    Returns
    -------
    str
        The path.
    """
    order = (1, 2, 0) if stack.ndim == 3 else (2, 3, 0, 1)
    voxels = np.asarray(stack).transpose(order)
    if voxels.dtype == bool:
        voxels = voxels.astype(np.uint8)
    image = nib.Nifti1Image(voxels, affine)
    image.header.set_xyzt_units('mm')
    nib.save(image, path)
    return str(path)


def image_like(volume: np.ndarray, like: nib.spatialimages.SpatialImage) -> nib.Nifti1Image:
    """Make an image of a volume on the grid, and with the header, of another image.

    Parameters
    ----------
    volume : (X, Y, Z[, …]) array
        Its type is that of the file, without scaling.
    like : nibabel image

    Returns
    -------
    nibabel.Nifti1Image
    """
    out = nib.Nifti1Image(volume, like.affine, like.header)
    out.set_data_dtype(volume.dtype)
    out.header['scl_slope'], out.header['scl_inter'] = 1, 0
    return out


def write_like(volume: np.ndarray, like: nib.spatialimages.SpatialImage, path: str | Path) -> str:
    """Write a volume on the grid of another image.

    Parameters
    ----------
    volume, like
        As of :func:`image_like`.
    path : path

    Returns
    -------
    str
        The path.
    """
    nib.save(image_like(volume, like), path)
    return str(path)
