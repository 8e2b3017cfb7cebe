"""Brain masks: cleaned, judged and selected, by numbers that were recorded."""

import numpy as np
import pytest

from secondglance.imaging.mask.cleaning import agreement, expected_dice, one_brain
from secondglance.imaging.mask.methods import METHODS, is_placed, scales_masks
from secondglance.imaging.mask.quality import (
    EVIDENCE,
    Calibration,
    MaskEvidence,
    fit_logistic,
    mask_features,
    probability_of,
    slice_features,
)
from secondglance.imaging.mask.selection import candidate_masks, select_mask


def discs(*places):
    """Probability of brain in slices: of each slice its discs by row, column, radius, value."""
    rows, columns = np.mgrid[:40, :46]
    stack = np.zeros((len(places), 40, 46), np.float32)
    for image, of_slice in zip(stack, places, strict=True):
        for row, column, radius, value in of_slice:
            away = np.hypot(rows - row, columns - column)
            image[:] = np.maximum(image, value / (1 + np.exp(away - radius)))
    return stack


@pytest.fixture(scope='module')
def brains():
    """Brains with what may go wrong: bridges, other pieces, a snout, lost slices, holes."""
    round_ = [(19, 22, 9, 0.98)]
    plain = discs(round_, [(18, 23, 11, 0.97)], [(20, 21, 12, 0.99)], [(19, 22, 10, 0.9)])
    bridged = plain.copy()
    bridged[1, 17:19, 32:43] = 0.8
    bridged[1, 12:22, 37:44] = 0.85
    bridged[2, 18:22, 19:24] = 0.1
    snout = discs(
        [(19, 22, 11, 0.9)],
        [(19, 22, 12, 0.9)],
        [(19, 22, 11, 0.9)],
        [(19, 22, 6, 0.9)],
        [(19, 22, 9, 0.9)],
        [(19, 28, 9, 0.9)],
    )
    parted = discs(
        [(10, 10, 5, 0.9), (28, 32, 7, 0.8)],
        [(11, 10, 6, 0.9), (28, 33, 7, 0.7)],
        [(11, 11, 5, 0.95)],
        [],
        [(29, 33, 6, 0.9), (12, 12, 4, 0.8)],
        [(5, 40, 4, 0.9)],
    )
    reaching = discs([(19, 15, 8, 0.9)], [(19, 16, 10, 0.9)], [(19, 16, 9, 0.9), (19, 31, 5, 0.8)])
    small = discs([(9, 9, 2, 0.9)])
    return {
        'plain': plain,
        'bridged': bridged,
        'snout': snout,
        'parted': parted,
        'reaching': reaching,
        'two': plain[1:3],
        'small': small,
        'none': small * 0.3,
    }


def test_cleaned_brains(recorded, brains):
    found = {}
    for name, stack in brains.items():
        placed = np.roll(stack >= 0.6, (2, -3), axis=(1, 2))
        other = discs(*[[(27, 30, 8, 1)]] * len(stack)) > 0.5
        found[name] = [
            one_brain(stack, spacing, thickness, where)
            for spacing, thickness in ((0.3, 1.0), (0.11, 0.3), (0.45, 2.5))
            for where in (None, placed, other)
        ]
    recorded(found)


@pytest.fixture(scope='module')
def evidence(brains):
    """What speaks for a mask; one slice is empty, peaks may be below zero."""
    first = np.concatenate([brains['snout'][:5], brains['small'][[0]] * 0.3])
    refined = np.clip(0.05 + 1.05 * np.roll(first, 1, axis=1) - 0.1 * first, 0, 1)
    refined[4] *= 0.4
    placed = np.roll(first >= 0.4, (1, 2), axis=(1, 2))
    return MaskEvidence(first, refined, placed, np.array([0.5, 0.7, 0.9, -0.2, 0.4, 0.1]), 0.31)


def test_features_of_masks(recorded, brains, evidence):
    masks = [evidence.first >= 0.3, evidence.refined >= 0.5, evidence.placed, evidence.first > 2]
    masks.append(np.where(np.arange(6)[:, None, None] % 2, masks[0], False))
    recorded(
        {
            'expected': [expected_dice(m, evidence.refined) for m in masks],
            'alike': agreement(masks[0], masks[1]),
            'masks': [mask_features(m, evidence) for m in masks],
            'slices': [slice_features(m, evidence) for m in masks],
        }
    )


def test_logistic_regression(recorded, said):
    rng = np.random.default_rng(14)
    features = rng.normal([0, 2, -1, 5], [1, 3, 0.2, 1], (80, 4))
    good = features @ [1, 0.4, -3, 0] + rng.normal(0, 1, 80) > 3.5
    weights = [fit_logistic(features, good, penalty) for penalty in (1.0, 0.05)]
    short = {'weights': [1.0] * 8, 'slice_weights': [1.0] * 7}
    recorded(
        {
            'weights': weights,
            'as is': fit_logistic(features, good),
            'probability': probability_of(features, weights[1]),
            'refused': said(Calibration.from_plain, short),
        },
        tolerance=2e-3,
    )


def test_selected_masks(recorded, evidence):
    sure = Calibration(
        (0.3, 0.4, 0.2, 0.1, 0.5, 0.6, 0.7, 0.8, 0.9), (0.5, 0.3, 0.4, 0.2, 0.1, 1, -1)
    )
    doubtful = Calibration((0.3, -0.8, 0.9, -0.6, 0.4, 0.1, 0, 0.2, -0.5), sure.slice_weights)
    bad = Calibration((0.3, -0.8, 0.9, -0.6, 0.4, 0.1, 0, 0.2, -9), sure.slice_weights)
    found = {
        f'{method}, {name}': select_mask(method, evidence, 0.3, 0.9, calibration)
        for method in ('auto', *METHODS)
        for name, calibration in (('sure', sure), ('doubtful', doubtful), ('bad', bad))
    }
    recorded(
        {
            **found,
            'candidates': candidate_masks(evidence, 0.3, 0.9),
            'of any size': candidate_masks(evidence, 0.2, 1.4, similarity=True),
            'none': sure.of_mask(evidence.placed & False, evidence),
            'again': Calibration.from_plain(sure.to_plain()),
            'evidence': EVIDENCE,
            'scaled': {name: [scales_masks(name), is_placed(name)] for name in METHODS},
        }
    )
