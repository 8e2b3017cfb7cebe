"""Headers of NIfTI files: lengths checked against each other, slice grid, species of a mask."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel import spatialimages
from numpy.typing import NDArray

from secondglance.files.nifti import read_volume
from secondglance.imaging.errors import InputError
from secondglance.imaging.grids import SliceGrid
from secondglance.imaging.head_size import HUMAN_SCALE, head_size, header_scale, species_of_brain
from secondglance.imaging.pose import Pose

_UNITS = {1: ('metre', 1000.0), 3: ('micron', 0.001)}
"""Codes of xyzt_units other than mm: name, mm."""

_SAME = 0.02
"""Lengths that differ by no larger share are the same."""

_SHORTEST, _LONGEST = 1e-9, 1e9
"""Voxels of another size, in any unit, have none."""

_FARTHEST = 1e7
"""Voxels from the origin of the world; arithmetic has no more digits for what lies farther."""

_SHEAR_DEGREES = 3.0
"""Axes of an image that are less than a right angle apart by more than this are reported."""

_FLAT_DEGREES = 60.0
"""Axes of an image that are less than a right angle apart by more than this are refused."""

_OTHER_WAY_DEGREES = 20.0
"""By how much sform and qform must differ to be reported."""

_POSITION = (
    *('qform_code', 'sform_code', 'quatern_b', 'quatern_c', 'quatern_d'),
    *('qoffset_x', 'qoffset_y', 'qoffset_z', 'srow_x', 'srow_y', 'srow_z'),
    *('xyzt_units', 'dim_info'),
)
"""Fields of a header that say where voxels lie, beside pixdim."""

_MARK = re.compile(r'secondglance: mm = lengths / ([0-9.e+-]+)')


@dataclass(frozen=True)
class Geometry:
    """Where the voxels of an image lie in the animal.

    Attributes
    ----------
    affine : (4, 4) array
        Voxel to world, mm of the animal.
    scale : float
        By how much the header's lengths are too large; mostly 1.
    notes : tuple of str
        What a person should know of it, a sentence each.
    """

    affine: NDArray[np.float64]
    scale: float = 1.0
    notes: tuple[str, ...] = ()


def check_geometry(
    image: spatialimages.SpatialImage,
    voxels: NDArray | None = None,
    voxel_scale: float | None = None,
) -> Geometry:
    """Check the lengths of a header against each other, and against the size of the head.

    Parameters
    ----------
    image : nibabel image
        As of :func:`secondglance.files.nifti.read_volume`.
    voxels : (X, Y, Z[, T]) array, optional
        By default those of the image.
    voxel_scale : float, optional
        What the header's lengths are multiplied by to be mm of the animal; nothing is then
        checked but that the affine can be inverted.

    Returns
    -------
    Geometry

    Raises
    ------
    InputError
        If lengths contradict each other, no head is as large or as small, or the affine cannot be
        inverted.
    """
    path, affine = image.get_filename() or 'The image', np.asarray(image.affine, np.float64)
    _check_axes(path, affine)
    sizes = nib.affines.voxel_sizes(affine)
    notes = list(_sheared(path, affine))
    if voxel_scale is not None:
        scale = 1 / voxel_scale
        if scale != 1:
            notes.append(f'The lengths of the header were multiplied by {voxel_scale:g} (asked).')
        return Geometry(_scaled(affine, scale), scale, tuple(notes))
    notes += _contradictions(path, image, sizes)
    volume = np.asarray(image.dataobj if voxels is None else voxels)
    volume = volume.reshape(*volume.shape[:3], -1)[..., 0]
    size = head_size(volume, sizes)
    width = size.width
    field = float((sizes * volume.shape).max())
    unit, factor = _unit_of(image)
    wrong = header_scale(width * factor, field * factor)
    head = f'the head is {_round(width * factor)} mm wide'
    if factor != 1 and wrong == 1:
        notes.append(f'The header has its lengths in {unit}s: they were converted to mm.')
    elif factor != 1 and header_scale(width, field) in (1, HUMAN_SCALE):
        notes.append(
            f'The header says that its lengths are in {unit}s, by which {head}: they were taken '
            'for mm.'
        )
        factor, wrong = 1.0, header_scale(width, field)
        head = f'the head is {_round(width)} mm wide'
    if wrong == HUMAN_SCALE:
        notes.append(
            f'The header has voxel sizes multiplied by {HUMAN_SCALE:g} (human software), by which '
            f'{head}: lengths and volumes here are those of the animal (--voxel-scale 1 takes the '
            'header as it is).'
        )
    elif wrong != 1:
        raise InputError(
            f'{path} has voxel sizes of {_times(sizes)} {unit}, by which {head}, as no rodent is'
            f'{_guess(wrong)}: correct its header, or give --voxel-scale {factor / wrong:g} to '
            'multiply its lengths by that.'
        )
    scale = wrong / factor
    if size.distorted:
        notes.append(
            f'By the header, what is bright of the head is {_times(np.array(size.sides) / scale)} '
            f'mm large along i, j and k: are the voxel sizes right ({_times(sizes / scale)} mm)?'
        )
    return Geometry(_scaled(affine, scale), scale, tuple(notes))


def grid_of(path: str | Path, pose: Pose) -> SliceGrid:
    """Lay out the slice grid of a NIfTI file.

    Parameters
    ----------
    path : path
    pose : Pose

    Returns
    -------
    SliceGrid
        In mm of the animal.
    """
    image: Any = nib.load(path)
    return pose.grid(image.shape[:3], affine_of(image))


def scale_of(image: spatialimages.SpatialImage) -> float:
    """By how much the lengths of an image's header are too large; mostly 1.

    What was checked once says so itself, as :func:`mark_scale` writes it. An image that was not,
    and in which nothing is as wide as a rodent's head, is taken as its header has it.
    """
    told = ''
    if isinstance(image.header, nib.Nifti1Header):
        told = image.header['descrip'].item().decode('latin-1')
    if found := _MARK.match(told):
        return float(found[1])
    try:
        return check_geometry(image).scale
    except InputError:
        return 1.0


def mark_scale(header: nib.Nifti1Header, scale: float) -> None:
    """Note in a header by how much its lengths are too large.

    Parameters
    ----------
    header : nibabel.Nifti1Header
        Its ``descrip`` is replaced.
    scale : float
        As :func:`scale_of` will read it.
    """
    header['descrip'] = f'secondglance: mm = lengths / {scale:.12g}'.encode()


def with_position(
    voxels: NDArray, image: spatialimages.SpatialImage, scale: float | None = None
) -> nib.Nifti1Image:
    """Make an image of voxels with the position of another image.

    Parameters
    ----------
    voxels : array
        Of the other's shape, in the first three axes.
    image : nibabel image
        Its fields that say where voxels lie are taken over, bit by bit.
    scale : float, optional
        Marked in the header, as of :func:`mark_scale`.

    Returns
    -------
    nibabel.Nifti1Image
    """
    out = nib.Nifti1Image(voxels, image.affine)
    if isinstance(image.header, nib.Nifti1Header):
        for field in _POSITION:
            out.header[field] = image.header[field]
        out.header['pixdim'][:4] = image.header['pixdim'][:4]
    else:
        out.header.set_xyzt_units('mm')
    if scale is not None:
        mark_scale(out.header, scale)
    return out


def affine_of(image: spatialimages.SpatialImage) -> NDArray[np.float64]:
    """Affine (4, 4) of an image in the animal's own millimetres, whatever its header's are."""
    return _scaled(image.affine, scale_of(image))


def species_of_mask(path: str | Path) -> str:
    """Name the species that a brain mask on disk is of; as of `species_of_brain`."""
    image, voxels = read_volume(path)
    return species_of_brain(voxels > 0, check_geometry(image, voxels).affine)


def _unit_of(image: spatialimages.SpatialImage) -> tuple[str, float]:
    """Unit that a header names, and how many mm it is; mm where it names none."""
    if not isinstance(image.header, nib.Nifti1Header):
        return 'mm', 1.0
    return _UNITS.get(int(image.header['xyzt_units']) & 7, ('mm', 1.0))


def _scaled(affine: NDArray, scale: float) -> NDArray[np.float64]:
    affine = np.asarray(affine, np.float64)
    return affine if scale == 1 else np.diag([1 / scale] * 3 + [1.0]) @ affine


def _check_axes(path: str, affine: NDArray) -> None:
    """Refuse an affine that cannot be inverted, whatever its unit is."""
    with np.errstate(all='ignore'):
        sizes = np.linalg.norm(affine[:3, :3], axis=0)
    flat = not np.isfinite(affine).all() or not ((sizes > _SHORTEST) & (sizes < _LONGEST)).all()
    if flat or abs(np.linalg.det(affine[:3, :3] / sizes)) < np.cos(np.radians(_FLAT_DEGREES)):
        raise InputError(
            f'{path} has an affine (sform, else qform) with axes that do not span a volume: '
            'correct its header; where the qform is right, set sform_code to 0.'
        )
    away = float(np.abs(affine[:3, 3]).max())
    if away > _FARTHEST * sizes.max():
        raise InputError(
            f'{path} lies {away:g} mm from the origin by its affine: correct the offsets in its '
            'header.'
        )


def _sheared(path: str, affine: NDArray) -> list[str]:
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    cosines = np.abs(np.triu(axes.T @ axes, 1))
    i, j = np.unravel_index(cosines.argmax(), cosines.shape)
    apart = float(np.degrees(np.arccos(min(cosines.max(), 1.0))))
    if 90 - apart <= _SHEAR_DEGREES:
        return []
    return [
        f'The axes {"ijk"[i]} and {"ijk"[j]} of the image are {apart:.0f}° apart by its header, '
        'not 90°: slices are distorted, unless the header is wrong.'
    ]


def _contradictions(path: str, image: spatialimages.SpatialImage, sizes: NDArray) -> list[str]:
    """Compare affine, pixdim and qform; refuse what cannot be known."""
    if not isinstance(image.header, nib.Nifti1Header):
        return []
    header, notes = image.header, []
    stored = np.abs(np.asarray(header['pixdim'][1:4], np.float64))
    with np.errstate(over='ignore', divide='ignore'):
        ratio = stored / sizes
        scale = float(np.log10(ratio.mean()))
    if np.abs(ratio - 1).max() > _SAME:
        # Sizes too far apart for a number, or none at all, are no power of ten
        power = round(scale) if np.isfinite(scale) else 0
        told = f'{_times(sizes)} mm by its affine (sform) and {_times(stored)} mm by its pixdim'
        if power == 0 or np.abs(ratio / 10.0**power - 1).max() > _SAME:
            raise InputError(
                f'{path} has voxel sizes of {told}: correct its header, or give --voxel-scale 1 '
                'to take the affine.'
            )
        notes.append(
            f'The header has voxel sizes of {told}: those that fit the size of the head were used.'
        )
    if header['sform_code'] == 0 and header['qform_code'] == 0:
        notes.append(
            'The header does not say how the head lies (sform_code and qform_code are 0): left '
            'and right may be swapped, and slices may not be coronal.'
        )
    if header['sform_code'] > 0 and header['qform_code'] > 0:
        with np.errstate(all='ignore'):
            try:
                other = header.get_qform()[:3, :3]
            except (ValueError, spatialimages.HeaderDataError):
                return notes
            cosines = (other * image.affine[:3, :3]).sum(axis=0) / (
                np.linalg.norm(other, axis=0) * sizes
            )
        angle = float(np.degrees(np.arccos(np.clip(np.nan_to_num(cosines), -1, 1))).max())
        if angle > _OTHER_WAY_DEGREES:
            lies = [''.join(nib.aff2axcodes(a)) for a in (image.affine, header.get_qform())]
            notes.append(
                f'The sform ({lies[0]}) and the qform ({lies[1]}) of the header differ by '
                f'{angle:.0f}°; the sform was taken: are left and right where they should be?'
            )
    return notes


def _times(sizes: NDArray) -> str:
    """Lengths as they are written in a sentence.

    Examples
    --------
    >>> _times(np.array([0.25, 0.25, 1.0]))
    '0.25 × 0.25 × 1'
    """
    return ' × '.join(f'{size:.4g}' for size in sizes)


def _round(length: float) -> str:
    """Two digits of a length.

    Examples
    --------
    >>> _round(1432.0), _round(0.0213)
    ('1400', '0.021')
    """
    return f'{float(f"{length:.2g}"):g}'


def _guess(scale: float) -> str:
    units = {0.1: 'cm', 0.001: 'metres', 1000.0: 'microns'}
    name = next((n for s, n in units.items() if np.isclose(s, scale)), '')
    return f' (are they {name}?)' if name else ''
