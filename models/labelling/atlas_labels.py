"""Tissue labels of one scan with a brain mask: the whole procedure on arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from secondglance.imaging.errors import InputError
from secondglance.imaging.labels import TISSUES
from secondglance.imaging.species import BRAIN_SIZE, species_of_section
from secondglance.imaging.tissue_mixture import Mixture, tissue_mixture
from secondglance.models.labelling.ants_registration import register_atlas, remove_coil_field

_LEAST_VOXELS = 500
"""Least number of voxels of a mask to which an atlas is registered."""

_THICK = 1.5
"""Times the smallest spacing from which on voxels are slices."""

_NEIGHBOUR_MM = 0.2
"""Reach of neighbours in expectation maximisation, in a rat."""


@dataclass(frozen=True)
class LabelOptions:
    """Options that change the labels; all are written to the card.

    Attributes
    ----------
    prior_weight : float
        Power of the atlas in expectation maximisation.
    neighbour_weight : float
        Power of a voxel's neighbours.
    iterations : tuple of int
        Of SyN, from coarse to fine.
    """

    prior_weight: float = 1.0
    neighbour_weight: float = 0.6
    iterations: tuple[int, ...] = (30, 25, 5)


@dataclass(frozen=True)
class AtlasLabels:
    """Labels of a scan by an atlas.

    Attributes
    ----------
    mixture : Mixture
        Tissue fractions.
    priors : (X, Y, Z, 3) float32 array
        The atlas on the grid of the scan.
    coordinates : (X, Y, Z, 3) float32 array
        Place of each voxel in the world of the atlas, mm; NaN outside the mask.
    """

    mixture: Mixture
    priors: NDArray[np.float32]
    coordinates: NDArray[np.float32]


def species_by_smallest_section(mask: ArrayLike, affine: ArrayLike) -> str:
    """Name the species of a brain by the size of its mask, however it is sliced.

    Parameters
    ----------
    mask : (X, Y, Z) array
    affine : (4, 4) array
        Voxel to world, mm of the animal.

    Returns
    -------
    {'rat', 'mouse'}

    Examples
    --------
    >>> species_by_smallest_section(np.ones((30, 40, 20)), np.diag([0.5, 0.5, 0.5, 1]))
    'rat'
    >>> species_by_smallest_section(np.ones((30, 40, 20)), np.diag([0.3, 0.3, 0.3, 1]))
    'mouse'
    """
    mask = np.asarray(mask, bool)
    sizes = np.linalg.norm(np.asarray(affine, float)[:3, :3], axis=0)
    areas = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        areas.append(mask.sum(axis=others).max() * sizes[list(others)].prod())
    # A brain is longer than wide or high: its smallest section is the coronal one
    return species_of_section(float(min(areas)))


def label_by_atlas(
    voxels: ArrayLike,
    mask: ArrayLike,
    affine: ArrayLike,
    maps: ArrayLike,
    atlas_affine: ArrayLike,
    *,
    species: str,
    options: LabelOptions | None = None,
) -> AtlasLabels:
    """Label the tissues of a scan inside a brain mask.

    The coil field is removed (N4), the atlas registered (affine, then SyN), and its maps are the
    priors of expectation maximisation. In slices that are thicker than wide, priors are the mean
    over the thickness.

    Parameters
    ----------
    voxels : (X, Y, Z) array
    mask : (X, Y, Z) bool array
    affine : (4, 4) array
        Voxel to mm.
    maps : (3, A, B, C) array
        Priors of WM, GM and CSF in the atlas, in [0, 1].
    atlas_affine : (4, 4) array
    species : str
        ``rat`` or ``mouse``.
    options : LabelOptions, optional

    Returns
    -------
    AtlasLabels

    Raises
    ------
    InputError
        If the mask is empty or too small, or the image is constant inside it.
    """
    options = options or LabelOptions()
    voxels, mask = np.asarray(voxels, np.float32), np.asarray(mask, bool)
    affine, atlas_affine = np.asarray(affine, float), np.asarray(atlas_affine, float)
    if mask.sum() < _LEAST_VOXELS:
        raise InputError(
            f'The brain mask has {int(mask.sum())} voxels; at least {_LEAST_VOXELS} are needed.'
        )
    if not np.percentile(voxels[mask], 99.5) > np.percentile(voxels[mask], 0.5) >= 0:
        raise InputError('The image is constant or negative inside the brain mask.')
    size = BRAIN_SIZE[species]
    corrected = remove_coil_field(voxels, mask, affine)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    inside = np.argwhere(mask)
    priors = np.zeros((*mask.shape, len(TISSUES)), np.float32)
    coordinates = np.full((*mask.shape, 3), np.nan, np.float32)
    with register_atlas(
        corrected,
        mask,
        affine,
        maps,
        atlas_affine,
        brain_size=size,
        iterations=options.iterations,
    ) as to_atlas:
        coordinates[mask] = to_atlas(_move(affine, inside))
        steps = _steps(spacing)
        found = [
            _sample(maps, atlas_affine, to_atlas(_move(affine, inside + step))) for step in steps
        ]
    priors[mask] = np.mean(found, axis=0)
    sigma = tuple(float(value) for value in _NEIGHBOUR_MM * size / spacing)
    mixture = tissue_mixture(
        corrected,
        mask,
        priors,
        prior_weight=options.prior_weight,
        neighbour_weight=options.neighbour_weight,
        neighbour_sigma=(sigma[0], sigma[1], sigma[2]),
    )
    return AtlasLabels(mixture, priors, coordinates)


def _steps(spacing: NDArray) -> NDArray[np.float64]:
    """Places within a voxel at which the atlas is looked up: four through a thick slice."""
    axis = int(np.argmax(spacing))
    if spacing[axis] < _THICK * spacing.min():
        return np.zeros((1, 3))
    steps = np.zeros((4, 3))
    steps[:, axis] = (-0.375, -0.125, 0.125, 0.375)
    return steps


def _move(matrix: NDArray, points: NDArray) -> NDArray[np.float64]:
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def _sample(maps: ArrayLike, affine: NDArray, points: NDArray) -> NDArray[np.float64]:
    voxel = _move(np.linalg.inv(affine), points).T
    return np.stack(
        [ndimage.map_coordinates(one, voxel, order=1) for one in np.asarray(maps, float)], axis=-1
    )
