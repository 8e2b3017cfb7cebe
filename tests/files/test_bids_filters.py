"""Filters of images, as BIDS Apps read them."""

import json

import pytest

from secondglance.files.bids import find_scans
from secondglance.files.bids_filters import fits, read_filters
from secondglance.imaging.errors import InputError


@pytest.fixture
def write(tmp_path):
    def _write(content):
        path = tmp_path / 'filter.json'
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return _write


def test_the_query_of_the_suffix_counts(write):
    path = write({'bold': {'session': 'pre'}, 't2w': {'acquisition': None, 'run': [1, '02']}})
    assert read_filters(path, 'T2w') == {'acq': [None], 'run': ['1', '02']}
    assert read_filters(path, 'bold') == {'ses': ['pre']}
    assert read_filters(write({'x': {'suffix': 'sbref', 'echo': 1}}), 'sbref') == {'echo': ['1']}


def test_the_only_query_chooses_the_suffix_where_none_is_given(write):
    path = write({'t2w': {'datatype': 'anat', 'suffix': 'T2w', 'session': '*'}})
    assert read_filters(path, None) == {'ses': ['*'], 'suffix': ['T2w']}


@pytest.mark.parametrize(
    ('filters', 'kept'),
    [
        ({}, True),
        ({'ses': ['pre', 'post']}, True),
        ({'ses': ['ses-pre']}, True),
        ({'ses': ['other']}, False),
        ({'ses': ['*']}, True),
        ({'ses': [None]}, False),
        ({'run': ['1']}, True),
        ({'run': ['001']}, True),
        ({'run': ['2']}, False),
        ({'acq': [None]}, True),
        ({'acq': [None, 'x']}, True),
        ({'acq': ['*']}, False),
        ({'acq': ['x']}, False),
    ],
)
def test_an_image_fits_by_its_entities(filters, kept):
    assert fits({'sub': '01', 'ses': 'pre', 'run': '01'}, filters) is kept


@pytest.mark.parametrize(
    ('content', 'says'),
    [
        ('{', 'cannot be read'),
        ('[' * 100_000, 'cannot be read'),
        ('[]', 'must hold queries'),
        ({'dwi': 3}, 'must hold queries'),
        ({'bold': {}, 't1w': {}}, 'one query of dwi'),
        ({}, 'one query of dwi'),
        ({'dwi': {}, 'x': {'suffix': 'dwi'}}, 'one query of dwi'),
        ({'dwi': {'colour': 'red'}}, "'colour', which is no entity"),
        ({'dwi': {'run': 1.5}}, 'run is 1.5'),
        ({'dwi': {'run': {'a': 1}}}, "run is {'a': 1}"),
    ],
)
def test_what_is_no_filter_is_refused_by_name(write, content, says):
    with pytest.raises(InputError, match=r'--bids-filter-file .*filter') as caught:
        read_filters(write(content), None)
    assert says in str(caught.value)


def test_a_filter_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match='cannot be read'):
        read_filters(tmp_path / 'filter.json', None)


@pytest.fixture
def study(tmp_path):
    for name in ('acq-a_run-1', 'acq-a_run-2', 'run-1', 'part-phase'):
        for session in ('pre', 'mid', 'post'):
            path = tmp_path / f'sub-1/ses-{session}/anat/sub-1_ses-{session}_{name}_T2w.nii'
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return tmp_path


def test_scans_are_chosen_by_a_filter(study):
    def names(filters, **more):
        return [s.base for s in find_scans(study, '1', 'T2w', filters=filters, **more)]

    assert names({'acq': [None]}, session='pre') == ['sub-1_ses-pre_run-1']
    assert names({'acq': [None]}, session=['pre', 'ses-post']) == [
        'sub-1_ses-post_run-1',
        'sub-1_ses-pre_run-1',
    ]
    assert names({'part': ['phase'], 'ses': ['mid']}) == ['sub-1_ses-mid_part-phase']
    with pytest.raises(InputError, match='no acq'):
        names({'acq': [None], 'run': ['7']})


@pytest.mark.parametrize(
    ('content', 'says'),
    [({'T1w': {}, 'bold': {}}, 'has T1w, bold: name it dwi'), ({}, 'has none: name it dwi')],
)
def test_a_query_that_is_not_there_is_answered_with_those_that_are(write, content, says):
    with pytest.raises(InputError, match=says):
        read_filters(write(content), None)


@pytest.mark.parametrize(
    ('name', 'key'),
    [
        ('subject', 'sub'),
        ('session', 'ses'),
        ('task', 'task'),
        ('acquisition', 'acq'),
        ('ceagent', 'ce'),
        ('reconstruction', 'rec'),
        ('direction', 'dir'),
        ('run', 'run'),
        ('echo', 'echo'),
        ('part', 'part'),
        ('chunk', 'chunk'),
    ],
)
def test_every_entity_is_known_by_its_long_and_its_short_name(write, name, key):
    assert read_filters(write({'dwi': {name: 'x'}}), 'dwi') == {key: ['x']}
    assert read_filters(write({'dwi': {key: 'x'}}), 'dwi') == {key: ['x']}


@pytest.mark.parametrize(
    ('value', 'read'),
    [
        (None, [None]),
        ('Query.NONE', [None]),
        ('*', ['*']),
        ('Query.ANY', ['*']),
        ('Query.REQUIRED', ['*']),
        (0, ['0']),
        ('01', ['01']),
        ([], []),
        ([1, None, 'Query.ANY', 'b'], ['1', None, '*', 'b']),
    ],
)
def test_values_are_labels_none_or_any(write, value, read):
    assert read_filters(write({'dwi': {'run': value}}), None) == {'run': read}


@pytest.mark.parametrize('value', [True, False, [1, True], [False], [['a']]])
def test_a_value_that_is_no_label_is_refused(write, value):
    with pytest.raises(InputError) as caught:
        read_filters(write({'dwi': {'run': value}}), None)
    assert f'run is {value!r}; give a label' in str(caught.value)


@pytest.mark.parametrize(
    ('content', 'suffix', 'read'),
    [
        ({'DWI': {'run': 1}}, None, {'run': ['1']}),
        ({'t2W': {'run': 1}, 'dwi': {}}, 'T2w', {'run': ['1']}),
        ({'x': {'suffix': ['T1w', 'T2w']}, 'dwi': {'suffix': 'dwi'}}, 'T2w', {}),
        # The suffix of the only query counts where it is one
        ({'x': {'suffix': ['T1w', 'T2w']}}, None, {}),
        ({'x': {'suffix': ['T2w']}}, None, {'suffix': ['T2w']}),
        ({'x': {'suffix': [None, 'T2w']}}, None, {'suffix': ['T2w']}),
        ({'dwi': {'suffix': 'dwi'}}, 'dwi', {}),
        ({'dwi': {'datatype': 'dwi', 'extension': '.nii'}}, 'dwi', {}),
    ],
)
def test_a_query_is_found_by_its_name_in_any_case_or_its_suffix(write, content, suffix, read):
    assert read_filters(write(content), suffix) == read


def test_the_only_query_does_not_count_for_another_suffix(write):
    with pytest.raises(InputError, match='must have one query of bold, and has x: name it bold'):
        read_filters(write({'x': {}}), 'bold')


@pytest.mark.parametrize(
    ('has', 'wanted', 'fit'),
    [
        ({'acq': '1'}, {'acq': ['01']}, False),
        ({'echo': '1'}, {'echo': ['01']}, True),
        ({'chunk': '010'}, {'chunk': ['10']}, True),
        ({'run': 'a'}, {'run': ['a']}, True),
        ({'run': 'a'}, {'run': ['1']}, False),
        ({'run': '1'}, {'run': ['a']}, False),
        ({'run': '1'}, {'run': ['run-1']}, True),
        ({'run': '01'}, {'run': ['*']}, True),
        ({'ses': 'a'}, {'ses': ['acq-a']}, False),
        ({'ses': 'a'}, {'ses': []}, False),
        ({'ses': 'a'}, {'ses': ['a'], 'acq': ['b']}, False),
        ({'ses': 'a'}, {'suffix': ['T2w']}, True),
        ({}, {'ses': [None]}, True),
        ({}, {'ses': ['a', None]}, True),
        ({}, {'ses': ['a']}, False),
    ],
)
def test_labels_fit_as_words_and_numbers_as_numbers(has, wanted, fit):
    assert fits(has, wanted) is fit


def test_a_filter_with_a_mark_at_its_beginning_is_read(tmp_path):
    (tmp_path / 'a.json').write_text('{"dwi": {"run": 1}}', encoding='utf-8-sig')
    assert read_filters(tmp_path / 'a.json', None) == {'run': ['1']}


def test_a_reason_is_the_systems_or_the_parsers(tmp_path):
    with pytest.raises(InputError, match=r'cannot be read \(No such file or directory\)\.'):
        read_filters(tmp_path / 'none.json', None)
    (tmp_path / 'a.json').write_text('{"dwi": nothing}')
    with pytest.raises(InputError, match=r'\(Expecting value: line 1 column 9 \(char 8\)\)\.'):
        read_filters(tmp_path / 'a.json', None)
