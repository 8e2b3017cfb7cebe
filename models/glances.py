"""The whole method on arrays: look, find the brain, look again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from secondglance.imaging.brain import one_brain
from secondglance.imaging.donors import Donor, StackPlacement, place_from_bank
from secondglance.imaging.enhancement import enhance
from secondglance.imaging.errors import InputError
from secondglance.models.choices import MASK_METHODS
from secondglance.models.inference import predict
from secondglance.models.saliency import saliency_stack


@dataclass(frozen=True)
class Glances:
    """What two glances at a head gave; stacks at the network's spacing.

    Attributes
    ----------
    first, second : array of float32, shape (N, 4, H, W)
        Class probabilities of the whole head, and of the brain alone.
    enhanced : array, shape (N, H, W)
        Enhanced saliency of the first glance.
    placement : StackPlacement
    mask : array of float32, shape (N, H, W)
        Brain; its outline is at one half.
    """

    first: NDArray[np.float32]
    enhanced: NDArray[np.float32]
    placement: StackPlacement
    mask: NDArray[np.float32]
    second: NDArray[np.float32]


def look_twice(
    model,
    stack: NDArray,
    positions: NDArray,
    donors: Sequence[Donor],
    *,
    mask_method: str = 'first-glance',
    saliency: str = 'guided',
    target: str = 'brain',
    device: str = 'cpu',
) -> Glances:
    """Segment a stack of whole-head slices.

    Parameters
    ----------
    model : LoadedModel
    stack : array, shape (N, H, W)
        Intensities at the in-plane spacing of the model.
    positions : array, shape (N,)
        Of the slices, mm, ascending.
    donors : sequence of Donor
        Looked at by the same model.
    mask_method : str
        One of `secondglance.models.choices.MASK_METHODS`.
    saliency, target : str
        As of `secondglance.models.saliency.saliency_stack`.
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
    maps, first = saliency_stack(model, stack, target=target, method=saliency, device=device)
    enhanced = enhance(maps)
    similarity = mask_method == 'similarity'
    placement = place_from_bank(enhanced, positions, donors, similarity=similarity)[0]
    if mask_method != 'first-glance':
        mask = placement.mask.astype(np.float32)
    else:
        thickness = float(np.diff(positions).mean()) if len(positions) > 1 else 1.0
        mask = one_brain(1 - first[:, 0], model.spacing, thickness, placement.mask)
    second = predict(model, np.where(mask >= 0.5, stack, 0), device)
    return Glances(first, enhanced, placement, mask, second)


def look_at_donor(
    model,
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
    stack : array, shape (N, H, W)
    mask : bool array, shape (N, H, W)
    positions : array, shape (N,)
    saliency, target, device : str

    Returns
    -------
    Donor
    """
    maps, _ = saliency_stack(model, stack, target=target, method=saliency, device=device)
    return Donor(enhance(maps), np.asarray(mask, bool), positions)
