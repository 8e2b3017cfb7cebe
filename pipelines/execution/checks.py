"""Checks of a scan before its graph is built."""

from pathlib import Path

import numpy as np

from secondglance.files.bids import Scan
from secondglance.files.geometry import affine_of, dim_info_of
from secondglance.files.gradients import read_bvals
from secondglance.files.nifti import read_volume
from secondglance.imaging.diffusion import select_b0
from secondglance.imaging.errors import InputError
from secondglance.imaging.pose import Pose
from secondglance.imaging.species import BRAIN_SIZE
from secondglance.models.choices import MINIMUM_SIDE
from secondglance.models.weights import weights_spacing
from secondglance.pipelines.settings import Method


def check_scan(scan: Scan, method: Method, reference: Path | None = None) -> None:
    """Look at a scan before its graph is built.

    Parameters
    ----------
    scan : Scan
    method : Method
    reference : Path, optional

    Raises
    ------
    InputError
        For every fault of :func:`read_volume`; also if there is no b0 volume, ``.bval`` is of
        another length, a slice is smaller than the network needs, or the reference lies on
        another grid.
    """
    image, voxels = read_volume(scan.path)
    n_volumes = voxels.shape[3] if voxels.ndim == 4 else 1
    bvals = read_bvals(scan.bval) if scan.bval is not None else None
    try:
        select_b0(bvals, n_volumes, threshold=method.b0_threshold, all_b0=method.all_b0)
    except InputError as error:
        raise InputError(f'{scan.bval or scan.path}: {error}') from error

    # Where it is not said whose head it is, it may be the smallest
    size = BRAIN_SIZE.get(method.species, min(BRAIN_SIZE.values()))
    spacing = weights_spacing(method.weights) * size
    pose = Pose('rat', spacing, method.slice_axis)
    grid = pose.grid(image.shape[:3], affine_of(image), dim_info_of(image))
    side = min(grid.stack_shape[1:])
    if side < MINIMUM_SIDE:
        raise InputError(
            f'{scan.path} has slices of {side * spacing:g} mm; the network needs '
            f'{MINIMUM_SIDE * spacing:g} mm at least: is --slice-axis right?'
        )
    region = method.explain_region
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
