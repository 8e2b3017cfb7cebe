"""Checks of a scan before its graph is built."""

from pathlib import Path

import numpy as np

from secondglance.files.bids import Scan
from secondglance.files.gradient_table import read_bvals, read_bvecs
from secondglance.files.labels import read_reference
from secondglance.files.nifti import check_values, read_volume
from secondglance.files.nifti_header import check_geometry
from secondglance.imaging.diffusion import leave_out_empty, select_b0
from secondglance.imaging.errors import InputError
from secondglance.imaging.pose import Pose
from secondglance.imaging.species import BRAIN_SIZE
from secondglance.models.choices import MINIMUM_SIDE
from secondglance.models.weights import weights_spacing
from secondglance.pipelines.settings import Method

_SAME_GRID_MM = 0.01
"""Affines that differ by less are of one grid."""


def check_scan(scan: Scan, method: Method, reference: Path | None = None) -> None:
    """Check a scan before its graph is built.

    Parameters
    ----------
    scan : Scan
    method : Method
    reference : Path, optional

    Raises
    ------
    InputError
        For every fault of :func:`read_volume`; also if there is no b0 volume, ``.bval`` is of
        another length, lengths of the header contradict each other, a slice is smaller than the
        network needs, the reference lies on another grid, or
        nothing says what its labels are.
    """
    image, voxels = read_volume(scan.path)
    voxels = voxels.reshape(*voxels.shape[:3], -1)
    bvals = read_bvals(scan.bval) if scan.bval is not None else None
    try:
        chosen = select_b0(bvals, voxels.shape[3], method.b0_threshold, method.all_b0)
        chosen, _ = leave_out_empty(voxels, chosen)
    except InputError as error:
        raise InputError(f'{scan.bval or scan.path}: {error}') from error
    check_values(scan.path, voxels[..., chosen[0]])

    # Where the species is not given, it may be the smallest
    size = BRAIN_SIZE.get(method.species, min(BRAIN_SIZE.values()))
    spacing = weights_spacing(method.weights) * size
    pose = Pose('rat', spacing, method.slice_axis)
    geometry = check_geometry(image, voxels[..., chosen[0]], method.voxel_scale)
    try:
        pose.check_extent(pose.grid(voxels.shape[:3], geometry.affine), MINIMUM_SIDE)
    except InputError as error:
        raise InputError(f'{scan.path}: {error}') from error
    region = method.explain_region
    if isinstance(region, tuple) and any(
        not 0 <= index < size for index, size in zip(region, voxels.shape[:3], strict=True)
    ):
        raise InputError(
            f'Voxel {region} of --explain-region lies outside {scan.path}, which has shape '
            f'{image.shape[:3]}.'
        )
    for what, path in (('Reference', reference), ('Region', region)):
        if not isinstance(path, Path):
            continue
        other, _ = read_volume(path, mask=True)
        apart = np.abs(other.affine - image.affine).max() / geometry.scale
        if other.shape[:3] != image.shape[:3] or not apart <= _SAME_GRID_MM:
            raise InputError(f'{what} {path} lies on another grid than {scan.path}: resample it.')
    if method.save_preproc and scan.bvec is not None:
        read_bvecs(scan.bvec, voxels.shape[3])
    if reference is not None:
        read_reference(reference)
