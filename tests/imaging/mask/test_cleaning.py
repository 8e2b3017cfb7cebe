"""One brain from probabilities: no islands, no holes, bridges cut, the outline kept."""

import numpy as np
import pytest
from scipy import ndimage

from secondglance.imaging.mask.cleaning import agreement, expected_dice, one_brain


@pytest.fixture
def blob():
    """A ball of soft edge in 7 slices of 40 × 40 pixels of 0.3 mm, 0.6 mm apart."""
    n, h, w = np.meshgrid(np.arange(7) - 3, np.arange(40) - 18, np.arange(40) - 21, indexing='ij')
    radius = np.sqrt((0.6 * n) ** 2 + (0.3 * h) ** 2 + (0.3 * w) ** 2)
    return 1 / (1 + np.exp((radius - 3.1) / 0.1))


def test_a_whole_brain_stays_as_it_is(blob):
    found = one_brain(blob, 0.3, 0.6)
    assert np.array_equal(found >= 0.5, blob >= 0.5)
    edge = ndimage.binary_dilation(blob >= 0.5) & (blob > 0.05) & (found > 0)
    # Between pixels, too: what interpolates the outline is what was given
    np.testing.assert_allclose(found[edge], np.minimum(blob[edge], found[edge]), atol=1e-6)


def test_islands_go_and_holes_close(blob):
    spoilt = blob.copy()
    spoilt[3, 17:20, 20:22] = 0.1
    spoilt[2:5, 1:6, 1:6] = 0.95
    found = one_brain(spoilt, 0.3, 0.6) >= 0.5
    assert np.array_equal(found, blob >= 0.5)


def test_thin_bridges_are_cut(blob):
    spoilt = blob.copy()
    spoilt[3, 18, 30:36] = 0.9
    spoilt[3, 15:22, 36:40] = 0.9
    found = one_brain(spoilt, 0.3, 0.6) >= 0.5
    assert not found[3, 15:22, 36:].any()
    assert (found != (blob >= 0.5)).sum() <= 3


def test_the_placed_mask_decides_between_two_pieces(blob):
    two = np.zeros((7, 40, 80))
    two[:, :, :40] = blob
    two[1:6, 5:35, 45:75] = 0.9
    placed = np.zeros(two.shape, bool)
    placed[:, :, :40] = blob >= 0.5
    assert one_brain(two, 0.3, 0.6)[:, :, 40:].any()
    found = one_brain(two, 0.3, 0.6, placed) >= 0.5
    assert np.array_equal(found, placed)


def test_a_second_piece_inside_the_placed_mask_is_kept(blob):
    two = np.zeros((7, 40, 60))
    two[:, :, :40] = blob
    two[3, 15:22, 45:51] = 0.9
    placed = two >= 0.5
    assert not one_brain(two, 0.3, 0.6)[3, 15:22, 45:51].any()
    assert (one_brain(two, 0.3, 0.6, placed)[3, 16:21, 46:50] >= 0.5).all()


def test_a_lost_slice_does_not_cut_the_brain_in_two(blob):
    spoilt = blob.copy()
    spoilt[2] = 0
    found = one_brain(spoilt, 0.3, 0.6) >= 0.5
    assert np.array_equal(found, spoilt >= 0.5)


def test_a_slice_far_wider_than_its_neighbours_is_no_brain(blob):
    spoilt = blob.copy()
    spoilt[0, 4:36, 2:38] = 0.9
    found = one_brain(spoilt, 0.3, 0.6) >= 0.5
    assert np.array_equal(found[1:], blob[1:] >= 0.5)
    beyond = ndimage.distance_transform_edt(~found[1]) * 0.3
    assert found[0].any()
    assert beyond[found[0]].max() <= 0.2 * 0.6 + 1e-9


def test_certainty_is_expected_to_be_right_and_doubt_is_not(blob):
    mask = blob >= 0.5
    assert expected_dice(mask, mask) == 1
    # Hand: one of two pixels of a mask, each of chance one half: 2 * 1 / (2 + 1)
    assert expected_dice([True, True], [0.5, 0.5]) == pytest.approx(2 / 3)
    doubts = [expected_dice(mask, np.where(mask, p, 1 - p)) for p in (0.99, 0.9, 0.7)]
    assert doubts == sorted(doubts, reverse=True)
    assert expected_dice(mask & False, mask) == 0


def test_nothing_gives_nothing():
    assert not one_brain(np.full((2, 20, 20), 0.4), 0.3, 1.0).any()


def test_agreement_is_worked_by_hand():
    first = np.zeros((3, 4, 4), bool)
    second = first.copy()
    first[0, :2], second[0, 1:3], second[2, 0] = True, True, True
    np.testing.assert_allclose(agreement(first, second), [0.5, 1.0, 0.0])


def test_a_brain_that_has_tapered_does_not_widen_into_the_neck():
    h, w = np.mgrid[-30:30, -30:30] * 0.3
    radii = [4.0, 6.5, 4.2, 5.0, 6.0, 7.0, 7.0, 6.5, 5.5, 4.5, 3.5]
    # The second slice is of the neck, and wider than what the brain had come down to
    stack = np.array([(np.hypot(h, w) < r) * 0.9 for r in radii])
    brain = one_brain(stack, 0.3, 1.0) >= 0.5
    area = brain.sum(axis=(1, 2))
    assert area[1] < 1.15 * area[2]
    assert (area[2:] == (stack[2:] > 0).sum(axis=(1, 2))).all()
    assert area[0] == (stack[0] > 0).sum()


@pytest.mark.parametrize(('thickness', 'kept'), [(2.0, True), (0.6, False)])
def test_a_tapered_brain_may_widen_by_a_fifth_for_every_millimetre(thickness, kept):
    """The last slice is 30 % larger than the one before."""
    h, w = np.mgrid[-30:30, -30:30] * 0.3
    radii = [7.0, 7.0, 7.0, 5.5, 4.2, 4.2 * np.sqrt(1.3)]
    stack = np.array([(np.hypot(h, w) < r) * 0.9 for r in radii])
    brain = one_brain(stack, 0.3, thickness) >= 0.5
    np.testing.assert_array_equal(brain[:5], stack[:5] > 0)
    assert (brain[5].sum() == (stack[5] > 0).sum()) == kept
    assert brain[5].sum() >= 0.9 * brain[4].sum()


def test_what_the_placed_mask_covers_is_kept_far_from_the_neighbouring_slice(blob):
    """Two slices on, the brain has a part 4 mm wider on one side."""
    spoilt = blob.copy()
    spoilt[4, 14:22, 28:35] = 0.9
    placed = spoilt >= 0.5
    alone, known = one_brain(spoilt, 0.3, 0.6), one_brain(spoilt, 0.3, 0.6, placed)
    assert (known[4, 15:21, 29:34] >= 0.5).all()
    assert (known >= 0.5).sum() >= (alone >= 0.5).sum()


def test_a_small_part_far_beyond_the_neighbouring_slice_is_cut(blob):
    """A bar that reaches 2.7 mm beyond it; for slices 0.6 mm apart 1.9 mm are allowed."""
    spoilt = blob.copy()
    spoilt[4, 16:20, 28:40] = 0.9
    found = one_brain(spoilt, 0.3, 0.6) >= 0.5
    assert found[4, 17:19, 32:36].all()
    assert not found[4, 16:20, 39].any()
    # Unless the placed mask has it, too
    known = one_brain(spoilt, 0.3, 0.6, spoilt >= 0.5) >= 0.5
    assert known[4, 17:19, 28:39].all()
    np.testing.assert_array_equal(found[3], blob[3] >= 0.5)


def test_a_part_just_as_far_as_a_slice_may_reach_is_kept():
    """1.5 mm, and 0.6 mm for a slice 1 mm on: seven pixels of 0.3 mm, exactly."""
    stack = np.zeros((7, 41, 50))
    stack[:, 10:31, 10:31] = 0.9
    stack[5, 16:24, 31:39] = 0.9
    found = one_brain(stack, 0.3, 1.0)[5, 18:22] >= 0.5
    assert found[:, 31:38].all()
    assert not found[:, 38].any()


@pytest.mark.parametrize(('covered', 'kept'), [(4, False), (5, True)])
def test_a_second_piece_is_kept_where_more_than_half_of_it_is_placed(covered, kept):
    stack = np.zeros((1, 30, 40))
    stack[0, 5:25, 5:25] = 0.9
    stack[0, 8:18, 30:38] = 0.9
    placed = stack > 0
    placed[0, :, 30 + covered :] = False
    found = one_brain(stack, 0.3, 1.0, placed) >= 0.5
    assert found[0, 10:16, 32:36].all() == found[0, 10:16, 32:36].any() == kept
    assert found[0, 8:20, 8:20].all()


@pytest.mark.parametrize('lost', [False, True])
def test_across_a_lost_slice_the_distance_is_that_of_both(lost):
    """A spur of 2.1 mm: 1.5 mm and 0.6 for each mm are 1.86 mm at 0.6 mm, 2.22 mm at 1.2 mm."""
    h, w = np.mgrid[-20:20, -20:20] * 0.3
    stack = np.array([(np.hypot(h, w) < 3.05) * 0.9] * 7)
    stack[5, 18:22, 30:38] = 0.9
    edge = np.flatnonzero(stack[3, 20])[-1]
    if lost:
        stack[4] = 0
    spur = one_brain(stack, 0.3, 0.6)[5, 19:21] >= 0.5
    assert spur[:, edge + 6].all()
    assert spur[:, edge + 7].all() == lost


def test_a_slice_that_was_emptied_ends_no_other_slices_cut():
    """Forward, a slice loses all it had; backward, a spur that reaches too far is cut yet."""
    h, w = np.mgrid[-20:20, -20:20] * 0.3
    stack = np.array([(np.hypot(h, w) < 3.05) * 0.9] * 7)
    placed = stack > 0
    stack[5], stack[5, 20, 2:38] = 0, 0.9
    stack[6, :6, :6] = 0.9
    stack[0, 18:22, 30:38] = 0.9
    edge = np.flatnonzero(stack[3, 20])[-1]
    found = one_brain(stack, 0.3, 0.6, placed) >= 0.5
    assert not found[5].any()
    # Behind it there is what the placed mask knows, and no more
    np.testing.assert_array_equal(found[6], placed[6])
    assert not found[0, 19:21, edge + 7].any()


def test_of_two_slices_the_larger_is_the_brains_middle():
    """Cut from the smaller outwards, the larger would lose what lies far beyond it."""
    h, w = np.mgrid[-30:30, -30:30] * 0.3
    stack = np.array([(np.hypot(h, w) < r) * 0.9 for r in (1.5, 6.0)])
    for images in (stack, stack[::-1]):
        np.testing.assert_array_equal(one_brain(images, 0.3, 1.0) >= 0.5, images > 0)
