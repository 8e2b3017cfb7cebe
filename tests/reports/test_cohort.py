"""The page of a whole study."""

import re

import pytest

from secondglance.reports.cohort import flag_outliers, in_order, outliers, write_cohort_page
from secondglance.reports.scan_result import ScanResult


def finished(name, confidence=0.9, volume=1800.0, flags=(), **more):
    figures = {'species': 'rat', 'confidence': confidence, 'brain_mm3': volume}
    figures |= {'WM_mm3': 0.3 * volume, 'GM_mm3': 0.6 * volume, 'CSF_mm3': 0.1 * volume}
    return ScanResult(name, 'done', flags=flags, figures=figures | more)


@pytest.fixture
def study():
    return [
        finished('sub-01', 0.97, 2000.0),
        finished('sub-02', 0.6),
        finished('sub-03', 0.9, flags=('Slices run the other way.',)),
        ScanResult('sub-04', 'failed', reason='<script>x</script> cannot be read.'),
        finished('sub-05', 0.3, flags=('The mask is doubtful.', 'The brain is cut.')),
    ]


def test_the_doubtful_come_first(study):
    names = [outcome.scan for outcome in in_order(study)]
    assert names == ['sub-04', 'sub-05', 'sub-03', 'sub-02', 'sub-01']


def test_a_page_shows_each_scan_beside_the_others(study, tmp_path):
    picture = tmp_path / 'sub-01/figures/sub-01_thumbnail.png'
    picture.parent.mkdir(parents=True)
    picture.touch()
    page = write_cohort_page(study, tmp_path).read_text()
    assert '1 failed, 2 to look at' in page
    body = page[page.index('<tbody>') :]
    rows = dict(re.findall(r'<tr data-scan="([^"]+)" data-verdict="([^"]+)"', body))
    assert list(rows) == ['sub-04', 'sub-05', 'sub-03', 'sub-02', 'sub-01']
    assert list(rows.values()) == ['failed', 'bad', 'look', 'good', 'good']
    links = re.findall(r'href="([^"]+)"', body)
    reports = [f'sub-{n}.html' for n in ('05', '03', '02', '01')]
    assert [link for link in links if link.endswith('.html')] == reports
    assert re.findall(r'src="([^"]+)"', body) == ['sub-01/figures/sub-01_thumbnail.png']
    # 2000 mm³ where 1800 is usual
    assert _cells(body, 'sub-01') == ['0.97', '2000', '1.11', '30', '60', '10']
    assert 'The mask is doubtful.' in body
    assert '<script>' not in page
    assert '&lt;script&gt;x' in body


def _cells(page, scan):
    row = page[page.index(f'data-scan="{scan}"') :].partition('</tr>')[0]
    return re.findall(r'data-value="[^"]*"[^>]*>([^<]*)</td>', row)


def test_species_are_not_compared_and_an_empty_brain_is_none(tmp_path):
    rat, mouse = finished('sub-r', volume=1800.0), finished('sub-m', volume=450.0, species='mouse')
    nothing = finished('sub-n', 0.0, 0.0, species='vole')
    page = write_cohort_page([rat, mouse, nothing], tmp_path).read_text()
    assert [_cells(page, scan)[2] for scan in ('sub-r', 'sub-m', 'sub-n')] == ['1.00', '1.00', '–']
    assert _cells(page, 'sub-n')[1] == '0'


def test_a_scan_unlike_its_species_is_flagged_everywhere(tmp_path):
    rats = [finished(f'sub-{n}', volume=1800.0 + 15 * n) for n in range(8)]
    mice = [finished(f'sub-m{n}', volume=450.0, species='mouse') for n in range(3)]
    small = finished('sub-odd', volume=1300.0, flags=('Seen before.',))
    flagged = flag_outliers([*rats, small, *mice])
    assert [outcome.scan for outcome in flagged if outcome.flags] == ['sub-odd']
    first, second = flagged[8].flags
    assert first == 'Seen before.'
    assert 'Brain volume' in second
    page = write_cohort_page(flagged, tmp_path).read_text()
    assert _cells(page, 'sub-odd')[1] == '1300 ▲'
    assert page.count('class="odd"') == 1 + 1  # In the table and among the dots


def test_few_scans_and_nearly_equal_ones_have_no_outliers():
    few = [
        finished('sub-1', volume=1800.0),
        finished('sub-2', volume=1800.0),
        finished('sub-3', volume=900.0),
    ]
    assert outliers(few) == set()
    alike = [finished(f'sub-{n}', volume=1800.0) for n in range(9)]
    assert outliers([*alike, finished('sub-x', volume=1860.0)]) == set()
    assert outliers([*alike, finished('sub-x', 0.99)]) == set()
    assert outliers([*alike, finished('sub-x', 0.7)]) == {('sub-x', 'confidence')}


def test_motion_counts_above_and_dice_below(tmp_path):
    rats = [
        finished(f'sub-{n}', motion_mean_mm=0.03 + 0.001 * n, brain_dice=0.97) for n in range(8)
    ]
    odd = [
        finished('sub-moved', motion_mean_mm=0.4, brain_dice=0.99),
        finished('sub-still', motion_mean_mm=0.0, brain_dice=0.94),
    ]
    assert outliers([*rats, *odd]) == {
        ('sub-moved', 'motion_mean_mm'),
        ('sub-still', 'brain_dice'),
    }
    flagged = flag_outliers([*rats, *odd])
    assert 'framewise displacement, mm (0.4)' in flagged[8].flags[0]
    assert 'Dice' in flagged[9].flags[0]
    page = write_cohort_page(flagged, tmp_path).read_text()
    assert _cells(page, 'sub-moved')[-2:] == ['0.400 ▲', '0.990']
    assert _cells(page, 'sub-still')[-2:] == ['0.000', '0.940 ▲']
    assert '>Dice<' in re.sub(r'\s', '', page)


def test_species_have_distributions_of_their_own(tmp_path):
    rats = [finished(f'sub-r{n}', volume=1800.0 + n) for n in range(6)]
    mice = [finished(f'sub-m{n}', volume=450.0 + n, species='mouse') for n in range(6)]
    page = write_cohort_page([*rats, *mice], tmp_path).read_text()
    for words in ('(rat) of 6 scans, from 1800 to 1805', '(mouse) of 6 scans, from 450 to 455'):
        assert f'Brain volume, mm³ {words}' in page
    assert 'Dice of the brain mask' not in page


def test_a_study_in_which_all_failed(tmp_path):
    page = write_cohort_page([ScanResult('sub-1', 'failed', reason='No image.')], tmp_path)
    assert 'No image.' in page.read_text()
    assert 'href=' not in page.read_text().partition('<script')[0]


def _plots(page):
    """Of each plot the places of its dots, and of the line at the median."""
    for plot in page.split('<svg')[1:]:
        dots = re.findall(r'<circle data-dot="[^"]+" cx="(\d+)" cy="(\d+)"', plot)
        middle = re.search(r'<line x1="(\d+)" x2="\1" y1="2"', plot)
        yield [tuple(map(int, dot)) for dot in dots], middle and int(middle[1])


def test_values_lie_between_the_ends_of_their_line_and_the_median_is_marked(tmp_path):
    """From 10 to 290: a tenth of the range is 28."""
    volumes = (1000.0, 1100.0, 1200.0, 1300.0, 2000.0)
    study = [finished(f'sub-{n}', volume=volume) for n, volume in enumerate(volumes)]
    found = [
        ([x for x, _ in dots], middle)
        for dots, middle in _plots(write_cohort_page(study, tmp_path).read_text())
    ]
    assert ([10, 38, 66, 94, 290], 66) in found


def test_dots_of_equal_values_are_stacked_nine_high(tmp_path):
    page = write_cohort_page([finished(f'sub-{n:02d}') for n in range(11)], tmp_path).read_text()
    heights = [[y for _, y in dots] for dots, _ in _plots(page) if dots]
    assert heights
    assert all(ys == [*range(40, 4, -4), 40, 36] for ys in heights)


def test_a_scan_without_a_volume_has_a_row_too(tmp_path):
    nothing = ScanResult('sub-n', 'done', figures={'species': 'rat', 'confidence': 0.5})
    page = write_cohort_page([finished('sub-r'), nothing], tmp_path).read_text()
    assert _cells(page, 'sub-n')[:3] == ['0.50', '–', '–']
