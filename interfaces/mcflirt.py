"""FSL MCFLIRT."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np

from secondglance.imaging.errors import InputError

if TYPE_CHECKING:
    from secondglance.imaging.motion_correction import MotionEstimate

MCFLIRT_SCALE = 10.0
"""MCFLIRT is tuned to human voxels: it gets a header with voxel sizes multiplied by 10."""

PASSES = 2
"""Of MCFLIRT inside a region."""

EDGE_VOXELS = 1.0
"""Width of the edge of that region."""


def mcflirt_path() -> Path | None:
    """Where FSL's MCFLIRT is, by ``FSLDIR``; None where it is not."""
    fsldir = os.environ.get('FSLDIR')
    if not fsldir:
        return None
    path = Path(fsldir) / 'bin' / 'mcflirt'
    return path if path.is_file() and os.access(path, os.X_OK) else None


def resolve_engine(motion: str) -> str:
    """Resolve ``auto`` to an engine that is installed.

    Parameters
    ----------
    motion : {'auto', 'fsl', 'sitk', 'none'}

    Returns
    -------
    {'fsl', 'sitk', 'none'}

    Raises
    ------
    InputError
        If ``fsl`` is asked for and not there.
    """
    if motion == 'auto':
        return 'fsl' if mcflirt_path() else 'sitk'
    if motion == 'fsl' and not mcflirt_path():
        raise InputError(
            f'FSL is asked for, but $FSLDIR/bin/mcflirt is not there (FSLDIR is '
            f'{os.environ.get("FSLDIR", "not set")}): set FSLDIR or give --motion sitk.'
        )
    return motion


def mcflirt_in_region(
    volumes: np.ndarray,
    affine: np.ndarray,
    folder: Path,
    start: MotionEstimate,
    region: np.ndarray,
) -> MotionEstimate:
    """Let MCFLIRT improve an earlier estimate, inside a region.

    MCFLIRT knows no weights: volumes are brought to the reference by the earlier estimate, and
    what lies beyond the region is removed from them. The edge that this makes is the same in all
    volumes and holds them a little; so it is done `PASSES` times, each from the last.

    Parameters
    ----------
    volumes, affine, folder
        As of :func:`mcflirt_on_head`.
    start : MotionEstimate
        What is improved.
    region : (X, Y, Z) bool array
        Of the reference.

    Returns
    -------
    MotionEstimate
    """
    from scipy import ndimage

    from secondglance.imaging.motion import resample_motion

    weight = ndimage.gaussian_filter(region.astype(np.float32), EDGE_VOXELS)[..., None]
    found = start
    for _ in range(PASSES):
        inside = resample_motion(volumes, affine, found.matrices) * weight
        left = mcflirt_on_head(inside, affine, folder, found.reference)
        found = replace(left, matrices=left.matrices @ found.matrices)
    return found


def mcflirt_on_head(
    volumes: np.ndarray, affine: np.ndarray, folder: Path, reference: int | None = None
) -> MotionEstimate:
    """Let MCFLIRT find the motion of a head.

    Parameters
    ----------
    volumes : (X, Y, Z, B) array
    affine : (4, 4) array
        Voxel to world mm.
    folder : Path
        For what MCFLIRT reads and writes; emptied first, as MCFLIRT does not refresh matrices
        that an earlier run left.
    reference : int, optional
        By default the volume most like all others.

    Returns
    -------
    MotionEstimate

    Raises
    ------
    InputError
        If MCFLIRT fails.
    """
    from fsl.data.image import Image
    from fsl.transform.flirt import fromFlirt, readFlirt
    from fsl.utils.run import runfsl
    from fsl.wrappers import mcflirt

    from secondglance.imaging.motion import typical_volume

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    scaled = folder / 'scaled.nii.gz'
    nib.save(nib.Nifti1Image(volumes, np.diag([*[MCFLIRT_SCALE] * 3, 1]) @ affine), scaled)
    if reference is None:
        reference = typical_volume(volumes)
    options = {'cost': 'corratio', 'refvol': reference, 'mats': True}
    try:
        command = mcflirt(str(scaled), out=str(folder / 'out'), cmdonly=True, **options)
        # FSL's programs refuse to run without a type of output
        runfsl(command, env={'FSLOUTPUTTYPE': 'NIFTI_GZ', **os.environ})
        flirts = [
            readFlirt(str(folder / 'out.mat' / f'MAT_{t:04d}')) for t in range(volumes.shape[3])
        ]
    except Exception as error:  # fslpy, subprocess and numpy each have their own
        reason = ' '.join(str(error).split())
        raise InputError(
            f'MCFLIRT failed ({reason}): repair FSL in {os.environ.get("FSLDIR")} or give '
            '--motion sitk.'
        ) from error
    space = Image(str(scaled))
    matrices = np.stack([fromFlirt(flirt, space, space, 'world', 'world') for flirt in flirts])
    matrices[:, :3, 3] /= MCFLIRT_SCALE
    path = Path(os.environ['FSLDIR']) / 'etc' / 'fslversion'
    version = path.read_text().strip() if path.is_file() else 'unknown'
    # Asking which engine there is imports nothing that computes
    from secondglance.imaging.motion_correction import MotionEstimate

    return MotionEstimate(matrices, reference, version)
