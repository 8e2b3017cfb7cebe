"""What a report warns of."""

import pytest

from secondglance.interfaces.report import placement_warnings

FINE = {
    'Method': 'network',
    'MethodAskedFor': 'network',
    'Confidence': 0.98,
    'BrainVolume': 1800.0,
}
ROW = {'slice': 0, 'donor_slice': 3, 'confidence': 0.9, 'replaced': False}


def test_a_sound_mask_is_not_flagged():
    assert placement_warnings([ROW], FINE) == []
    assert placement_warnings([ROW], {**FINE, 'BrainVolume': 470.0}, 0.65) == []


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        ({'Confidence': 0.3}, 'doubtful'),
        (
            {'MethodAskedFor': 'auto', 'Method': 'first-glance'},
            'that of first-glance: that of the network',
        ),
        ({'BrainVolume': 470.0}, '--species'),
        ({'BrainVolume': 9000.0}, 'unusual'),
        ({'BrainVolume': 0.0}, 'empty'),
    ],
)
def test_what_is_wrong_is_said(change, said):
    [warning] = placement_warnings([ROW], {**FINE, **change})
    assert said in warning


def test_a_placed_mask_is_judged_by_its_slices():
    placed = {**FINE, 'Method': 'correlation', 'MethodAskedFor': 'correlation'}
    rows = [ROW, {**ROW, 'slice': 1, 'replaced': True}, {**ROW, 'slice': 2, 'donor_slice': -1}]
    overruled, beyond = placement_warnings(rows, placed)
    assert '1 of 2 slices were overruled' in overruled
    assert '1 slices lie beyond' in beyond
    [lost] = placement_warnings([{**ROW, 'donor_slice': -1}], placed)
    assert 'No slice of any donor' in lost
