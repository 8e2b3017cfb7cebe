"""Input channels of the second glance: image, neighbouring slices, mask and position."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from secondglance.imaging.grids import holds_signal
from secondglance.imaging.species import BRAIN_SIZE
from secondglance.models.second_glance.grid import MARGIN_MM, SPACING_MM, BrainGrid, brain_grid

NEIGHBOURS_MM = (-1.0, 0.0, 1.0)
"""Distances along the stack at which image and mask are taken as input, mm of a rat."""

N_IMAGES = len(NEIGHBOURS_MM)

CHANNELS: tuple[str, ...] = (
    *(f'image {d:+.0f} mm' for d in NEIGHBOURS_MM),
    *(f'mask {d:+.0f} mm' for d in NEIGHBOURS_MM),
    'left-right',
    'dorso-ventral',
    'from caudal end',
    'from rostral end',
    'species',
    'width',
    'slice distance',
)
"""Names of the channels."""

MASK = N_IMAGES + N_IMAGES // 2
"""Channel of the mask of the slice itself."""

ACROSS, UP, FROM_BACK, FROM_FRONT, SPECIES, BRAIN_WIDTH, APART = range(2 * N_IMAGES, len(CHANNELS))

TYPICAL_HALF_MM = (7.3, 5.2)
"""Half the width and half the height of a rat's brain, mm."""

_CLIP = (-4.0, 6.0)
"""Intensities are cut here, in robust standard deviations from the median of the brain."""

_FIELD_VOXELS = 4000
"""Voxels to which the coil field is fitted."""


@dataclass(frozen=True)
class BrainInput:
    """A brain as input of the second glance.

    Attributes
    ----------
    channels : (N, 13, h, w) float32 array
        In the order of `CHANNELS`.
    grid : BrainGrid
        Where they lie.
    """

    channels: NDArray[np.float32]
    grid: BrainGrid


def brain_input(
    images: ArrayLike,
    mask: ArrayLike,
    positions_mm: ArrayLike,
    in_plane_mm: float,
    species: str,
    spacing_mm: float = SPACING_MM,
) -> BrainInput:
    """Compose the input channels of the network from a stack.

    The coil field is removed, and intensities are normalised inside the mask. Pixels further than
    `MARGIN_MM` from the mask are set to zero, so they cannot change the result.

    Parameters
    ----------
    images : (N, H, W) array
        Upright coronal slices in any unit.
    mask : (N, H, W) array
        Probability of brain, in [0, 1].
    positions_mm : (N,) array
        Of the slices, ascending towards the nose, mm.
    in_plane_mm : float
        Pixel size, mm.
    species : {'rat', 'mouse'}
    spacing_mm : float
        Pixel size of the network's grid for a rat, mm.

    Returns
    -------
    BrainInput

    Raises
    ------
    InputError
        If the mask is empty.
    """
    images = np.asarray(images, np.float32)
    # A lost slice shows nothing, whatever the mask says there
    lost = ~holds_signal(images)
    grid = brain_grid(mask, in_plane_mm, species, spacing_mm)
    scale = BRAIN_SIZE[species]
    share = np.clip(grid.to_grid(np.asarray(mask) >= 0.5), 0, 1)
    positions = np.asarray(positions_mm, np.float64)
    image = np.clip(grid.to_grid(images), 0, None)
    normalised = normalise_inside(image, np.where(lost[:, None, None], 0, share), positions)
    near = _near(share >= 0.5, MARGIN_MM * scale / grid.spacing_mm)
    normalised *= near & ~lost[:, None, None]

    rat_mm = positions / scale
    where = [rat_mm + d for d in NEIGHBOURS_MM]
    parts = [between_slices(normalised, rat_mm, there, 0.0) for there in where]
    parts += [between_slices(share, rat_mm, there, -1.0) for there in where]
    across, up, back, front, width = _place(share, grid, positions, scale)
    apart = float(np.diff(rat_mm).mean()) if len(rat_mm) > 1 else 1.0
    parts += [
        np.broadcast_to(np.asarray(part, np.float32), share.shape)
        for part in (
            across[None, :, None],
            up[None, None, :],
            back[:, None, None],
            front[:, None, None],
            1.0 if species == 'mouse' else -1.0,
            np.log(width / TYPICAL_HALF_MM[0]),
            min(apart, 2.0) - 0.5,
        )
    ]
    return BrainInput(np.stack(parts, axis=1), grid)


def between_slices(
    volume: NDArray, positions: NDArray, where: NDArray, empty: float
) -> NDArray[np.float32]:
    """Interpolate slices of a stack at other positions.

    Parameters
    ----------
    volume : (N, h, w) array
    positions, where : (N,) and (M,) arrays
        Of the slices, ascending, and of those that are wanted; mm.
    empty : float
        Value beyond the ends of the stack, which reaches half a slice beyond its outer slices.

    Returns
    -------
    (M, h, w) float32 array
    """
    n = len(positions)
    index = np.interp(where, positions, np.arange(n))
    low = np.clip(index.astype(int), 0, max(n - 2, 0))
    high = np.minimum(low + 1, n - 1)
    part = (index - low)[:, None, None].astype(np.float32)
    between = (1 - part) * volume[low] + part * volume[high]
    apart = (positions[-1] - positions[0]) / (n - 1) if n > 1 else 1.0
    beyond = (where < positions[0] - apart / 2) | (where > positions[-1] + apart / 2)
    return np.where(beyond[:, None, None], np.float32(empty), between).astype(np.float32)


def normalise_inside(image: NDArray, share: NDArray, positions: NDArray) -> NDArray[np.float32]:
    """Free a brain of its coil field, and scale it by median and spread inside the mask.

    The field's logarithm is a polynomial of second degree in space, fitted by iteratively
    reweighted least squares; tissues brighter or darker than most count less.

    Parameters
    ----------
    image : (N, h, w) array
        Not negative.
    share : (N, h, w) array
        Of brain, in [0, 1].
    positions : (N,) array
        mm.

    Returns
    -------
    (N, h, w) float32 array
        Robust standard deviations from the median, halved; in [−2, 3].
    """
    inside = (share > 0.9) & (image > 0)
    if inside.sum() < 50:
        inside = (share > 0) & (image > 0)
    values = image[inside]
    if values.size < 10:
        return np.zeros(image.shape, np.float32)
    floor = 0.05 * float(np.median(values))
    axes = [positions, *(np.arange(n, dtype=float) for n in image.shape[1:])]
    scaled = [_unit(axis) for axis in axes]
    chosen = np.flatnonzero(inside)[:: max(1, int(inside.sum()) // _FIELD_VOXELS)]
    at = np.unravel_index(chosen, image.shape)
    terms = _polynomial(*(axis[i] for axis, i in zip(scaled, at, strict=True)))
    logs = np.log(np.maximum(image.reshape(-1)[chosen], floor))
    field = _robust_fit(terms, logs)
    whole = _polynomial(scaled[0][:, None, None], scaled[1][:, None], scaled[2])
    smooth = sum(c * term for c, term in zip(field[1:], whole[1:], strict=True))
    # Beyond the brain a polynomial may run away
    flat = image * np.exp(-np.clip(smooth, -3, 3))
    values = flat[inside]
    middle = float(np.median(values))
    spread = 1.4826 * float(np.median(np.abs(values - middle)))
    scaled_image = (flat - middle) / max(spread, 1e-3 * abs(middle), 1e-12)
    return (np.clip(scaled_image, *_CLIP) / 2).astype(np.float32)


def _unit(axis: NDArray) -> NDArray:
    half = max((axis[-1] - axis[0]) / 2, 1e-6)
    return (axis - (axis[-1] + axis[0]) / 2) / half


def _polynomial(y: NDArray, x: NDArray, z: NDArray) -> list[NDArray]:
    one = np.ones(np.broadcast_shapes(np.shape(y), np.shape(x), np.shape(z)))
    squares = [y * y * one, x * x * one, z * z * one]
    return [one, y * one, x * one, z * one, *squares, y * x * one, y * z * one, x * z * one]


def _robust_fit(terms: list[NDArray], values: NDArray, iterations: int = 6) -> NDArray:
    """Coefficients by iteratively reweighted least squares with Tukey's weights."""
    design = np.stack(terms, axis=1)
    weight = np.ones(len(values))
    ridge = 1e-3 * len(values) * np.eye(design.shape[1])
    ridge[0, 0] = 0
    coefficients = np.zeros(design.shape[1])
    for _ in range(iterations):
        weighted = design * weight[:, None]
        # The last digits of products and solutions depend on the machine's linear algebra
        normal = np.einsum('ni,nj->ij', weighted, design)
        right = np.einsum('ni,n->i', weighted, values)
        coefficients = np.linalg.solve(normal + ridge, right).round(9)
        away = values - np.einsum('ni,i->n', design, coefficients)
        spread = 1.4826 * np.median(np.abs(away - np.median(away))) + 1e-6
        weight = np.clip(1 - ((away - np.median(away)) / (4 * spread)) ** 2, 0, None) ** 2
    return coefficients


def _near(brain: NDArray[np.bool_], reach: float) -> NDArray[np.bool_]:
    """Pixels no further than `reach` from the brain, slice by slice."""
    radius = int(np.ceil(reach))
    across, up = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = (across**2 + up**2 <= (reach + 0.5) ** 2)[None]
    return ndimage.binary_dilation(brain, disk)


def _place(
    share: NDArray, grid: BrainGrid, positions: NDArray, scale: float
) -> tuple[NDArray, NDArray, NDArray, NDArray, float]:
    """Where rows, columns and slices lie in the mask; half the brain's width, mm of a rat."""
    x, z = (grid.offsets_mm(axis) / scale for axis in (0, 1))
    y = positions / scale
    mass = share.sum(axis=0)
    low_x, high_x = _reach(x, mass.sum(axis=1))
    low_z, high_z = _reach(z, mass.sum(axis=0))
    low_y, high_y = _reach(y, share.sum(axis=(1, 2)))
    half = max((high_x - low_x) / 2, 1e-3)
    tall = max((high_z - low_z) / 2, 1e-3)
    across = (x - (low_x + high_x) / 2) / half
    up = (z - (low_z + high_z) / 2) / tall
    return across, up, (y - low_y) / half / 2, (high_y - y) / half / 2, half


def _reach(where: NDArray, mass: NDArray) -> tuple[float, float]:
    """Between which places all but 2 % of a mass lies."""
    # Half of a pixel's mass lies before its centre
    total = (np.cumsum(mass) - mass / 2) / mass.sum()
    return float(np.interp(0.01, total, where)), float(np.interp(0.99, total, where))
