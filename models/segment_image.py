"""Segmentation of one image in Python: ``secondglance.segment``."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from secondglance.data import donor_paths, regions_path
from secondglance.files.bids import find_donor
from secondglance.files.labels import file_labels
from secondglance.files.nifti import check_donor, check_values, read_volume, reading_notes
from secondglance.files.nifti_header import check_geometry, with_position
from secondglance.files.regions import read_region_atlas
from secondglance.files.stacks import image_like
from secondglance.imaging.errors import InputError
from secondglance.imaging.grids import voxel_volume
from secondglance.imaging.metrics import tissue_volumes
from secondglance.imaging.pose import Pose
from secondglance.imaging.species import AUTO, BRAIN_SIZE
from secondglance.models.choices import (
    AS_PUBLISHED,
    MASK_METHODS,
    MINIMUM_SIDE,
    SECOND_GLANCES,
    TURNS,
    SaliencyOptions,
)
from secondglance.models.weights import (
    REFINEMENT,
    SECOND_GLANCE,
    default_refinement,
    default_second_glance,
    default_weights,
    load_weights,
    weights_spacing,
)

if TYPE_CHECKING:
    from secondglance.imaging.placement.donors import Donor
    from secondglance.imaging.regions import RegionAtlas
    from secondglance.models.weights import LoadedModel

_AXES = ('auto', 'i', 'j', 'k')


@dataclass(frozen=True)
class Segmentation:
    """Result of one image; all images lie on its grid.

    Attributes
    ----------
    mask : nibabel image, (X, Y, Z) uint8
        Of the brain.
    tissues : nibabel image, (X, Y, Z) uint8
        0 background, 1 GM, 2 WM, 3 CSF, as in files; above 0 exactly where the mask is.
    probabilities : nibabel image, (X, Y, Z, 3) float32
        Fractions of WM, GM and CSF in [0, 1]; they sum to one inside the mask and are 0 outside.
    share : nibabel image, (X, Y, Z) float32
        Part of each voxel that is brain, in [0, 1]; by ``network`` below one at the rim, above
        zero beside it.
    regions : nibabel image, (X, Y, Z) int16, or None
        Labels of the species' atlas, where the second glance is the network.
    first_probabilities : nibabel image, (X, Y, Z, 4) float32
        Class probabilities of the first glance: background, WM, GM and CSF.
    saliency : nibabel image, (X, Y, Z) float32
        Signed gradient of the target.
    enhanced : nibabel image, (X, Y, Z) float32
        Enhanced saliency in [0, 1].
    confidence : float
        Probability that the Dice of the mask with one drawn by hand is at least 0.95.
    slice_confidence : (N,) array
        The same of each slice, from posterior to anterior.
    method : str
        How the mask was made: the one asked for, or what ``auto`` took.
    pose : Pose
        Species, and how the slices were cut.
    volumes : dict of str to float
        Of each tissue and of the brain, mm³, from fractions and share of brain.
    notes : tuple of str
        What a person should know of the file, a sentence each.
    """

    mask: nib.Nifti1Image
    tissues: nib.Nifti1Image
    probabilities: nib.Nifti1Image
    share: nib.Nifti1Image
    regions: nib.Nifti1Image | None
    first_probabilities: nib.Nifti1Image
    saliency: nib.Nifti1Image
    enhanced: nib.Nifti1Image
    confidence: float
    slice_confidence: NDArray[np.float64]
    method: str
    pose: Pose
    volumes: dict[str, float]
    notes: tuple[str, ...] = ()


def segment(
    image: str | os.PathLike[str] | nib.spatialimages.SpatialImage,
    *,
    species: str = AUTO,
    slice_axis: str = 'auto',
    turn: str = TURNS[0],
    mask_method: str = MASK_METHODS[0],
    second_glance: str = SECOND_GLANCES[0],
    saliency: SaliencyOptions = AS_PUBLISHED,
    weights: str | os.PathLike[str] | None = None,
    refinement: str | os.PathLike[str] | None = None,
    second_weights: str | os.PathLike[str] | None = None,
    atlas: str | os.PathLike[str] | None = None,
    donors: Sequence[tuple[str | Path, str | Path]] = (),
    voxel_scale: float | None = None,
    device: str = 'auto',
) -> Segmentation:
    """Segment brain and tissues of one volume of a whole head.

    The numbers are those of ``secondglance run``: its nodes call the same functions.

    Parameters
    ----------
    image : path or nibabel image
        3-D. Of a series give the mean of its motion-corrected volumes without diffusion
        weighting, as ``secondglance run`` makes it.
    species : {'auto', 'rat', 'mouse'}
        ``auto``: estimated from brain size.
    slice_axis : {'auto', 'i', 'j', 'k'}
        Voxel axis along which slices lie.
    turn : {'auto', '0', '90', '180', '270'}
        Degrees by which slices are turned so that the head is upright; ``auto``: estimated.
    mask_method : str
        One of `secondglance.models.choices.MASK_METHODS`.
    second_glance : {'network', 'masked', 'none'}
        A second network; the network of the first glance on the masked image, as in the paper; or
        the tissues of the first glance inside the mask.
    saliency : SaliencyOptions
    weights, refinement : path, optional
        Of the network and of the refinement of its mask; by default those that ship.
    second_weights : path, optional
        Of the network of the second glance; by default those that ship.
    atlas : path, optional
        Folder of the atlas of regions; by default the one that ships, by species.
    donors : sequence of (image, mask) paths
        Other animals' heads with brain masks; by default those that ship. Their saliency is kept
        for the next call with the same weights.
    voxel_scale : float, optional
        What the lengths of the header are multiplied by to be mm; by default estimated.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Returns
    -------
    Segmentation

    Raises
    ------
    InputError
        If the image cannot be used, or an option has an unknown value.
    """
    from secondglance.models.device import resolve_device

    _check_choices(species, slice_axis, turn, mask_method, second_glance)
    volume = _read(image, voxel_scale)
    weights, device = Path(weights or default_weights()), resolve_device(device)
    _check_extent(volume, species, slice_axis, weights_spacing(weights))
    pairs = tuple((Path(head), Path(mask)) for head, mask in donors)
    model, bank = _prepared(weights, weights.stat().st_mtime_ns, pairs, saliency, device)
    refiner = load_weights(refinement or default_refinement(), device, REFINEMENT)
    pose = _pose(model, volume, species, slice_axis, turn, device)
    network = regions = None
    if second_glance == 'network':
        network, regions = _second_network(second_weights, atlas, pose.species, device)
    networks = _Networks(model, refiner, network, tuple(bank), device)
    return _segment(volume, pose, networks, regions, mask_method, second_glance, saliency)


def _pose(
    model: LoadedModel, volume: _Volume, species: str, slice_axis: str, turn: str, device: str
) -> Pose:
    from secondglance.models.pose import estimate_pose

    return estimate_pose(
        model,
        volume.voxels,
        volume.affine,
        species=species,
        quarter_turns=None if turn == TURNS[0] else int(turn) // 90,
        slice_axis=slice_axis,
        device=device,
    )


def _second_network(
    weights: str | os.PathLike[str] | None,
    atlas: str | os.PathLike[str] | None,
    species: str,
    device: str,
) -> tuple[LoadedModel, RegionAtlas]:
    network = load_weights(weights or default_second_glance(), device, SECOND_GLANCE)
    return network, read_region_atlas(Path(atlas) if atlas else regions_path(species))


@dataclass(frozen=True)
class _Volume:
    """A volume as it was read: float32 voxels, affine in mm of the animal, notes of its file."""

    like: nib.Nifti1Image
    affine: NDArray[np.float64]
    notes: tuple[str, ...]

    @property
    def voxels(self) -> NDArray[np.float32]:
        return np.asarray(self.like.dataobj)


@dataclass(frozen=True)
class _Networks:
    """Networks of the first glance, of its mask, and of the second glance; donors; a device."""

    first: LoadedModel
    refinement: LoadedModel
    second: LoadedModel | None
    donors: tuple[Donor, ...]
    device: str


def _segment(
    volume: _Volume,
    pose: Pose,
    networks: _Networks,
    atlas: RegionAtlas | None,
    mask_method: str,
    second_glance: str,
    options: SaliencyOptions,
) -> Segmentation:
    """Take both glances, and measure what was found."""
    from secondglance.models.segment import find_brain, look_again

    voxels, affine, like = volume.voxels, volume.affine, volume.like
    grid = pose.grid(voxels.shape, affine)
    found = find_brain(
        networks.first,
        networks.refinement,
        pose.stack(grid, voxels),
        networks.donors,
        mask_method=mask_method,
        options=options,
        device=networks.device,
    )
    mask = grid.to_native(found.brain.mask) >= 0.5
    tissues, regions = look_again(
        second_glance,
        voxels,
        mask,
        affine,
        pose,
        first=found.first,
        model=networks.first,
        network=networks.second,
        atlas=atlas,
        device=networks.device,
    )
    rows = tissue_volumes(tissues.labels, voxel_volume(affine), amounts=tissues.amounts)
    return Segmentation(
        mask=image_like(mask.astype(np.uint8), like),
        tissues=image_like(file_labels(tissues.labels), like),
        probabilities=image_like(tissues.fractions, like),
        share=image_like(tissues.share, like),
        regions=None if regions is None else image_like(regions, like),
        first_probabilities=image_like(grid.to_native(found.first.probabilities), like),
        saliency=image_like(grid.to_native(found.first.saliency), like),
        enhanced=image_like(grid.to_native(found.first.enhanced), like),
        confidence=found.brain.confidence,
        slice_confidence=found.brain.slice_confidence,
        method=found.brain.method,
        pose=pose,
        volumes={row['label']: row['volume_from_fractions_mm3'] for row in rows},
        notes=volume.notes,
    )


def _check_extent(volume: _Volume, species: str, slice_axis: str, spacing: float) -> None:
    smallest = BRAIN_SIZE.get(species, min(BRAIN_SIZE.values())) * spacing
    extent = Pose('rat', smallest, slice_axis)
    extent.check_extent(extent.grid(volume.voxels.shape, volume.affine), MINIMUM_SIDE)


def _check_choices(
    species: str, slice_axis: str, turn: str, mask_method: str, second_glance: str
) -> None:
    for name, value, known in (
        ('species', species, (AUTO, *BRAIN_SIZE)),
        ('slice_axis', slice_axis, _AXES),
        ('turn', turn, TURNS),
        ('mask_method', mask_method, MASK_METHODS),
        ('second_glance', second_glance, SECOND_GLANCES),
    ):
        if value not in known:
            raise InputError(f'{name} {value!r} is not one of {", ".join(known)}.')


def _read(image: Any, voxel_scale: float | None) -> _Volume:
    """Read a volume as ``run`` does."""
    if isinstance(image, (str, os.PathLike)):
        read, voxels = read_volume(Path(image))
    else:
        # Through the same reader as a file, so that the same is refused
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, 'image.nii')
            try:
                nib.save(nib.Nifti1Image.from_image(image), path)
                read, voxels = read_volume(path)
            except InputError as error:
                raise InputError(str(error).replace(str(path), 'The image')) from error
            except Exception as error:  # whatever stands behind an image's array
                raise InputError(f'{type(image).__name__} is no image: {error}.') from error
        read.file_map['image'].filename = None
    if voxels.ndim != 3:
        raise InputError(
            f'The image has {voxels.shape[3]} volumes: give one, the mean of its motion-corrected '
            'b0 volumes, or use `secondglance run`.'
        )
    values = check_values(read.get_filename() or 'The image', voxels)
    geometry = check_geometry(read, voxels, voxel_scale)
    like = with_position(voxels, read, geometry.scale)
    return _Volume(like, geometry.affine, (*reading_notes(read), *values, *geometry.notes))


@lru_cache(maxsize=1)
def _prepared(
    weights: Path,
    changed: int,
    donors: tuple[tuple[Path, Path], ...],
    saliency: SaliencyOptions,
    device: str,
) -> tuple[LoadedModel, list[Donor]]:
    """Network, and the donors under it; `changed` is the time of the weights' last change."""
    from secondglance.models.donors import read_donor

    model = load_weights(weights, device)
    for image, mask in donors:
        check_donor(image, mask)
    pairs = donors or tuple(find_donor(folder) for folder in donor_paths())
    return model, [read_donor(model, image, mask, saliency, device) for image, mask in pairs]
