"""The whole method on arrays: look, find the brain, look again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from secondglance.imaging.enhancement import enhance
from secondglance.imaging.errors import InputError
from secondglance.imaging.grids import slices_apart
from secondglance.imaging.mask.quality import Opinions
from secondglance.imaging.mask.selection import Decision, decide
from secondglance.imaging.placement.donors import Donor, StackPlacement, place_from_bank
from secondglance.models.brain_refinement import refine
from secondglance.models.choices import MASK_METHODS
from secondglance.models.inference import predict
from secondglance.models.saliency.attribution import saliency_stack
from secondglance.models.weights import LoadedModel, calibration_of


@dataclass(frozen=True)
class FirstGlance:
    """What a network saw of a whole head; stacks at its spacing.

    Attributes
    ----------
    probabilities : (N, 4, H, W) float32 array
        Of the classes.
    enhanced : (N, H, W) array
        Enhanced saliency, in [0, 1].
    """

    probabilities: NDArray[np.float32]
    enhanced: NDArray[np.float32]


@dataclass(frozen=True)
class Glances:
    """What two glances at a head gave; stacks at the network's spacing.

    Attributes
    ----------
    first : FirstGlance
    placement : StackPlacement
        Of another animal's mask.
    brain : Decision
        The mask that was taken.
    second : (N, 4, H, W) float32 array
        Class probabilities of the brain alone.
    """

    first: FirstGlance
    placement: StackPlacement
    brain: Decision
    second: NDArray[np.float32]


def look_once(
    model: LoadedModel,
    stack: NDArray,
    *,
    saliency: str = 'guided',
    target: str = 'brain',
    device: str = 'cpu',
) -> FirstGlance:
    """Take the first glance at a stack of whole-head slices.

    Parameters
    ----------
    model : LoadedModel
    stack : (N, H, W) array
        Intensities at the in-plane spacing of the model.
    saliency, target : str
        As of `secondglance.models.saliency.attribution.saliency_stack`.
    device : str

    Returns
    -------
    FirstGlance
    """
    maps, probabilities = saliency_stack(
        model, stack, target=target, method=saliency, device=device
    )
    return FirstGlance(probabilities, enhance(maps))


def opinions_on(
    first: FirstGlance,
    refinement: LoadedModel,
    stack: NDArray,
    positions: NDArray,
    donors: Sequence[Donor],
    spacing: float,
    *,
    similarity: bool = False,
    device: str = 'cpu',
) -> tuple[Opinions, StackPlacement]:
    """Place another animal's mask, and let the refinement look at all there is.

    Parameters
    ----------
    first : FirstGlance
    refinement : LoadedModel
    stack : (N, H, W) array
    positions : (N,) array
        Of the slices, mm, ascending.
    donors : sequence of Donor
    spacing : float
        Of the pixels, mm.
    similarity : bool
        Whether the mask may be scaled and turned.
    device : str

    Returns
    -------
    Opinions
    StackPlacement
    """
    placement, _ = place_from_bank(first.enhanced, positions, donors, similarity=similarity)
    probability = 1 - first.probabilities[:, 0]
    # Slices lie where those of a rat would whose pixels are the refinement's
    where = np.asarray(positions) * refinement.spacing / spacing
    refined = refine(refinement, stack, probability, first.enhanced, placement.mask, where, device)
    voxel = spacing**2 * slices_apart(positions)
    return Opinions(probability, refined, placement.mask, placement.peaks, voxel), placement


def look_twice(
    model: LoadedModel,
    refinement: LoadedModel,
    stack: NDArray,
    positions: NDArray,
    donors: Sequence[Donor],
    *,
    mask_method: str = MASK_METHODS[0],
    device: str = 'cpu',
) -> Glances:
    """Segment a stack of whole-head slices.

    Parameters
    ----------
    model, refinement : LoadedModel
    stack : (N, H, W) array
        Intensities at the in-plane spacing of the model.
    positions : (N,) array
        Of the slices, mm, ascending.
    donors : sequence of Donor
        Looked at by the same model.
    mask_method : str
        One of `secondglance.models.choices.MASK_METHODS`.
    device : str

    Returns
    -------
    Glances

    Raises
    ------
    InputError
        For an unknown method, or without a donor.
    """
    if mask_method not in MASK_METHODS:
        raise InputError(f'Mask method {mask_method!r} is not one of {", ".join(MASK_METHODS)}.')
    first = look_once(model, stack, device=device)
    similarity = mask_method == 'similarity'
    opinions, placement = opinions_on(
        first,
        refinement,
        stack,
        positions,
        donors,
        model.spacing,
        similarity=similarity,
        device=device,
    )
    calibration = calibration_of(refinement.metadata)
    brain = decide(mask_method, opinions, model.spacing, slices_apart(positions), calibration)
    second = predict(model, np.where(brain.mask >= 0.5, stack, 0), device)
    return Glances(first, placement, brain, second)


def look_at_donor(
    model: LoadedModel,
    stack: NDArray,
    mask: NDArray,
    positions: NDArray,
    *,
    saliency: str = 'guided',
    target: str = 'brain',
    device: str = 'cpu',
) -> Donor:
    """Look at a donor as at a subject, so that its saliency can be its kernel.

    Parameters
    ----------
    model : LoadedModel
    stack : (N, H, W) array
    mask : (N, H, W) bool array
    positions : (N,) array
    saliency, target, device : str

    Returns
    -------
    Donor
    """
    seen = look_once(model, stack, saliency=saliency, target=target, device=device)
    return Donor(seen.enhanced, np.asarray(mask, bool), positions)
