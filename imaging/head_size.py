"""Size of a head in an image, and the scale error of a header."""

from collections.abc import Sequence
from dataclasses import dataclass

import nibabel as nib
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from secondglance.imaging.grids import slice_grid
from secondglance.imaging.pieces import largest_piece
from secondglance.imaging.species import species_of_section

_LONGEST_SIDE = 4.0
"""Longest side of a head beside the next; a whole rat is three times as long as wide."""

_DARK = 1e-30
"""Intensities below it are none."""

_SECTIONS = 24
"""Sections of a volume from which the size of the head is measured."""

HUMAN_SCALE = 10.0
"""Factor by which voxel sizes are multiplied for human software."""

_LARGEST_FIELD_MM = 100.0
"""Rodents' heads are rarely scanned in a larger field of view."""

_HEAD_WIDTH_MM = (3.5, 40.0)
"""Widths of heads, skull-stripped brains and partly bright heads: mice from 5, rats to 35 mm."""

_BODY_WIDTH_MM = 60.0
"""Nothing of a rat is wider; in a small field of view even this may be its own size."""

_USUAL_WIDTH_MM = 20.0


@dataclass(frozen=True)
class HeadSize:
    """Size of the bright object in a volume.

    Attributes
    ----------
    width : float
        Of the circle as large as its largest section; 0 where nothing is bright.
    sides : tuple of float
        Of the box around it, along the voxel axes.
    """

    width: float
    sides: tuple[float, float, float]

    @property
    def distorted(self) -> bool:
        """Whether no head has such sides, whatever their unit is: one voxel size is wrong."""
        shortest, middle, longest = sorted(self.sides)
        # A slab of few slices may be as thin as it likes
        return longest > _LONGEST_SIDE * middle and shortest > 0


def head_size(volume: ArrayLike, voxel_size: Sequence[float]) -> HeadSize:
    """Measure the bright object in a volume.

    Parameters
    ----------
    volume : (X, Y, Z) array
        Intensities, or a mask.
    voxel_size : sequence of float
        In any unit.

    Returns
    -------
    HeadSize
        In the same unit.

    Examples
    --------
    >>> head = np.zeros((40, 40, 3))
    >>> head[10:30, 10:30] = 100
    >>> found = head_size(head, (0.5, 0.5, 1.0))
    >>> round(found.width, 1), found.sides
    (11.3, (10.0, 10.0, 3.0))
    """
    size = np.asarray(voxel_size, np.float64)
    axis = int(size.argmax())
    in_plane = [a for a in range(3) if a != axis]
    slices = np.moveaxis(np.asarray(volume, np.float32), axis, 0)
    few = np.unique(np.linspace(0, len(slices) - 1, _SECTIONS).round().astype(int))
    # Noise is spread over the field, a head is not
    bright = np.abs(slices[few])
    smooth = ndimage.uniform_filter(bright / max(float(bright.max()), _DARK), (1, 3, 3))
    sections = [
        largest_piece(ndimage.binary_fill_holes(section)) for section in smooth > _otsu(smooth)
    ]
    areas = np.array([section.sum() for section in sections])
    if not areas.max():
        return HeadSize(0.0, (0.0, 0.0, 0.0))
    whole = np.stack(sections)[areas > 0.1 * areas.max()].any(axis=0)
    shown = few[areas > 0.1 * areas.max()]
    sides = np.zeros(3)
    sides[axis] = (shown[-1] - shown[0] + 1) * size[axis]
    for place, side in enumerate(in_plane):
        covered = np.flatnonzero(whole.any(axis=1 - place))
        sides[side] = (covered[-1] - covered[0] + 1) * size[side]
    width = 2 * np.sqrt(areas.max() * size[in_plane].prod() / np.pi)
    return HeadSize(float(width), (float(sides[0]), float(sides[1]), float(sides[2])))


def header_scale(width: float, field: float) -> float:
    """Find by how much a header's lengths are too large, as a power of ten.

    Headers of many rodent scans have voxel sizes multiplied by 10 for human software. The width of
    the head shows this; a wide field of view alone does not.

    Parameters
    ----------
    width : float
        Of the head, as of :func:`head_size`, in mm by the header.
    field : float
        Longest side of the field of view, mm by the header.

    Returns
    -------
    float
        1 where a rodent's head is as wide, else the power of ten that makes it so.

    Examples
    --------
    >>> header_scale(22, 30), header_scale(22, 120), header_scale(220, 300), header_scale(2, 2.5)
    (1.0, 1.0, 10.0, 0.1)
    """
    low, high = _HEAD_WIDTH_MM
    high = high if field > _LARGEST_FIELD_MM else _BODY_WIDTH_MM
    if width <= 0 or low <= width <= high:
        return 1.0
    power = round(np.log10(width / _USUAL_WIDTH_MM))
    return 10.0 ** (min(power, -1) if width < low else max(power, 1))


def _otsu(values: NDArray) -> float:
    """Threshold that splits values of 0 to 1 best in two (Otsu 1979)."""
    top = float(np.percentile(values, 99.5))
    counts, edges = np.histogram(np.minimum(values, top), 256, (0, max(top, _DARK)))
    middle = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * middle)
    with np.errstate(divide='ignore', invalid='ignore'):
        apart = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(middle[int(np.nan_to_num(apart).argmax())])


def species_of_brain(brain: np.ndarray, affine: np.ndarray) -> str:
    """Name the species that a brain mask (X, Y, Z) is of, by its largest section."""
    grid = slice_grid(brain.shape, affine, float(nib.affines.voxel_sizes(affine).min()))
    sections = brain.sum(axis=grid.in_plane)
    h, w = (grid.voxel_size[axis] for axis in grid.in_plane)
    return species_of_section(float(sections.max()) * h * w)
