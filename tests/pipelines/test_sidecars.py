"""What is said beside each result: its source, what made it, what its columns and labels are."""

import tomllib
from pathlib import Path

import pytest

from secondglance.files.bids import Scan, find_scans
from secondglance.files.labels import file_labels, labels_table
from secondglance.imaging.labels import CLASSES
from secondglance.imaging.motion_correction import MOTION_COLUMNS
from secondglance.pipelines import Method, SaliencyOptions, init_subject_wf
from secondglance.pipelines.outputs import result_endings
from secondglance.pipelines.sidecars import TABLE_COLUMNS, TABLES, mean_ending, sidecars

METHOD = Method(
    save_preproc=True, explain=('GM',), saliency=SaliencyOptions('gradient', 'CSF', 3, 1.5, 0.25)
)


@pytest.fixture
def settings():
    """Settings in which no two checksums are the same."""
    return METHOD.resolved() | {
        'weights_checksum': 'of the first',
        'refinement_checksum': 'of the refinement',
        'second_checksum': 'of the second',
    }


@pytest.fixture
def beside(example, settings):
    """Return a function that gives what is said beside the results of the example rat."""

    def _beside(scan=None, explained=('GM',), **changed):
        scan = scan or find_scans(example, '01')[0]
        return sidecars(scan, settings | changed, list(explained))

    return _beside


@pytest.mark.parametrize('suffix', ['dwi', 'bold', 'sbref', 'T2w'])
def test_every_image_and_table_has_words_beside_it_and_no_words_are_of_nothing(settings, suffix):
    scan = Scan(Path('/ds/sub-1/dwi/sub-1_dwi.nii'), {'sub': '1'}, suffix, 'dwi')
    named = {f'{ending}.json' for ending in sidecars_of(scan, settings)}
    results = set(result_endings(METHOD, suffix).values())
    told = {f'{name.removesuffix(".gz").rpartition(".")[0]}.json' for name in results}
    # The names of regions are a table beside the labels that it names
    assert told == named


def sidecars_of(scan, settings):
    return [name.removesuffix('.json') for name in sidecars(scan, settings, ['GM'])]


def test_the_mean_of_a_series_is_named_after_what_it_is():
    named = {suffix: mean_ending(suffix) for suffix in ('dwi', 'bold', 'T2w')}
    assert named == {
        'dwi': 'desc-b0mean_dwi',
        'bold': 'desc-mean_boldref',
        'T2w': 'desc-mean_T2w',
    }


def test_results_of_a_data_set_name_their_source_in_it(beside):
    found = beside()
    for name, content in found.items():
        assert content['Sources'] == ['bids:raw:sub-01/dwi/sub-01_dwi.nii.gz'], name
        image = not any(name.startswith(table) for table in TABLES) and '_xfm' not in name
        assert ('SpatialReference' in content) == image, name
        if image:
            assert content['SpatialReference'] == content['Sources'][0]


def test_results_of_a_single_file_name_it(beside, tmp_path):
    scan = Scan(tmp_path / 'rat.nii', {'sub': 'rat'}, 'T2w', 'anat')
    found = beside(scan)
    assert all(content['Sources'] == ['rat.nii'] for content in found.values())
    assert found['dseg.json']['SpatialReference'] == 'orig'


def test_labels_and_weights_are_told_as_they_are(beside):
    found = beside()
    dseg = found['dseg.json']
    assert dseg['WeightsChecksum'] == 'of the first'
    assert dseg['SecondWeightsChecksum'] == 'of the second'
    assert dseg['SecondGlance'] == 'network'
    assert found['desc-brain_mask.json']['RefinementChecksum'] == 'of the refinement'
    values = dict(zip(CLASSES[1:], file_labels(range(len(CLASSES)))[1:].tolist(), strict=True))
    assert dseg['LabelMap'] == {'BG': 0, **values}
    assert '1 grey matter, 2 white matter' in dseg['Description']
    made_by_hand = {
        name: content['Manual'] for name, content in found.items() if 'Manual' in content
    }
    assert made_by_hand == dict.fromkeys(
        (
            'dseg.json',
            'desc-regions_dseg.json',
            *(f'label-{t}_probseg.json' for t in (*CLASSES[1:], 'brain')),
        ),
        False,
    )


def test_the_brain_alone_is_said_to_be_without_its_skull(beside):
    stripped = {name: c['SkullStripped'] for name, c in beside().items() if 'SkullStripped' in c}
    assert stripped.pop('desc-brain_dwi.json') is True
    assert stripped == dict.fromkeys(
        (
            *('desc-b0mean_dwi.json', 'desc-preproc_dwi.json', 'desc-CSF_saliency.json'),
            *('desc-enhanced_saliency.json', 'desc-GM_saliency.json'),
        ),
        False,
    )


def test_saliency_is_told_with_its_options(beside):
    found = beside(explained=('GM', 'WMregion'), explain_region='3,4,5')
    raw, enhanced = found['desc-CSF_saliency.json'], found['desc-enhanced_saliency.json']
    for content in (raw, enhanced):
        assert (content['Method'], content['Target']) == ('gradient', 'CSF')
        assert content['SmoothingCopies'] == 3
        assert content['WeightsChecksum'] == 'of the first'
        assert 'Region' not in content
    assert (enhanced['Peak'], enhanced['Width']) == (1.5, 0.25)
    assert not {'Peak', 'Width'} & raw.keys()
    assert found['desc-GM_saliency.json']['Target'] == 'GM'
    assert found['desc-WMregion_saliency.json']['Target'] == 'WM'
    assert found['desc-WMregion_saliency.json']['Region'] == '3,4,5'


def test_the_atlas_is_told_and_without_regions_there_is_none(beside):
    assert beside()['desc-regions_dseg.json']['Atlas'] == 'shipped'
    assert beside(atlas='/mine')['desc-regions_dseg.json']['Atlas'] == '/mine'
    assert 'desc-regions_dseg.json' not in beside(regions=False)
    xfm = 'from-atlas_to-dwi_mode-image_xfm.json'
    assert xfm in beside(regions=False)
    assert xfm not in beside(second_glance='masked')


def test_what_the_scanner_did_holds_for_the_corrected_series_alone(beside):
    found = beside()
    assert found['desc-preproc_dwi.json']['EchoTime'] == 0.03
    assert [name for name, content in found.items() if 'EchoTime' in content] == [
        'desc-preproc_dwi.json'
    ]


def test_every_column_of_motion_is_described_with_its_unit():
    columns = TABLE_COLUMNS['desc-confounds_timeseries']
    assert set(columns) == set(MOTION_COLUMNS)
    for name, about in columns.items():
        expected = {'t': 'mm', 'r': 'rad', 'h': 'mm', 'w': 'mm'}.get(name[0])
        assert about.get('Units') == expected, name


def test_every_length_and_volume_of_a_table_has_its_unit():
    for table, columns in TABLE_COLUMNS.items():
        for name, about in columns.items():
            unit = {'_mm': 'mm', 'mm3': 'mm^3'}.get(name[-3:])
            if unit:
                assert about['Units'] == unit, (table, name)


def test_what_is_known_before_a_run_lies_beside_its_results(example, tmp_path):
    """The table of labels, the settings, and gradients of images that have none."""
    workflow = init_subject_wf(
        scan=find_scans(example, '01')[0], output_dir=tmp_path, method=METHOD
    )
    texts = workflow.get_node('outputs_wf.publish').inputs.texts
    begin = 'sub-01/dwi/sub-01_desc-'
    assert {name for name in texts if name.startswith(begin)} == {
        f'{begin}{image}_dwi.{ending}'
        for image in ('b0mean', 'brain')
        for ending in ('bval', 'bvec')
    }
    assert texts[f'{begin}brain_dwi.bval'] == '0\n'
    assert texts[f'{begin}brain_dwi.bvec'] == '0\n0\n0\n'
    assert texts['sub-01/dwi/sub-01_dseg.tsv'] == labels_table()
    settings = tomllib.loads(texts['logs/sub-01_dwi.toml'])
    expected = METHOD.resolved() | {'device': 'auto'}
    assert settings == {
        name: [str(v) for v in value] if isinstance(value, list | tuple) else value
        for name, value in expected.items()
        if value is not None
    }
