"""Checks of a scan before its graph is built."""

from pathlib import Path

import numpy as np

from secondglance.files.nifti import read_volume
from secondglance.imaging.errors import InputError
from secondglance.imaging.grids import slice_grid
from secondglance.models.choices import MINIMUM_SIDE


def check_scan(scan, settings, reference: Path | None = None) -> None:
    """Look at a scan before its graph is built.

    Parameters
    ----------
    scan : secondglance.files.bids.Scan
    settings : secondglance.pipelines.settings.Settings
    reference : Path, optional

    Raises
    ------
    InputError
        For every fault of :func:`read_volume`; also if there is no b0 volume, ``.bval`` is of
        another length, a slice is smaller than the network needs, or the reference lies on
        another grid.
    """
    from secondglance.files.geometry import affine_of
    from secondglance.files.gradients import read_bvals
    from secondglance.imaging.diffusion import select_b0
    from secondglance.imaging.species import BRAIN_SIZE
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
