"""How species differ in size, and what headers say of it."""

from collections.abc import Sequence

import nibabel as nib
import numpy as np

from secondglance.imaging.grids import slice_grid

AUTO = 'auto'


HEAD_RADIUS_MM = {'rat': 10.0, 'mouse': 5.0}
"""At which rotations of the head are turned into mm."""


BRAIN_SIZE = {'rat': 1.0, 'mouse': 0.65}
"""Length of a brain beside a rat's: a mouse's of 450 to 500 mm³ beside one of 1700 to 1900 mm³.

Networks know rats; a mouse seen with pixels this much smaller looks like one to them.
"""


MOUSE_SECTION_MM2 = 80.0
"""A brain whose largest coronal section is smaller is a mouse's.

Those of adult mice are 45 to 65 mm² large, those of rats 100 to 140 mm².
"""


HUMAN_SCALE = 10.0
"""By how much millimetres are multiplied to make a rodent look like a human to human software."""


_LARGEST_FIELD_MM = 100.0
"""No rodent's head is scanned in a larger field of view."""


def species_of_section(area: float) -> str:
    """Name the species whose brain has a largest coronal section of this many mm².

    Examples
    --------
    >>> species_of_section(52.0), species_of_section(131.0)
    ('mouse', 'rat')
    """
    return 'mouse' if area < MOUSE_SECTION_MM2 else 'rat'


def header_scale(shape: Sequence[int], voxel_size: Sequence[float]) -> float:
    """Find by how much a header's millimetres are too many.

    Software for humans wants brains as large as a human's, so the headers of many rodents' scans
    have voxels ten times as long as they are.

    Parameters
    ----------
    shape : sequence of int
        Of the volume.
    voxel_size : sequence of float
        As the header has it, mm.

    Returns
    -------
    float
        `HUMAN_SCALE` where the field of view is larger than any rodent's, else 1.

    Examples
    --------
    >>> header_scale((64, 64, 24), (0.4, 0.4, 1.0)), header_scale((64, 16, 32), (3.0, 6.0, 3.0))
    (1.0, 10.0)
    """
    field = [n * size for n, size in zip(shape[:3], voxel_size, strict=True)]
    return HUMAN_SCALE if max(field) > _LARGEST_FIELD_MM else 1.0


def species_of_brain(brain: np.ndarray, affine: np.ndarray) -> str:
    """Name the species that a brain mask (X, Y, Z) is of, by its largest section."""
    grid = slice_grid(brain.shape, affine, float(nib.affines.voxel_sizes(affine).min()))
    sections = brain.sum(axis=grid.in_plane)
    h, w = (grid.voxel_size[axis] for axis in grid.in_plane)
    return species_of_section(float(sections.max()) * h * w)
