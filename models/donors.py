"""Donors: other animals' heads with brain masks, and their saliency under the current weights."""

from __future__ import annotations

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
    """Find how a donor lies: its species by its mask, its orientation by the network.

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
        Each with an image and its brain mask; its name ends with the label of its animal.
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
    return [
        read_donor(
            model,
            *find_donor(folder),
            options,
            device,
            animal=f'sub-{folder.name.rpartition("-")[2]}',
        )
        for folder in folders
    ]
