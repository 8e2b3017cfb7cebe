"""Donors: other animals' heads with brain masks, and their saliency under the current weights."""

from __future__ import annotations

import hashlib
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from secondglance.data import donor_paths, donor_saliency_path
from secondglance.files.bids import find_donor
from secondglance.files.digests import digest_of
from secondglance.files.geometry import check_geometry, species_of_mask
from secondglance.files.heads import read_head
from secondglance.files.nifti import read_volume
from secondglance.imaging.grids import SliceGrid
from secondglance.imaging.placement.donors import Donor
from secondglance.imaging.pose import Pose
from secondglance.models.choices import AS_PUBLISHED, SaliencyOptions
from secondglance.models.pose import estimate_pose
from secondglance.models.segment import prepare_donor
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


def saliency_key(model: LoadedModel, image: Path, mask: Path, options: SaliencyOptions) -> str:
    """Digest of all that the enhanced saliency of a donor that ships depends on.

    Parameters
    ----------
    model : LoadedModel
        Its tensors and its spacing count.
    image, mask : Path
        Their contents count.
    options : SaliencyOptions

    Returns
    -------
    str
        Hexadecimal, after the name of the donor.
    """
    files = digest_of(Path(image)), digest_of(Path(mask))
    text = repr((model.checksum, model.spacing, *files, astuple(options)))
    return f'{Path(image).parent.name}-{hashlib.sha256(text.encode()).hexdigest()}'


def shipped_saliency(
    model: LoadedModel, image: Path, mask: Path, options: SaliencyOptions = AS_PUBLISHED
) -> NDArray[np.float32] | None:
    """Read the enhanced saliency of a donor that ships, if it was computed from the same.

    Parameters
    ----------
    model, image, mask, options
        As of `saliency_key`.

    Returns
    -------
    (N, H, W) float32 array or None
        In [0, 1], of the donor upright; None where it has to be computed.
    """
    if not _ships(image):
        return None
    try:
        with np.load(donor_saliency_path()) as arrays:
            return np.asarray(arrays[saliency_key(model, image, mask, options)])
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        return None


def _ships(image: Path) -> bool:
    return Path(image).parent in donor_paths()


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
    pose = donor_pose(model, image, mask, device)
    return donor_on_grid(model, image, mask, pose, options, device, animal)[0]


def donor_on_grid(
    model: LoadedModel,
    image: Path,
    mask: Path,
    pose: Pose,
    options: SaliencyOptions = AS_PUBLISHED,
    device: str = 'cpu',
    animal: str = '',
) -> tuple[Donor, SliceGrid]:
    """Do as `read_donor` in a known pose; also return how the stack lies over the volume."""
    head, grid = read_head(image, mask, pose)
    known = shipped_saliency(model, image, mask, options)
    if known is None or known.shape != head.images.shape:
        return prepare_donor(model, head, options, device, animal), grid
    return Donor(known, head.brain, head.positions, animal), grid


def animal_of(image: Path) -> str:
    """Label of a donor's animal, by the deepest ``sub-`` in its path, else by its folder.

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
