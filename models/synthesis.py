"""Training slices drawn from tissue maps: simulated animals, random contrast, imperfect masks.

An *animal* is one random size, pose and shape of the atlas, resampled once onto the in-plane grid
of the network. Slices are then drawn from it by the thousand, a batch at a time; whatever is
random comes from a `numpy.random.Generator`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional

from secondglance.imaging.errors import InputError
from secondglance.imaging.labels import BRAIN_SHARE, CLASSES
from secondglance.imaging.tidying import continue_cord, tidy_maps
from secondglance.models.inference import normalise_slices

MAPS: tuple[str, ...] = ('out', 'wm', 'gm', 'csf', 'skull')
"""Order of the tissue maps; the first four have the place of their class in `CLASSES`."""

_TISSUE = slice(1, len(CLASSES))
_SKULL = MAPS.index('skull')

THICKNESS_MM = (0.4, 1.2)
"""Slice thickness drawn for training, in mm: from thin simulated to thick real EPI slices."""

_FINE_MM = 0.15
"""Through-plane sampling of an animal, in mm; slices are averages of these."""


@dataclass(frozen=True)
class Atlas:
    """Tissue maps of one brain on one grid.

    Attributes
    ----------
    maps : tensor of float32, shape (5, X, Y, Z)
        Probabilities in the order of `MAPS`, canonical axes (R, A, S); they sum to one.
    spacing : tuple of float
        Voxel size in mm.
    """

    maps: torch.Tensor
    spacing: tuple[float, float, float]


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
    """

    cumulative: torch.Tensor
    planes: tuple[int, int]
    spacing: float

    @property
    def extent_mm(self) -> tuple[float, float]:
        """Where the brain begins and ends, in mm from the first plane."""
        return self.planes[0] * _FINE_MM, self.planes[1] * _FINE_MM


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

    found: dict[str, NDArray[np.float32]] = {}
    spacing: tuple[float, float, float] | None = None
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
        except (OSError, EOFError, nib.filebasedimages.ImageFileError) as error:
            raise InputError(f'Tissue map {paths[0]} cannot be read; copy it again.') from error
        spacing = tuple(float(zoom) for zoom in image.header.get_zooms()[:3])  # type: ignore
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
    return Atlas(torch.from_numpy(tidy), spacing)


def draw_animal(
    atlas: Atlas,
    rng: np.random.Generator,
    spacing: float = 0.375,
    side: int = 64,
    scale_range: tuple[float, float] = (0.8, 1.2),
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

    Returns
    -------
    Animal
    """
    scale = rng.uniform(*scale_range) * rng.uniform(0.88, 1.12, 3)
    angles = np.deg2rad(rng.uniform(-12.0, 12.0, 3))
    # A few control points 4-5 mm apart, moved by 0.25 to 0.7 mm: brains differ smoothly.
    moved = rng.uniform(0.25, 0.7)
    control = torch.from_numpy(rng.normal(0.0, moved, (1, 3, 5, 6, 5)).astype(np.float32))

    size = np.array(atlas.maps.shape[1:]) * np.array(atlas.spacing)
    tissue = atlas.maps[_TISSUE].sum(dim=0) > 0.5
    where = torch.nonzero(tissue).numpy()
    middle = (where.min(axis=0) + where.max(axis=0)) / 2 * np.array(atlas.spacing)
    n_planes = int(np.ceil(size[1] * 1.2 / _FINE_MM))
    # Twice as fine in plane, averaged below: a pixel is an area, not a point.
    fine = spacing / 2
    in_plane = (np.arange(2 * side) - side + 0.5) * fine
    through = (np.arange(n_planes) - (n_planes - 1) / 2) * _FINE_MM
    inverse = torch.from_numpy((_rotation(angles) / scale).T.astype(np.float32))
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
    # grid_sample wants the last axis first and [-1, 1] from the first to the last voxel.
    extent = torch.from_numpy(((np.array(atlas.maps.shape[1:]) - 1) * atlas.spacing).astype('f4'))
    points = (2 * points / extent - 1).flip(-1)
    # Beyond the edge of the atlas goes on what lies at its edge, the skull and outside.
    sampled = functional.grid_sample(
        atlas.maps[None], points[None], padding_mode='border', align_corners=True
    )[0]
    planes = functional.avg_pool2d(sampled.permute(2, 0, 1, 3), 2)
    has_brain = (planes[:, _TISSUE].sum(dim=1) > 0.5).sum(dim=(1, 2)) > 20
    held = torch.nonzero(has_brain).flatten()
    away = ndimage.distance_transform_edt(
        ~(planes[:, _TISSUE].sum(dim=1) > 0.5).numpy(), sampling=(_FINE_MM, spacing, spacing)
    )
    planes = torch.cat([planes, torch.from_numpy(away.astype(np.float32))[:, None]], dim=1)
    cumulative = torch.cat([torch.zeros_like(planes[:1]), planes.cumsum(dim=0)])
    return Animal(cumulative, (int(held[0]), int(held[-1])), spacing)


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
    n = len(animal.cumulative) - 1
    first = np.clip(np.round((centres_mm - thickness_mm / 2) / _FINE_MM), 0, n - 1).astype(int)
    count = np.maximum(np.round(thickness_mm / _FINE_MM), 1).astype(int)
    last = np.minimum(first + count, n)
    slab = animal.cumulative[last] - animal.cumulative[first]
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


def draw_batch(
    animals: list[Animal], rng: np.random.Generator, batch_size: int = 16
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw background-free slices of random animals with their labels.

    Parameters
    ----------
    animals : list of Animal
    rng : numpy.random.Generator
    batch_size : int

    Returns
    -------
    images : tensor of float32, shape (B, 1, H, W)
        Normalised by `normalise_slices`.
    labels : tensor of int64, shape (B, 1, H, W)
        Values are places in `CLASSES`.
    """
    maps = []
    for animal in (animals[i] for i in rng.integers(len(animals), size=batch_size)):
        low, high = animal.planes
        centre = rng.uniform(low, high, 1) * _FINE_MM
        maps.append(cut_slices(animal, centre, rng.uniform(*THICKNESS_MM, 1)))
    posed = _pose(vary_tissues(torch.cat(maps), rng), rng)
    return render_slices(posed, rng)


def render_slices(
    maps: torch.Tensor, rng: np.random.Generator, *, perfect_mask: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Give slices of tissue maps a random contrast and artefacts, and remove the background.

    Parameters
    ----------
    maps : tensor, shape (B, 5, H, W)
    rng : numpy.random.Generator
    perfect_mask : bool
        Whether the brain mask is the true one in every slice; otherwise in about half of them.

    Returns
    -------
    images : tensor of float32, shape (B, 1, H, W)
    labels : tensor of int64, shape (B, 1, H, W)
    """
    b, _, h, w = maps.shape
    labels = brain_labels(maps)
    tissue = maps[:, _TISSUE].sum(dim=1, keepdim=True)
    brain = labels > 0
    mask = brain if perfect_mask else imperfect_masks(tissue, rng)
    signal = _signal(maps[:, : len(MAPS)], rng)
    signal = signal * torch.exp(smooth_noise((b, 1, h, w), rng, rng.uniform(0.05, 0.35, b), 4))
    signal = _blur(signal, torch.from_numpy(rng.uniform(0.0, 0.8, b).astype(np.float32)))
    sigma = column(np.where(rng.random(b) < 0.1, 0.0, rng.uniform(0.005, 0.07, b)))
    real = signal + sigma * normal((b, 1, h, w), rng)
    imaginary = sigma * normal((b, 1, h, w), rng)
    images = torch.sqrt(real**2 + imaginary**2) * mask
    normalised = torch.from_numpy(normalise_slices(images[:, 0].numpy()))[:, None]
    # What the mask cut off is black: nothing there can be told apart from background.
    return normalised, labels * mask


def imperfect_masks(tissue: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Brain masks as a placement leaves them: half exact, half off by one or two pixels.

    A few have an island or a hole, as a bad placement leaves.

    Parameters
    ----------
    tissue : tensor, shape (B, 1, H, W)
        Probability of brain.
    rng : numpy.random.Generator

    Returns
    -------
    tensor of bool, shape (B, 1, H, W)
    """
    b = len(tissue)
    exact = tissue > BRAIN_SHARE
    off = rng.random(b) < 0.5
    # Which mask each slice gets: eroded by 2 or 1, as it is, dilated by 1 or 2 pixels, ...
    steps = rng.choice([-2, -1, 0, 1, 2], size=b, p=[0.08, 0.22, 0.25, 0.28, 0.17])
    shifts = rng.integers(-2, 3, size=(b, 2))
    # ... with a ragged outline: the threshold on a blurred mask varies along the rim.
    ragged = smooth_noise(tuple(tissue.shape), rng, np.full(b, 0.18), 10)
    blurred = functional.avg_pool2d(exact.float(), 5, 1, 2, count_include_pad=False)
    masks = []
    for i in range(b):
        if not off[i]:
            masks.append(exact[i])
            continue
        outline = (blurred[i] + ragged[i]) > 0.5
        step = int(steps[i])
        if step > 0:
            outline = functional.max_pool2d(outline.float(), 2 * step + 1, 1, step) > 0
        elif step < 0:
            # Erosion is dilation of the outside.
            outline = functional.max_pool2d((~outline).float(), 1 - 2 * step, 1, -step) == 0
        masks.append(torch.roll(outline, tuple(int(s) for s in shifts[i]), dims=(1, 2)))
    return torch.stack(masks)


def brain_labels(maps: torch.Tensor) -> torch.Tensor:
    """Label (B, 1, H, W) of maps (B, 5 or more, H, W): tissue where it fills `BRAIN_SHARE`.

    Of the three tissues the likeliest. The arg-max over all maps would lose voxels at the surface
    that two tissues share, and so make every brain smaller than it is.
    """
    tissues = maps[:, _TISSUE]
    inside = tissues.sum(dim=1, keepdim=True) > BRAIN_SHARE
    return torch.where(inside, tissues.max(dim=1, keepdim=True).indices + 1, 0)


def brain_signal(
    maps: torch.Tensor,
    rng: np.random.Generator,
    contrast: tuple[float, float, float] | None = None,
) -> torch.Tensor:
    """Intensity (B, 1, H, W) of the brain alone, each voxel by its share of tissue.

    `contrast` is the brightness of WM, GM and CSF; random where not given.
    """
    b, _, h, w = maps.shape
    levels = tissue_levels((b, h, w), rng, contrast)
    return (maps[:, _TISSUE] * levels).sum(1, keepdim=True)


def tissue_levels(
    shape: tuple[int, int, int],
    rng: np.random.Generator,
    contrast: tuple[float, float, float] | None = None,
) -> torch.Tensor:
    """Brightness (B, 3, H, W) of WM, GM and CSF at every pixel; as of `brain_signal`."""
    b, h, w = shape
    drawn = [contrast or draw_contrast(rng) for _ in range(b)]
    means = torch.from_numpy(np.array(drawn, np.float32))
    # No tissue is uniform: slow and less slow variations within each
    within = smooth_noise((b, 3, h, w), rng, rng.uniform(0.0, 0.15, b), 7)
    within += smooth_noise((b, 3, h, w), rng, rng.uniform(0.0, 0.12, b), 20)
    return means[:, :, None, None] * torch.exp(within)


def _signal(maps: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Intensity (B, 1, H, W) of tissue maps (B, 5, H, W) under random contrasts."""
    b, _, h, w = maps.shape
    means = np.empty((b, len(MAPS)), np.float32)
    means[:, _TISSUE] = [draw_contrast(rng) for _ in range(b)]
    # Around the brain: dark gap and bone, or muscle and fat as bright as tissue.
    means[:, _SKULL] = np.where(
        rng.random(b) < 0.75, rng.uniform(0.0, 0.25, b), rng.uniform(0.2, 0.9, b)
    )
    means[:, 0] = np.where(rng.random(b) < 0.3, rng.uniform(0.0, 0.2, b), rng.uniform(0.2, 1.1, b))
    # No tissue is uniform: a slow variation within each, coarse outside where muscles differ.
    within = smooth_noise((b, len(MAPS), h, w), rng, rng.uniform(0.0, 0.15, b), 7)
    within[:, [0, _SKULL]] += smooth_noise((b, 2, h, w), rng, rng.uniform(0.0, 0.6, b), 16)
    levels = torch.from_numpy(means)[:, :, None, None] * torch.exp(within)
    return (maps * levels).sum(dim=1, keepdim=True)


def draw_contrast(rng: np.random.Generator) -> tuple[float, float, float]:
    """Mean intensity of WM, GM and CSF: T2-weighted like, inverted, or any."""
    kind = rng.random()
    if kind < 0.55:  # b0, EPI and T2-weighted: CSF > GM > WM
        grey = rng.uniform(0.45, 0.8)
        return grey * rng.uniform(0.5, 0.92), grey, grey * rng.uniform(1.1, 2.2)
    if kind < 0.7:  # T1-weighted like: WM > GM > CSF
        grey = rng.uniform(0.5, 0.85)
        return grey * rng.uniform(1.05, 1.6), grey, grey * rng.uniform(0.2, 0.85)
    white, grey, fluid = rng.uniform(0.15, 1.0, 3)
    return float(white), float(grey), float(fluid)


def _pose(maps: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Left-right flips and small in-plane poses of maps (B, 5, H, W)."""
    b, _, h, w = maps.shape
    angle = np.deg2rad(rng.uniform(-10.0, 10.0, b))
    scale = rng.uniform(0.95, 1.05, b)
    flip = np.where(rng.random(b) < 0.5, -1.0, 1.0)
    shift = rng.uniform(-0.25, 0.25, (b, 2))
    theta = np.zeros((b, 2, 3), np.float32)
    # grid_sample's x is the last axis (ventral to dorsal), its y left to right.
    theta[:, 0, 0], theta[:, 0, 1] = np.cos(angle) / scale, np.sin(angle) / scale
    theta[:, 1, 0], theta[:, 1, 1] = -flip * np.sin(angle) / scale, flip * np.cos(angle) / scale
    theta[:, :, 2] = shift
    grid = functional.affine_grid(torch.from_numpy(theta), [b, 1, h, w], align_corners=False)
    return functional.grid_sample(maps, grid, padding_mode='border', align_corners=False)


def vary_tissues(maps: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Change slices of maps (B, 5 or more, H, W) as disease and species do, inside the brain.

    In a part of the slices fluid swells by up to two pixels, as ventricles do; there is more white
    matter, or less; and a round lesion is all one tissue. So a network learns to believe what it
    sees before where it is.
    """
    b, _, h, w = maps.shape
    white, grey, fluid = maps[:, _TISSUE].split(1, dim=1)
    brain = white + grey + fluid
    swells = column(np.where(rng.random(b) < 0.25, rng.uniform(0.0, 2.0, b), 0.0))
    for pixels in range(2):
        grown = torch.minimum(functional.max_pool2d(fluid, 3, 1, 1), brain)
        fluid = torch.where(swells > pixels, grown, fluid)
    more = column(np.exp(np.where(rng.random(b) < 0.5, rng.uniform(-0.8, 0.8, b), 0.0)))
    share = white * more / (white * more + grey).clamp(min=1e-6)
    white, grey = share * (brain - fluid), (1 - share) * (brain - fluid)

    across = torch.arange(h)[:, None] - column(h * rng.uniform(0.25, 0.75, b))
    up = torch.arange(w)[None] - column(w * rng.uniform(0.25, 0.75, b))
    oblong = column(np.exp(rng.uniform(-0.6, 0.6, b)))
    away = torch.hypot(across * oblong, up / oblong) - column(rng.uniform(1.0, 6.0, b))
    lesion = torch.sigmoid(-away / 0.5) * column(rng.random(b) < 0.15)
    of = torch.from_numpy(np.digitize(rng.random(b), (0.2, 0.4)))
    alone = functional.one_hot(of, 3).float()[:, :, None, None] * brain
    tissues = torch.cat([white, grey, fluid], dim=1) * (1 - lesion) + alone * lesion
    return torch.cat([maps[:, :1], tissues, maps[:, _TISSUE.stop :]], dim=1)


def smooth_noise(
    shape: tuple[int, ...], rng: np.random.Generator, strength: NDArray, points: int
) -> torch.Tensor:
    """Smooth noise of standard deviation `strength` (B,) from `points` × `points` values."""
    coarse = normal((*shape[:2], points, points), rng) * column(strength)
    return _bicubic(points, shape[2]) @ coarse @ _bicubic(points, shape[3]).T


@lru_cache(maxsize=64)
def _bicubic(points: int, size: int) -> torch.Tensor:
    """Matrix (size, points) that interpolates; several times faster than torch's own way."""
    unit = torch.eye(points)[None, None]
    return functional.interpolate(unit, (size, points), mode='bicubic', align_corners=True)[0, 0]


def _blur(images: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Gaussian blur of images (B, 1, H, W) by `sigma` (B,) pixels."""
    offsets = torch.arange(-2.0, 3.0)
    kernel = torch.exp(-0.5 * (offsets / sigma.clamp(min=1e-3)[:, None]) ** 2)
    kernel = kernel / kernel.sum(dim=1, keepdim=True)
    b = len(images)
    padded = functional.pad(images, (2, 2, 2, 2), mode='replicate').transpose(0, 1)
    padded = functional.conv2d(padded, kernel[:, None, :, None], groups=b)
    return functional.conv2d(padded, kernel[:, None, None, :], groups=b).transpose(0, 1)


def _rotation(angles: NDArray) -> NDArray:
    """Rotation matrix of three angles in radians, about x, then y, then z."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def normal(shape: tuple[int, ...], rng: np.random.Generator) -> torch.Tensor:
    return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))


def column(values: NDArray) -> torch.Tensor:
    """One value a slice, (B,), shaped to multiply (B, C, H, W)."""
    return torch.from_numpy(np.asarray(values, np.float32))[:, None, None, None]
