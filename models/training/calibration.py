"""Calibration of the probability that a mask is good, on heads with known truth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from secondglance.imaging.mask.cleaning import agreement
from secondglance.imaging.mask.quality import (
    GOOD_DICE,
    Calibration,
    fit_logistic,
    mask_features,
    slice_features,
)
from secondglance.imaging.mask.selection import candidate_masks
from secondglance.imaging.metrics import dice
from secondglance.imaging.placement.donors import Donor
from secondglance.imaging.pose import HeadStack
from secondglance.models.segment import first_glance, gather_evidence
from secondglance.models.weights import LoadedModel


@dataclass(frozen=True)
class Judged:
    """Features of a mask, and its Dice with the truth.

    Attributes
    ----------
    evidence : (8,) array
    slice_evidence : (N, 6) array
    dice : float
    slice_dice : (N,) array
    """

    evidence: NDArray[np.float64]
    slice_evidence: NDArray[np.float64]
    dice: float
    slice_dice: NDArray[np.float64]


def judge_masks(
    model: LoadedModel,
    refinement: LoadedModel,
    head: HeadStack,
    donors: Sequence[Donor],
    device: str = 'cpu',
) -> list[Judged]:
    """Make every mask of a labelled head, and score it.

    Parameters
    ----------
    model, refinement : LoadedModel
    head : HeadStack
    donors : sequence of Donor
    device : str

    Returns
    -------
    list of Judged
        One per mask; empty ones are left out, because their probability is 0.
    """
    first = first_glance(model, head.images, device=device)
    evidence, _ = gather_evidence(first, refinement, head, donors, device=device)
    truth = head.brain
    found = []
    for soft in candidate_masks(evidence, head.spacing, head.thickness).values():
        mask = soft >= 0.5
        if mask.any():
            found.append(
                Judged(
                    mask_features(mask, evidence),
                    slice_features(mask, evidence),
                    dice(mask, truth),
                    agreement(mask, truth),
                )
            )
    return found


def calibrate(judged: Iterable[Judged]) -> Calibration:
    """Fit the probability that a mask is good.

    Parameters
    ----------
    judged : iterable of Judged
        Of heads that no network was trained on.

    Returns
    -------
    Calibration
    """
    judged = list(judged)
    whole = np.stack([j.evidence for j in judged])
    slices = np.concatenate([j.slice_evidence for j in judged])
    slice_dice = np.concatenate([j.slice_dice for j in judged])
    return Calibration(
        fit_logistic(whole, np.array([j.dice >= GOOD_DICE for j in judged])),
        fit_logistic(slices, slice_dice >= GOOD_DICE),
    )
