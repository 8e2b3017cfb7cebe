import numpy as np
import pytest

from secondglance.imaging.placement.shifts import reconcile, weighted_median

POSITIONS = np.linspace(-8, 8, 17)


def test_agreeing_shifts_are_left_alone():
    shifts = np.stack([0.5 * POSITIONS + 1, -0.25 * POSITIONS], axis=1)
    kept, replaced, confidence = reconcile(shifts, np.ones(17), POSITIONS)
    np.testing.assert_array_equal(kept, shifts)
    assert not replaced.any()
    np.testing.assert_allclose(confidence, 1)


def test_outliers_are_replaced_by_the_line_and_flagged():
    line = np.stack([0.5 * POSITIONS + 1, -0.25 * POSITIONS], axis=1)
    shifts = line.copy()
    wrong = [0, 5, 6, 12, 16]
    shifts[wrong] += [[9, -4], [-12, 3], [20, 20], [5, 5], [0, -9]]
    kept, replaced, confidence = reconcile(shifts, np.ones(17), POSITIONS)
    np.testing.assert_allclose(kept, line, atol=1e-9)
    assert np.flatnonzero(replaced).tolist() == wrong
    assert confidence[wrong].max() < 0.01


def test_slices_without_weight_have_no_say():
    shifts = np.zeros((17, 2))
    shifts[:10] = 30
    weights = np.r_[np.zeros(10), np.ones(7)]
    kept, replaced, _ = reconcile(shifts, weights, POSITIONS)
    np.testing.assert_allclose(kept, 0, atol=1e-9)
    assert replaced[:10].all()
    assert not replaced[10:].any()


@pytest.mark.parametrize('n', [1, 2])
def test_few_slices(n):
    kept, _, _ = reconcile(np.ones((n, 2)), np.ones(n), np.arange(n))
    np.testing.assert_array_equal(kept, 1)


def test_no_slice_at_all_trusted():
    _, replaced, confidence = reconcile(np.ones((3, 2)), np.zeros(3), np.arange(3))
    assert not replaced.any()
    assert not confidence.any()


def test_weighted_median_worked_by_hand():
    assert weighted_median([10, 1, 2], [5, 1, 1]) == 10
    assert weighted_median([10, 1, 2], [1, 1, 1]) == 2
    assert weighted_median([4, 3], [1, 2]) == 3


def test_a_pair_far_apart_decides_the_slope_of_three_slices():
    # Slopes −8, 1 and 0.1 with trust 3 × 1, 3 × 9 and 1 × 10: half of 40 lies below 1. What that
    # line leaves is 8, −1 and −1, of trust 1, 3 and 1
    shifts = np.array([[8.0, 0], [0, 0], [9, 0]])
    kept, replaced, confidence = reconcile(shifts, [1, 3, 1], [0.0, 1.0, 10.0])
    assert replaced.tolist() == [True, False, False]
    np.testing.assert_allclose(kept, [[-1, 0], [0, 0], [9, 0]], atol=1e-9)
    np.testing.assert_allclose(confidence, [np.exp(-20.25), 1, 1], rtol=1e-6)


def test_trusted_pairs_count_more_than_others():
    # Slopes 10, 5 and 0 with trust 0.01 × 1, 0.01 × 2 and 1 × 1
    kept, replaced, _ = reconcile([[-10.0, 0], [0, 0], [0, 0]], [0.01, 1, 1], [0.0, 1.0, 2.0])
    assert replaced.tolist() == [True, False, False]
    np.testing.assert_allclose(kept, 0, atol=1e-9)


@pytest.mark.parametrize('weights', [(2, 1), (1, 2)])
def test_two_slices_have_no_slope_and_the_trusted_one_is_kept(weights):
    _, replaced, _ = reconcile([[0.0, 0], [9, 0]], weights, [0.0, 1.0])
    assert replaced.tolist() == [weights[0] < weights[1], weights[0] > weights[1]]


@pytest.mark.parametrize(('off', 'replaced'), [(1.5, False), (2.0, False), (2.5, True)])
def test_a_shift_just_off_the_line_is_kept_up_to_the_tolerance(off, replaced):
    shifts = np.zeros((9, 2))
    shifts[4, 1] = off
    kept, found, confidence = reconcile(shifts, np.ones(9), np.arange(9.0))
    assert found[4] == replaced
    assert kept[4, 1] == (0 if replaced else off)
    assert confidence[4] == pytest.approx(np.exp(-((off / 2) ** 2)))


def test_a_slice_without_weight_takes_the_line_however_near_its_own_shift_is():
    shifts, weights = np.zeros((9, 2)), np.ones(9)
    shifts[4, 0], weights[4] = 1, 0
    kept, replaced, confidence = reconcile(shifts, weights, np.arange(9.0))
    assert np.flatnonzero(replaced).tolist() == [4]
    assert kept[4, 0] == 0
    assert confidence[4] == 0


def test_trust_in_a_slope_is_that_in_both_its_slices():
    """Slopes 5, 1 and 3 mm by trust 1 × 1, 1 × 4 and 1 × 4 × 2 mm: half of 13 lies below 3."""
    shifts = np.array([[0.0, 0], [5, 0], [6, 0]])
    kept, replaced, _ = reconcile(shifts, [1, 1, 4], [0.0, 1, 2], tolerance_px=1.5)
    np.testing.assert_allclose(kept[:, 0], [0, 3, 6])
    assert replaced.tolist() == [False, True, False]
