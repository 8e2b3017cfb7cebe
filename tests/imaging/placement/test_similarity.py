import numpy as np
import pytest
from scipy import ndimage

from secondglance.imaging.metrics import dice
from secondglance.imaging.placement.donors import Donor, place_from_bank
from secondglance.imaging.placement.similarity import align, rim_kernels, transform


@pytest.fixture
def animal(rng):
    """Return edges and mask of egg-shaped brains with something inside, (N, H, W) each."""
    h, w = np.mgrid[-40:40, -40:40] / 1.0
    edges, masks = [], []
    for n in range(5):
        size = 1 + 0.1 * np.sin(n)
        inside = (h / (18 * size)) ** 2 + ((w + 0.12 * h) / (13 * size)) ** 2 < 1
        marks = ndimage.gaussian_filter(rng.normal(size=h.shape), 2) * inside
        edge = ndimage.gaussian_filter(inside.astype(float), 1)
        edges.append(np.hypot(*np.gradient(edge)) * 3 + np.abs(marks) / np.abs(marks).max() * 0.5)
        masks.append(inside)
    return np.array(edges, np.float32), np.array(masks)


@pytest.mark.parametrize(
    ('scale', 'degrees'),
    [(1.0, 0.0), (1.15, 0.0), (0.85, 0.0), (1.0, 8.0), (1.08, -5.0), (0.9, -12.0), (1.2, 13.0)],
)
def test_known_scale_and_rotation_are_found(animal, scale, degrees, rng):
    edges, masks = animal
    subject = transform(edges, scale, degrees) + 0.05 * rng.random(edges.shape)
    subject = np.roll(subject, (3, -4), axis=(1, 2))
    found = align(subject, rim_kernels(edges, masks))
    assert found == (pytest.approx(scale, abs=0.03), pytest.approx(degrees, abs=1.5))


def test_a_rim_of_three_pixels_about_the_brain_is_kept_in_its_slice_alone():
    mask = np.zeros((3, 15, 15), bool)
    mask[1, 7, 7] = True
    kept = rim_kernels(np.full(mask.shape, 0.5), mask)
    y, x = np.indices((15, 15)) - 7
    np.testing.assert_array_equal(kept[1], 0.5 * (np.abs(y) + np.abs(x) <= 3))
    assert not kept[[0, 2]].any()


def test_rotation_turns_from_the_first_axis_to_the_second():
    stack = np.zeros((1, 21, 21), np.float32)
    stack[0, 16, 10] = 1  # six pixels along H from the middle
    turned = transform(stack, 1.0, 90.0)
    assert np.unravel_index(turned[0].argmax(), (21, 21)) == (10, 16)
    larger = transform(stack, 1.5, 0.0)
    assert larger[0, 19, 10] == pytest.approx(1)


def test_mask_of_another_size_and_angle_is_placed_as_translation_cannot(animal):
    edges, masks = animal
    positions = np.arange(len(edges), dtype=float)
    subject = np.roll(transform(edges, 1.15, 8.0), (2, 3), axis=(1, 2))
    true = np.roll(transform(masks.astype(np.float32), 1.15, 8.0) >= 0.5, (2, 3), axis=(1, 2))
    donor = Donor(edges, masks, positions)

    translated, scaled = (
        dice(place_from_bank(subject, positions, [donor], similarity=scale).mask, true)
        for scale in (False, True)
    )
    assert scaled > 0.94
    assert scaled > translated + 0.1


def test_a_donor_that_shows_nothing_stays_as_it_is():
    empty = np.zeros((3, 20, 20))
    assert align(empty, rim_kernels(empty, empty > 0)) == (1.0, 0.0)


def test_a_subject_that_shows_nothing_changes_no_donor(animal):
    assert align(np.zeros_like(animal[0]), rim_kernels(*animal)) == (1.0, 0.0)


@pytest.mark.parametrize('shift', [(14, -14), (-14, 14)])
def test_a_head_that_lies_to_any_side_is_measured(animal, shift):
    edges, masks = animal
    subject = np.roll(transform(edges, 1.15, 8.0), shift, axis=(1, 2))
    found = align(subject, rim_kernels(edges, masks))
    assert found == (pytest.approx(1.15, abs=0.03), pytest.approx(8, abs=1.5))
