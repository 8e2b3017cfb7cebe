"""Simulated animals: random size, pose and shape of an atlas, cut into slices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation
from torch.nn import functional

from secondglance.simulation.atlas import TISSUE_MAPS, Atlas

THICKNESS_MM = (0.4, 1.2)
"""Slice thickness drawn for training, in mm: from thin simulated to thick real EPI slices."""


FINE_MM = 0.15
"""Through-plane sampling of an animal, in mm; slices are averages of these."""


@dataclass(frozen=True)
class Animal:
    """One simulated animal, ready to be sliced.

    Attributes
    ----------
    cumulative : tensor of float32, shape (Y + 1, 6, H, W)
        Running sum, over coronal planes 0.15 mm apart, of the tissue maps and of the distance to
        the brain in mm, so that the average over any slab of planes is one difference.
    planes : tuple of int
        First and last plane that holds brain.
    spacing : float
        In plane, in mm.
    coordinates : tensor of float32, shape (Y + 1, 3, H, W), optional
        Running sum of the place in the atlas, in mm of its world.
    """

    cumulative: torch.Tensor
    planes: tuple[int, int]
    spacing: float
    coordinates: torch.Tensor | None = None

    @property
    def extent_mm(self) -> tuple[float, float]:
        """Where the brain begins and ends, in mm from the first plane."""
        return self.planes[0] * FINE_MM, self.planes[1] * FINE_MM


def draw_animal(
    atlas: Atlas,
    rng: np.random.Generator,
    spacing: float = 0.375,
    side: int = 64,
    scale_range: tuple[float, float] = (0.8, 1.2),
    *,
    coordinates: bool = False,
) -> Animal:
    """Draw an animal: size ± 20 %, proportions ± 12 %, rotation ± 12°, smooth warp.

    Parameters
    ----------
    atlas : Atlas
    rng : numpy.random.Generator
    spacing : float
        In-plane spacing in mm.
    side : int
        Pixels of the square slices; the head is centred in them.
    scale_range : tuple of float
        Least and greatest size beside the atlas.
    coordinates : bool
        Whether the place of every pixel in the atlas is kept.

    Returns
    -------
    Animal
    """
    scale = rng.uniform(*scale_range) * rng.uniform(0.88, 1.12, 3)
    turn = Rotation.from_euler('xyz', rng.uniform(-12.0, 12.0, 3), degrees=True).as_matrix()
    # A few control points 4-5 mm apart, moved by 0.25 to 0.7 mm: brains differ smoothly.
    moved = rng.uniform(0.25, 0.7)
    control = torch.from_numpy(rng.normal(0.0, moved, (1, 3, 5, 6, 5)).astype(np.float32))

    size = np.array(atlas.maps.shape[1:]) * np.array(atlas.spacing)
    tissue = atlas.maps[TISSUE_MAPS].sum(dim=0) > 0.5
    where = torch.nonzero(tissue).numpy()
    middle = (where.min(axis=0) + where.max(axis=0)) / 2 * np.array(atlas.spacing)
    n_planes = int(np.ceil(size[1] * 1.2 / FINE_MM))
    # Twice as fine in plane, averaged below: a pixel is an area, not a point.
    fine = spacing / 2
    in_plane = (np.arange(2 * side) - side + 0.5) * fine
    through = (np.arange(n_planes) - (n_planes - 1) / 2) * FINE_MM
    inverse = torch.from_numpy((turn / scale).T.astype(np.float32))
    warp = functional.interpolate(
        control, size=(2 * side, n_planes, 2 * side), mode='trilinear', align_corners=True
    )[0]
    grid = torch.stack(
        torch.meshgrid(
            *(torch.from_numpy(a.astype(np.float32)) for a in (in_plane, through, in_plane)),
            indexing='ij',
        )
    )
    points = torch.einsum('ij,jxyz->xyzi', inverse, grid + warp)
    points += torch.from_numpy(middle.astype(np.float32))
    places = None
    if coordinates:
        places = functional.avg_pool2d(points.permute(1, 3, 0, 2), 2)
        places += torch.tensor(atlas.origin)[:, None, None]
    # grid_sample wants the last axis first and [-1, 1] from the first to the last voxel.
    extent = torch.from_numpy(((np.array(atlas.maps.shape[1:]) - 1) * atlas.spacing).astype('f4'))
    points = (2 * points / extent - 1).flip(-1)
    # Beyond the edge of the atlas goes on what lies at its edge, the skull and outside.
    sampled = functional.grid_sample(
        atlas.maps[None], points[None], padding_mode='border', align_corners=True
    )[0]
    planes = functional.avg_pool2d(sampled.permute(2, 0, 1, 3), 2)
    has_brain = (planes[:, TISSUE_MAPS].sum(dim=1) > 0.5).sum(dim=(1, 2)) > 20
    held = torch.nonzero(has_brain).flatten()
    away = ndimage.distance_transform_edt(
        ~(planes[:, TISSUE_MAPS].sum(dim=1) > 0.5).numpy(), sampling=(FINE_MM, spacing, spacing)
    )
    planes = torch.cat([planes, torch.from_numpy(away.astype(np.float32))[:, None]], dim=1)
    return Animal(
        _running_sum(planes),
        (int(held[0]), int(held[-1])),
        spacing,
        None if places is None else _running_sum(places),
    )


def _running_sum(planes: torch.Tensor) -> torch.Tensor:
    return torch.cat([torch.zeros_like(planes[:1]), planes.cumsum(dim=0)])


def cut_slices(animal: Animal, centres_mm: NDArray, thickness_mm: NDArray) -> torch.Tensor:
    """Average the tissue maps of an animal over slabs.

    Parameters
    ----------
    animal : Animal
    centres_mm : array, shape (B,)
        Middle of each slice, in mm from the first plane.
    thickness_mm : array, shape (B,)

    Returns
    -------
    tensor, shape (B, 6, H, W)
        Tissue maps, and the distance to the brain in mm.
    """
    return _cut(animal.cumulative, centres_mm, thickness_mm)


def cut_coordinates(animal: Animal, centres_mm: NDArray, thickness_mm: NDArray) -> torch.Tensor:
    """Average the place in the atlas over slabs, as `cut_slices` does the tissue maps.

    Parameters
    ----------
    animal : Animal
        Drawn with its coordinates.
    centres_mm, thickness_mm : array, shape (B,)
        As of `cut_slices`.

    Returns
    -------
    tensor, shape (B, 3, H, W)
        Right, anterior, superior, in mm of the atlas' world.

    Raises
    ------
    ValueError
        If the animal was drawn without coordinates.
    """
    if animal.coordinates is None:
        raise ValueError('The animal was drawn without coordinates.')
    return _cut(animal.coordinates, centres_mm, thickness_mm)


def _cut(running: torch.Tensor, centres_mm: NDArray, thickness_mm: NDArray) -> torch.Tensor:
    n = len(running) - 1
    first = np.clip(np.round((centres_mm - thickness_mm / 2) / FINE_MM), 0, n - 1).astype(int)
    count = np.maximum(np.round(thickness_mm / FINE_MM), 1).astype(int)
    last = np.minimum(first + count, n)
    slab = running[last] - running[first]
    return slab / torch.from_numpy((last - first).astype(np.float32))[:, None, None, None]


def cut_through(animal: Animal, thickness_mm: float) -> tuple[torch.Tensor, NDArray[np.float64]]:
    """Cut the whole brain of an animal into slices that touch.

    Parameters
    ----------
    animal : Animal
    thickness_mm : float

    Returns
    -------
    maps : tensor, shape (B, 6, H, W)
        As of `cut_slices`.
    centres_mm : array, shape (B,)
    """
    low, high = animal.extent_mm
    centres = np.arange(low, high, thickness_mm) + thickness_mm / 2
    return cut_slices(animal, centres, np.full(len(centres), thickness_mm)), centres
