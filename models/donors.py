"""Donors: other animals' heads with brain masks, and their saliency under the current weights."""

from __future__ import annotations

import hashlib
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from secondglance.data import donor_paths, donor_saliency_path
from secondglance.files.bids import find_donor
from secondglance.files.digests import digest_of
from secondglance.files.heads import read_head
from secondglance.files.nifti import read_volume
from secondglance.files.nifti_header import check_geometry, species_of_mask
from secondglance.imaging.placement.donors import Donor
from secondglance.imaging.pose import Pose
from secondglance.models.choices import AS_PUBLISHED, SaliencyOptions
from secondglance.models.weights import LoadedModel


def donor_pose(model: LoadedModel, image: Path, mask: Path, device: str = 'cpu') -> Pose:
    """Estimate a donor's species from its mask and its orientation with the network.

    Parameters
    ----------
    model : LoadedModel
        Of the first glance.
    image, mask : Path
    device : str

    Returns
    -------
    Pose
    """
    from secondglance.models.pose import estimate_pose

    species = species_of_mask(mask)
    # Those that ship lie upright
    if _ships(image):
        return Pose(species, model.spacing * Pose(species, 1.0).relative_size)
    head, voxels = read_volume(image)
    return estimate_pose(
        model,
        voxels,
        check_geometry(head, voxels).affine,
        species=species,
        device=device,
    )


@dataclass(frozen=True)
class PlacedDonor:
    """A donor with its place.

    Attributes
    ----------
    donor : Donor
    affine : (4, 4) array
        Of its stack (H, W, M), to world mm in the size of a rat.
    """

    donor: Donor
    affine: NDArray[np.float64]


_PARTS = ('enhanced', 'mask', 'positions', 'affine')
"""Names of a donor's arrays in the file that ships."""


def donor_key(
    checksum: str, spacing: float, image: Path, mask: Path, options: SaliencyOptions
) -> str:
    """Digest of all that a donor that ships, with its saliency, depends on.

    Parameters
    ----------
    checksum : str
        Of the tensors of the first glance.
    spacing : float
        In plane, mm, that its slices must have.
    image, mask : Path
        Their contents count.
    options : SaliencyOptions

    Returns
    -------
    str
        Hexadecimal, after the name of the donor.
    """
    files = digest_of(Path(image)), digest_of(Path(mask))
    text = repr((checksum, spacing, *files, astuple(options)))
    return f'{Path(image).resolve().parent.name}-{hashlib.sha256(text.encode()).hexdigest()}'


def donor_arrays(placed: PlacedDonor) -> dict[str, NDArray]:
    """Arrays of a donor as they ship, by the names of `_PARTS`.

    Parameters
    ----------
    placed : PlacedDonor

    Returns
    -------
    dict of arrays
    """
    donor = placed.donor
    parts = (donor.enhanced, donor.mask, donor.positions, placed.affine)
    return dict(zip(_PARTS, map(np.asarray, parts), strict=True))


def shipped_donor(
    checksum: str,
    spacing: float,
    image: Path,
    mask: Path,
    options: SaliencyOptions = AS_PUBLISHED,
    animal: str = '',
) -> PlacedDonor | None:
    """Read a donor with its saliency as it ships, if it was computed from the same.

    Parameters
    ----------
    checksum, spacing, image, mask, options
        As of `donor_key`; the network itself is not needed.
    animal : str
        Label of the animal with its prefix.

    Returns
    -------
    PlacedDonor or None
        None where it has to be computed.
    """
    if not _ships(image):
        return None
    try:
        key = donor_key(checksum, spacing, image, mask, options)
        with np.load(donor_saliency_path()) as arrays:
            enhanced, brain, positions, affine = (arrays[f'{key}-{part}'] for part in _PARTS)
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
    return PlacedDonor(Donor(enhanced, brain, positions, animal), affine)


def _ships(image: Path) -> bool:
    return Path(image).resolve().parent in donor_paths()


def read_donor(
    model: LoadedModel,
    image: Path,
    mask: Path,
    options: SaliencyOptions = AS_PUBLISHED,
    device: str = 'cpu',
    animal: str = '',
) -> Donor:
    """Read a donor, turn it upright and compute its saliency, unless that ships too.

    Parameters
    ----------
    model : LoadedModel
        Of the first glance.
    image, mask : Path
        On one grid.
    options : SaliencyOptions
    device : str
    animal : str
        Label of the animal with its prefix.

    Returns
    -------
    Donor

    Raises
    ------
    InputError
        As of `secondglance.files.heads.read_head`.
    """
    return placed_donor(model, image, mask, options, device, animal).donor


def placed_donor(
    model: LoadedModel,
    image: Path,
    mask: Path,
    options: SaliencyOptions = AS_PUBLISHED,
    device: str = 'cpu',
    animal: str = '',
) -> PlacedDonor:
    """Prepare a donor, and keep where it lies; those that ship are read if they fit.

    Parameters
    ----------
    model : LoadedModel
        Of the first glance.
    image, mask : path
        Head of another animal, and the mask of its brain.
    options : SaliencyOptions
    device : str
    animal : str
        Its label; an animal is never its own donor.

    Returns
    -------
    PlacedDonor

    Raises
    ------
    InputError
        If image or mask cannot be used.
    """
    shipped = shipped_donor(model.checksum, model.spacing, image, mask, options, animal)
    return shipped or compute_donor(model, image, mask, options, device, animal)


def compute_donor(
    model: LoadedModel,
    image: Path,
    mask: Path,
    options: SaliencyOptions = AS_PUBLISHED,
    device: str = 'cpu',
    animal: str = '',
) -> PlacedDonor:
    """Compute the saliency of a donor, even of one that ships.

    Parameters, result and errors are those of `placed_donor`.
    """
    from secondglance.models.segment import prepare_donor

    pose = donor_pose(model, image, mask, device)
    head, grid = read_head(image, mask, pose)
    affine = np.diag([1 / pose.relative_size] * 3 + [1.0]) @ grid.affine
    return PlacedDonor(prepare_donor(model, head, options, device, animal), affine)


def animal_of(image: Path) -> str:
    """Label of a donor's animal, by the deepest ``sub-`` in its path, else by its folder.

    Parameters
    ----------
    image : path

    Returns
    -------
    str
        With its prefix ``sub-``.

    Examples
    --------
    >>> animal_of(Path('bank/rat-02/image.nii.gz')), animal_of(Path('ds/sub-7/anat/head.nii.gz'))
    ('sub-02', 'sub-7')
    >>> animal_of(Path('mine/sub-A1_T2w.nii.gz'))
    'sub-A1'
    """
    labels = re.findall(r'(?:^|[/_])sub-([0-9A-Za-z]+)', Path(image).as_posix())
    return f'sub-{labels[-1] if labels else Path(image).parent.name.rpartition("-")[2]}'


def read_donors(
    model: LoadedModel,
    folders: Sequence[Path],
    options: SaliencyOptions = AS_PUBLISHED,
    device: str = 'cpu',
) -> list[Donor]:
    """Read the donors of a bank.

    Parameters
    ----------
    model : LoadedModel
    folders : sequence of path
        Each with an image and its brain mask; `animal_of` tells which animal's.
    options : SaliencyOptions
    device : str

    Returns
    -------
    list of Donor

    Raises
    ------
    InputError
        As of `read_donor`.
    """
    pairs = [find_donor(folder) for folder in folders]
    return [
        read_donor(model, image, mask, options, device, animal_of(image)) for image, mask in pairs
    ]
