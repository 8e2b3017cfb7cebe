"""Names of scans, and of what is derived from them, by the BIDS specification."""

from pathlib import Path

import pytest

from secondglance.files.bids import Scan, find_scans, parse_name, scan_of_file
from secondglance.imaging.errors import InputError

ENTITIES = 'sub-1_ses-b_task-rest_acq-c_rec-d_dir-e_run-2_echo-3_part-mag_chunk-4'
"""In the order of the specification."""


def touched(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.mark.parametrize(
    ('name', 'stem', 'report', 'folder'),
    [
        ('sub-1_dwi.nii.gz', 'sub-1', 'sub-1', 'sub-1/dwi'),
        ('sub-1_head.nii', 'sub-1', 'sub-1_head', 'sub-1/anat'),
        ('sub-1_T2w.nii.gz', 'sub-1_space-T2w', 'sub-1_T2w', 'sub-1/anat'),
        ('sub-1_ses-b_bold.nii', 'sub-1_ses-b_space-bold', 'sub-1_ses-b_bold', 'sub-1/ses-b/func'),
        ('sub-1_sbref.nii', 'sub-1_space-sbref', 'sub-1_sbref', 'sub-1/func'),
        # What an image lies in comes after its run and before its resolution
        (
            'sub-1_run-2_res-low_T1w.nii',
            'sub-1_run-2_space-T1w_res-low',
            'sub-1_run-2_res-low_T1w',
            'sub-1/anat',
        ),
    ],
)
def test_what_is_derived_is_named_by_entities_and_contrast(tmp_path, name, stem, report, folder):
    scan = scan_of_file(tmp_path / name)
    assert (scan.stem, scan.name, str(scan.folder)) == (stem, report, folder)
    assert scan.subject == 'sub-1'
    assert str(scan.within) == f'{folder}/{name}'


def test_entities_come_in_the_order_of_the_specification():
    shuffled = '_'.join(['sub-1', *reversed(ENTITIES.split('_')[1:])])
    assert scan_of_file(Path(f'{shuffled}_T2w.nii')).base == ENTITIES
    # One that it does not know comes last
    assert scan_of_file(Path('sub-1_odd-x_run-2_T2w.nii')).base == 'sub-1_run-2_odd-x'


@pytest.mark.parametrize(
    ('name', 'entities', 'suffix'),
    [
        ('sub-1_T2w.nii.gz', {'sub': '1'}, 'T2w'),
        ('sub-1_acq-a-b_T2w.nii', {'sub': '1', 'acq': 'a-b'}, 'T2w'),
        ('sub-1_odd_T2w.json', {'sub': '1'}, 'T2w'),
        ('dwi.bval', {}, 'dwi'),
    ],
)
def test_a_name_is_split_at_its_bars_and_first_hyphens(name, entities, suffix):
    assert parse_name(Path('sub-9_x') / name) == (entities, suffix)


def test_a_relative_path_is_made_absolute_at_once(tmp_path, monkeypatch):
    touched(tmp_path, 'scans/sub-1_dwi.nii', 'scans/sub-1_dwi.bval')
    monkeypatch.chdir(tmp_path)
    scan = scan_of_file('scans/../scans/sub-1_dwi.nii')
    monkeypatch.chdir('/')
    assert scan.path == tmp_path / 'scans/sub-1_dwi.nii'
    assert scan.bval == tmp_path / 'scans/sub-1_dwi.bval'


def test_directions_lie_beside_the_b_values_or_are_none(tmp_path):
    touched(tmp_path, 'sub-1_dwi.nii', 'sub-1_dwi.bval', 'sub-2_dwi.bvec', 'sub-2_dwi.nii')
    assert scan_of_file(tmp_path / 'sub-1_dwi.nii').bvec is None
    touched(tmp_path, 'sub-1_dwi.bvec')
    assert scan_of_file(tmp_path / 'sub-1_dwi.nii').bvec == tmp_path / 'sub-1_dwi.bvec'
    # Directions without b-values
    assert scan_of_file(tmp_path / 'sub-2_dwi.nii').bvec is None


def test_a_data_set_is_where_the_path_ends_as_it_should(tmp_path):
    names = ('sub-1/anat/sub-1_T2w.nii', 'sub-1/ses-b/dwi/sub-1_ses-b_dwi.nii', 'sub-1_T2w.nii')
    touched(tmp_path, *names)
    found = [scan_of_file(tmp_path / name).data_set for name in names]
    assert found == [tmp_path, tmp_path, None]
    other = Scan(tmp_path / 'sub-1/anat/sub-1_T2w.nii', {'sub': '2'}, 'T2w', 'anat')
    assert other.data_set is None


@pytest.mark.parametrize(
    ('name', 'suffix', 'label', 'found'),
    [
        ('rat_12.nii.gz', None, 'rat12', 'head'),
        ('rat_12.nii', 'bold', 'rat12', 'bold'),
        ('sub-a b.nii', None, 'ab', 'head'),
        ('sub-1_T2w.nii', None, '1', 'T2w'),
        ('sub-1_T2w.nii', 'T1w', '1', 'T1w'),
        ('ses-1_T2w.nii', None, 'ses1T2w', 'head'),
        ('Ratte_ü9.img', None, 'Ratte9img', 'head'),
    ],
)
def test_label_and_suffix_of_a_single_file(tmp_path, name, suffix, label, found):
    scan = scan_of_file(tmp_path / name, suffix)
    assert (scan.entities, scan.suffix) == ({'sub': label}, found)


def test_b_values_of_a_single_file_are_those_of_its_own_name(tmp_path):
    touched(tmp_path, 'rat.bval', 'rat 2.nii.gz', 'rat.nii.gz', 'sub-1_T2w.nii', 'sub-1_T2w.bval')
    assert scan_of_file(tmp_path / 'rat.nii.gz').bval == tmp_path / 'rat.bval'
    assert scan_of_file(tmp_path / 'rat 2.nii.gz').bval is None
    # What it is, its name says first
    named = scan_of_file(tmp_path / 'sub-1_T2w.nii')
    assert (named.suffix, named.bval) == ('T2w', tmp_path / 'sub-1_T2w.bval')
    # A link to what is not here belongs to the image too
    (tmp_path / 'rat 2.bval').symlink_to('nowhere')
    assert scan_of_file(tmp_path / 'rat 2.nii.gz').bval == tmp_path / 'rat 2.bval'


@pytest.mark.parametrize(
    ('name', 'says'),
    [
        ('sub-1/anat/sub-2_T2w.nii', 'is in the folder of sub-1: move it'),
        ('sub-1/ses-a/anat/sub-1_ses-b_T2w.nii', 'is of session b in the folder of ses-a'),
        ('sub-1/anat/ses-a_sub-1_T2w.nii', 'is not named as BIDS asks'),
        ('sub-1/anat/sub-1_acq-a b_T2w.nii', 'is not named as BIDS asks'),
        ('sub-1/anat/sub-1_acq_T2w.nii', 'is not named as BIDS asks'),
        ('sub-1/anat/sub-1_acq-_T2w.nii', 'is not named as BIDS asks'),
    ],
)
def test_a_name_that_contradicts_its_folder_is_refused(tmp_path, name, says):
    touched(tmp_path, name)
    with pytest.raises(InputError, match=says) as caught:
        find_scans(tmp_path, '1', 'T2w')
    assert str(tmp_path / name) in str(caught.value)


def test_a_session_of_the_folder_is_one_of_the_scan(tmp_path):
    touched(tmp_path, 'sub-1/ses-a/anat/sub-1_run-1_T2w.nii')
    (scan,) = find_scans(tmp_path, '1', 'T2w')
    assert scan.base == 'sub-1_ses-a_run-1'
    assert list(scan.entities) == ['sub', 'ses', 'run']


@pytest.mark.parametrize('datatype', ['anat', 'dwi', 'func', 'fmap', 'perf'])
def test_images_of_every_folder_of_a_subject_are_found(tmp_path, datatype):
    touched(
        tmp_path,
        f'sub-1/{datatype}/sub-1_x.nii',
        f'sub-1/ses-a/{datatype}/sub-1_ses-a_x.nii.gz',
        # These are none: hidden, of another ending, folder, depth, suffix
        f'sub-1/{datatype}/.sub-1_run-1_x.nii',
        f'sub-1/{datatype}/sub-1_run-2_x.nii.bz2',
        'sub-1/other/sub-1_run-3_x.nii',
        f'sub-1/ses-a/ses-b/{datatype}/sub-1_run-4_x.nii',
        f'sub-1/{datatype}/sub-1_run-5_xx.nii',
        f'sub-1/{datatype}/sub-1_run-6_x_y.nii',
        'sub-1/sub-1_run-7_x.nii',
    )
    found = find_scans(tmp_path, '1', 'x')
    assert [(scan.base, scan.datatype) for scan in found] == [
        ('sub-1', datatype),
        ('sub-1_ses-a', datatype),
    ]
