"""Simulated brains with known tissue fractions and atlas coordinates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional

from secondglance.imaging.species import BRAIN_SIZE
from secondglance.simulation.animal import Animal, cut_coordinates, cut_slices
from secondglance.simulation.atlas import Atlas
from secondglance.simulation.brains import imperfect_masks
from secondglance.simulation.contrast import draw_contrast, vary_tissues
from secondglance.simulation.deformation import bend_grid, pose_grid, resample
from secondglance.simulation.head_slices import BEYOND_MM, render_heads
from secondglance.simulation.head_stack import along_head
from secondglance.simulation.random_fields import smooth_noise

THICKNESS_MM = (0.2, 1.2)
"""Distance of neighbouring slices that is drawn, mm of a rat."""


_LEAST_SHARE = 0.1
"""Of a pixel that is brain, from which the fractions of this brain are told."""


@dataclass(frozen=True)
class PlacedStack:
    """A stack with tissue fractions and atlas coordinates; lengths in mm of the animal.

    Attributes
    ----------
    images : (N, H, W) float32 array
    mask : (N, H, W) float32 array
        Brain mask that is given to the second glance.
    fractions : (N, 3, H, W) float32 array
        Share of WM, GM and CSF; their sum is one where they are known.
    known : (N, H, W) float32 array
        Weight of the fractions, 0 where they are not known.
    coordinates : (N, 3, H, W) float32 array
        In the rat atlas, mm.
    placed : (N, H, W) float32 array
        Weight of the coordinates.
    share : (N, H, W) float32 array
        Of each pixel that is brain; negative where it is not known.
    positions_mm : (N,) array
    in_plane_mm : float
    species : str
    animal : str
    """

    images: NDArray[np.float32]
    mask: NDArray[np.float32]
    fractions: NDArray[np.float32]
    known: NDArray[np.float32]
    coordinates: NDArray[np.float32]
    placed: NDArray[np.float32]
    share: NDArray[np.float32]
    positions_mm: NDArray[np.float64]
    in_plane_mm: float
    species: str
    animal: str = ''


def draw_placed(
    animal: Animal,
    rng: np.random.Generator,
    *,
    species: str = 'rat',
    thickness: float | None = None,
    perfect: bool = False,
    contrast: tuple[float, float, float] | None = None,
) -> PlacedStack:
    """Scan a simulated animal as a whole head, with an imperfect brain mask.

    Parameters
    ----------
    animal : Animal
        Drawn with coordinates, at the size of a rat.
    rng : numpy.random.Generator
    species : str
        A mouse is handed on at its own size.
    thickness : float, optional
        Distance of the slices, mm of a rat.
    perfect : bool
        Whether mask and brain are those of the atlas, without disease or errors.
    contrast : tuple of float, optional
        Brightness of WM, GM and CSF; random where not given.

    Returns
    -------
    PlacedStack
    """
    low, high = THICKNESS_MM
    if thickness is None:
        thickness = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    low, high = animal.extent_mm
    ends = np.array([low, high]) + rng.uniform(-0.5, BEYOND_MM, 2) * (0.3, 0.5)
    if rng.random() < 0.25 and not perfect:
        inwards = rng.uniform(0.1, 0.5) * (high - low)
        end = int(rng.integers(2))
        ends[end] = (low + inwards, high - inwards)[end]
    positions = np.arange(ends[0], ends[1], thickness)
    n = len(positions)
    along = along_head(rng, positions)
    thick = np.full(n, thickness * (1.0 if rng.random() < 0.7 else rng.uniform(0.7, 1.0)))
    maps = cut_slices(animal, positions, thick)
    places = cut_coordinates(animal, positions, thick)
    if rng.random() < 0.6 and not perfect:
        maps = vary_tissues(maps, along)
    maps, places = _pose_upright(maps, places, rng, along, animal.spacing)
    images, labels = render_heads(
        maps, along, animal.spacing, contrast=contrast or draw_contrast(rng)
    )
    tissue = maps[:, 1:4].sum(dim=1, keepdim=True)
    brain = labels > 0
    mask = brain if perfect else imperfect_masks(tissue * brain, along)
    if rng.random() < 0.35:
        # Handed over with the background removed
        images = images * functional.max_pool2d(mask.float(), 3, 1, 1)
    fractions = maps[:, 1:4] / tissue.clamp(min=_LEAST_SHARE)
    # Crumbs of the maps are no brain; pixels beside the mask hold some
    filled = (tissue.clamp(0, 1) * functional.max_pool2d(brain.float(), 3, 1, 1))[:, 0].numpy()
    known = (filled > _LEAST_SHARE).astype(np.float32)
    scale = BRAIN_SIZE[species]
    return PlacedStack(
        images[:, 0].numpy(),
        mask[:, 0].float().numpy(),
        fractions.numpy(),
        known,
        places.numpy(),
        known,
        filled,
        positions * scale,
        animal.spacing * scale,
        species,
    )


def _pose_upright(
    maps: torch.Tensor,
    places: torch.Tensor,
    rng: np.random.Generator,
    along: np.random.Generator,
    spacing: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pose the slices of one head alike: upright, a little turned, scaled, bent; or mirrored."""
    n, _, h, w = maps.shape
    grid, scale, flip = upright_grid((n, h, w), rng, along, spacing)
    both = resample(torch.cat([maps, places], dim=1), grid)
    maps, places = both[:, : maps.shape[1]], both[:, maps.shape[1] :]
    maps[:, -1] *= scale
    places[:, 0] *= flip
    return maps, places


def upright_grid(
    shape: tuple[int, int, int],
    rng: np.random.Generator,
    along: np.random.Generator,
    spacing: float,
) -> tuple[torch.Tensor, float, float]:
    """Draw a pose in plane for all slices of a head: for `grid_sample`, its scale and mirroring.

    Parameters
    ----------
    shape : (N, H, W)
    rng : numpy.random.Generator
        Of what a head has once.
    along : numpy.random.Generator
        Of what changes smoothly along a head.
    spacing : float
        In plane, mm.

    Returns
    -------
    grid : tensor, shape (N, H, W, 2)
    scale : float
        By which the head grew.
    flip : float
        −1 where left and right were swapped, else 1.
    """
    n, h, w = shape
    angle = np.deg2rad(rng.normal(0.0, 6.0))
    scale = float(rng.uniform(0.88, 1.12))
    flip = -1.0 if rng.random() < 0.5 else 1.0
    shift = rng.normal(0.0, 0.05, 2) + along.normal(0.0, 0.01, (n, 2))
    grid = pose_grid(shape, angle, scale, flip, shift)
    bend = smooth_noise((n, 2, h, w), along, np.full(n, rng.uniform(0.0, 0.25)), 6)
    epi = smooth_noise((n, 1, h, w), along, np.full(n, 0.6 * (rng.random() < 0.4)), 4)
    return bend_grid(grid, bend, epi, int(rng.integers(2)), spacing), scale, flip


def atlas_at_rat_size(atlas: Atlas, to_rat: NDArray[np.float64]) -> Atlas:
    """Bring an atlas of another species to the coordinates of the rat's.

    Parameters
    ----------
    atlas : Atlas
    to_rat : (4, 4) array
        Affine map from its world to the rat atlas'.

    Returns
    -------
    Atlas
        Resampled to the axes of the rat atlas; beyond the atlas what lies at its edge goes on.
    """
    to_rat = np.asarray(to_rat, float)
    size = np.linalg.norm(to_rat[:3, :3], axis=0)
    spacing = np.array(atlas.spacing) * size
    shape = np.array(atlas.maps.shape[1:])
    own = np.eye(4)
    own[:3, :3], own[:3, 3] = np.diag(atlas.spacing), atlas.origin
    corners = np.array(np.meshgrid(*((0, n - 1) for n in shape))).reshape(3, -1)
    reached = (to_rat @ own @ np.vstack([corners, np.ones(8)]))[:3]
    low, high = reached.min(axis=1), reached.max(axis=1)
    extent = np.maximum(np.ceil((high - low) / spacing - 1e-6).astype(int) + 1, 1)
    new = np.eye(4)
    new[:3, :3], new[:3, 3] = np.diag(spacing), low
    pull = np.linalg.inv(to_rat @ own) @ new
    maps = np.stack(
        [
            ndimage.affine_transform(
                one, pull[:3, :3], pull[:3, 3], tuple(extent), order=1, mode='nearest'
            )
            for one in atlas.maps.numpy()
        ]
    )
    return Atlas(
        torch.from_numpy(maps.astype(np.float32)),
        tuple(float(s) for s in spacing),  # type: ignore[arg-type]
        tuple(float(x) for x in low),  # type: ignore[arg-type]
    )
