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
