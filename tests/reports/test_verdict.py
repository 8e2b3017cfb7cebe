"""What makes a report amber or red."""

import numpy as np
import pytest

from secondglance.imaging.pose import Pose
from secondglance.reports.data import RunRecord
from secondglance.reports.verdict import (
    brain_warnings,
    cut_brain,
    dark_slices,
    displaced_slices,
    doubtful_slices,
    faint_slices,
    jumps,
    level,
    lost_slices,
    placement_warnings,
    ranges,
    result_warnings,
    scan_warnings,
    slice_warnings,
    unusual_tissues,
)


@pytest.fixture
def head(rng):
    """A brain of seven slices that tapers off, well inside the field of view."""
    image = np.zeros((9, 30, 30))
    image[:, 3:27, 3:27] = 50 + rng.random((9, 24, 24))
    mask = np.zeros(image.shape, bool)
    y, x = np.mgrid[:30, :30]
    for n in range(1, 8):
        mask[n] = np.hypot(y - 15, x - 15) < 9 - 1.8 * abs(n - 4)
    return image, mask


USUAL = [
    {'label': 'WM', 'volume_mm3': 500.0},
    {'label': 'GM', 'volume_mm3': 1200.0},
    {'label': 'CSF', 'volume_mm3': 200.0},
    {'label': 'brain', 'volume_mm3': 1900.0},
]


def _all(image, mask, probability=0.9, moved=0.1, volumes=USUAL, **more):
    return result_warnings(
        image=image,
        mask=mask,
        placement=[{'slice': n, 'probability': probability} for n in range(len(image))],
        confounds=[
            {'volume': 0, 'framewise_displacement': None},
            {'volume': 1, 'framewise_displacement': moved},
        ],
        volumes=volumes,
        **{'pixel_mm': 0.3, 'scan_pixel_mm': 0.3, **more},
    )


def test_a_sound_scan_raises_nothing(head):
    assert _all(*head) == []


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        ({'probability': 0.19}, 'probably wrong in slices 1–7'),
        ({'moved': 0.16}, 'more than half a pixel (0.15 mm) before volume 1: 0.16 mm'),
        ({'volumes': [*USUAL[1:], {'label': 'WM', 'volume_mm3': 20.0}]}, 'WM fills 1% of the'),
    ],
)
def test_what_is_wrong_is_named(head, change, said):
    [warning] = _all(*head, **change)
    assert said in warning


def test_brain_in_an_end_slice_is_cut(head):
    image, mask = head
    [warning] = cut_brain(image[4:], mask[4:])
    assert 'beyond the end slices' in warning
    assert 'in slice 0' in warning
    assert 'slice 4' not in warning
    [warning] = cut_brain(image[:6], mask[:6])
    assert 'in slice 5' in warning


def test_a_brain_stem_that_goes_on_is_usual(head):
    """Two thirds of the largest area are usual in the first slice, and are not in the last one."""
    image, mask = head
    assert cut_brain(image[3:], mask[3:]) == []
    assert cut_brain(image[3:][::-1], mask[3:][::-1]) != []


def test_brain_at_the_edge_of_the_image_is_cut(head):
    image, mask = head
    image[:, :, :12] = 0
    mask[:, :, :12] = False
    [warning] = cut_brain(image, mask)
    assert 'edge of the image in slices 2–6' in warning


def test_a_brain_that_touches_the_edge_of_the_image_is_not_cut(head):
    image, mask = head
    image[:, :, :7] = 0
    mask[:, :13, 7] = mask[:, 18:, 7] = False
    assert mask[4, :, 7].sum() == 5
    assert cut_brain(image, mask) == []


def test_a_slice_with_little_signal_is_named(head):
    image, mask = head
    assert faint_slices(image, mask) == []
    image[4] *= 0.4
    assert faint_slices(image, mask) == ['The signal is weak in slice 4.']
    image[4] *= 1.5  # 0.6: a coil's field does as much
    assert faint_slices(image, mask) == []


def test_signal_that_drops_out_in_a_part_of_a_slice_is_named(head):
    image, mask = head
    assert dark_slices(image, mask) == []
    image[3, 8:13] *= 0.1
    assert dark_slices(image, mask) == ['The signal drops out in a part of slice 3.']
    image[3, 8:13] *= 6
    assert dark_slices(image, mask) == []
    # A bright vessel makes nothing else dark
    image[5, 15, 15] *= 50
    assert dark_slices(image, mask) == []


def test_a_small_dark_area_at_the_rim_of_two_slices_is_a_drop_out():
    y, x = np.mgrid[:60, :60]
    mask = np.tile(np.hypot(y - 30, x - 30) < 20, (6, 1, 1))
    image = np.where(np.tile(np.hypot(y - 30, x - 30) < 28, (6, 1, 1)), 50.0, 0.0)
    rim, middle = np.hypot(y - 30, x - 12) < 6, np.hypot(y - 30, x - 30) < 6
    assert 0.03 < (mask[0] & rim).sum() / mask[0].sum() < 0.1
    for area, slices, said in (
        (rim, [2, 3], ['The signal drops out in a part of slices 2, 3.']),
        (rim, [2], []),
        (middle, [2, 3], []),
    ):
        spoiled = image.copy()
        spoiled[np.ix_(slices, range(60), range(60))] *= np.where(area, 0.1, 1.0)
        assert dark_slices(spoiled, mask) == said


def test_slices_that_lie_from_side_to_side_are_reported(head):
    mask = head[1]
    assert displaced_slices(mask, 0.3) == []
    # A head that lies aslant is none that moved
    aslant = np.stack([np.roll(one, n, axis=0) for n, one in enumerate(mask)])
    assert displaced_slices(aslant, 0.3) == []
    mask[::2] = np.roll(mask[::2], 1, axis=1)
    [warning] = displaced_slices(mask, 0.3)
    assert '0.30 mm' in warning
    assert displaced_slices(mask, 0.2) == []
    assert displaced_slices(mask[:2], 0.3) == []
    assert displaced_slices(mask & False, 0.3) == []


def test_slices_of_a_mouse_lie_apart_in_the_size_of_a_rat(head):
    image, mask = head
    mask[::2] = np.roll(mask[::2], 1, axis=1)
    rat = _all(image, mask, pixel_mm=0.2)
    mouse = _all(image, mask, pixel_mm=0.2, relative_size=0.65)
    assert not [said for said in rat if 'side to side' in said]
    assert [said for said in mouse if 'side to side' in said and '0.31 mm' in said]


def test_a_slice_is_named_where_nearly_none_is_right(head):
    rows = [
        {'slice': n, 'probability': p} for n, p in enumerate((0.9, 0.9, 0.1, 0.49, 0.21, 0.19))
    ]
    assert doubtful_slices(rows, head[1]) == ['The mask is probably wrong in slices 2, 5.']


def test_tips_of_the_brain_are_not_named_and_gaps_are(head):
    mask = head[1]
    mask[1] = mask[7] = False
    mask[1, 15, 15] = mask[7, 15, 15] = True
    rows = [{'slice': n, 'probability': 0.1 if n in (0, 1, 7, 8) else 0.9} for n in range(9)]
    assert doubtful_slices(rows, mask) == []
    mask[4] = False
    rows[4]['probability'] = 0.1
    assert doubtful_slices(rows, mask) == ['The mask is probably wrong in slice 4.']
    assert doubtful_slices(rows, mask & False) == []


def test_a_lost_slice_counts_only_beside_the_brain(head):
    image, mask = head
    image[5] = 0
    assert lost_slices(image, mask) == ['The signal is lost in slice 5.']
    # The slice beside the last with brain may have held some, too
    mask[5:] = False
    assert lost_slices(image, mask) == ['The signal is lost in slice 5.']
    mask[4:] = False
    assert lost_slices(image, mask) == []


def test_a_brain_without_background_loses_no_slice_at_its_ends(head):
    image, mask = head
    assert lost_slices(np.where(mask, image, 0), mask) == []
    image = np.where(mask, image, 0)
    image[4] = 0
    assert lost_slices(image, mask) == ['The signal is lost in slice 4.']
    assert lost_slices(image * 0, mask) == []


def test_volumes_that_follow_none_have_no_displacement():
    rows = [{'volume': n, 'framewise_displacement': v} for n, v in ((0, None), (3, 'n/a'))]
    assert jumps(rows, 0.3) == []
    assert jumps([{'volume': 2, 'framewise_displacement': float('nan')}], 0.3) == []


def test_no_brain_has_no_shares():
    assert unusual_tissues([{'label': 'brain', 'volume_mm3': 0.0}]) == []


def test_tissues_are_judged_by_their_fractions():
    """Of a mouse: most of its white matter fills less than half of each voxel."""
    volumes = [
        {'label': label, 'volume_mm3': of_labels, 'volume_from_fractions_mm3': of_fractions}
        for label, of_labels, of_fractions in (
            ('WM', 30.6, 72.1),
            ('GM', 618.9, 560.0),
            ('CSF', 4.5, 21.8),
            ('brain', 653.9, 653.9),
        )
    ]
    assert unusual_tissues(volumes) == []
    volumes[0]['volume_from_fractions_mm3'] = 20.0
    assert 'WM fills 3%' in unusual_tissues(volumes)[0]


def test_levels():
    assert level([], 0.9, 1800.0) == 'good'
    assert level(['x'], 0.9, 1800.0) == 'look'
    assert level([], 0.49, 1800.0) == 'bad'
    assert level(['x'], 0.9, 0.0) == 'bad'
    assert level(['x'], None, None) == 'look'


def test_ranges_of_any_order():
    assert ranges([]) == ''
    assert ranges([9, 3, 4, 5, 8]) == '3–5, 8, 9'


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
        # A rat with voxel sizes times two, three and a half
        ({'BrainVolume': 8 * 1800.0}, "--voxel-scale 0.5 the brain would be as large as a rat's"),
        ({'BrainVolume': 27 * 1800.0}, '--voxel-scale 0.33 '),
        ({'BrainVolume': 1800.0 / 8}, '--voxel-scale 2 '),
        ({'BrainVolume': 8 * 470.0}, "by 0.5 as a mouse's"),
        ({'BrainVolume': 0.0}, 'empty'),
    ],
)
def test_a_mask_that_may_be_wrong_is_flagged(change, said):
    [warning] = placement_warnings([ROW], {**FINE, **change})
    assert said in warning


def test_a_placed_mask_is_judged_by_its_slices():
    placed = {**FINE, 'Method': 'correlation', 'MethodAskedFor': 'correlation'}
    rows = [ROW, {**ROW, 'slice': 1, 'replaced': True}, {**ROW, 'slice': 2, 'donor_slice': -1}]
    beyond, overruled = placement_warnings(rows, placed)
    assert overruled.startswith('1 of 2 slices had an outlier shift')
    assert overruled.endswith(': slice 1.')
    # The network's mask does not depend on the shifts
    assert placement_warnings(rows, FINE) == []
    assert '1 slices lie beyond' in beyond
    # Slices of the donor are counted from 0
    assert placement_warnings([{**ROW, 'donor_slice': 0}], placed) == []
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
    # Two fifths of the larger one: more than 0.35 of it, less than that of both
    brain[2:8, 10:30, 40:50] = True
    assert '600 mm³' in brain_warnings(head, brain, 0.5)[0]
    brain[2:8, 10:30, 40:65] = True
    [warning] = brain_warnings(head, brain, 0.5)
    assert '2 brains' in warning
    assert '1500 mm³ and 1500 mm³' in warning


def test_two_mice_are_as_large_as_mice():
    """Pieces of 75 mm³ are brains of a mouse, at 0.65 of a rat's lengths, and crumbs of a rat."""
    head, brain = np.random.default_rng(0).random((6, 20, 40)), np.zeros((6, 20, 40), bool)
    brain[:, 5:15, 5:15] = brain[:, 5:15, 25:35] = True
    assert brain_warnings(head, brain, 0.125) == []
    assert len(brain_warnings(head, brain, 0.125, 0.65)) == 1


def test_a_lost_slice_makes_no_two_brains():
    head, brain = np.random.default_rng(0).random((9, 40, 40)), np.zeros((9, 40, 40), bool)
    brain[:, 10:30, 5:30] = True
    head[4], brain[4] = 0, False
    assert brain_warnings(head, brain, 0.5) == []
    assert brain_warnings(head + 0.1 * np.eye(40), brain, 0.5) != []


def _record(**changes):
    """Of a sound scan, as the stages write it."""
    n = 9
    fields = {
        'settings': {'turn': 'auto'},
        'pose': Pose('rat', 0.3),
        'engine': {'header_scale': 1.0, 'pixel_mm': 0.4},
        'donor': {'donor': 0, 'scale': 1.0, 'scores': [0.8]},
        'confidence': FINE,
        'placement': [{**ROW, 'slice': k, 'probability': 0.9} for k in range(n)],
        'confounds': [{'volume': 0, 'framewise_displacement': None}],
        'volumes': USUAL,
    }
    return RunRecord(**{**fields, **changes})


CORONAL = np.array([[0.3, 0, 0, 0], [0, 0, 1, 0], [0, 0.3, 0, 0], [0, 0, 0, 1.0]])


def test_a_sound_run_has_no_warning(head):
    image, mask = head
    assert scan_warnings(image, mask, mask, CORONAL, _record()) == []


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'pose': Pose('rat', 0.3, quarter_turns=2)}, 'turned by 180 degrees'),
        ({'donor': {'donor': 0, 'scale': -1.0, 'scores': [0.8]}}, 'run the other way'),
        ({'confidence': {**FINE, 'Confidence': 0.2}}, 'The mask is doubtful'),
        (
            {
                'confidence': {**FINE, 'BrainVolume': 225.0},
                'engine': {'header_scale': 10.0, 'pixel_mm': 0.4},
            },
            '--voxel-scale 0.2 ',
        ),
        # Half a pixel of the scan, not of the stack
        ({'confounds': [{'volume': 3, 'framewise_displacement': 0.21}]}, '(0.2 mm) before'),
    ],
)
def test_each_part_of_a_run_is_warned_of(head, changes, said):
    image, mask = head
    [warning] = scan_warnings(image, mask, mask, CORONAL, _record(**changes))
    assert said in warning


def test_a_turn_that_was_asked_for_is_no_warning(head):
    image, mask = head
    record = _record(pose=Pose('rat', 0.3, quarter_turns=2), settings={'turn': '180'})
    assert scan_warnings(image, mask, mask, CORONAL, record) == []


def test_a_run_of_a_mouse_is_judged_in_the_size_of_a_rat(head):
    """Slices 0.3 mm aside are 0.46 mm in the size of a rat: beyond the limit of its median."""
    image, mask = head
    mask[::2] = np.roll(mask[::2], 1, axis=1)
    small = CORONAL @ np.diag([0.65, 0.65, 0.65, 1])
    record = _record(pose=Pose('mouse', 0.195), confidence={**FINE, 'BrainVolume': 470.0})
    [warning] = scan_warnings(image, mask, mask, small, record)
    assert 'by 0.30 mm in the size of a rat' in warning
