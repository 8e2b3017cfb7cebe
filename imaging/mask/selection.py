"""Selection of the brain mask: candidates by method, and which is taken."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from secondglance.imaging.mask.cleaning import one_brain
from secondglance.imaging.mask.methods import METHODS, scales_masks
from secondglance.imaging.mask.quality import Calibration, MaskEvidence

DOUBTFUL = 0.5
"""Probability of a good mask below which a scan is flagged, and ``auto`` may take another mask."""


@dataclass(frozen=True)
class SelectedMask:
    """The mask that was taken.

    Attributes
    ----------
    mask : (N, H, W) float32 array
        Brain; its outline is at one half.
    method : str
        Of the mask: the one asked for, or what ``auto`` took.
    confidence : float
        Probability that its Dice with a mask drawn by hand is at least 0.95.
    slice_confidence : (N,) array
        The same of each slice.
    candidates : dict of str to float
        That of every mask that there was.
    """

    mask: NDArray[np.float32]
    method: str
    confidence: float
    slice_confidence: NDArray[np.float64]
    candidates: dict[str, float]


def candidate_masks(
    evidence: MaskEvidence, spacing: float, thickness: float, *, similarity: bool = False
) -> dict[str, NDArray[np.float32]]:
    """Make the mask of every method.

    Parameters
    ----------
    evidence : MaskEvidence
    spacing, thickness : float
        Of the stack, mm, in the size of a rat.
    similarity : bool
        Whether the other animal's mask was scaled and turned, too, when it was placed.

    Returns
    -------
    dict of str to (N, H, W) float32 array
        By name of the method.
    """
    masks = {}
    for name, method in METHODS.items():
        if method.probability is not None:
            probability = method.probability(evidence)
            masks[name] = one_brain(probability, spacing, thickness, evidence.placed)
        elif method.similarity == similarity:
            masks[name] = np.asarray(evidence.placed, np.float32)
    return masks


def select_mask(
    method: str,
    evidence: MaskEvidence,
    spacing: float,
    thickness: float,
    calibration: Calibration,
) -> SelectedMask:
    """Select the brain mask of a head.

    A method asked for by name is used. ``auto`` takes the mask of the network; where that is
    doubtful and another is not, the likeliest other.

    Parameters
    ----------
    method : str
        One of `secondglance.models.choices.MASK_METHODS`.
    evidence, spacing, thickness
        As of `candidate_masks`.
    calibration : Calibration

    Returns
    -------
    SelectedMask
    """
    masks = candidate_masks(evidence, spacing, thickness, similarity=scales_masks(method))
    trust = {name: calibration.of_mask(mask >= 0.5, evidence) for name, mask in masks.items()}
    taken = next(iter(METHODS)) if method == 'auto' else method
    if method == 'auto' and trust[taken] < DOUBTFUL:
        best = max(trust, key=lambda name: trust[name])
        # Of two doubtful masks the network's
        taken = best if trust[best] >= DOUBTFUL else taken
    mask = masks[taken]
    of_slices = calibration.of_slices(mask >= 0.5, evidence)
    return SelectedMask(mask, taken, trust[taken], of_slices, trust)
