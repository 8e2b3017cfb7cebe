"""What a report warns of."""

import pytest

from secondglance.interfaces.report import placement_warnings

FINE = {
    'method': 'first-glance',
    'expected_dice': 0.98,
    'agreement': 0.92,
    'brain_mm3': 1800.0,
    'relative_size': 1.0,
}
ROW = {'slice': 0, 'donor_slice': 3, 'confidence': 0.9, 'replaced': False}


def test_a_sound_mask_is_not_flagged():
    assert placement_warnings([ROW], FINE) == []
    mouse = {**FINE, 'brain_mm3': 470.0, 'relative_size': 0.65}
    assert placement_warnings([ROW], mouse) == []


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        ({'expected_dice': 0.8}, 'doubtful'),
        ({'agreement': 0.3}, 'disagree'),
        ({'brain_mm3': 470.0}, '--species'),
        ({'brain_mm3': 9000.0}, 'unusual'),
        ({'brain_mm3': 0.0}, 'empty'),
    ],
)
def test_what_is_wrong_is_said(change, said):
    [warning] = placement_warnings([ROW], {**FINE, **change})
    assert said in warning


def test_a_placed_mask_is_judged_by_its_slices():
    placed = {**FINE, 'method': 'correlation'}
    rows = [ROW, {**ROW, 'slice': 1, 'replaced': True}, {**ROW, 'slice': 2, 'donor_slice': -1}]
    overruled, beyond = placement_warnings(rows, placed)
    assert '1 of 2 slices were overruled' in overruled
    assert '1 slices lie beyond' in beyond
    [lost] = placement_warnings([{**ROW, 'donor_slice': -1}], placed)
    assert 'No slice of any donor' in lost
