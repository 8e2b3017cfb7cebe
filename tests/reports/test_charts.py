"""Charts as SVG."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from secondglance.reports.charts import Histogram, Line, Panel, chart, ticks

SVG = '{http://www.w3.org/2000/svg}'


def _marks(svg):
    circles = ElementTree.fromstring(svg).iter(f'{SVG}circle')
    return [(float(c.get('cx')), float(c.get('cy'))) for c in circles]


def test_points_lie_where_their_values_say():
    svg = chart(Panel([Line([0, 1, 2], [0.0, 1.0, 0.5])], 'slice', 'p', (0, 1)), '')
    (x0, y0), (x1, y1), (x2, y2) = _marks(svg)
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert x0 < x1
    assert y1 < y2 < y0  # Up in the picture is less
    assert y0 - y1 == pytest.approx(2 * (y2 - y1), abs=0.2)


def test_what_is_no_number_leaves_a_gap():
    svg = chart(Panel([Line(np.arange(4), [1.0, np.nan, 2.0, 3.0])], 'x', 'y'), '')
    assert len(_marks(svg)) == 3
    assert 'nan' not in svg
    [path] = [p.get('d') for p in ElementTree.fromstring(svg).iter(f'{SVG}path')
              if p.get('class') == 'line c0']  # fmt: skip
    assert path.count('M') == 2
    assert path.count('L') == 1


def test_lines_are_dashed_or_faint_as_they_are_asked_for():
    ways = ({}, {'dashed': True}, {'faint': True})
    lines = [Line([0, 1], [0, n], colour=n, mark='', **way) for n, way in enumerate(ways)]
    paths = ElementTree.fromstring(chart(Panel(lines, 'x', 'y'), '')).iter(f'{SVG}path')
    kinds = [path.get('class') for path in paths if path.get('class').startswith('line')]
    assert kinds == ['line c0', 'line c1 dash', 'line c2 faint']


@pytest.mark.parametrize('values', [[], [np.nan], [2.0], [3.0, 3.0], [0.0, 0.0], [1e-9, 2e-9]])
def test_odd_values_can_be_drawn(values):
    for limits in ((None, None), (0, None), (0, 1)):
        svg = chart(Panel([Line(np.arange(len(values)), values)], 'x', 'y', limits), '')
        assert 'nan' not in svg
        assert 'inf' not in svg
        ElementTree.fromstring(svg)


def test_text_is_escaped():
    panel = Panel(
        [Line([0, 1], [0, 1], '<b>&')], '<x>', '<"y">', note='<n>', names=['<1>', '</svg>']
    )
    root = ElementTree.fromstring(chart(panel, '"><script>'))
    words = [text.text for text in root.iter(f'{SVG}text')]
    assert {'<b>&', '<x>', '<"y">', '<n>', '<1>', '</svg>'} <= set(words)
    assert root.get('aria-label') == '"><script>'


def test_areas_of_a_histogram_are_in_proportion():
    areas = [Histogram([0, 1, 2, 3], [4, 0, 2])]
    svg = chart(Panel((), 'x', 'y', (0, 4), areas=areas), '')
    [path] = [p.get('d') for p in ElementTree.fromstring(svg).iter(f'{SVG}path')
              if p.get('class') == 'area c0']  # fmt: skip
    bottom = float(path[1:].split('V')[0].split()[1])
    tops = [bottom - float(part.split('H')[0]) for part in path.split('V')[1:-1]]
    assert tops[1] == pytest.approx(0, abs=0.1)
    assert tops[0] == pytest.approx(2 * tops[2], abs=0.2)
    # The most that the axis shows is 194 pixels high
    assert tops[0] == pytest.approx(270 - 46 - 30, abs=0.1)
    # Each ends where the next begins, and all are of one width
    ends = [float(x) for x in re.findall(r'[MH]([\d.]+)', path)]
    np.testing.assert_allclose(np.diff(ends), (ends[-1] - ends[0]) / 3, atol=0.11)


@pytest.mark.parametrize(('low', 'high'), [(0, 1), (-7, 3), (0.001, 0.002), (5, 5e6), (-0.4, 0)])
def test_ticks_are_few_and_within(low, high):
    found = ticks(low, high)
    assert 3 <= len(found) <= 7
    assert low - 1e-9 <= found[0]
    assert found[-1] <= high + 1e-9


def test_a_legend_that_is_too_long_takes_more_rows():
    lines = [Line([0, 1], [0, 1], f'a label of many words {n}', n) for n in range(3)]
    few, many = (
        ElementTree.fromstring(chart(Panel(some, 'x', 'y'), '')) for some in (lines[:1], lines)
    )
    heights = [float(svg.get('viewBox').split()[3]) for svg in (few, many)]
    assert heights[1] - heights[0] == 36
    labels = [text for text in many.iter(f'{SVG}text') if 'label' in text.text]
    assert len({text.get('y') for text in labels}) == 3
    # Nothing lies on the axes: the curves begin below the last row
    highest = min(y for _, y in _marks(chart(Panel(lines, 'x', 'y'), '')))
    assert highest > float(labels[-1].get('y'))


def test_points_do_not_lie_on_the_edge_where_no_limit_is_given():
    """A twentieth of the range is left above and below."""
    panel = Panel([Line([0, 1], [0.0, 10.0])], 'x', 'y')
    svg = chart(panel, 'words')
    up = [float(y) for y in re.findall(r'<circle class="dot c0" cx="[\d.]+" cy="([\d.]+)"', svg)]
    bottom, top = re.search(r'class="axis" d="M[\d.]+ ([\d.]+)V([\d.]+)H', svg).groups()
    low, high = float(bottom), float(top)
    low, high = min(low, high), max(low, high)
    margin = (high - low) / 22
    assert sorted(up) == pytest.approx([low + margin, high - margin], abs=0.11)


def _axis(svg):
    return [
        float(y) for y in re.search(r'class="axis" d="M[\d.]+ ([\d.]+)V([\d.]+)H', svg).groups()
    ]


def test_limits_that_are_given_are_the_ends_of_the_axis():
    svg = chart(Panel([Line([0, 1, 2], [-5.0, 0.0, 1.0])], 'x', 'y', (0, 1)), '')
    assert [y for _, y in _marks(svg)[1:]] == pytest.approx(sorted(_axis(svg))[::-1], abs=0.1)


def test_what_does_not_change_lies_in_the_middle():
    svg = chart(Panel([Line([0, 1], [3.0, 3.0])], 'x', 'y'), '')
    assert [y for _, y in _marks(svg)] == pytest.approx([sum(_axis(svg)) / 2] * 2, abs=0.1)


def test_a_note_stands_before_the_names_of_the_lines():
    lines = [Line([0, 1], [0, 1], 'one')]
    plain, noted = (chart(Panel(lines, 'x', 'y', note=note), 'words') for note in ('', 'a note'))
    at = [float(re.search(r'<text x="([\d.]+)"[^>]*>one<', svg)[1]) for svg in (plain, noted)]
    assert at[1] > at[0] + 7 * len('a note')


@pytest.mark.parametrize(
    'names',
    [[], ['a', 'b'], ['a name of very many words', 'another name of as many words as that']],
)
def test_the_axis_lies_above_its_words_and_only_long_names_take_more_room(names):
    """46 pixels below the axis; names that have no room side by side are slanted, in 60 more."""
    svg = chart(Panel([Line([0, 1], [0.0, 1.0])], 'x', 'y', names=names), '')
    height = float(ElementTree.fromstring(svg).get('viewBox').split()[3])
    top, bottom = re.search(r'class="axis" d="M[\d.]+ ([\d.]+)V([\d.]+)H', svg).groups()
    slanted = 'rotate(-40)' in svg
    assert slanted == any(len(name) > 20 for name in names)
    assert height - float(bottom) == 46 + 60 * slanted
    # The curves have the same room
    assert float(bottom) - float(top) == 270 - 46 - 30
