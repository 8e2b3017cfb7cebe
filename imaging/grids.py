"""Resampling of a volume to a stack of canonical slices, and back."""

from dataclasses import dataclass

import nibabel as nib
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from secondglance.imaging.errors import InputError

TWO_DIMENSIONAL = 1.5
"""Slices this many times as thick as pixels are long were acquired one by one."""


SAME_SPACING = 0.01
"""Relative difference of spacing and voxel size below which pixels are put on voxels."""

BLOCK = 16
"""Pixels: the side of a stack is a multiple of it, and it is one of the networks' strides."""

ANTERIOR = 1
"""The canonical axis from posterior to anterior: rodent brains are cut across it."""


MOST_PIXELS = 2**27
"""Of a stack: 512 MiB in memory. Longer fields of view are refused before memory is taken."""


@dataclass(frozen=True)
class SliceGrid:
    """The layout of a stack of slices over a volume; made by :func:`slice_grid`.

    A stack is (N, H, W): N slices towards the positive end of the canonical axis closest to the
    slice axis (anterior, for coronal slices), H and W along the two others in canonical order
    (left to right, ventral to dorsal). Slices are resampled in plane alone, to pixels that do not
    depend on the field of view; through the plane nothing is interpolated.

    Attributes
    ----------
    shape : tuple of int
        Of the volume.
    spacing : float
        Of the stack in plane, mm.
    slice_axis : int
        Voxel axis of the volume along which slices lie.
    in_plane : tuple of int
        Voxel axes of the volume that become H and W.
    flips : tuple of bool
        Whether slice axis, H and W run against the volume's voxel axes.
    voxel_size : tuple of float
        Of the volume, mm.
    stack_shape : tuple of int
        (N, H, W).
    starts : tuple of float
        Where the first pixel along H and W lies, in voxels of the flipped volume.
    affine : (4, 4) array
        Voxel of the stack on disk, which is (H, W, N), to world mm.
    """

    shape: tuple[int, int, int]
    spacing: float
    slice_axis: int
    in_plane: tuple[int, int]
    flips: tuple[bool, bool, bool]
    voxel_size: tuple[float, float, float]
    stack_shape: tuple[int, int, int]
    starts: tuple[float, float]
    affine: NDArray[np.float64]

    @property
    def n_slices(self) -> int:
        """Number of slices."""
        return self.stack_shape[0]

    @property
    def thickness(self) -> float:
        """Distance of neighbouring slices, mm."""
        return self.voxel_size[self.slice_axis]

    @property
    def positions(self) -> NDArray[np.float64]:
        """Position of each slice along the stack, mm from the middle of the volume, (N,)."""
        index = np.arange(self.n_slices, dtype=np.float64)
        return (index - (self.n_slices - 1) / 2) * self.thickness

    @property
    def _flipped(self) -> tuple[int, ...]:
        """Axes of the stack that run against the volume's."""
        return tuple(axis for axis, flip in enumerate(self.flips) if flip)

    def to_stack(self, volume: ArrayLike, order: int = 1) -> NDArray[np.float32]:
        """Resample a volume to the stack.

        Parameters
        ----------
        volume : (X, Y, Z) array
        order : int
            1 interpolates linearly, 0 takes the nearest voxel.

        Returns
        -------
        (N, H, W) float32 array
            Zero beyond the field of view.
        """
        volume = np.asarray(volume, np.float32)
        if volume.shape != self.shape:
            raise ValueError(f'volume has shape {volume.shape}, its grid {self.shape}')
        slices = volume.transpose(self.slice_axis, *self.in_plane)
        slices = np.flip(slices, self._flipped)
        steps = [self.spacing / self.voxel_size[axis] for axis in self.in_plane]
        # Going coarser, what lies between the new pixels is averaged, not skipped
        widths = [
            min(0.5 * np.sqrt(step**2 - 1), self.shape[axis]) if step > 1.02 else 0.0
            for step, axis in zip(steps, self.in_plane, strict=True)
        ]
        if order > 0 and any(widths):
            slices = ndimage.gaussian_filter(slices, (0, *widths), mode='nearest')
        return _resample(slices, steps, list(self.starts), self.stack_shape, order)

    def to_native(self, stack: ArrayLike, order: int = 1) -> NDArray[np.float32]:
        """Resample a stack to the volume's own grid: the inverse of :meth:`to_stack`.

        Parameters
        ----------
        stack : (N, H, W) or (N, C, H, W) array
        order : int
            As of :meth:`to_stack`.

        Returns
        -------
        (X, Y, Z) or (X, Y, Z, C) float32 array
        """
        stack = np.asarray(stack, np.float32)
        if stack.ndim == 4:
            return np.stack([self.to_native(c, order) for c in stack.swapaxes(0, 1)], axis=-1)
        if stack.shape != self.stack_shape:
            raise ValueError(f'stack has shape {stack.shape}, its grid {self.stack_shape}')
        steps = [self.voxel_size[axis] / self.spacing for axis in self.in_plane]
        shape = (self.n_slices, *(self.shape[axis] for axis in self.in_plane))
        starts = [-start * step for start, step in zip(self.starts, steps, strict=True)]
        slices = np.flip(_resample(stack, steps, starts, shape, order), self._flipped)
        return np.ascontiguousarray(
            slices.transpose(np.argsort([self.slice_axis, *self.in_plane]))
        )


def holds_signal(stack: ArrayLike) -> NDArray[np.bool_]:
    """Tell which slices of a stack (N, H, W) hold anything: (N,); lost ones are all one value.

    Examples
    --------
    >>> holds_signal([[[0, 0]], [[0, 3]]]).tolist()
    [False, True]
    """
    return np.ptp(np.asarray(stack), axis=(1, 2)) > 0


def thickest_axis(voxel_size: ArrayLike) -> int | None:
    """Voxel axis along which a scan was clearly acquired slice by slice, if there is one.

    Examples
    --------
    >>> thickest_axis([0.25, 0.25, 1.0]), thickest_axis([0.2, 0.2, 0.25])
    (2, None)
    """
    size = np.asarray(voxel_size, np.float64)
    clear = size.max() >= TWO_DIMENSIONAL * np.sort(size)[1] * (1 - 1e-6)
    return int(size.argmax()) if clear else None


def slice_grid(
    shape: tuple[int, ...],
    affine: ArrayLike,
    spacing: float,
    slice_axis: str = 'auto',
    quarter_turns: int = 0,
) -> SliceGrid:
    """Lay a stack of slices over a volume.

    Parameters
    ----------
    shape : tuple of three int
    affine : (4, 4) array
        Voxel to world mm, RAS+.
    spacing : float
        In-plane spacing of the stack, mm.
    slice_axis : {'auto', 'i', 'j', 'k'}
        ``auto`` is that of :func:`thickest_axis`, else the one closest to the anterior-posterior
        direction, because the networks are trained on coronal slices. The header's dim_info is not
        used: programs that reorient an image often leave it unchanged.
    quarter_turns : int
        By which slices are turned in plane if the header's orientation is wrong: the stack is
        ``numpy.rot90(stack, quarter_turns, axes=(1, 2))`` of the stack without turns.

    Returns
    -------
    SliceGrid

    Raises
    ------
    InputError
        If the affine cannot be inverted, the spacing is not positive, or the stack would have
        more than `MOST_PIXELS`.
    """
    affine = np.asarray(affine, np.float64)
    size = nib.affines.voxel_sizes(affine)
    whole = np.isfinite(affine).all() and (size > 0).all()
    if not whole or abs(np.linalg.det(affine[:3, :3] / size)) < 1e-3:
        raise InputError('The affine of the image cannot be inverted: correct its header.')
    if not spacing > 0:
        raise InputError(f'An in-plane spacing of {spacing} mm is not positive.')
    axis, rest, flips = _axes(affine, slice_axis, quarter_turns)
    # From an index of the stack on disk (H, W, N) to a voxel of the volume. In plane, pixels lie
    # where the spacing puts them from the world's origin on, in blocks of the networks' stride:
    # so a crop or a margin of the volume changes neither pixels nor blocks.
    origin = np.linalg.solve(affine, [0, 0, 0, 1])
    to_voxel = np.zeros((4, 4))
    to_voxel[3, 3] = 1
    in_plane_shape, starts = [], []
    for column, (a, flip) in enumerate(zip(rest, flips[1:], strict=True)):
        step = spacing / size[a] * (-1 if flip else 1)
        start, n_pixels = _pixels(shape[a], step, origin[a])
        to_voxel[a, column] = step
        to_voxel[a, 3] = start
        starts.append(float(shape[a] - 1 - start if flip else start))
        in_plane_shape.append(n_pixels)
    step = -1.0 if flips[0] else 1.0
    to_voxel[axis, 2] = step
    to_voxel[axis, 3] = shape[axis] - 1 if flips[0] else 0
    stack_shape = (int(shape[axis]), *in_plane_shape)
    if np.prod(stack_shape, dtype=np.float64) > MOST_PIXELS:
        field = ' × '.join(f'{n * s:g}' for n, s in zip(shape[:3], size, strict=True))
        raise InputError(
            f'a field of view of {field} mm has {" × ".join(map(str, stack_shape))} pixels of '
            f'{spacing:g} mm, too many for a head: crop the image, or correct the voxel sizes in '
            'its header (--voxel-scale).'
        )
    return SliceGrid(
        shape=(int(shape[0]), int(shape[1]), int(shape[2])),
        spacing=float(spacing),
        slice_axis=axis,
        in_plane=(rest[0], rest[1]),
        flips=(flips[0], flips[1], flips[2]),
        voxel_size=(float(size[0]), float(size[1]), float(size[2])),
        stack_shape=(stack_shape[0], stack_shape[1], stack_shape[2]),
        starts=(starts[0], starts[1]),
        affine=affine @ to_voxel,
    )


def _axes(
    affine: NDArray, slice_axis: str, quarter_turns: int
) -> tuple[int, list[int], tuple[bool, ...]]:
    """Voxel axis of the slices, those that become H and W, and which of the three are flipped."""
    orientation = nib.orientations.io_orientation(affine)
    canonical = orientation[:, 0].astype(int)  # of each voxel axis
    if slice_axis != 'auto':
        axis = 'ijk'.index(slice_axis)
    else:
        thickest = thickest_axis(nib.affines.voxel_sizes(affine))
        coronal = int(np.flatnonzero(canonical == ANTERIOR)[0])
        axis = coronal if thickest is None else thickest
    rest = sorted((a for a in range(3) if a != axis), key=lambda a: canonical[a])
    flips = tuple(bool(orientation[a, 1] < 0) for a in (axis, *rest))
    for _ in range(quarter_turns % 4):
        rest = rest[::-1]
        flips = (flips[0], not flips[2], flips[1])
    return axis, rest, flips


def _pixels(n_voxels: int, step: float, origin: float) -> tuple[float, int]:
    """Voxel index of the first pixel along an axis, and the number of pixels, in whole blocks.

    `step` is the distance of pixels in voxels, `origin` the voxel index of the world's origin.
    """
    if abs(abs(step) - 1) < SAME_SPACING:
        # Pixels on voxels: nothing is to be gained from interpolation
        origin = np.round(origin + step / 4) - step / 2
    ends = sorted((edge - origin) / step for edge in (-0.5, n_voxels - 0.5))
    # Blocks from the first to the last pixel with its middle in the volume
    first = int(np.ceil(ends[0] - 0.5 - 1e-4)) // BLOCK * BLOCK
    last = max(int(np.floor(ends[1] - 0.5 + 1e-4)) // BLOCK * BLOCK, first) + BLOCK
    return origin + step * (first + 0.5), last - first


def _resample(
    slices: NDArray, steps: list[float], starts: list[float], shape: tuple[int, ...], order: int
) -> NDArray[np.float32]:
    """Resample in plane; pixel n of the output lies at `starts` + n `steps` of the input."""
    if order not in (0, 1):
        raise ValueError(f'order of interpolation is {order}, not 0 or 1')
    if slices.shape == tuple(shape) and np.allclose(steps, 1) and np.allclose(starts, 0):
        return np.array(slices, np.float32)
    for axis, (step, start) in enumerate(zip(steps, starts, strict=True), 1):
        last = slices.shape[axis] - 1
        where = start + step * np.arange(shape[axis])
        at = np.clip(where, 0, last)
        if order == 0:
            slices = slices.take(np.floor(at + 0.5).astype(int), axis)
        else:
            first = at.astype(int)
            share = (at - first).astype(np.float32)
            before, after = (slices.take(n, axis) for n in (first, np.minimum(first + 1, last)))
            slices = before + (share[:, None] if axis == 1 else share) * (after - before)
        # The outermost pixels reach half a pixel beyond their centres
        beyond = (where < -0.5 - 1e-6) | (where > last + 0.5 + 1e-6)
        slices[(slice(None),) * axis + (beyond,)] = 0
    return slices


def slices_apart(positions: ArrayLike) -> float:
    """Mean distance of neighbouring slices, mm; 1 mm for a single one.

    Examples
    --------
    >>> slices_apart([0.0, 0.5, 1.0])
    0.5
    """
    positions = np.asarray(positions, float)
    return float(np.diff(positions).mean()) if len(positions) > 1 else 1.0


def voxel_volume(affine: ArrayLike) -> float:
    """Volume of a voxel, mm³, by its affine (4, 4).

    Examples
    --------
    >>> voxel_volume(np.diag([0.5, 0.5, -2, 1]))
    0.5
    """
    return float(abs(np.linalg.det(np.asarray(affine)[:3, :3])))


def edge_letters(affine: np.ndarray) -> tuple[str, str, str, str]:
    """Name what lies left, right, up and down in a slice, by the header.

    Parameters
    ----------
    affine : (4, 4) array
        Of a stack (H, W, N): H runs to the right of the picture, W up.

    Examples
    --------
    >>> coronal = np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    >>> edge_letters(coronal)
    ('L', 'R', 'D', 'V')
    """
    pairs = (('L', 'R'), ('P', 'A'), ('V', 'D'))
    ends = []
    for column in affine[:3, :2].T:
        axis = int(np.abs(column).argmax())
        ends.append(pairs[axis] if column[axis] > 0 else pairs[axis][::-1])
    (left, right), (down, up) = ends
    return left, right, up, down
