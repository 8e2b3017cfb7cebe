"""The second glance at a volume on its own grid."""

from __future__ import annotations

from dataclasses import dataclass

import nibabel as nib
import numpy as np
from numpy.typing import ArrayLike, NDArray

from secondglance.imaging.grids import ANTERIOR, SliceGrid, slice_grid
from secondglance.imaging.pose import Pose
from secondglance.imaging.regions import RegionAtlas
from secondglance.imaging.tissues import TissueMaps, label_tissues
from secondglance.models.second_glance.glance import SecondGlance, second_glance, stack_axes
from secondglance.models.weights import LoadedModel

_LEAST_VOXELS = 200
"""A mask of fewer voxels has no place in an atlas."""


@dataclass(frozen=True)
class VolumeGlance:
    """Result of the second glance, on the grid of the volume.

    Attributes
    ----------
    fractions : (X, Y, Z, 3) float32 array
        Of WM, GM and CSF; they sum to one inside the mask and are zero outside.
    amounts : (X, Y, Z, 3) float32 array
        Part of each voxel that is WM, GM and CSF; see `SecondGlance`.
    regions : (X, Y, Z) int16 array or None
    stack : SecondGlance
        The same on the stack of slices, with the transform.
    grid : SliceGrid
        How the stack lies over the volume.
    """

    fractions: NDArray[np.float32]
    amounts: NDArray[np.float32]
    regions: NDArray[np.int16] | None
    stack: SecondGlance
    grid: SliceGrid

    @property
    def tissues(self) -> TissueMaps:
        """Labels, fractions and amounts on the grid of the volume."""
        inside = self.fractions.sum(axis=-1) > 0
        return TissueMaps(label_tissues(self.fractions, inside), self.fractions, self.amounts)

    @property
    def to_points(self) -> NDArray[np.float64]:
        """From the world of the volume's affine to the points that the transform takes, (4, 4)."""
        n, height, width = self.grid.stack_shape
        across, along, up = stack_axes((n, height, width), self.grid.positions, self.grid.spacing)
        # Stack on disk is (H, W, N); the transform's axes are H, N, W
        index = np.zeros((4, 4))
        index[0, 0] = index[2, 1] = self.grid.spacing
        index[1, 2] = self.grid.thickness
        index[:, 3] = across[0], along[0], up[0], 1.0
        return index @ np.linalg.inv(self.grid.affine)


def has_place(mask: NDArray) -> bool:
    """Tell whether a brain mask has enough voxels for a place in an atlas.

    Parameters
    ----------
    mask : array of any shape
        Of the brain.

    Returns
    -------
    bool

    Examples
    --------
    >>> has_place(np.ones((10, 10, 2))), has_place(np.ones((10, 10, 1)))
    (True, False)
    """
    return int(np.count_nonzero(mask)) >= _LEAST_VOXELS


def own_grid(shape: tuple[int, ...], affine: ArrayLike, pose: Pose) -> SliceGrid:
    """Lay coronal slices over a volume, on its own pixels.

    Parameters
    ----------
    shape : tuple of three int
    affine : (4, 4) array
        Voxel to mm, RAS+.
    pose : Pose
        Its slices are taken where it names their axis or turns them.

    Returns
    -------
    SliceGrid
    """
    affine = np.asarray(affine, float)
    axis = pose.grid(shape, affine).slice_axis
    if pose.slice_axis == 'auto' and not pose.quarter_turns:
        canonical = nib.orientations.io_orientation(affine)[:, 0].astype(int)
        axis = int(np.flatnonzero(canonical == ANTERIOR)[0])
    size = nib.affines.voxel_sizes(affine)
    spacing = float(min(s for a, s in enumerate(size) if a != axis))
    return slice_grid(shape, affine, spacing, 'ijk'[axis], quarter_turns=pose.quarter_turns)


def glance_at_volume(
    volume: ArrayLike,
    mask: ArrayLike,
    affine: ArrayLike,
    pose: Pose,
    network: LoadedModel,
    atlas: RegionAtlas | None = None,
    *,
    device: str = 'cpu',
) -> VolumeGlance:
    """Segment the tissues of a volume inside its brain mask, and find its place in an atlas.

    Coronal slices are shown to the network, whichever way the scan was cut.

    Parameters
    ----------
    volume : (X, Y, Z) array
    mask : (X, Y, Z) array
        Zero outside the brain.
    affine : (4, 4) array
        Voxel to mm of the animal, RAS+.
    pose : Pose
        Species, slice axis and quarter turns; the volume's own pixels are used, not its spacing.
    network, atlas, device
        As of `second_glance`.

    Returns
    -------
    VolumeGlance

    Raises
    ------
    InputError
        As `second_glance`.
    """
    volume, brain = np.asarray(volume, np.float32), np.asarray(mask) > 0
    shape, affine = volume.shape, np.asarray(affine, float)
    grid = own_grid(shape, affine, pose)
    found = second_glance(
        grid.to_stack(volume),
        grid.to_stack(brain),
        grid.positions,
        grid.spacing,
        pose.species,
        network,
        atlas,
        device=device,
    )
    shares = grid.to_native(np.moveaxis(found.fractions, -1, 1))
    # Where the stack's pixels are not the volume's, what is at the rim is carried over it
    shares = np.where(brain[..., None], shares, 0)
    missing = brain & (shares.sum(axis=-1) < 0.05)
    if missing.any():
        shares[missing] = fill_from_nearest(shares, brain & ~missing)[missing]
    shares /= np.maximum(shares.sum(axis=-1, keepdims=True), 1e-6)
    regions = None
    if found.regions is not None:
        regions = np.rint(grid.to_native(found.regions, order=0)).astype(np.int16) * brain
    amounts = grid.to_native(np.moveaxis(found.amounts, -1, 1))
    return VolumeGlance(shares.astype(np.float32), amounts, regions, found, grid)


def fill_from_nearest(values: NDArray, known: NDArray[np.bool_]) -> NDArray:
    """Values (X, Y, Z, C) of the nearest voxel where they are known."""
    from scipy import ndimage

    if not known.any():
        return np.full_like(values, 1 / values.shape[-1])
    index = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    return values[tuple(index)]
