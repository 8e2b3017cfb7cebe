"""Repair of an atlas's tissue maps: crumbs and a false rim removed, the spinal cord extended."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from secondglance.imaging.pieces import largest_piece, opened

_CRUMB_MM = 0.3
"""Thinner pieces of brain than twice this are crumbs or sheets of dura, mm."""


_RIM_MM = 0.6
"""White matter this close to the surface is doubted where it is a thin sheet, mm."""


CORD_MM = 3.0
"""How far the cord goes on behind the last sound section of the maps, mm."""


_CORD_RADIUS, _SOUND = 0.3, 0.85
"""A section of medulla or cord is sound where discs of this radius, beside that of the brain's
largest section, fill this share of it."""


def tidy_maps(maps: NDArray[np.float32], spacing: tuple[float, float, float]) -> NDArray:
    """Clean tissue maps that were made from intensities alone.

    At the surface of a brain bright fluid and dark bone share voxels, and their mixture looks like
    white matter: maps made from T2-weighted intensities have a thin rim of it around the cortex.
    A sheet that thin is given to grey matter. Crumbs far from the brain are given to the outside.

    Parameters
    ----------
    maps : array, shape (M, X, Y, Z)
        Probabilities of outside, white matter, grey matter, fluid, and of whatever else follows;
        they sum to one.
    spacing : tuple of float
        Voxel size in mm.

    Returns
    -------
    array of float32, shape (M, X, Y, Z)
        They sum to one.
    """
    maps = np.array(maps, np.float32)
    labels = maps.argmax(axis=0)
    brain = largest_piece(opened((labels > 0) & (labels < 4), _CRUMB_MM, spacing))
    brain = ndimage.binary_fill_holes(brain)
    # What is less than one voxel outside keeps its share: edges stay soft
    outside = ~ndimage.binary_dilation(brain)
    maps[0] += (maps[1:4] * outside).sum(axis=0)
    maps[1:4] *= ~outside

    white = (maps.argmax(axis=0) == 1) & brain
    thick = opened(white, _CRUMB_MM, spacing)
    reach = max(1, round(1.5 * _CRUMB_MM / min(spacing)))
    thick = ndimage.binary_dilation(thick, iterations=reach, mask=white)
    depth = ndimage.distance_transform_edt(brain, sampling=spacing)
    rim = ~thick & (depth < _RIM_MM)
    maps[2] += maps[1] * rim
    maps[1] *= ~rim
    return maps


def continue_cord(maps: NDArray[np.float32], spacing: tuple[float, float, float]) -> NDArray:
    """Let the spinal cord go on behind the brain, as it does in every head.

    Maps of an atlas end somewhere in the medulla, and raggedly. What lies behind its last sound
    section is replaced by that section, `CORD_MM` far; maps that end in a sound one, and do not
    reach farther, stay as they are.

    Parameters
    ----------
    maps : array, shape (M, X, Y, Z)
        As `tidy_maps` gives them; the second axis runs towards anterior.
    spacing : tuple of float
        Voxel size in mm.

    Returns
    -------
    array of float32, shape (M, X, Y', Z)
        Their first plane along Y, where the cord ends, is all outside.
    """
    brain = maps[1:4].sum(axis=0) > 0.5
    pixel = spacing[0] * spacing[2]
    radius = _CORD_RADIUS * np.sqrt(brain.sum(axis=(0, 2)).max() * pixel / np.pi)
    for last in np.flatnonzero(brain.any(axis=(0, 2))):
        section = brain[:, last]
        core = opened(section, radius, (spacing[0], spacing[2]))
        if core.sum() >= _SOUND * section.sum():
            break
    else:
        return maps
    cord = np.repeat(maps[:, :, last : last + 1], round(CORD_MM / spacing[1]), axis=2)
    end = np.zeros_like(cord[:, :, :1])
    end[0] = 1.0
    return np.concatenate([end, cord, maps[:, :, last:]], axis=2)
