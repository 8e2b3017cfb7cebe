"""Simulated volumes of whole heads, from the tissue maps of an atlas."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from nibabel.affines import apply_affine, from_matvec, voxel_sizes
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage, special
from scipy.spatial.transform import Rotation

from secondglance.imaging.labels import BRAIN_SHARE
from secondglance.imaging.pieces import largest_piece
from secondglance.simulation.random_fields import elastic_displacement, smooth_field

SHAPE = (64, 64, 40)


VOXEL_MM = (0.375, 0.375, 0.5)
"""The acquisition of Matos et al. 2019: coronal slices, the third axis towards anterior."""


EYE_MM = {'eye': (7.6, 11.2, 0.5, 2.6), 'lens': (8.1, 11.6, 0.5, 1.6)}
"""Right eyeball and lens of a rat: middle from the brain's, and radius; by eye, on a T2w scan."""


COVER_MM = 2.3
"""Least thickness of skull, muscle and skin over the brain."""


@dataclass(frozen=True)
class HeadVolume:
    """A simulated head.

    Attributes
    ----------
    affine : (4, 4) array
        Voxel to world mm.
    labels : (X, Y, Z) uint8 array
        0 background, 1 WM, 2 GM, 3 CSF.
    fractions : dict of (X, Y, Z) float32 arrays
        Part of each voxel that is WM, GM, CSF, skull, muscle, skin, eye or lens.
    fibres : (3, X, Y, Z) float32 array
        Unit direction of the white matter's fibres.
    """

    affine: NDArray[np.float64]
    labels: NDArray[np.uint8]
    fractions: dict[str, NDArray[np.float32]]
    fibres: NDArray[np.float32]

    @property
    def brain_mask(self) -> NDArray[np.bool_]:
        """Where any tissue of the brain is, (X, Y, Z)."""
        return self.labels > 0


def oblique_affine(rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw the affine of a coronal stack, tilted a few degrees and off the origin.

    Voxel axes run to the right, to superior and to posterior, as scanners write them.

    Parameters
    ----------
    rng : numpy.random.Generator

    Returns
    -------
    (4, 4) array
        Voxel to world mm, RAS+.
    """
    axes = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], float)
    tilt = Rotation.from_euler('xyz', rng.uniform(-8, 8, 3), degrees=True).as_matrix()
    linear = tilt @ axes @ np.diag(VOXEL_MM)
    centre = (np.array(SHAPE) - 1) / 2
    return from_matvec(linear, rng.uniform(-4, 4, 3) - linear @ centre)


def simulate_head(
    maps: Mapping[str, ArrayLike],
    maps_affine: ArrayLike,
    rng: np.random.Generator,
    affine: ArrayLike | None = None,
    shape: tuple[int, int, int] = SHAPE,
    *,
    eyes: Mapping[str, tuple[float, float, float, float]] = EYE_MM,
) -> HeadVolume:
    """Draw an animal of another size, shape and pose than the atlas, with a head around its brain.

    Parameters
    ----------
    maps : dict of (X, Y, Z) arrays
        ``wm``, ``gm``, ``csf`` and, if there is one, ``skull``; probabilities in [0, 1].
    maps_affine : (4, 4) array
        Voxel of the maps to world mm, RAS+.
    rng : numpy.random.Generator
    affine : (4, 4) array, optional
        Of the scan; by default :func:`oblique_affine`.
    shape : tuple of int
    eyes : dict of tuples
        Where eyeball and lens are, and their radius, as of `EYE_MM`.

    Returns
    -------
    HeadVolume
    """
    affine = oblique_affine(rng) if affine is None else np.asarray(affine, float)
    maps_affine = np.asarray(maps_affine, float)
    size = rng.uniform(0.9, 1.1) * rng.uniform(0.96, 1.04, 3)
    pose = Rotation.from_euler('xyz', rng.normal(0, 2.5, 3), degrees=True).as_matrix()
    slide = rng.normal(0, (0.6, 0.8, 0.6))
    warp = elastic_displacement(shape, rng, 0.25)
    wide = rng.uniform(0.95, 1.15, 3)

    brain = np.asarray(maps['wm']) + np.asarray(maps['gm']) + np.asarray(maps['csf'])
    middle_atlas = apply_affine(maps_affine, ndimage.center_of_mass(brain))
    middle_scan = apply_affine(affine, (np.array(shape) - 1) / 2)
    # All is affine but the warp, which is taken as one vector a voxel: one point a voxel is
    # computed, and the finer points around it lie at fixed steps
    index = np.indices(shape).reshape(3, -1)
    world = affine[:3, :3] @ index + affine[:3, 3:] - middle_scan[:, None]
    turn = pose.T / size[:, None]
    where = turn @ (world + warp.reshape(3, -1) - slide[:, None])
    to_atlas = np.linalg.inv(maps_affine)
    at = to_atlas[:3, :3] @ (where + middle_atlas[:, None]) + to_atlas[:3, 3:]
    step = to_atlas[:3, :3] @ turn @ affine[:3, :3]
    # Each voxel is an average over finer points: thick slices blur what they cut
    offsets = [(x, y, z) for x in (-0.25, 0.25) for y in (-0.25, 0.25) for z in (-0.33, 0, 0.33)]
    reach = 1 + np.abs(step).sum(1, keepdims=True)
    size_atlas = np.array(brain.shape)[:, None]
    near = ((at > -reach) & (at < size_atlas + reach)).all(0)
    at = at[:, near]
    fractions: dict[str, NDArray] = {name: np.zeros(shape, np.float32) for name in ATLAS_NAMES}
    for name, source in ATLAS_NAMES.items():
        if source in maps:
            voxels = np.asarray(maps[source], np.float32)
            total = sum(
                ndimage.map_coordinates(voxels, at + (step @ offset)[:, None], order=1)
                for offset in offsets
            )
            fractions[name].ravel()[near] = total / len(offsets)
    total = sum(fractions.values())
    scale = np.where(total > 1, total, 1)
    fractions = {name: part / scale for name, part in fractions.items()}
    rest = np.clip(1 - sum(fractions.values()), 0, 1)
    # So that no animal's brain lies bare where its head is narrow
    tissue = fractions['WM'] + fractions['GM'] + fractions['CSF']
    gap = ndimage.distance_transform_edt(tissue < 0.5, sampling=voxel_sizes(affine))
    where = np.moveaxis(where.reshape(3, *shape), 0, -1)
    fractions |= _around(where / wide, rest, gap, rng, eyes)
    parts = {name: np.asarray(part, np.float32) for name, part in fractions.items()}
    classes = np.stack([parts[name] for name in ('WM', 'GM', 'CSF')])
    labels = np.where(classes.sum(0) > BRAIN_SHARE, classes.argmax(0) + 1, 0).astype(np.uint8)
    # One brain: crumbs of the maps are no tissue
    labels *= largest_piece(labels > 0)
    field = np.stack([smooth_field(shape, rng, 5) for _ in range(3)])
    return HeadVolume(affine, labels, parts, field / np.linalg.norm(field, axis=0))


ATLAS_NAMES = {'WM': 'wm', 'GM': 'gm', 'CSF': 'csf', 'skull': 'skull'}


def _around(
    where: NDArray,
    rest: NDArray,
    gap: NDArray,
    rng: np.random.Generator,
    eyes: Mapping[str, tuple[float, float, float, float]],
) -> dict[str, NDArray]:
    """Muscle, skin, ears and eyes where the atlas has nothing.

    `where` is mm from the brain's middle, `gap` mm from the brain.
    """
    x, y, z = np.moveaxis(where, -1, 0)
    # A head is a tapered tube: narrow at the snout, its middle below that of the brain
    width = 10.5 - 0.22 * np.clip(y, 0, None)
    height = 10.0 - 0.25 * np.clip(y, 0, None)
    radius = np.sqrt((x / width) ** 2 + ((z + 2.9) / height) ** 2)
    lumps = 0.04 * smooth_field(where.shape[:3], rng, 8)
    inside = special.expit((1 - radius - lumps) / 0.012)
    core = special.expit((0.93 - radius - lumps) / 0.012)
    inside = np.maximum(inside, special.expit((COVER_MM - gap) / 0.15))
    core = np.maximum(core, special.expit((COVER_MM - 0.6 - gap) / 0.15))
    # Fasciae: dark sheets between muscles
    sheets = np.exp(-((smooth_field(where.shape[:3], rng, 9) / 0.18) ** 2))
    ears = np.zeros_like(x)
    for side in (-1, 1):
        middle = np.array([side * 10.2, -4 + rng.normal(0, 0.5), 1.5 + rng.normal(0, 0.5)])
        flap = ((x - middle[0]) / 1.3) ** 2 + ((y - middle[1]) / 2) ** 2
        flap = flap + ((z - middle[2]) / 2.6) ** 2
        ears = np.maximum(ears, special.expit((1 - flap) / 0.1))
    parts = {}
    for name in ('lens', 'eye'):
        right, front, up, ball = eyes[name]
        distance = np.sqrt((np.abs(x) - right) ** 2 + (y - front) ** 2 + (z - up) ** 2)
        parts[name] = rest * special.expit((ball - distance) / 0.1)
        rest = rest - parts[name]
    parts['muscle'] = rest * core * (1 - 0.6 * sheets)
    parts['skin'] = rest * np.clip(inside - core + ears * (1 - inside), 0, 1)
    return parts
