"""Scans of a BIDS data set with what a person has drawn on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secondglance.imaging.errors import InputError
from secondglance.imaging.gradients import select_b0
from secondglance.imaging.labels import CLASSES
from secondglance.imaging.slices import SliceGrid, slice_grid
from secondglance.imaging.species import AUTO, BRAIN_SIZE
from secondglance.interfaces.bids import (
    Scan,
    find_donor,
    find_reference,
    find_scans,
    find_subjects,
)
from secondglance.interfaces.checks import check_donor, read_volume
from secondglance.interfaces.preprocessing import read_bvals
from secondglance.interfaces.stacks import affine_of, species_of_brain, species_of_mask


@dataclass(frozen=True)
class Labelled:
    """One scan with its reference, on its own grid.

    Attributes
    ----------
    scan : Scan
    voxels : (X, Y, Z) float32 array
        Of a series the mean, of diffusion scans that of the b0 volumes.
    labels : (X, Y, Z) int array
        Places in `CLASSES`; a brain mask has ones alone.
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


@dataclass(frozen=True)
class Head:
    """One head as a stack, with its brain where there is a mask.

    Attributes
    ----------
    stack : (N, H, W) float32 array
    brain : (N, H, W) bool array or None
    grid : SliceGrid
    """

    stack: NDArray[np.float32]
    brain: NDArray[np.bool_] | None
    grid: SliceGrid


def read_head(
    image_path: Path,
    mask_path: Path | None,
    spacing: float,
    slice_axis: str = 'auto',
    quarter_turns: int = 0,
) -> Head:
    """Read one volume of a head, and a mask of its brain, as a stack.

    Parameters
    ----------
    image_path : path
    mask_path : path, optional
        On the same grid.
    spacing : float
        In plane, mm.
    slice_axis : {'auto', 'i', 'j', 'k'}
    quarter_turns : int
        By which the slices are turned.

    Returns
    -------
    Head

    Raises
    ------
    InputError
        If a file cannot be read, the image has several volumes, or the grids differ.
    """
    image, voxels = read_volume(image_path)
    if voxels.ndim != 3:
        raise InputError(f'{image_path} has {voxels.shape[3]} volumes: give one, or their mean.')
    if mask_path is not None:
        check_donor(image_path, mask_path)
    dim_info = image.header.get_dim_info()[2]
    grid = slice_grid(voxels.shape, affine_of(image), spacing, slice_axis, dim_info, quarter_turns)
    brain = None
    if mask_path is not None:
        brain = grid.to_stack(np.asarray(read_volume(mask_path)[1]) > 0) >= 0.5
    return Head(grid.to_stack(voxels), brain, grid)


def look_at_donors(model, folders: Sequence[Path], device: str = 'cpu') -> list[tuple[str, Any]]:
    """Look at the heads of donors as at subjects.

    Parameters
    ----------
    model : secondglance.models.weights.LoadedModel
    folders : sequence of path
        Each with an image and its brain mask.
    device : str

    Returns
    -------
    list of (str, secondglance.imaging.donors.Donor)
        Each, in the size of a rat, with the subject that it is: a donor's folder ends with the
        label of its animal.

    Raises
    ------
    InputError
        As of `read_head`.
    """
    from secondglance.models.glances import look_at_donor

    donors = []
    for folder in folders:
        image, mask = find_donor(folder)
        size = BRAIN_SIZE[species_of_mask(mask)]
        head = read_head(image, mask, model.spacing * size)
        positions = head.grid.positions / size
        seen = look_at_donor(model, head.stack, head.brain, positions, device=device)
        donors.append((f'sub-{folder.name.rpartition("-")[2]}', seen))
    return donors


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
        given.

    Yields
    ------
    Labelled

    Raises
    ------
    InputError
        If a subject named is not there, a file cannot be read, grids differ, labels are others
        than 0 to 3, or no scan has a reference.
    """
    folder = reference or bids_dir / 'derivatives' / 'reference'
    if not folder.is_dir():
        raise InputError(
            f'{folder} is not a folder: give --reference the derivatives with labels.'
        )
    n_found = 0
    for subject in subjects or find_subjects(bids_dir):
        try:
            scans = find_scans(bids_dir, subject, suffix)
        except InputError:
            if subjects:
                raise
            continue
        for scan in scans:
            path = find_reference(folder, scan)
            if path is not None:
                n_found += 1
                yield read_labelled(scan, path)
    if not n_found:
        raise InputError(
            f'No …_{suffix} image in {bids_dir} has a reference in {folder}: is --suffix right?'
        )


def read_labelled(scan: Scan, reference: Path) -> Labelled:
    """Read one scan and its reference; errors as of `find_labelled`."""
    image, voxels = read_volume(scan.path)
    labels = np.rint(read_volume(reference)[1]).astype(np.int64)
    if voxels.ndim == 4:
        bvals = read_bvals(scan.bval) if scan.bval is not None else None
        chosen = select_b0(bvals, voxels.shape[3], all_b0=bvals is None)
        voxels = voxels[..., chosen].mean(axis=3)
    labels = labels if labels.ndim == 3 else labels[..., 0]
    if labels.shape != voxels.shape:
        raise InputError(
            f'Reference {reference} has shape {labels.shape}, but {scan.path} has '
            f'{voxels.shape}; resample it to the grid of the image.'
        )
    if labels.min() < 0 or labels.max() >= len(CLASSES):
        raise InputError(
            f'Reference {reference} must hold 0 background, 1 WM, 2 GM and 3 CSF, or be a brain '
            f'mask of 0 and 1; it holds {labels.min()} to {labels.max()}.'
        )
    return Labelled(scan, voxels, labels, bool(labels.max() > 1), affine_of(image))


def read_labelled_scans(
    bids_dir: Path,
    suffix: str,
    spacing: float,
    subjects: Sequence[str] | None = None,
    reference: Path | None = None,
    species: str = AUTO,
) -> list:
    """Read the labelled scans of a data set as stacks to train on.

    Parameters
    ----------
    bids_dir, suffix, subjects, reference
        As of `find_labelled`.
    spacing : float
        In-plane spacing of the stacks, in mm.
    species : {'auto', 'rat', 'mouse'}
        A smaller one is seen with pixels as much smaller, and its slices lie where those of a rat
        of its shape would; told by the size of what is labelled where not given.

    Returns
    -------
    list of secondglance.models.scans.LabelledScan
    """
    from secondglance.models.scans import UNKNOWN, LabelledScan

    scans = []
    for found in find_labelled(bids_dir, suffix, subjects, reference):
        inside = found.labels > 0
        whose = species_of_brain(inside, found.affine) if species == AUTO else species
        relative_size = BRAIN_SIZE[whose]
        grid = slice_grid(found.voxels.shape, found.affine, spacing * relative_size)
        brain = grid.to_stack(inside) >= 0.5
        if found.tissues:
            shares = [grid.to_stack(found.labels == k) for k in (1, 2, 3)]
            labels = np.where(brain, np.argmax(shares, axis=0) + 1, 0)
        else:
            labels = np.where(brain, UNKNOWN, 0)
        scans.append(
            LabelledScan(
                animal=found.scan.subject,
                name=found.scan.name,
                images=grid.to_stack(found.voxels),
                labels=labels.astype(np.int64),
                positions=grid.positions / relative_size,
            )
        )
    return scans
