"""What the network of the second glance is shown."""

import numpy as np
import pytest

from secondglance.models.second_glance.channels import (
    ACROSS,
    CHANNELS,
    FROM_BACK,
    FROM_FRONT,
    N_IMAGES,
    between_slices,
    brain_input,
    normalise_inside,
)

POSITIONS = np.arange(8.0) - 3.5


@pytest.fixture
def head():
    """Eight slices: a brain of two tissues in a head with noise, and its mask."""
    rng = np.random.default_rng(0)
    y, x, z = np.mgrid[:8, :64, :56]
    away = ((x - 30) / 22) ** 2 + ((z - 28) / 16) ** 2 + ((y - 3.5) / 5) ** 2
    mask = away < 1
    image = np.where(mask, np.where(away < 0.4, 3.0, 2.0), 5.0) + rng.normal(0, 0.05, away.shape)
    return image.astype(np.float32), mask


def test_pixels_far_outside_the_mask_change_nothing(head):
    image, mask = head
    other = image.copy()
    other[:, :4] = other[:, -4:] = 99.0
    a, b = (brain_input(i, mask, POSITIONS, 0.25, 'rat').channels for i in (image, other))
    assert np.array_equal(a, b)


def test_coil_field_and_unit_of_intensity_are_removed(head):
    image, mask = head
    x = np.linspace(-1, 1, 64)[:, None]
    field = 40 * np.exp(0.8 * x + 0.3 * x**2)
    plain, shaded = (brain_input(i, mask, POSITIONS, 0.25, 'rat') for i in (image, image * field))
    a, b = (s.channels[:, 1][s.channels[:, N_IMAGES + 1] > 0.9] for s in (plain, shaded))
    assert np.corrcoef(a, b)[0, 1] > 0.97
    assert abs(np.median(b)) < 0.1


def test_normalisation_has_median_zero_and_known_spread():
    rng = np.random.default_rng(1)
    image = rng.normal(100, 7, (6, 40, 40)).astype(np.float32)
    normalised = normalise_inside(image, np.ones_like(image), np.arange(6.0))
    assert np.median(normalised) == pytest.approx(0, abs=1e-3)
    assert normalised.std() == pytest.approx(0.5, abs=0.02)


def test_neighbours_are_shown_by_millimetres_and_marked_where_missing(head):
    image, mask = head
    channels = brain_input(image, mask, POSITIONS, 0.25, 'rat').channels
    assert np.allclose(channels[3, 2], channels[4, 1], atol=1e-5)
    assert np.all(channels[0, N_IMAGES] == -1)
    assert np.all(channels[0, 0] == 0)
    assert channels[1, N_IMAGES].min() >= 0


def test_interpolation_between_slices_is_linear():
    volume = np.arange(3.0)[:, None, None] * np.ones((3, 2, 2))
    where = np.array([0.5, 1.25, 2.4, 2.6])
    found = between_slices(volume, np.arange(3.0), where, -7.0)
    assert found[:, 0, 0] == pytest.approx([0.5, 1.25, 2.0, -7.0])


def test_place_runs_from_left_to_right_and_from_end_to_end(head):
    image, mask = head
    channels = brain_input(image, mask, POSITIONS, 0.25, 'rat').channels
    brain = channels[4, N_IMAGES + 1] > 0.5
    across = channels[4, ACROSS][brain]
    assert across.min() == pytest.approx(-across.max(), abs=0.1)
    assert 0.9 < across.max() < 1.2
    assert np.all(np.diff(channels[:, FROM_BACK, 0, 0]) > 0)
    assert np.all(np.diff(channels[:, FROM_FRONT, 0, 0]) < 0)
    assert channels.shape[1] == len(CHANNELS)


def test_lost_slice_shows_nothing_and_does_not_disturb_others(head):
    image, mask = head
    lost = image.copy()
    lost[5] = 0
    whole, broken = (brain_input(i, mask, POSITIONS, 0.25, 'rat').channels for i in (image, lost))
    assert np.all(broken[5, 1] == 0)
    assert np.allclose(whole[2, :N_IMAGES], broken[2, :N_IMAGES], atol=0.1)
