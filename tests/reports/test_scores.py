"""The pages of an evaluation and of a sanity check."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from secondglance.models.saliency.sanity import CHANGED_SHARES, Sanity, Verdict
from secondglance.reports.plots import motion_charts, placement_charts, score_boxes, score_charts
from secondglance.reports.sanity import write_sanity
from secondglance.reports.scores import (
    COMPARED_OUTLINES,
    Outlined,
    summary_of,
    worst_slices,
    write_scores_page,
)
from secondglance.reports.steps import outline

SVG = '{http://www.w3.org/2000/svg}'


def _rows(*dice, condition='network', label='brain'):
    return [
        {'animal': str(n), 'scan': 'a', 'condition': condition, 'label': label, 'dsc': d}
        for n, d in enumerate(dice)
    ]


@pytest.fixture
def pictures(rng):
    found = np.zeros((3, 12, 10), bool)
    found[:, 3:9, 2:8] = True
    better, worse = found.copy(), found.copy()
    better[1, 3:5, 2:8] = False
    worse[2, 3:7, 2:8] = False
    image = rng.random(found.shape)
    return [Outlined('<b>good', image, found, better), Outlined('bad', image, found, worse)]


def test_every_scan_is_a_dot_and_boxes_hold_the_middle_half():
    svg = ElementTree.fromstring(score_boxes(_rows(0.9, 0.92, 0.94, 0.96, 0.98, np.nan)))
    up = sorted(float(dot.get('cy')) for dot in svg.iter(f'{SVG}circle'))
    assert len(up) == 5
    paths = [p.get('d') for p in svg.iter(f'{SVG}path') if p.get('class') == 'line c0']
    box = [float(y) for y in re.findall(r'[ML][\d.]+ ([\d.]+)', paths[0])]
    # A smaller y is higher: the second and the fourth of five are the quartiles
    assert min(box) == pytest.approx(up[1], abs=0.11)
    assert max(box) == pytest.approx(up[3], abs=0.11)
    assert paths[0] not in paths[1:]
    # From the box two lines lead to the lowest and the highest
    ends = [float(y) for y in re.findall(r'[ML][\d.]+ ([\d.]+)', paths[2])]
    assert (max(ends), min(ends)) == pytest.approx((up[4], up[0]), abs=0.11)


def test_boxes_stand_above_their_label_and_conditions_are_named_once():
    rows = [
        row
        for label in ('brain', 'WM')
        for condition, dice in (('first', 0.8), ('second', 0.9))
        for row in _rows(dice, dice + 0.05, condition=condition, label=label)
    ]
    one, both = (
        ElementTree.fromstring(score_boxes(some))
        for some in ([row for row in rows if row['condition'] == 'first'], rows)
    )
    words = [text.text for text in both.iter(f'{SVG}text')]
    assert words.count('first') == words.count('second') == 1
    for svg in (one, both):
        paths = [p.get('d') for p in svg.iter(f'{SVG}path') if p.get('d').count('L') == 4]
        ends = [[float(x) for x in re.findall(r'[ML]([\d.]+) ', path)] for path in paths]
        middles = [(min(x) + max(x)) / 2 for x in ends]
        for label in ('brain', 'WM'):
            [at] = [float(t.get('x')) for t in svg.iter(f'{SVG}text') if t.text == label]
            near = [x for x in middles if abs(x - at) < 80]
            assert np.mean(near) == pytest.approx(at, abs=0.2)
            assert len(near) == len(middles) / 2


def test_each_condition_has_a_colour_and_a_name():
    svg = score_boxes([*_rows(0.9, 0.95), *_rows(0.8, 0.85, condition='<none>')])
    assert '&lt;none&gt;' in svg
    assert {'dot c0', 'dot c1'} <= set(re.findall(r'class="(dot c.)"', svg))


def test_worst_slices_come_first(pictures):
    first, second = worst_slices(pictures)
    assert (first['title'], first['slice'], first['wrong']) == ('bad', 2, 24)
    assert (second['slice'], second['wrong']) == (1, 12)
    assert len(worst_slices(pictures, 1)) == 1
    assert len(ElementTree.fromstring(first['picture']).findall(f'{SVG}path')) == 2


def test_page_of_scores_needs_no_other_file(pictures, tmp_path):
    rows = [*_rows(0.9, 0.95), *_rows(np.nan, 0.8, label='CSF')]
    write_scores_page(rows, summary_of(rows), pictures, tmp_path / 'scores.html')
    page = (tmp_path / 'scores.html').read_text()
    assert '<b>' not in page
    assert '&lt;b&gt;good' in page
    assert '24 pixels wrong' in page
    assert 'src=' not in page
    assert 'nan' not in page.lower().replace('finance', '')
    write_scores_page(rows, summary_of(rows), [], tmp_path / 'scores.html')
    assert 'worst' not in (tmp_path / 'scores.html').read_text()


def test_a_page_of_scores_appears_whole(pictures, tmp_path):
    """Whoever reads the former page reads it to its end."""
    page, read = tmp_path / 'scores.html', tmp_path / 'being read.html'
    write_scores_page(_rows(0.9), summary_of(_rows(0.9)), pictures, page)
    read.hardlink_to(page)
    former = read.read_text()
    write_scores_page(_rows(0.8), summary_of(_rows(0.8)), [], page)
    assert read.read_text() == former != page.read_text()


def test_page_of_a_sanity_check_holds_its_charts(rng, tmp_path):
    rows = [
        {'test': test, 'what': what, 'rank_correlation': r, 'ssim': r / 2, 'placed_dice': 0.9 - d}
        for test, what, r, d in (
            ('trained', 'all', 1.0, 0.0),
            ('cascade', 'head', 0.4, 0.3),
            ('cascade', 'expanding <0>', 0.1, np.nan),
            ('control', 'edges', 0.3, 0.1),
        )
    ]
    curve = {by: np.linspace(0, 1, len(CHANGED_SHARES)) for by in ('saliency', 'edges', 'chance')}
    found = Sanity(
        rows, {'deletion': curve, 'insertion': curve}, {'trained': rng.normal(size=(12, 9, 8))}
    )
    verdicts = [Verdict('Does it depend?', True, 'Yes & no.')]
    path = write_sanity(found, verdicts, {'weights': 'x'}, tmp_path)
    page = path.read_text()
    charts = re.findall(r'<svg.*?</svg>', page, re.S)
    assert len(charts) == 4
    first, second, deletion, _ = (ElementTree.fromstring(chart) for chart in charts)
    words = [text.text for text in first.iter(f'{SVG}text')]
    assert {'none', 'head', 'expanding <0>', 'randomised down to', 'SSIM'} <= set(words)
    # Three maps and two scores; what was not placed leaves a gap
    assert len(list(first.iter(f'{SVG}circle'))) == 6
    assert len(list(second.iter(f'{SVG}circle'))) == 2
    assert 'saliency, area 0.50' in [text.text for text in deletion.iter(f'{SVG}text')]
    for name in re.findall(r'src="([^"]+)"', page):
        assert (tmp_path / name).stat().st_size


def test_one_animal_has_no_deviation():
    row = {'animal': 'a', 'scan': 's', 'condition': 'x', 'label': 'brain', 'hd95_mm': 1.0}
    [line] = summary_of([{**row, 'dsc': 0.9}, {**row, 'scan': 't', 'dsc': 0.8}])
    assert line['dsc_mean'] == pytest.approx(0.85)
    assert np.isnan(line['dsc_sd'])
    assert np.isnan(line['hd95_sd'])


def test_a_label_without_a_score_hides_no_other():
    svg = ElementTree.fromstring(score_boxes([*_rows(np.nan), *_rows(0.8, 0.9, label='WM')]))
    assert len(list(svg.iter(f'{SVG}circle'))) == 2


def test_scores_that_a_volume_lacks_hide_no_other():
    rows = [row | {'volume_error': 0.1 * n} for n, row in enumerate(_rows(0.8, 0.9), 1)]
    (line,) = summary_of(rows)
    assert line['volume_error_mean'] == pytest.approx(0.15)
    assert line['volume_error_sd'] == pytest.approx(0.05 * np.sqrt(2))
    assert 'hd95_mean' not in line


def test_motion_is_drawn_in_millimetres_and_degrees_over_the_volumes_of_the_scan():
    names = [f'{kind}_{axis}' for kind in ('trans', 'rot') for axis in 'xyz']
    confounds = {name: np.array([0, 0.1, 0.2]) for name in names}
    confounds |= {'volume': np.array([0, 7, 20]), 'framewise_displacement': [np.nan, 0.3, 0.5]}
    words = [ElementTree.fromstring(svg).get('aria-label') for svg in motion_charts(confounds)]
    assert words == [
        'Translation of 3 volumes, at most 0.2 mm',
        'Rotation of 3 volumes, at most 11 degrees',
        'Framewise displacement of 3 volumes, at most 0.5 mm',
    ]
    for svg in motion_charts(confounds):
        assert '>20</text>' in svg


def test_shifts_that_were_replaced_have_a_cross_and_others_a_dot():
    known = dict.fromkeys(('probability', 'confidence', 'peak_ratio'), 0.5)
    known |= {f'{kind}_{axis}_mm': 0.1 for kind in ('shift', 'found') for axis in 'xy'}
    rows = [{'slice': n, 'replaced': n == 2, **known} for n in range(5)]
    shifts = ElementTree.fromstring(placement_charts(rows)[0])
    assert len(list(shifts.iter(f'{SVG}circle'))) == 2 * 4
    crosses = ''.join(path.get('d') for path in shifts.iter(f'{SVG}path'))
    assert crosses.count('l8 8m0 -8l-8 8') == 2


def test_marks_are_what_was_found_and_the_line_is_what_was_taken():
    rows = [
        {'slice': n, 'replaced': n == 1, 'probability': 0.9, 'confidence': 0.2, 'peak_ratio': 1.5}
        | {'found_x_mm': 3.0, 'found_y_mm': 0.0, 'shift_x_mm': 1.0, 'shift_y_mm': 0.0}
        for n in range(3)
    ]
    shifts, _, sure = (ElementTree.fromstring(svg) for svg in placement_charts(rows))
    heights = {
        colour: {float(dot.get('cy')) for dot in shifts.iter(f'{SVG}circle')
                 if dot.get('class') == f'dot {colour}'}
        for colour in ('c0', 'c1')
    }  # fmt: skip
    [dots], [zero] = heights['c0'], heights['c1']
    [line] = [
        p.get('d') for p in shifts.iter(f'{SVG}path')
        if p.get('class') == 'line c0' and p.get('d').count('L') == 2
    ]  # fmt: skip
    taken = float(re.match(r'M[\d.]+ ([\d.]+)', line)[1])
    # Upwards is less: 3 mm were found, 1 mm was taken
    assert zero - dots == pytest.approx(3 * (zero - taken), abs=0.3)
    # The name of a line stands beside its colour
    names = [
        text.text
        for text in sure.iter(f'{SVG}text')
        if 'mask' in text.text or 'shift' in text.text
    ]
    assert names == ['mask is good', 'shift agrees']
    good, agrees = (
        next(
            float(dot.get('cy')) for dot in sure.iter(f'{SVG}circle') if colour in dot.get('class')
        )
        for colour in ('c0', 'c1')
    )
    assert good < agrees


def test_the_brain_that_was_found_is_outlined_in_its_own_colour(pictures):
    one = pictures[1]
    (worst,) = worst_slices([one])
    paths = ElementTree.fromstring(worst['picture']).findall(f'{SVG}path')
    drawn = {path.get('style'): path.get('d') for path in paths}
    for name, mask in (('final mask', one.found), ('reference', one.reference)):
        style = f'stroke: rgb{COMPARED_OUTLINES[name]}'
        assert drawn[style] == outline(mask[worst['slice']].T[::-1])


def test_each_label_keeps_its_colour_from_slice_to_slice():
    """As in the pictures white matter is orange, grey matter blue, fluid pink."""
    labels = {'brain': 'c3', 'WM': 'c1', 'GM': 'c0', 'CSF': 'c4'}
    rows = [
        {'slice': n, 'label': label, 'dsc': 0.1 * k, 'precision': 0.5}
        for k, label in enumerate(labels, 1)
        for n in range(3)
    ]
    dice = ElementTree.fromstring(score_charts(rows)[0])
    heights = {}
    for dot in dice.iter(f'{SVG}circle'):
        heights.setdefault(dot.get('class').split()[1], set()).add(float(dot.get('cy')))
    assert set(heights) == set(labels.values())
    # A Dice of 0.1 for the brain is the lowest, one of 0.4 for fluid the highest
    order = sorted(heights, key=lambda colour: -max(heights[colour]))
    assert order == list(labels.values())
