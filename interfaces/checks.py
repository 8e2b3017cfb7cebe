"""What is looked at before a graph is built: bad input costs a second, not a run."""

from pathlib import Path

import nibabel as nib
import numpy as np

from secondglance.imaging.errors import InputError
from secondglance.imaging.slices import slice_grid
from secondglance.models.choices import MINIMUM_SIDE


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


def check_scan(scan, settings, reference: Path | None = None) -> None:
    """Look at a scan before its graph is built.

    Parameters
    ----------
    scan : secondglance.interfaces.bids.Scan
    settings : secondglance.pipelines.subject.Settings
    reference : Path, optional

    Raises
    ------
    InputError
        For every fault of :func:`read_volume`; also if there is no b0 volume, ``.bval`` is of
        another length, a slice is smaller than the network needs, or the reference lies on
        another grid.
    """
    from secondglance.imaging.gradients import select_b0
    from secondglance.imaging.species import BRAIN_SIZE
    from secondglance.interfaces.preprocessing import read_bvals
    from secondglance.interfaces.stacks import affine_of
    from secondglance.models.weights import weights_spacing

    image, voxels = read_volume(scan.path)
    n_volumes = voxels.shape[3] if voxels.ndim == 4 else 1
    bvals = read_bvals(scan.bval) if scan.bval is not None else None
    try:
        select_b0(bvals, n_volumes, threshold=settings.b0_threshold, all_b0=settings.all_b0)
    except InputError as error:
        raise InputError(f'{scan.bval or scan.path}: {error}') from error

    # Where it is not said whose head it is, it may be the smallest
    size = BRAIN_SIZE.get(settings.species, min(BRAIN_SIZE.values()))
    spacing = weights_spacing(settings.weights) * size
    grid = slice_grid(
        image.shape[:3],
        affine_of(image),
        spacing,
        slice_axis=settings.slice_axis,
        dim_info=image.header.get_dim_info()[2],
    )
    side = min(grid.stack_shape[1:])
    if side < MINIMUM_SIDE:
        raise InputError(
            f'{scan.path} has slices of {side * spacing:g} mm; the network needs '
            f'{MINIMUM_SIDE * spacing:g} mm at least: is --slice-axis right?'
        )
    region = settings.explain_region
    if isinstance(region, tuple) and any(
        not 0 <= index < size for index, size in zip(region, image.shape[:3], strict=True)
    ):
        raise InputError(
            f'Voxel {region} of --explain-region lies outside {scan.path}, whose shape is '
            f'{image.shape[:3]}.'
        )
    for what, path in (('Reference', reference), ('Region', region)):
        if not isinstance(path, Path):
            continue
        other, _ = read_volume(path)
        if other.shape[:3] != image.shape[:3] or not np.allclose(
            other.affine, image.affine, atol=1e-2
        ):
            raise InputError(f'{what} {path} lies on another grid than {scan.path}: resample it.')
