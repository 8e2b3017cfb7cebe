"""The page of a whole study."""

import re

import pytest

from secondglance.pipelines.execution.job import ScanResult
from secondglance.reports.cohort import in_order, write_cohort_page


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
        finished('sub-05', 0.3, flags=('The mask is doubtful.',)),
    ]


def test_the_doubtful_come_first(study):
    names = [outcome.scan for outcome in in_order(study)]
    assert names == ['sub-04', 'sub-05', 'sub-03', 'sub-02', 'sub-01']


def test_a_page_shows_each_scan_beside_the_others(study, tmp_path):
    picture = tmp_path / 'sub-01/figures/sub-01_mask.png'
    picture.parent.mkdir(parents=True)
    picture.touch()
    page = write_cohort_page(study, tmp_path).read_text()
    assert '1 failed, 2 to look at' in page
    links = [f'sub-{n}.html' for n in ('05', '03', '02', '01')]
    assert re.findall(r'href="([^"]+)"', page) == links
    assert re.findall(r'src="([^"]+)"', page) == ['sub-01/figures/sub-01_mask.png']
    # 2000 mm³ where 1800 is usual
    assert 'brain 2000 mm³, 1.11 of the median · WM 30% · GM 60% · CSF 10%' in page
    assert 'The mask is doubtful.' in page
    assert '<script>' not in page
    assert '&lt;script&gt;x' in page


def test_species_are_not_compared_and_an_empty_brain_is_none(tmp_path):
    rat, mouse = finished('sub-r', volume=1800.0), finished('sub-m', volume=450.0, species='mouse')
    nothing = finished('sub-n', 0.0, 0.0, species='vole')
    page = write_cohort_page([rat, mouse, nothing], tmp_path).read_text()
    assert page.count('1.00 of the median') == 2
    assert 'brain 0 mm³' in page


def test_a_study_in_which_all_failed(tmp_path):
    page = write_cohort_page([ScanResult('sub-1', 'failed', reason='No image.')], tmp_path)
    assert 'No image.' in page.read_text()
    assert 'href' not in page.read_text()
