"""What a report warns of."""

import numpy as np
import pytest

from secondglance.interfaces.report import (
    brain_warnings,
    edge_letters,
    moved_most,
    placement_warnings,
    slice_warnings,
)

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
    beyond, overruled = placement_warnings(rows, placed)
    assert overruled.startswith('1 of 2 slices had an outlier shift')
    assert overruled.endswith(': 1.')
    # The network's mask does not depend on the shifts
    assert placement_warnings(rows, FINE) == []
    assert '1 slices lie beyond' in beyond
    [lost] = placement_warnings([{**ROW, 'donor_slice': -1}], placed)
    assert 'No slice of any donor' in lost


def test_slices_across_another_axis_are_named():
    # Third column: from slice to slice
    coronal = np.array([[0.3, 0, 0, 1], [0, 0.1, 1, 2], [0, 0.3, -0.2, 3], [0, 0, 0, 1.0]])
    assert slice_warnings(coronal) == []
    assert 'slices are horizontal' in slice_warnings(coronal[[0, 2, 1, 3]])[0]
    assert 'slices are sagittal' in slice_warnings(coronal[[1, 0, 2, 3]])[0]


def test_two_brains_are_reported_and_one_in_pieces_is_not():
    head = np.random.default_rng(0).random((10, 40, 80))
    brain = np.zeros(head.shape, bool)
    brain[2:8, 10:30, 5:30] = True
    # 6 × 20 × 25 pixels of 0.5 mm³
    assert brain_warnings(head, brain, 0.5) == []
    brain[2:8, 10:18, 40:50] = True
    assert brain_warnings(head, brain, 0.5) == []
    brain[2:8, 10:30, 40:65] = True
    [warning] = brain_warnings(head, brain, 0.5)
    assert '2 brains' in warning
    assert '1500 mm³ and 1500 mm³' in warning


def test_a_lost_slice_makes_no_two_brains():
    head, brain = np.random.default_rng(0).random((9, 40, 40)), np.zeros((9, 40, 40), bool)
    brain[:, 10:30, 5:30] = True
    head[4], brain[4] = 0, False
    assert brain_warnings(head, brain, 0.5) == []
    assert brain_warnings(head + 0.1 * np.eye(40), brain, 0.5) != []


def test_the_volume_moved_most_is_found_among_those_kept():
    still = dict.fromkeys(('trans_x', 'trans_y', 'trans_z', 'rot_x', 'rot_y', 'rot_z'), 0.0)
    rows = [
        {'volume': 0, **still},
        {'volume': 2, **dict.fromkeys(still, 'n/a')},
        {'volume': 5, **still, 'trans_y': -0.3, 'trans_z': 0.4},
        {'volume': 6, **still, 'rot_x': 0.04},
    ]
    # 0.3, 0.4: 0.5 mm; 0.04 rad are 0.4 mm at 10 mm, and 0.8 mm at 20 mm
    assert moved_most(rows, 10.0) == (1, 5, pytest.approx(0.5))
    assert moved_most(rows, 20.0) == (2, 6, pytest.approx(0.8))
    assert moved_most(rows[:2], 10.0) is None


def test_edges_are_named_by_the_header():
    coronal = np.array([[0.3, 0, 0, 1], [0, 0.1, 1, 2], [0, 0.3, -0.2, 3], [0, 0, 0, 1.0]])
    assert edge_letters(coronal) == ('L', 'R', 'D', 'V')
    assert edge_letters(coronal[[0, 2, 1, 3]]) == ('L', 'R', 'A', 'P')
    assert edge_letters(coronal * [[-1], [1], [1], [1]]) == ('R', 'L', 'D', 'V')
