"""Tissue maps of an atlas."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

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
    """Read tissue maps: one file each whose name ends with ``gm``, ``wm``, ``csf`` and so on.

    ``skull`` and ``out`` may be missing: what the tissues leave over is then outside.

    Parameters
    ----------
    directory : path
        Holds ``*gm.nii.gz``, ``*wm.nii.gz`` and ``*csf.nii.gz`` on one grid, values in [0, 1].

    Returns
    -------
    Atlas

    Raises
    ------
    InputError
        If a map is missing, given twice, unreadable or on another grid.
    """
    import nibabel as nib
    from nibabel import filebasedimages

    found: dict[str, NDArray[np.float32]] = {}
    spacing: tuple[float, float, float] | None = None
    origin = (0.0, 0.0, 0.0)
    for tissue in MAPS:
        paths = sorted(
            path
            for suffix in ('nii', 'nii.gz')
            for path in Path(directory).glob(f'*{tissue}.{suffix}')
        )
        if not paths and tissue in ('skull', 'out'):
            continue
        if len(paths) != 1:
            raise InputError(
                f'Atlas {directory} has {len(paths)} files named *{tissue}.nii.gz; exactly one '
                'each for gm, wm and csf (and at most one for skull and out) is needed.'
            )
        try:
            image = nib.as_closest_canonical(nib.load(paths[0]))  # type: ignore[attr-defined]
            found[tissue] = image.get_fdata(dtype=np.float32)
        except (OSError, EOFError, filebasedimages.ImageFileError) as error:
            raise InputError(f'Tissue map {paths[0]} cannot be read; copy it again.') from error
        spacing = tuple(float(zoom) for zoom in image.header.get_zooms()[:3])  # type: ignore
        origin = tuple(float(x) for x in image.affine[:3, 3])  # type: ignore
    shapes = {array.shape for array in found.values()}
    if len(shapes) != 1 or spacing is None:
        raise InputError(f'The tissue maps of atlas {directory} lie on different grids: {shapes}.')
    empty = np.zeros(shapes.pop(), np.float32)
    maps = np.stack([np.clip(found.get(tissue, empty), 0.0, 1.0) for tissue in MAPS])
    # Maps of a real atlas overlap and leave gaps; what no map claims is outside.
    inside = maps[1:].sum(axis=0)
    maps[0] = np.maximum(maps[0], 1.0 - inside)
    maps /= maps.sum(axis=0)
    tidy = continue_cord(tidy_maps(maps, spacing), spacing)
    return Atlas(torch.from_numpy(tidy), spacing, origin)


def read_maps(folder: Path | None = None) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Read the tissue maps of an atlas.

    Parameters
    ----------
    folder : Path, optional
        With one file each whose name, in small letters or capitals, ends in ``wm``, ``gm``,
        ``csf`` and, if there is one, ``skull``, or in ``WM_probseg`` and so on as in BIDS,
        before ``.nii`` or ``.nii.gz``; values in [0, 1]. By default the atlas that ships.

    Returns
    -------
    maps : dict of (X, Y, Z) arrays
    affine : (4, 4) array

    Raises
    ------
    InputError
        If a map is missing, is no volume of probabilities, or lies on another grid.
    """
    from secondglance.data import atlas_path
    from secondglance.files.nifti import read_volume

    folder = folder or atlas_path()
    maps, affines = {}, []
    for tissue in ('wm', 'gm', 'csf', 'skull'):
        ending = re.compile(rf'{tissue}(_probseg)?\.nii(\.gz)?$', re.IGNORECASE)
        files = sorted(path for path in folder.glob('*.nii*') if ending.search(path.name))
        if not files and tissue == 'skull':
            continue
        if len(files) != 1:
            raise InputError(
                f'Atlas {folder} must hold one file named *{tissue}.nii.gz, found {len(files)}.'
            )
        image, voxels = read_volume(files[0])
        # Interpolated maps overshoot a little; 0 to 100 or 0 to 255 is another matter
        if voxels.ndim != 3 or voxels.min() < -0.05 or voxels.max() > 1.05:
            raise InputError(
                f'{files[0]} has shape {voxels.shape} and values from {voxels.min():g} to '
                f'{voxels.max():g}: a tissue map is one volume of probabilities from 0 to 1.'
            )
        maps[tissue] = np.clip(voxels, 0, 1)
        affines.append(image.affine)
    if len({m.shape for m in maps.values()}) > 1 or not np.allclose(affines, affines[0]):
        raise InputError(f'The tissue maps of atlas {folder} lie on different grids.')
    return maps, affines[0]
