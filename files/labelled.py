"""Reading labelled scans of a BIDS data set."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from secondglance.files.bids import Scan, find_reference, find_scans, find_subjects
from secondglance.files.gradient_table import read_bvals
from secondglance.files.labels import WITHOUT_TABLE, find_label_table, read_reference
from secondglance.files.nifti import check_values, read_volume
from secondglance.files.nifti_header import check_geometry
from secondglance.imaging.diffusion import select_b0
from secondglance.imaging.errors import InputError

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Labelled:
    """One scan with its reference, on its own grid.

    Attributes
    ----------
    scan : Scan
    voxels : (X, Y, Z) float32 array
        Of a series the mean, of diffusion scans that of the b0 volumes.
    labels : (X, Y, Z) int array
        Places in `secondglance.imaging.labels.CLASSES`; a brain mask has ones alone.
    tissues : bool
        Whether `labels` tells tissues apart.
    affine : (4, 4) array
        Voxel to mm of the animal.
    """

    scan: Scan
    voxels: NDArray[np.float32]
    labels: NDArray[np.int64]
    tissues: bool
    affine: NDArray[np.float64]


def find_labelled(
    bids_dir: Path,
    suffix: str,
    subjects: Sequence[str] | None = None,
    reference: Path | None = None,
) -> Iterator[Labelled]:
    """Read the scans of a data set that have a reference.

    Parameters
    ----------
    bids_dir : path
    suffix : str
        Which image: T2w, sbref, dwi, …
    subjects : sequence of str, optional
        Labels, with or without prefix; all where not given.
    reference : path, optional
        Derivatives with ``_dseg`` or ``_desc-brain_mask``; ``derivatives/reference`` where not
        given. What labels are, their own table says (``dseg.tsv``); without one they are read as
        BIDS has them, which is logged once.

    Yields
    ------
    Labelled

    Raises
    ------
    InputError
        If a subject named is not there or has no reference, a file cannot be read, grids differ,
        nothing says what a label is, or no scan has a reference.
    """
    folder = reference or bids_dir / 'derivatives' / 'reference'
    if not folder.is_dir():
        raise InputError(
            f'{folder} is not a folder: give --reference the derivatives with labels.'
        )
    n_found, told, missing = 0, False, ''
    for subject in subjects or find_subjects(bids_dir):
        try:
            scans = find_scans(bids_dir, subject, suffix)
        except InputError:
            if subjects:
                raise
            continue
        n_before = n_found
        for scan in scans:
            path = find_reference(folder, scan)
            missing = missing or _expected(folder, scan)
            if path is not None:
                n_found += 1
                found = read_labelled(scan, path)
                if found.tissues and not told and find_label_table(path) is None:
                    told = True
                    _LOG.warning(WITHOUT_TABLE.format(path=path))
                yield found
        if subjects and n_found == n_before:
            raise InputError(
                f'{scans[0].subject} has no reference; it would be {_expected(folder, scans[0])}.'
            )
    if not n_found:
        raise InputError(
            f'No …_{suffix} image in {bids_dir} has a reference'
            + (f'; the first would be {missing}.' if missing else ': is --suffix right?')
        )


def _expected(folder: Path, scan: Scan) -> str:
    """Where the reference of a scan is looked for, in words."""
    stem = folder / scan.folder / scan.base
    return f'{stem}_dseg.nii.gz or {scan.base}_desc-brain_mask.nii.gz'


def read_labelled(scan: Scan, reference: Path) -> Labelled:
    """Read one scan and its reference; errors as of `find_labelled`."""
    image, voxels = read_volume(scan.path)
    read = read_reference(reference)
    labels = read.labels
    if voxels.ndim == 4:
        bvals = read_bvals(scan.bval) if scan.bval is not None else None
        chosen = select_b0(bvals, voxels.shape[3], all_b0=bvals is None)
        voxels = voxels[..., chosen].mean(axis=3)
    check_values(scan.path, voxels)
    if labels.shape != voxels.shape:
        raise InputError(
            f'Reference {reference} has shape {labels.shape}, but {scan.path} has '
            f'{voxels.shape}; resample it to the grid of the image.'
        )
    return Labelled(scan, voxels, labels, read.tissues, check_geometry(image, voxels).affine)
