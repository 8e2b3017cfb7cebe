"""The whole method on arrays: first glance, brain mask, second glance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from secondglance.imaging.enhancement import enhance
from secondglance.imaging.errors import InputError
from secondglance.imaging.glance_pooling import pool_glances
from secondglance.imaging.grids import SliceGrid
from secondglance.imaging.intensity import head_mask, near_head
from secondglance.imaging.mask.methods import scales_masks
from secondglance.imaging.mask.quality import MaskEvidence
from secondglance.imaging.mask.selection import SelectedMask, select_mask
from secondglance.imaging.placement.donors import Donor, Placement, place_from_bank
from secondglance.imaging.pose import HeadStack, Pose
from secondglance.imaging.regions import RegionAtlas
from secondglance.imaging.tissues import TissueMaps, tissues_inside
from secondglance.models.brain_refinement import refine
from secondglance.models.choices import (
    AS_PUBLISHED,
    MASK_METHODS,
    SECOND_GLANCES,
    SaliencyOptions,
)
from secondglance.models.inference import predict
from secondglance.models.saliency.attribution import Smoothing, saliency_stack
from secondglance.models.second_glance.volume import glance_at_volume, has_place
from secondglance.models.weights import LoadedModel, calibration_of


@dataclass(frozen=True)
class FirstGlance:
    """Output of the network for a whole head; stacks at its spacing.

    Attributes
    ----------
    saliency : (N, H, W) float32 array
        Signed gradient of the target.
    probabilities : (N, 4, H, W) float32 array
        Of the classes, from the same forward pass.
    enhanced : (N, H, W) float32 array
        Enhanced saliency, in [0, 1].
    """

    saliency: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    enhanced: NDArray[np.float32]


@dataclass(frozen=True)
class FoundBrain:
    """The first glance at a head, and its brain; stacks at the network's spacing.

    Attributes
    ----------
    first : FirstGlance
    placement : Placement
        Of a donor's mask.
    brain : SelectedMask
    """

    first: FirstGlance
    placement: Placement
    brain: SelectedMask


def first_glance(
    model: LoadedModel,
    images: NDArray,
    options: SaliencyOptions = AS_PUBLISHED,
    device: str = 'cpu',
) -> FirstGlance:
    """Take the first glance at a stack of whole-head slices.

    Parameters
    ----------
    model : LoadedModel
    images : (N, H, W) array
        Intensities at the in-plane spacing of the model.
    options : SaliencyOptions
    device : str

    Returns
    -------
    FirstGlance
    """
    maps, probabilities = saliency_stack(
        model,
        images,
        target=options.target,
        method=options.method,
        smoothing=Smoothing(options.copies),
        device=device,
    )
    enhanced = enhance(maps, head_mask(images), peak=options.peak, width=options.width)
    return FirstGlance(maps, probabilities, enhanced)


def prepare_donor(
    model: LoadedModel,
    head: HeadStack,
    options: SaliencyOptions = AS_PUBLISHED,
    device: str = 'cpu',
    animal: str = '',
) -> Donor:
    """Compute the enhanced saliency of a donor under the weights that segment the subject.

    Parameters
    ----------
    model : LoadedModel
    head : HeadStack
        With labels: its brain mask.
    options : SaliencyOptions
    device : str
    animal : str
        Label of the animal, so that it is never its own donor.

    Returns
    -------
    Donor
    """
    found = first_glance(model, head.images, options, device)
    return Donor(found.enhanced, head.brain, head.positions, animal)


def gather_evidence(
    first: FirstGlance,
    refinement: LoadedModel,
    head: HeadStack,
    donors: Sequence[Donor],
    *,
    similarity: bool = False,
    device: str = 'cpu',
) -> tuple[MaskEvidence, Placement]:
    """Place a donor's mask, and refine the brain probability with it.

    Parameters
    ----------
    first : FirstGlance
    refinement : LoadedModel
    head : HeadStack
    donors : sequence of Donor
    similarity : bool
        Whether the mask may be scaled and turned.
    device : str

    Returns
    -------
    MaskEvidence
    Placement
    """
    placement = place_from_bank(first.enhanced, head.positions, donors, similarity=similarity)
    probability = brain_probability(first.probabilities, head.images)
    refined = refine(
        refinement,
        head.images,
        probability,
        first.enhanced,
        placement.mask,
        head.positions,
        device,
    )
    voxel = head.spacing**2 * head.thickness
    evidence = MaskEvidence(probability, refined, placement.mask, placement.peaks, voxel)
    return evidence, placement


def brain_probability(probabilities: NDArray, images: NDArray) -> NDArray[np.float32]:
    """Probability of brain by the first glance; zero away from the head.

    Parameters
    ----------
    probabilities : (N, 4, H, W) array
        Of the classes.
    images : (N, H, W) array
        Intensities.

    Returns
    -------
    (N, H, W) float32 array
    """
    return np.where(near_head(images), 1 - probabilities[:, 0], 0).astype(np.float32)


def remove_background(images: NDArray, mask: NDArray) -> NDArray[np.float32]:
    """Set what lies outside a brain mask to zero: the paper's input of the second glance.

    Parameters
    ----------
    images : (N, H, W) array
    mask : (N, H, W) array
        Brain from one half on.

    Returns
    -------
    (N, H, W) float32 array

    Examples
    --------
    >>> remove_background(np.array([[[3.0, 4.0]]]), np.array([[[0.5, 0.4]]])).tolist()
    [[[3.0, 0.0]]]
    """
    return np.where(np.asarray(mask) >= 0.5, images, 0).astype(np.float32)


def masked_second_glance(
    model: LoadedModel,
    images: NDArray,
    grid: SliceGrid,
    mask: NDArray,
    device: str = 'cpu',
) -> TissueMaps:
    """Segment the tissues of a masked head with the first network, as in the paper.

    Parameters
    ----------
    model : LoadedModel
    images : (N, H, W) array
        The whole head on `grid`.
    grid : SliceGrid
    mask : (X, Y, Z) bool array
        Brain, on the volume's own grid.
    device : str

    Returns
    -------
    TissueMaps
        (X, Y, Z) labels and (X, Y, Z, 3) fractions.
    """
    inside = remove_background(images, grid.to_stack(np.asarray(mask, np.float32)))
    probabilities = predict(model, inside, device)
    return tissues_inside(grid.to_native(probabilities), mask)


def look_again(
    kind: str,
    voxels: NDArray,
    mask: NDArray,
    affine: NDArray,
    pose: Pose,
    *,
    first: FirstGlance,
    model: LoadedModel,
    network: LoadedModel | None = None,
    atlas: RegionAtlas | None = None,
    device: str = 'cpu',
) -> tuple[TissueMaps, NDArray[np.int16] | None]:
    """Segment the tissues inside a brain mask: the second glance, of any kind.

    A mask too small to have a place in an atlas gets what the first glance found inside it. Where
    both glances agree, the first has a say (`secondglance.imaging.glance_pooling`).

    Parameters
    ----------
    kind : str
        One of `secondglance.models.choices.SECOND_GLANCES`.
    voxels : (X, Y, Z) array
        The whole head.
    mask : (X, Y, Z) bool array
        Brain.
    affine : (4, 4) array
        Voxel to mm of the animal, RAS+.
    pose : Pose
    first : FirstGlance
        At the same head; with ``network`` its tissues count where both glances agree.
    model : LoadedModel
        Network of the first glance; ``masked`` runs it again on the masked head.
    network : LoadedModel, optional
        Of the second glance; needed with ``network``.
    atlas : RegionAtlas, optional
        Atlas in which ``network`` looks up regions.
    device : str

    Returns
    -------
    TissueMaps
        (X, Y, Z) labels and (X, Y, Z, 3) fractions.
    (X, Y, Z) int16 array or None
        Labels of the atlas.

    Raises
    ------
    InputError
        For an unknown kind.
    """
    if kind not in SECOND_GLANCES:
        raise InputError(f'Second glance {kind!r} is not one of {", ".join(SECOND_GLANCES)}.')
    grid = pose.grid(voxels.shape, affine)
    if kind == 'masked':
        return masked_second_glance(model, grid.to_stack(voxels), grid, mask, device), None
    seen_first = tissues_inside(grid.to_native(first.probabilities), mask)
    if kind == 'none' or not has_place(mask):
        return seen_first, None
    if network is None:
        raise InputError('The second glance needs the weights of its network.')
    found = glance_at_volume(voxels, mask, affine, pose, network, atlas, device=device)
    tissues, _ = pool_glances(seen_first, found.tissues, np.asarray(mask, bool))
    return tissues, found.regions


def find_brain(
    model: LoadedModel,
    refinement: LoadedModel,
    head: HeadStack,
    donors: Sequence[Donor],
    *,
    mask_method: str = MASK_METHODS[0],
    options: SaliencyOptions = AS_PUBLISHED,
    device: str = 'cpu',
) -> FoundBrain:
    """Take the first glance at a stack of whole-head slices, and select its brain mask.

    Parameters
    ----------
    model, refinement : LoadedModel
    head : HeadStack
    donors : sequence of Donor
        Prepared with the same model.
    mask_method : str
        One of `secondglance.models.choices.MASK_METHODS`.
    options : SaliencyOptions
    device : str

    Returns
    -------
    FoundBrain

    Raises
    ------
    InputError
        For an unknown method, or without a donor.
    """
    if mask_method not in MASK_METHODS:
        raise InputError(f'Mask method {mask_method!r} is not one of {", ".join(MASK_METHODS)}.')
    first = first_glance(model, head.images, options, device)
    evidence, placement = gather_evidence(
        first, refinement, head, donors, similarity=scales_masks(mask_method), device=device
    )
    calibration = calibration_of(refinement.metadata)
    brain = select_mask(mask_method, evidence, head.spacing, head.thickness, calibration)
    return FoundBrain(first, placement, brain)
