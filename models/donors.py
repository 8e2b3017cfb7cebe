"""Donors: other animals' heads with brain masks, and their saliency under the current weights."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from secondglance.data import donor_paths
from secondglance.files.bids import find_donor
from secondglance.files.geometry import check_geometry, species_of_mask
from secondglance.files.heads import read_head
from secondglance.files.nifti import read_volume
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
    if Path(image).parent in donor_paths():
        return Pose(species, model.spacing * Pose(species, 1.0).relative_size)
    head, voxels = read_volume(image)
    return estimate_pose(
        model,
        voxels,
        check_geometry(head, voxels).affine,
        species=species,
        device=device,
    )


def read_donor(
    model: LoadedModel,
    image: Path,
    mask: Path,
    options: SaliencyOptions = AS_PUBLISHED,
    device: str = 'cpu',
    animal: str = '',
) -> Donor:
    """Read a donor, turn it upright and compute its saliency.

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
    head, _ = read_head(image, mask, donor_pose(model, image, mask, device))
    return prepare_donor(model, head, options, device, animal)


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
