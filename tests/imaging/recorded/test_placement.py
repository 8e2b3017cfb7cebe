"""Masks of other animals, placed by correlation, by numbers that were recorded."""

import numpy as np
import pytest
from scipy import ndimage

from secondglance.imaging.placement.correlation import (
    best_shift,
    centre_on,
    correlate,
    peaks_with,
    place_mask,
    standardise,
)
from secondglance.imaging.placement.donors import (
    Donor,
    kernels_of,
    match_donors,
    place_from_bank,
    place_stack,
    surfaces_of,
)
from secondglance.imaging.placement.shifts import reconcile, weighted_median
from secondglance.imaging.placement.similarity import align, rim_kernels, transform
from secondglance.imaging.placement.slice_matching import (
    halved,
    match_slices,
    peak_correlations,
)


def animal(n, shape, middle, size, seed):
    """Enhanced saliency of a head with a brain that changes along it, and the brain."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    enhanced = np.zeros((n, *shape), np.float32)
    brain = np.zeros(enhanced.shape, bool)
    for k, where in enumerate(np.linspace(-1, 1, n)):
        wide = size * (1 - 0.35 * where**2) * (1 + 0.25 * where)
        away = np.hypot((rows - middle[0]) / 1.2, columns - middle[1] - 2 * where)
        turn = np.arctan2(rows - middle[0], columns - middle[1])
        edge = np.exp(-(((away - wide * (1 + 0.2 * np.sin(2 * turn + where))) / 1.3) ** 2))
        inner = 0.6 * np.exp(-(((away - 0.5 * wide) / 1.1) ** 2)) * (np.cos(turn - 2 * where) > 0)
        enhanced[k] = np.maximum(edge, inner) + 0.05 * rng.random(shape)
        enhanced[k] *= away < 1.7 * size
        brain[k] = away < wide
    return enhanced, brain


@pytest.fixture(scope='module')
def subject():
    return animal(7, (33, 38), (15, 20), 6.5, 1)[0], np.linspace(-2.7, 2.7, 7)


@pytest.fixture(scope='module')
def donors():
    """Donors of other sizes, numbers of slices and frames."""
    made = []
    for name, n, shape, middle, size, step in (
        ('sub-a', 9, (30, 36), (16, 15), 6, 0.8),
        ('sub-b', 6, (43, 32), (21, 17), 7.5, 1.1),
        ('', 3, (25, 26), (12, 13), 6.5, 1.2),
    ):
        enhanced, brain = animal(n, shape, middle, size, n)
        made.append(Donor(enhanced, brain, (np.arange(n) - (n - 1) / 2 + 0.3) * step, name))
    return made


def test_correlations(recorded, subject, donors):
    images = subject[0]
    kernels, masks = kernels_of(donors[1], images.shape[1:])
    surface = correlate(standardise(images[:3]), standardise(kernels[1:4]))
    flat = np.stack([0 * surface[0], -np.abs(surface[1])])
    chosen = np.array([True, False, True, True, False, False, True])
    peaks = peaks_with(standardise(images))
    recorded(
        {
            'standard': standardise(np.concatenate([images, 0 * images[:1] + 3])),
            'kernels': kernels,
            'masks': masks,
            'surface': surface,
            'across': correlate(images[:2, None], kernels[None, :2]),
            'best': best_shift(surface),
            'flat': best_shift(flat),
            'one': best_shift(surface[2]),
            'small': best_shift(surface[..., 29:36, 35:40]),
            'peaks': peaks(standardise(kernels)[2], chosen),
            'no peaks': peaks(standardise(kernels)[2], chosen & False),
        },
        tolerance=3e-6,
    )


def test_frames_and_moved_masks(recorded, donors):
    mask, enhanced = donors[0].mask, donors[0].enhanced
    mask_of_one = mask[4]
    recorded(
        {
            'wide': centre_on(mask, (51, 46), enhanced, mask),
            'narrow': centre_on(mask, (16, 15), enhanced, mask),
            'no mask': centre_on(mask & False, (31, 60), enhanced),
            'moved': [
                place_mask(mask_of_one, shift)
                for shift in ((3, -4), (-7.4, 5.6), (0, 30), (-50, 0), (12, 60))
            ],
            'rim': rim_kernels(enhanced, mask),
            'no rim': rim_kernels(enhanced, mask & False),
        }
    )


def test_scaled_and_turned(recorded, subject, donors):
    images = subject[0][:, 2:29, 6:35]
    kernels, _ = kernels_of(donors[0], (27, 29))
    rim = rim_kernels(donors[0].enhanced, donors[0].mask)
    rim = centre_on(donors[0].mask, (27, 29), rim)[0][1:8]
    moved = transform(images, 1.13, -7.5)
    many = np.concatenate([moved, moved[::-1], moved[1:6]])
    few = np.where(np.arange(7)[:, None, None] < 2, 0, rim)
    recorded(
        {
            'moved': moved,
            'larger': transform(kernels, 1.2, 0),
            'turned': transform(kernels, 1, 11.0),
            'as is': transform(kernels, 1, 0),
            'own': align(moved, transform(images, 1, 0)),
            'other way': align(images, transform(images, 0.92, 4.0)),
            'few': align(moved, few),
            'many': align(many, np.concatenate([rim, rim[::-1], rim[1:6]])),
            'none': align(moved, 0 * rim),
        },
        tolerance=3e-6,
    )


def test_reconciled_shifts(recorded):
    rng = np.random.default_rng(19)
    positions = np.sort(rng.uniform(-5, 5, 11))
    shifts = np.rint(np.column_stack([1.4 * positions + 2, -0.7 * positions - 1]))
    shifts[[2, 7]] += [[9, 0], [-4, 5]]
    weights = rng.uniform(0.2, 1, 11)
    weights[4] = 0
    recorded(
        {
            'as is': reconcile(shifts, weights, positions),
            'strict': reconcile(shifts, weights, positions, 0.6),
            'two': reconcile(shifts[1:3], weights[1:3], positions[1:3]),
            'one': reconcile(shifts[3:5], weights[3:5], positions[3:5]),
            'none': reconcile(shifts, 0 * weights, positions),
            'one place': reconcile(shifts[:4], weights[:4], [1, 1, 1, 1]),
            'median': [
                weighted_median(v, w)
                for v, w in (
                    ([3, 1, 2, 9], [1, 1, 1, 1]),
                    ([3, 1, 2, 9], [1, 5, 1, 1.5]),
                    ([3, 1, 2, 9], [0, 0.1, 0, 3]),
                )
            ],
        }
    )


def test_matched_slices(recorded, subject, donors):
    images, positions = subject
    kernels, _ = kernels_of(donors[0], images.shape[1:])
    small = images[:, 4:27, 10:31]
    recorded(
        {
            'forward': match_slices(images, positions, kernels, donors[0].positions),
            'backward': match_slices(images[::-1], positions, kernels, donors[0].positions),
            'stretched': match_slices(images, 1.2 * positions, kernels, donors[0].positions + 4),
            'small': match_slices(small, positions, small[1:6], [-2, -1, 0, 1.0, 2]),
            'short donor': match_slices(images, positions, kernels[3:5], [0.2, 0.9]),
            'one of the donor': match_slices(images, positions, kernels[4:5], [1.0]),
            'one': match_slices(images[3:4], [0.4], kernels, donors[0].positions),
            'two': match_slices(images[3:5], [0.4, 1.3], kernels, donors[0].positions),
            'beyond': match_slices(images, positions, images[1:6], positions[1:6]),
            'far beyond': match_slices(images, 2 * positions, images[2:5], 2 * positions[2:5]),
            'nothing': match_slices(0 * images, positions, kernels, donors[0].positions),
            'halved': halved(images),
            'peaks': peak_correlations(images, kernels),
            'some peaks': peak_correlations(
                images, kernels, np.add.outer(np.arange(7), np.arange(9)) % 3 == 0
            ),
        },
        tolerance=3e-6,
    )


def test_placed_masks(recorded, subject, donors, said):
    images, positions = subject
    margins = np.pad(images, [(0, 0), (9, 2), (0, 21)])
    odd = images.copy()
    odd[3] = ndimage.shift(odd[3], (7, -6), order=1)
    alone = place_stack(odd, positions, donors[0])
    recorded(
        {
            'one': alone,
            'strict': place_stack(odd, positions, donors[0], 0.4),
            'bank': place_from_bank(margins, positions, donors, 3.0, n_threads=2),
            'scaled': place_from_bank(
                transform(images[1:5], 1.15, 5.0), positions[1:5], donors[:2], similarity=True
            ),
            'nothing': place_from_bank(0 * images, positions, donors),
            'match': match_donors(images, positions, donors[::-1]),
            'surfaces': surfaces_of(margins, alone.match.kernels, [1, 4]),
            'refused': said(place_from_bank, images, positions, []),
        },
        tolerance=3e-6,
        pixels=1,
    )
