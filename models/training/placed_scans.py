"""Labelled scans as training material of the second glance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from secondglance.files.bids import find_reference
from secondglance.files.digests import digest_of_voxels
from secondglance.files.labelled import Labelled, find_labelled
from secondglance.imaging.errors import InputError
from secondglance.imaging.head_size import species_of_brain
from secondglance.imaging.labels import TISSUES
from secondglance.imaging.pose import Pose
from secondglance.imaging.species import AUTO
from secondglance.models.second_glance.volume import own_grid
from secondglance.simulation.placed_stack import PlacedStack


@dataclass(frozen=True)
class PlacedScan:
    """A labelled scan on its own pixels.

    Attributes
    ----------
    name : str
    stack : PlacedStack
    digest : str
        Of the voxels of its file, by which a copy of another name is recognised; empty where it
        is of no file.
    """

    name: str
    stack: PlacedStack
    digest: str = ''

    @property
    def animal(self) -> str:
        """The animal that was scanned."""
        return self.stack.animal


def read_placed_scans(
    bids_dir: Path,
    suffix: str,
    subjects: Sequence[str] | None = None,
    reference: Path | None = None,
    species: str = AUTO,
) -> list[PlacedScan]:
    """Read scans with tissue labels as stacks of coronal slices on their own pixels.

    Beside labels (``_dseg``), fractions (``_label-WM_probseg`` and so on) are used where they
    are, and coordinates in the rat atlas (``_desc-coordinates_map``, three volumes, mm, zero
    where unknown).

    Parameters
    ----------
    bids_dir, suffix, subjects, reference
        As of `secondglance.files.labelled.find_labelled`.
    species : {'auto', 'rat', 'mouse'}
        By the size of the brain where not given.

    Returns
    -------
    list of PlacedScan

    Raises
    ------
    InputError
        As `find_labelled`; also if no scan has tissue labels, or grids differ.
    """
    folder = reference or bids_dir / 'derivatives' / 'reference'
    found = []
    for one in find_labelled(bids_dir, suffix, subjects, reference):
        path = find_reference(folder, one.scan)
        if one.tissues and path is not None:
            stack = _placed(one, path, species)
            found.append(PlacedScan(one.scan.name, stack, digest_of_voxels(one.voxels)))
    if not found:
        raise InputError(
            f'No …_{suffix} image in {bids_dir} has tissue labels (_dseg) in {folder}; make them '
            'with `secondglance label`.'
        )
    return found


def _placed(one: Labelled, path: Path, species: str) -> PlacedStack:
    inside = one.labels > 0
    found_species = species_of_brain(inside, one.affine) if species == AUTO else species
    grid = own_grid(one.voxels.shape, one.affine, Pose(found_species, 1.0))

    def stack(volumes: NDArray) -> NDArray[np.float32]:
        return np.stack([grid.to_stack(v) for v in np.moveaxis(volumes, -1, 0)], axis=1)

    stem = path.name.split('_dseg')[0]
    shares = _beside(path, [f'{stem}_label-{tissue}_probseg.nii.gz' for tissue in TISSUES], inside)
    if shares is None:
        shares = np.stack([one.labels == k for k in (1, 2, 3)], axis=-1).astype(np.float32)
    places = _beside(path, [f'{stem}_desc-coordinates_map.nii.gz'], inside)
    placed = (
        np.zeros(inside.shape) if places is None else np.isfinite(places).all(axis=-1) & inside
    )
    if places is None:
        places = np.zeros((*inside.shape, 3), np.float32)
    mask = grid.to_stack(inside)
    return PlacedStack(
        grid.to_stack(one.voxels),
        mask,
        stack(shares),
        (mask > 0.5).astype(np.float32),
        stack(np.nan_to_num(places)),
        (grid.to_stack(placed) > 0.99).astype(np.float32),
        # A person draws where the brain ends, not how much of a pixel it fills
        np.full(mask.shape, -1, np.float32),
        grid.positions,
        grid.spacing,
        found_species,
        one.scan.subject,
    )


def _beside(path: Path, names: Sequence[str], inside: NDArray[np.bool_]) -> NDArray | None:
    """Volumes beside a file, stacked along the last axis; None where one is missing."""
    paths = [path.with_name(name) for name in names]
    if not all(p.exists() for p in paths):
        return None
    volumes = []
    for one in paths:
        # Not by `read_volume`: a tissue may well be nowhere
        voxels = np.nan_to_num(nib.load(one).get_fdata(dtype=np.float32))
        if voxels.shape[:3] != inside.shape:
            raise InputError(
                f'{one} has shape {voxels.shape}, but its labels {inside.shape}; resample it to '
                'the grid of the image.'
            )
        volumes.append(voxels if voxels.ndim == 4 else voxels[..., None])
    return np.concatenate(volumes, axis=-1)
