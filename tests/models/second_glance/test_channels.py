"""What the network of the second glance is shown."""

import numpy as np
import pytest
from scipy import ndimage

from secondglance.models.second_glance.channels import (
    ACROSS,
    APART,
    BRAIN_WIDTH,
    CHANNELS,
    FROM_BACK,
    FROM_FRONT,
    N_IMAGES,
    SPECIES,
    UP,
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


def test_a_stack_reaches_to_half_a_slice_beyond_its_ends():
    """Slices 2 mm apart, and what lies 1 mm on, as a neighbour is looked for."""
    volume = np.arange(3.0)[:, None, None] * np.ones((3, 2, 2)) + 5
    positions = np.array([-2.0, 0.0, 2.0])
    back, front = (between_slices(volume, positions, positions + by, 0.0) for by in (-1, 1))
    assert back[:, 0, 0] == pytest.approx([5, 5.5, 6.5])
    assert front[:, 0, 0] == pytest.approx([5.5, 6.5, 7])


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


def test_a_mouse_looks_like_a_rat_in_all_but_its_species(head):
    image, mask = head
    rat = brain_input(image, mask, POSITIONS, 0.25, 'rat')
    mouse = brain_input(image, mask, 0.65 * POSITIONS, 0.65 * 0.25, 'mouse')
    others = [k for k in range(len(CHANNELS)) if k != SPECIES]
    assert np.allclose(rat.channels[:, others], mouse.channels[:, others], atol=1e-4)
    assert np.all(rat.channels[:, SPECIES] == -1)
    assert np.all(mouse.channels[:, SPECIES] == 1)


@pytest.mark.parametrize(('apart', 'shown'), [(0.7, 0.2), (1.0, 0.5), (3.0, 1.5)])
def test_distance_of_slices_is_shown_up_to_two_millimetres(head, apart, shown):
    image, mask = head
    channels = brain_input(image, mask, apart * POSITIONS, 0.25, 'rat').channels
    assert np.allclose(channels[:, APART], shown)
    single = brain_input(image[:1], mask[3:4], [0.0], 0.25, 'rat').channels
    assert np.allclose(single[:, APART], 0.5)


def test_place_and_width_of_a_box_worked_by_hand():
    """A brain of 10 × 8 mm in three of five slices, 1 mm apart."""
    image, mask = np.full((5, 60, 50), 2.0), np.zeros((5, 60, 50), bool)
    image[:, ::2] += 0.1
    mask[1:4, 10:50, 9:41] = True
    found = brain_input(image, mask, np.arange(5.0), 0.25, 'rat')
    channels = found.channels
    brain = channels[2, N_IMAGES + 1] > 0.5
    # Half the width beside half that of a rat, 7.3 mm
    assert channels[0, BRAIN_WIDTH, 0, 0] == pytest.approx(np.log(5 / 7.3), abs=0.04)
    for channel in (ACROSS, UP):
        values = channels[2, channel][brain]
        assert values.max() == pytest.approx(1, abs=0.06)
        assert values.min() == pytest.approx(-1, abs=0.06)
    assert np.ptp(channels[2, ACROSS], axis=1).max() == 0
    assert np.ptp(channels[2, UP], axis=0).max() == 0
    # From the ends of the brain in widths of it, 10 mm: slices 1 and 3 lie within it
    steps = np.diff(channels[:, FROM_BACK, 0, 0])
    assert np.allclose(steps, 0.1, atol=0.01)
    assert np.allclose(np.diff(channels[:, FROM_FRONT, 0, 0]), -steps)
    assert channels[2, FROM_BACK, 0, 0] == pytest.approx(channels[2, FROM_FRONT, 0, 0], abs=1e-3)
    # All but 1 % of the mass lies beyond 0.06: between the first slice, of none, and one sixth
    assert channels[1, FROM_BACK, 0, 0] == pytest.approx(0.094, abs=0.004)


def test_what_lies_within_the_margin_is_shown_and_no_more(head):
    """0.6 mm about the mask: an edge tells where a brain ends."""
    image, mask = head
    given = brain_input(image, mask, POSITIONS, 0.25, 'rat')
    share = given.channels[4, N_IMAGES + 1]
    away = ndimage.distance_transform_edt(share < 0.5) * 0.2
    shown = given.channels[4, 1] != 0
    assert shown[(away > 0) & (away <= 0.6)].mean() > 0.95
    assert not shown[away > 0.85].any()


def test_bright_and_dark_voxels_are_cut():
    rng = np.random.default_rng(2)
    image = rng.normal(100, 5, (4, 40, 40)).astype(np.float32)
    image[2, 20, 20], image[2, 21, 21] = 1e6, 0
    found = normalise_inside(image, np.ones_like(image), np.arange(4.0))
    assert found.max() == 3
    assert found.min() == -2
    assert np.abs(np.median(found)) < 0.02


def test_lost_slices_do_not_change_what_the_others_are_divided_by(head):
    """A lost slice inside the mask is all of one value, which is no tissue."""
    image, mask = head
    lost = image.copy()
    lost[2:5] = 40.0
    whole, broken = (brain_input(i, mask, POSITIONS, 0.25, 'rat').channels for i in (image, lost))
    inside = whole[6, N_IMAGES + 1] > 0.9
    assert 0.6 < np.ptp(broken[6, 1][inside]) / np.ptp(whole[6, 1][inside]) < 1.6
    assert np.all(broken[2:5, 1] == 0)


def test_the_coil_field_is_fitted_with_tukeys_weights(rng):
    """Six times; a weight of (1 − (r / 4 s)²)² is nothing from four robust deviations s on."""
    shape = (6, 24, 20)
    y, x, z = (
        g.ravel() for g in np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing='ij')
    )
    terms = np.stack([y**0, y, x, z, y * y, x * x, z * z, y * x, y * z, x * z], axis=1)
    bright = (rng.random(len(x)) < 0.4) & (x > 0)
    logs = 0.5 * x - 0.3 * z + 0.2 * x * z + rng.normal(0, 0.1, len(x)) + 0.3 * bright
    weights = np.ones(len(x))
    for _ in range(6):
        root = np.sqrt(weights)[:, None]
        ridge = np.sqrt(1e-3 * len(x)) * np.eye(10)[1:]
        values = np.append(root[:, 0] * logs, np.zeros(9))
        fitted = np.linalg.lstsq(np.vstack([root * terms, ridge]), values, rcond=None)[0]
        off = logs - terms @ fitted
        off = (off - np.median(off)) / (1.4826 * np.median(np.abs(off - np.median(off))))
        weights = np.where(np.abs(off) < 4, (1 - (off / 4) ** 2) ** 2, 0)
    flat = np.exp(logs - terms[:, 1:] @ fitted[1:])
    middle = np.median(flat)
    expected = (flat - middle) / (1.4826 * np.median(np.abs(flat - middle))) / 2
    image = np.exp(logs).reshape(shape)
    found = normalise_inside(image, np.ones(shape), np.linspace(-2, 3, 6))
    np.testing.assert_allclose(found.ravel(), np.clip(expected, -2, 3), atol=2e-3)
