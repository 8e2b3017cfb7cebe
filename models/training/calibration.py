"""How sure a mask is: the evidence of heads whose truth is known, good ones and spoilt ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from secondglance.imaging.grids import slices_apart
from secondglance.imaging.mask.cleaning import agreement
from secondglance.imaging.mask.quality import (
    GOOD_DICE,
    Calibration,
    evidence_of,
    fit_logistic,
    slice_evidence_of,
)
from secondglance.imaging.mask.selection import masks_of
from secondglance.imaging.metrics import dice
from secondglance.imaging.placement.donors import Donor
from secondglance.models.segment import look_once, opinions_on
from secondglance.models.weights import LoadedModel
from secondglance.simulation.head_stack import HeadStack


@dataclass(frozen=True)
class Judged:
    """A mask, what speaks for it, and how good it is.

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
    """Make every mask of a head whose truth is known, and compare.

    Parameters
    ----------
    model, refinement : LoadedModel
    head : HeadStack
    donors : sequence of Donor
    device : str

    Returns
    -------
    list of Judged
        A mask each; empty ones are left out, since of them nothing needs to be said.
    """
    first = look_once(model, head.images, device=device)
    opinions, _ = opinions_on(
        first, refinement, head.images, head.positions, donors, model.spacing, device=device
    )
    apart = slices_apart(head.positions)
    truth = head.labels > 0
    found = []
    for soft in masks_of(opinions, model.spacing, apart).values():
        mask = soft >= 0.5
        if mask.any():
            found.append(
                Judged(
                    evidence_of(mask, opinions),
                    slice_evidence_of(mask, opinions),
                    dice(mask, truth),
                    agreement(mask, truth),
                )
            )
    return found


def calibrate(judged: Iterable[Judged]) -> Calibration:
    """Fit how evidence becomes the probability of a good mask.

    Parameters
    ----------
    judged : iterable of Judged
        Of heads that taught none of the networks.

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
