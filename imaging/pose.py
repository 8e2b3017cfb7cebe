"""How a head lies in its volume, and the stack of slices that is cut from it."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from secondglance.imaging.errors import InputError
from secondglance.imaging.grids import SliceGrid, slice_grid
from secondglance.imaging.species import BRAIN_SIZE


@dataclass(frozen=True)
class HeadStack:
    """A head as a stack of upright coronal slices, in the size of a rat.

    All millimetres are those of the animal divided by the relative size of its species, so that
    networks, donors and constants made for rats hold for every species.

    Attributes
    ----------
    images : (N, H, W) float32 array
        Intensities in any unit, at the in-plane spacing of the network.
    positions : (N,) array
        Of the slices along the stack, mm in the size of a rat, ascending.
    spacing : float
        In plane, mm in the size of a rat.
    labels : (N, H, W) uint8 array, optional
        Places in `secondglance.imaging.labels.CLASSES`, or a brain mask of zeros and ones.
    """

    images: NDArray[np.float32]
    positions: NDArray[np.float64]
    spacing: float
    labels: NDArray[np.uint8] | None = None

    @property
    def thickness(self) -> float:
        """Mean distance of neighbouring slices, mm in the size of a rat; 1 for a single one."""
        return float(np.diff(self.positions).mean()) if len(self.positions) > 1 else 1.0

    @property
    def brain(self) -> NDArray[np.bool_]:
        """Where a label is, (N, H, W)."""
        if self.labels is None:
            raise ValueError('this head has no labels')
        return self.labels > 0


@dataclass(frozen=True)
class Pose:
    """How slices are cut from a volume so that the head in them is upright.

    Attributes
    ----------
    species : str
        One of `secondglance.imaging.species.BRAIN_SIZE`.
    spacing : float
        In-plane spacing of the slices, mm of the animal.
    slice_axis : {'auto', 'i', 'j', 'k'}
        Voxel axis along which slices lie.
    quarter_turns : int
        0 to 3; ``numpy.rot90(stack, quarter_turns, axes=(1, 2))`` is upright.
    """

    species: str
    spacing: float
    slice_axis: str = 'auto'
    quarter_turns: int = 0

    @property
    def relative_size(self) -> float:
        """Length of a brain of the species beside a rat's."""
        return BRAIN_SIZE[self.species]

    def to_plain(self) -> dict[str, Any]:
        """Plain values, for a wire of the graph or a file."""
        return asdict(self)

    def grid(self, shape: tuple[int, ...], affine: ArrayLike) -> SliceGrid:
        """Lay the stack over a volume.

        Parameters
        ----------
        shape : tuple of int
            Of the volume.
        affine : (4, 4) array
            Voxel to world, mm of the animal.

        Returns
        -------
        SliceGrid
        """
        return slice_grid(
            shape,
            affine,
            self.spacing,
            slice_axis=self.slice_axis,
            quarter_turns=self.quarter_turns,
        )

    def check_extent(self, grid: SliceGrid, minimum: int) -> None:
        """Refuse slices that are too small for the network.

        Parameters
        ----------
        grid : SliceGrid
            Of :meth:`grid`.
        minimum : int
            Pixels of the shortest side.

        Raises
        ------
        InputError
            If a side of the volume's slices is shorter.
        """
        side = min(grid.shape[axis] * grid.voxel_size[axis] for axis in grid.in_plane)
        if round(side / self.spacing, 3) < minimum:
            sizes = ' × '.join(f'{size:.4g}' for size in grid.voxel_size)
            raise InputError(
                f'Slices of {side:.4g} mm are too small; the network needs '
                f'{minimum * self.spacing:g} mm at least: are the voxel sizes ({sizes} mm; else '
                '--voxel-scale) and the slice axis (--slice-axis) right?'
            )

    def stack(
        self, grid: SliceGrid, voxels: ArrayLike, mask: ArrayLike | None = None
    ) -> HeadStack:
        """Cut a volume into a stack.

        Parameters
        ----------
        grid : SliceGrid
            Of :meth:`grid`.
        voxels : (X, Y, Z) array
        mask : (X, Y, Z) array, optional
            Of the brain; values above 0 are brain.

        Returns
        -------
        HeadStack
        """
        labels = None
        if mask is not None:
            inside = grid.to_stack((np.asarray(mask) > 0).astype(np.float32)) >= 0.5
            labels = inside.astype(np.uint8)
        size = self.relative_size
        return HeadStack(grid.to_stack(voxels), grid.positions / size, self.spacing / size, labels)
