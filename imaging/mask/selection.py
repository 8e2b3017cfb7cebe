"""Whose mask removes the background, how far it is to be trusted, and what stands in for it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from secondglance.imaging.mask.cleaning import one_brain
from secondglance.imaging.mask.quality import Calibration, Opinions

DOUBTFUL = 0.5
"""Probability of a good mask below which a scan is flagged, and another mask may stand in."""


@dataclass(frozen=True)
class Decision:
    """The mask that was taken.

    Attributes
    ----------
    mask : (N, H, W) float32 array
        Brain; its outline is at one half.
    method : str
        Whose mask it is: the one asked for, or what stands in for it.
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


def masks_of(
    opinions: Opinions, spacing: float, thickness: float, placed_by: str = 'correlation'
) -> dict[str, NDArray[np.float32]]:
    """Every mask that a head's opinions make.

    Parameters
    ----------
    opinions : Opinions
    spacing, thickness : float
        Of the stack, mm, in the size of a rat.
    placed_by : {'correlation', 'similarity'}
        How the other animal's mask was placed.

    Returns
    -------
    dict of str to (N, H, W) float32 array
        By method: ``network``, ``first-glance`` and `placed_by`.
    """
    return {
        'network': one_brain(opinions.refined, spacing, thickness, opinions.placed),
        'first-glance': one_brain(opinions.first, spacing, thickness, opinions.placed),
        placed_by: np.asarray(opinions.placed, np.float32),
    }


def decide(
    method: str,
    opinions: Opinions,
    spacing: float,
    thickness: float,
    calibration: Calibration,
) -> Decision:
    """Take a method's mask, or another that is more to be trusted where that is doubtful.

    Parameters
    ----------
    method : str
        One of `secondglance.models.choices.MASK_METHODS`.
    opinions, spacing, thickness
        As of `masks_of`.
    calibration : Calibration

    Returns
    -------
    Decision
    """
    placed_by = method if method == 'similarity' else 'correlation'
    masks = masks_of(opinions, spacing, thickness, placed_by)
    trust = {name: calibration.of_mask(mask >= 0.5, opinions) for name, mask in masks.items()}
    taken = method
    if trust[method] < DOUBTFUL:
        best = max(trust, key=lambda name: trust[name])
        # Not for a trifle: of two doubtful masks the one that was asked for
        taken = best if trust[best] >= DOUBTFUL else method
    mask = masks[taken]
    of_slices = calibration.of_slices(mask >= 0.5, opinions)
    return Decision(mask, taken, trust[taken], of_slices, trust)
