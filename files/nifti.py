"""Reading NIfTI files, and refusing those that cannot be used."""

from pathlib import Path

import nibabel as nib
import numpy as np

from secondglance.imaging.errors import InputError


def read_volume(path: str | Path) -> tuple[nib.spatialimages.SpatialImage, np.ndarray]:
    """Read an image whole, refusing what cannot be segmented.

    Parameters
    ----------
    path : path

    Returns
    -------
    image : nibabel image
    voxels : (X, Y, Z) or (X, Y, Z, T) float32 array

    Raises
    ------
    InputError
        If it is missing, unreadable or truncated, has a size other than 3-D or 4-D, voxels of
        no size, NaN or infinite values, or nothing but one value.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f'{path} is not there: check the name.')
    try:
        image = nib.load(path)
        voxels = np.asarray(image.dataobj, dtype=np.float32)
    except Exception as error:  # nibabel, gzip and zlib each have their own
        reason = ' '.join(str(error).split()) or type(error).__name__
        raise InputError(
            f'{path} cannot be read as NIfTI ({reason}): it may be truncated, copy it again.'
        ) from error
    if voxels.ndim not in (3, 4) or 0 in voxels.shape:
        raise InputError(
            f'{path} has shape {voxels.shape}: give one volume (3-D) or a series of them (4-D).'
        )
    columns = nib.affines.voxel_sizes(image.affine)
    stored = _stored_sizes(path, image)
    if not (np.isfinite(columns).all() and (columns > 0).all() and (stored > 0).all()):
        raise InputError(
            f'{path} has voxel sizes of {" × ".join(f"{s:g}" for s in stored)} mm: '
            'mend its header.'
        )
    if not np.isfinite(voxels).all():
        count = int((~np.isfinite(voxels)).sum())
        raise InputError(
            f'{path} has {count} voxels that are NaN or infinite: set them to 0 first.'
        )
    if voxels.min() == voxels.max():
        raise InputError(
            f'{path} holds nothing but the value {voxels.flat[0]:g}: is it the right image?'
        )
    return image, voxels


def check_donor(image: Path, mask: Path) -> None:
    """Look at a donor's image and mask before they are used.

    Parameters
    ----------
    image, mask : Path

    Raises
    ------
    InputError
        For every fault of :func:`read_volume`, or if the two lie on different grids or are not
        one volume each.
    """
    (head, head_voxels), (brain, _) = read_volume(image), read_volume(mask)
    if head_voxels.ndim != 3:
        raise InputError(f'Donor {image} has {head_voxels.shape[3]} volumes: give their mean.')
    if head.shape != brain.shape or not np.allclose(head.affine, brain.affine, atol=1e-2):
        raise InputError(f'Donor {image} and its mask {mask} lie on different grids: resample it.')


def _stored_sizes(path: Path, image) -> np.ndarray:
    """Voxel sizes as they stand in the file: on loading, nibabel mends those that are not > 0."""
    if not isinstance(image, nib.Nifti1Pair):
        return np.asarray(image.header.get_zooms()[:3], float)
    with nib.openers.ImageOpener(path) as stream:
        header = type(image.header).from_fileobj(stream, check=False)
    return np.asarray(header['pixdim'][1:4], float)
