from pathlib import Path

import pytest

from secondglance.files.bids import (
    each_once,
    find_donor,
    find_reference,
    find_scans,
    find_subjects,
    inherited,
    is_derivative,
    scan_of_file,
    subject_label,
    usual_suffix,
)
from secondglance.imaging.errors import InputError


@pytest.fixture
def study(tmp_path):
    for name in (
        'sub-01/dwi/sub-01_dwi.nii.gz',
        'sub-01/dwi/sub-01_dwi.bval',
        'sub-02/ses-b/dwi/sub-02_ses-b_run-1_dwi.nii.gz',
        'sub-02/ses-b/dwi/sub-02_ses-b_run-2_dwi.nii',
        'sub-02/ses-a/func/sub-02_ses-a_task-rest_sbref.nii.gz',
        'dwi.bval',
        'derivatives/reference/sub-02/ses-b/dwi/sub-02_ses-b_run-2_desc-brain_mask.nii.gz',
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def test_prefix_may_be_left_out(study):
    assert find_scans(study, '01') == find_scans(study, 'sub-01')


def test_own_side_car_takes_precedence_over_an_inherited_one(study):
    assert find_scans(study, '01')[0].bval.name == 'sub-01_dwi.bval'
    assert find_scans(study, '02')[0].bval == study / 'dwi.bval'


def test_of_side_cars_in_one_folder_that_with_most_of_the_entities_applies(tmp_path):
    folder = tmp_path / 'sub-1' / 'dwi'
    folder.mkdir(parents=True)
    image = folder / 'sub-1_acq-a_run-1_dwi.nii.gz'
    for name in ('dwi', 'sub-1_dwi', 'sub-1_acq-a_dwi', 'sub-1_acq-a_run-2_dwi', 'sub-1_T2w'):
        (folder / f'{name}.bval').touch()
    (tmp_path / 'sub-1_acq-a_run-1_dwi.bval').touch()
    assert inherited(image, tmp_path, '.bval') == folder / 'sub-1_acq-a_dwi.bval'
    (folder / 'sub-1_run-1_dwi.bval').touch()
    with pytest.raises(InputError, match='both apply'):
        inherited(image, tmp_path, '.bval')


def test_nothing_above_the_data_set_applies_to_its_images(tmp_path):
    (tmp_path / 'dwi.bval').touch()
    root = tmp_path / 'ds'
    (root / 'sub-1' / 'dwi').mkdir(parents=True)
    assert inherited(root / 'sub-1' / 'dwi' / 'sub-1_dwi.nii', root, '.bval') is None
    (root / 'dwi.bval').touch()
    found = inherited(root / 'sub-1' / 'dwi' / 'sub-1_dwi.nii', root, '.bval')
    assert found == root / 'dwi.bval'


def test_session_and_run_choose(study):
    assert [s.stem for s in find_scans(study, '02')] == [
        'sub-02_ses-b_run-1',
        'sub-02_ses-b_run-2',
    ]
    (scan,) = find_scans(study, '02', run='run-2', session='b')
    assert scan.stem == 'sub-02_ses-b_run-2'
    assert scan.folder == Path('sub-02/ses-b/dwi')


def test_name_has_the_suffix_unless_it_is_dwi(study):
    assert find_scans(study, '01')[0].name == 'sub-01'
    (scan,) = find_scans(study, '02', 'sbref')
    assert scan.name == 'sub-02_ses-a_task-rest_sbref'
    assert scan.bval is None


def test_absent_subject_is_answered_with_the_subjects_there_are(study):
    with pytest.raises(InputError, match='sub-01, sub-02'):
        find_scans(study, '03')


def test_absent_image_is_answered_with_the_images_there_are(study):
    with pytest.raises(InputError, match=r'--suffix \(there are: dwi\)'):
        find_scans(study, '01', 'T2w')


def test_absent_session_and_run_are_answered_with_those_there_are(study):
    """A folder of a session counts, whatever images it holds; a run is one of such an image."""
    (study / 'sub-02' / 'ses-empty').mkdir()
    with pytest.raises(InputError, match=r'with ses-z .*; sessions: a, b, empty\.'):
        find_scans(study, '02', session='z')
    with pytest.raises(InputError, match=r'with run-9 .*; runs: 1, 2\.'):
        find_scans(study, '02', run='9')


def test_a_suffix_of_the_filters_is_no_entity(study):
    filters = {'suffix': ['dwi'], 'ses': ['z']}
    assert len(find_scans(study, '02', 'dwi', filters={'suffix': ['dwi'], 'run': ['2']})) == 1
    with pytest.raises(InputError, match=r'_dwi\.nii\.gz with ses-z in '):
        find_scans(study, '02', 'dwi', filters=filters)
    assert filters == {'suffix': ['dwi'], 'ses': ['z']}


@pytest.mark.parametrize('label', ['../etc', 'sub-../..', 'a/b', '', '01*'])
def test_label_cannot_leave_the_folder(study, label):
    with pytest.raises(InputError, match='letters and digits'):
        subject_label(label)


def test_subjects_are_sorted(study):
    assert find_subjects(study) == ['01', '02']
    with pytest.raises(InputError, match='not a folder'):
        find_subjects(study / 'nowhere')


def test_a_file_of_no_data_set_is_named_by_its_own_name(tmp_path):
    plain = scan_of_file(tmp_path / 'rat 12_left.x.nii.gz')
    assert plain.entities == {'sub': 'rat12leftx'}
    assert (plain.suffix, plain.bval, str(plain.folder)) == ('head', None, 'sub-rat12leftx/anat')
    assert scan_of_file(plain.path, 'sbref').folder.name == 'func'
    (tmp_path / 'rat 12_left.x.bval').touch()
    series = scan_of_file(plain.path)
    assert series.bval == tmp_path / 'rat 12_left.x.bval'
    assert (series.name, series.folder.name) == ('sub-rat12leftx', 'dwi')
    with pytest.raises(InputError, match=r'\*\.nii is not there'):
        scan_of_file(tmp_path / '*.nii')
    (tmp_path / '_-_.nii').write_bytes(b'voxels')
    with pytest.raises(InputError, match='no letter'):
        scan_of_file(tmp_path / '_-_.nii')


def test_a_name_with_a_key_twice_loses_neither(study):
    (there,) = find_scans(study, '02', run='1')
    twice = there.path.with_name('sub-02_acq-a_acq-b_dwi.nii.gz')
    twice.touch()
    with pytest.raises(InputError, match=r'acq-a_acq-b.* no key twice'):
        find_scans(study, '02')
    assert scan_of_file(twice).entities == {'sub': '02acqaacqbdwi'}


def test_phases_alone_are_named_as_such(tmp_path):
    folder = tmp_path / 'sub-01' / 'anat'
    folder.mkdir(parents=True)
    (folder / 'sub-01_part-phase_T2w.nii').touch()
    with pytest.raises(InputError, match=r'sub-01_part-phase_T2w\.nii is not a magnitude image'):
        find_scans(tmp_path, '01', 'T2w')


def test_a_file_named_as_in_a_data_set_keeps_its_name(study):
    (there,) = find_scans(study, '02', run='1')
    alone = scan_of_file(there.path)
    assert (alone.entities, alone.suffix, alone.name) == (there.entities, 'dwi', there.name)
    assert list(scan_of_file(Path('sub-1_run-2_ses-b_T2w.nii')).entities) == ['sub', 'ses', 'run']
    assert scan_of_file(Path('sub-7.nii')).name == 'sub-7_head'
    assert scan_of_file(Path('sub-_T2w.nii')).name == 'sub-T2w_head'


def test_reference_is_found_by_name(study):
    first, second = find_scans(study, '02')
    root = study / 'derivatives/reference'
    assert find_reference(root, first) is None
    assert find_reference(root, second).name.endswith('run-2_desc-brain_mask.nii.gz')


def test_donor_needs_an_image_and_a_mask(tmp_path):
    (tmp_path / 'rat.nii.gz').touch()
    with pytest.raises(InputError, match='two NIfTI files'):
        find_donor(tmp_path)
    (tmp_path / 'rat_mask.nii').touch()
    assert [p.name for p in find_donor(tmp_path)] == ['rat.nii.gz', 'rat_mask.nii']


def test_session_is_of_the_folder_within_the_data_set_alone(tmp_path):
    root = tmp_path / 'ses-study' / 'ds'
    for name in ('anat/sub-01_T2w.nii.gz', 'ses-a/anat/sub-01_T1w.nii.gz'):
        path = root / 'sub-01' / name
        path.parent.mkdir(parents=True)
        path.touch()
    assert find_scans(root, '01', 'T2w')[0].entities == {'sub': '01'}
    assert find_scans(root, '01', 'T1w')[0].entities == {'sub': '01', 'ses': 'a'}


def test_a_session_folder_with_a_blank_is_refused_by_name(tmp_path):
    path = tmp_path / 'sub-01/ses-a b/anat/sub-01_T2w.nii.gz'
    path.parent.mkdir(parents=True)
    path.touch()
    with pytest.raises(InputError, match='ses-a b is not named'):
        find_scans(tmp_path, '01', 'T2w')


@pytest.mark.parametrize('suffix', ['**', '../x', '', 'T2 w'])
def test_suffix_of_a_file_is_checked(tmp_path, suffix):
    with pytest.raises(InputError, match='not of letters and digits'):
        scan_of_file(tmp_path / 'rat.nii.gz', suffix)


@pytest.mark.parametrize(
    ('content', 'derivative'),
    [
        ('{"DatasetType": "derivative"}', True),
        ('{"DatasetType": "raw", "GeneratedBy": [{"Name": "secondglance"}]}', False),
        ('{}', False),
        ('[', False),
    ],
)
def test_a_derivative_is_known_by_its_description(tmp_path, content, derivative):
    (tmp_path / 'dataset_description.json').write_text(content)
    assert is_derivative(tmp_path) == derivative


def test_a_donor_that_is_no_folder_is_named(tmp_path):
    with pytest.raises(InputError, match=r'Donor .*none is not a folder'):
        find_donor(tmp_path / 'none')


@pytest.mark.parametrize(
    ('link', 'target'), [('ses-x', '.'), ('ses-y', 'ses-a'), ('func', 'anat')]
)
def test_a_file_found_through_a_link_is_one_scan(tmp_path, link, target):
    anat = tmp_path / 'sub-1' / ('ses-a' if target == 'ses-a' else '') / 'anat'
    anat.mkdir(parents=True)
    name = 'sub-1_ses-a_T2w.nii' if target == 'ses-a' else 'sub-1_T2w.nii'
    (anat / name).touch()
    (tmp_path / 'sub-1' / link).symlink_to(target)
    notes: list[str] = []
    (scan,) = find_scans(tmp_path, '1', 'T2w', notes=notes)
    assert scan.path == anat / name
    assert [note.partition(' is the same file as ')[2] for note in notes] == [
        f'{anat / name} and is left out.'
    ]


def test_links_in_a_circle_end(tmp_path):
    (tmp_path / 'sub-1' / 'anat').mkdir(parents=True)
    (tmp_path / 'sub-1' / 'anat' / 'sub-1_T2w.nii').touch()
    (tmp_path / 'sub-1' / 'ses-a').symlink_to('ses-b')
    (tmp_path / 'sub-1' / 'ses-b').symlink_to('ses-a')
    assert len(find_scans(tmp_path, '1', 'T2w')) == 1


def test_two_names_of_one_file_are_one_scan_and_two_files_are_two(tmp_path):
    anat = tmp_path / 'sub-1' / 'anat'
    anat.mkdir(parents=True)
    (anat / 'sub-1_T2w.nii').touch()
    (anat / 'sub-1_acq-link_T2w.nii').symlink_to('sub-1_T2w.nii')
    (anat / 'sub-1_acq-other_T2w.nii').touch()
    # A link to a file elsewhere is a scan of its own, also after one that is not
    (tmp_path / 'elsewhere.nii').touch()
    (anat / 'sub-1_acq-outside_T2w.nii').symlink_to(tmp_path / 'elsewhere.nii')
    found = [scan.name for scan in find_scans(tmp_path, '1', 'T2w')]
    assert sorted(found) == ['sub-1_T2w', 'sub-1_acq-other_T2w', 'sub-1_acq-outside_T2w']


@pytest.mark.parametrize(
    'suffix',
    [
        *('mask', 'defacemask', 'dseg', 'probseg', 'xfm'),
        *('phase', 'phase1', 'phase2', 'phasediff', 'fieldmap'),
    ],
)
def test_suffixes_of_masks_and_field_maps_are_no_scans(tmp_path, suffix):
    with pytest.raises(InputError, match='not of scans'):
        find_scans(tmp_path, '1', suffix)
    with pytest.raises(InputError, match='not of scans'):
        scan_of_file(tmp_path / f'sub-1_{suffix}.nii.gz')


def test_the_usual_suffix_is_not_that_of_a_mask(tmp_path):
    anat = tmp_path / 'sub-1' / 'anat'
    anat.mkdir(parents=True)
    for suffix in ('T2w', 'mask'):
        (anat / f'sub-1_{suffix}.nii').touch()
    assert usual_suffix(tmp_path, '1') == 'T2w'


def test_hard_links_are_one_scan_within_a_subject_and_between_two(tmp_path):
    for label in ('1', '2'):
        (tmp_path / f'sub-{label}' / 'anat').mkdir(parents=True)
    first = tmp_path / 'sub-1' / 'anat' / 'sub-1_T2w.nii'
    first.touch()
    for name in ('sub-1/anat/sub-1_acq-again_T2w.nii', 'sub-2/anat/sub-2_T2w.nii'):
        (tmp_path / name).hardlink_to(first)
    notes: list[str] = []
    within = find_scans(tmp_path, '1', 'T2w', notes=notes)
    assert len(within) == len(notes) == 1
    other = find_scans(tmp_path, '2', 'T2w', notes=notes)
    assert len(other) == 1
    kept = each_once([*within, *other], notes)
    assert kept == within
    assert notes[1] == f'{other[0].path} is the same file as {within[0].path} and is left out.'


def test_files_that_are_not_there_are_told_apart_by_their_paths(tmp_path):
    scans = [scan_of_file(tmp_path / name, 'T2w') for name in ('a.nii', 'b.nii')]
    assert each_once(scans) == scans
