"""Tissue maps of an atlas."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from secondglance.data import atlas_path
from secondglance.files.nifti import read_volume
from secondglance.imaging.errors import InputError
from secondglance.imaging.labels import CLASSES
from secondglance.simulation.atlas_repair import continue_cord, tidy_maps

MAPS: tuple[str, ...] = ('out', 'wm', 'gm', 'csf', 'skull')
"""Order of the tissue maps; the first four have the place of their class in `CLASSES`."""


TISSUE_MAPS = slice(1, len(CLASSES))


SKULL_MAP = MAPS.index('skull')


@dataclass(frozen=True)
class Atlas:
    """Tissue maps of one brain on one grid.

    Attributes
    ----------
    maps : tensor of float32, shape (5, X, Y, Z)
        Probabilities in the order of `MAPS`, canonical axes (R, A, S); they sum to one.
    spacing : tuple of float
        Voxel size in mm.
    origin : tuple of float
        Centre of the first voxel, in mm of the atlas' world.
    """

    maps: torch.Tensor
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)


def read_atlas(directory: str | os.PathLike[str]) -> Atlas:
    """Read the tissue maps of an atlas, turned to canonical axes and tidied.

    What the maps of the tissues and the skull leave over is outside.

    Parameters
    ----------
    directory : path
        Files as of :func:`read_maps`, and one that ends in ``out``, if there is one.

    Returns
    -------
    Atlas

    Raises
    ------
    InputError
        As of :func:`read_maps`.
    """
    found = {
        tissue: nib.as_closest_canonical(image)
        for tissue, image in _read_images(Path(directory), MAPS).items()
    }
    image = found['gm']
    dx, dy, dz = (float(zoom) for zoom in image.header.get_zooms()[:3])
    spacing = (dx, dy, dz)
    x, y, z = (float(place) for place in image.affine[:3, 3])
    empty = np.zeros(image.shape, np.float32)
    maps = np.stack(
        [found[name].get_fdata(dtype=np.float32) if name in found else empty for name in MAPS]
    )
    # Maps of a real atlas overlap and leave gaps; what no map claims is outside.
    inside = maps[1:].sum(axis=0)
    maps[0] = np.maximum(maps[0], 1.0 - inside)
    maps /= maps.sum(axis=0)
    tidy = continue_cord(tidy_maps(maps, spacing), spacing)
    return Atlas(torch.from_numpy(tidy), spacing, (x, y, z))


def read_maps(folder: Path | None = None) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Read the tissue maps of an atlas as they lie in their files.

    Parameters
    ----------
    folder : Path, optional
        With one file each that is named, in small letters or capitals, to end in ``wm``, ``gm``,
        ``csf`` and, if there is one, ``skull``, or in ``WM_probseg`` and so on as in BIDS,
        before ``.nii`` or ``.nii.gz``; values in [0, 1]. By default the atlas that ships.

    Returns
    -------
    maps : dict of (X, Y, Z) float32 arrays
    affine : (4, 4) array

    Raises
    ------
    InputError
        If a map is missing, given twice, unreadable, no volume of probabilities, or on another
        grid.
    """
    images = _read_images(folder or atlas_path(), ('wm', 'gm', 'csf', 'skull'))
    maps = {tissue: image.get_fdata(dtype=np.float32) for tissue, image in images.items()}
    return maps, images['wm'].affine


def _read_images(folder: Path, tissues: tuple[str, ...]) -> dict[str, nib.Nifti1Image]:
    """Read those maps of a folder that it has, clipped to [0, 1]."""
    images: dict[str, nib.Nifti1Image] = {}
    for tissue in tissues:
        ending = re.compile(rf'{tissue}(_probseg)?\.nii(\.gz)?$', re.IGNORECASE)
        files = sorted(path for path in folder.glob('*.nii*') if ending.search(path.name))
        if not files and tissue in ('skull', 'out'):
            continue
        if len(files) != 1:
            raise InputError(
                f'Atlas {folder} has {len(files)} files named *{tissue}.nii.gz; it must have one '
                'each for gm, wm and csf, and may have one for skull and one for out.'
            )
        image, voxels = read_volume(files[0], mask=True)
        # Interpolated maps overshoot a little; 0 to 100 or 0 to 255 is another matter
        if voxels.ndim != 3 or voxels.min() < -0.05 or voxels.max() > 1.05:
            raise InputError(
                f'{files[0]} has shape {voxels.shape} and values from {voxels.min():g} to '
                f'{voxels.max():g}: a tissue map is one volume of probabilities from 0 to 1.'
            )
        images[tissue] = nib.Nifti1Image(np.clip(voxels, 0, 1), image.affine, image.header)
    affines = [image.affine for image in images.values()]
    if len({image.shape for image in images.values()}) > 1 or not np.allclose(affines, affines[0]):
        raise InputError(f'The tissue maps of atlas {folder} lie on different grids.')
    return images
