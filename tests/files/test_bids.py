from pathlib import Path

import pytest

from secondglance.files.bids import (
    FilesMet,
    each_once,
    find_donor,
    find_reference,
    find_scans,
    find_subjects,
    generated_by,
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


def test_a_file_is_no_subject_and_no_session(tmp_path):
    (tmp_path / 'sub-2').mkdir()
    (tmp_path / 'sub-1').touch()
    assert find_subjects(tmp_path) == ['2']


@pytest.mark.parametrize(('n', 'told'), [(20, 'sub-19.'), (21, 'sub-19 ….')])
def test_of_many_subjects_twenty_are_named(tmp_path, n, told):
    for k in range(n):
        (tmp_path / f'sub-{k:02d}').mkdir()
    with pytest.raises(InputError) as caught:
        find_scans(tmp_path, 'none')
    assert str(caught.value).endswith(f'sub-18, {told}')


def test_a_data_set_without_subjects_is_named_as_such(tmp_path):
    with pytest.raises(InputError, match='it holds no subject'):
        find_scans(tmp_path, '1')


@pytest.mark.parametrize(
    ('content', 'names'),
    [
        ('{"GeneratedBy": [{"Name": "a"}, {"Name": "b", "Version": "1"}]}', ['a', 'b']),
        ('{"GeneratedBy": [{}]}', ['None']),
        ('{"GeneratedBy": ["a"]}', []),
        ('{"GeneratedBy": 3}', []),
        ('{"GeneratedBy": null}', []),
        ('{}', []),
    ],
)
def test_programs_that_wrote_a_data_set_are_named_by_its_description(tmp_path, content, names):
    (tmp_path / 'dataset_description.json').write_text(content)
    assert generated_by(tmp_path) == names


def test_a_folder_without_a_description_is_raw_and_of_no_program(tmp_path):
    assert (is_derivative(tmp_path), generated_by(tmp_path)) == (False, [])


def _touched(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ('beside', 'found'),
    [
        ('sub-1_run-2_dwi.bval', None),
        ('sub-2_dwi.bval', None),
        ('sub-1_acq-x_run-1_dwi.bval', None),
        ('sub-1_run-1_xdwi.bval', None),
        ('sub-1_run-1_dwi.bvec', None),
        ('run-1_dwi.bval', 'run-1_dwi.bval'),
        ('sub-1_run-1_dwi.bval', 'sub-1_run-1_dwi.bval'),
    ],
)
def test_a_side_car_applies_where_all_of_its_entities_are_the_images(tmp_path, beside, found):
    folder = _touched(tmp_path / 'sub-1' / 'dwi', beside)
    path = inherited(folder / 'sub-1_run-1_dwi.nii', tmp_path, '.bval')
    assert (path and path.name) == found


def test_the_nearer_folder_counts_though_another_fits_better(tmp_path):
    folder = _touched(tmp_path / 'sub-1' / 'dwi', 'dwi.bval')
    _touched(tmp_path, 'sub-1_run-1_dwi.bval')
    assert inherited(folder / 'sub-1_run-1_dwi.nii', tmp_path, '.bval') == folder / 'dwi.bval'
    # Also of an image that lies in no such data set: the search ends at the root of the disk
    assert inherited(folder / 'sub-1_none.nii', tmp_path / 'other', '.bval') is None


def test_two_files_of_one_name_are_both_named(tmp_path):
    folder = _touched(tmp_path / 'sub-1' / 'anat', 'sub-1_T2w.nii', 'sub-1_T2w.nii.gz')
    with pytest.raises(InputError) as caught:
        find_scans(tmp_path, '1', 'T2w')
    plain, packed = folder / 'sub-1_T2w.nii', folder / 'sub-1_T2w.nii.gz'
    assert str(caught.value).startswith(f'{plain} and {packed} are both sub-1_T2w: remove one')


def test_magnitudes_are_taken_and_other_parts_only_where_asked_for(tmp_path):
    names = [f'sub-1_{part}T2w.nii' for part in ('part-mag_', 'part-phase_', '')]
    _touched(tmp_path / 'sub-1' / 'anat', *names)
    notes: list[str] = []
    found = find_scans(tmp_path, '1', 'T2w', notes=notes)
    assert [scan.path.name for scan in found] == ['sub-1_T2w.nii', 'sub-1_part-mag_T2w.nii']
    assert notes == ['sub-1_part-phase_T2w.nii is not a magnitude image and is left out.']
    (phase,) = find_scans(tmp_path, '1', 'T2w', filters={'part': ['phase']}, notes=notes)
    assert phase.path.name == names[1]
    assert len(notes) == 1


def test_what_was_left_out_by_a_filter_is_no_reason(tmp_path):
    _touched(tmp_path / 'sub-1' / 'anat', 'sub-1_part-phase_T2w.nii')
    with pytest.raises(InputError, match=r'no image named …_T2w.nii.gz with run-1 in '):
        find_scans(tmp_path, '1', 'T2w', run='1')


def test_scans_come_in_the_order_of_their_paths(tmp_path):
    for session in ('b', 'a'):
        folder = tmp_path / 'sub-1' / f'ses-{session}' / 'anat'
        _touched(
            folder, f'sub-1_ses-{session}_run-2_T2w.nii', f'sub-1_ses-{session}_run-1_T2w.nii'
        )
    found = [scan.path for scan in find_scans(tmp_path, '1', 'T2w')]
    assert found == sorted(found)
    assert len(found) == 4


def test_what_is_wanted_and_not_there_is_told_in_full(tmp_path):
    root = _touched(tmp_path / 'sub-1' / 'anat', 'sub-1_run-1_T2w.nii', 'sub-1_T1w.nii').parent
    (root / 'ses-a').mkdir()
    wanted = {'acq': [None, 'x'], 'suffix': ['T2w']}
    with pytest.raises(InputError) as caught:
        find_scans(tmp_path, '1', 'T2w', ['ses-b', 'c'], 'run-2', filters=wanted)
    assert str(caught.value) == (
        f'sub-1 has no image named …_T2w.nii.gz with no acq or acq-x with ses-b or ses-c with '
        f'run-2 in {root}: choose with --suffix (there are: T1w, T2w); sessions: a; runs: 1.'
    )
    (tmp_path / 'sub-2').mkdir()
    with pytest.raises(InputError, match=r'\(there are: none\); runs: none\.'):
        find_scans(tmp_path, '2', 'T2w', run='1')


@pytest.mark.parametrize(
    ('suffixes', 'usual'),
    [
        (['T2w'], 'T2w'),
        (['T2w', 'T1w'], 'dwi'),
        ([], 'dwi'),
        (['bold', 'phase'], 'bold'),
        (['mask'], 'dwi'),
    ],
)
def test_the_usual_suffix_is_that_of_the_only_kind(tmp_path, suffixes, usual):
    _touched(tmp_path / 'sub-1' / 'anat', *(f'sub-1_{suffix}.nii' for suffix in suffixes))
    assert usual_suffix(tmp_path, 'sub-1') == usual


def test_of_references_the_tissues_come_before_the_mask_and_the_own_name_first(tmp_path):
    (tmp_path / 'sub-1' / 'anat').mkdir(parents=True)
    scan = scan_of_file(tmp_path / 'sub-1' / 'anat' / 'sub-1_T2w.nii')
    names = [
        'sub-1_dseg.nii.gz',
        'sub-1_space-T2w_dseg.nii.gz',
        'sub-1_dseg.nii',
        'sub-1_space-T2w_dseg.nii',
        'sub-1_desc-brain_mask.nii.gz',
        'sub-1_space-T2w_desc-brain_mask.nii.gz',
        'sub-1_desc-brain_mask.nii',
        'sub-1_space-T2w_desc-brain_mask.nii',
    ]
    folder = _touched(tmp_path / 'reference' / 'sub-1' / 'anat', *names)
    for name in names:
        assert find_reference(tmp_path / 'reference', scan) == folder / name
        (folder / name).unlink()
    assert find_reference(tmp_path / 'reference', scan) is None
    alone = tmp_path / 'truth.nii'
    alone.touch()
    assert find_reference(alone, scan) == alone


@pytest.mark.parametrize(
    'names',
    [
        ['a.nii', 'b.nii', 'mask.nii'],
        ['a.nii', 'mask.nii', 'mask.nii.gz'],
        ['mask.nii'],
        [],
    ],
)
def test_a_donor_with_more_or_less_than_two_files_is_refused(tmp_path, names):
    _touched(tmp_path, *names, 'notes.txt')
    (tmp_path / 'folder_mask.nii').mkdir()
    with pytest.raises(InputError) as caught:
        find_donor(tmp_path)
    assert str(caught.value).endswith(f'found {names}.')


def test_of_links_those_of_folders_come_last_and_of_files_before_them(tmp_path):
    """The file itself is the scan, by whatever name it is reached too."""
    anat = _touched(tmp_path / 'sub-1' / 'anat', 'sub-1_run-2_T2w.nii')
    (anat / 'sub-1_run-1_T2w.nii').symlink_to('sub-1_run-2_T2w.nii')
    (tmp_path / 'sub-1' / 'ses-a').symlink_to('.')
    (scan,) = find_scans(tmp_path, '1', 'T2w')
    assert scan.path == anat / 'sub-1_run-2_T2w.nii'
    # Of a file elsewhere, the link that lies in the folder
    (tmp_path / 'elsewhere.nii').touch()
    (anat / 'sub-1_run-3_T2w.nii').symlink_to(tmp_path / 'elsewhere.nii')
    found = find_scans(tmp_path, '1', 'T2w')
    assert [one.path.name for one in found] == ['sub-1_run-2_T2w.nii', 'sub-1_run-3_T2w.nii']
    assert all(one.path.parent == anat for one in found)


def test_the_first_path_to_a_file_is_the_one_that_is_named(tmp_path):
    _touched(tmp_path, 'a.nii')
    for name in ('b.nii', 'c.nii'):
        (tmp_path / name).hardlink_to(tmp_path / 'a.nii')
    notes: list[str] = []
    met = FilesMet(notes)
    assert not met.again(tmp_path / 'a.nii')
    met.add(tmp_path / 'a.nii')
    met.add(tmp_path / 'b.nii')
    assert met.again(tmp_path / 'c.nii')
    assert FilesMet().again(tmp_path / 'c.nii') is False
    assert notes == [f'{tmp_path}/c.nii is the same file as {tmp_path}/a.nii and is left out.']


def test_scans_come_in_the_order_of_their_names_links_too(tmp_path):
    """A link to what lies outside is a scan of its own, whatever else there is."""
    anat = tmp_path / 'sub-1' / 'anat'
    anat.mkdir(parents=True)
    (tmp_path / 'elsewhere.nii').touch()
    (anat / 'sub-1_acq-a_T2w.nii').symlink_to(tmp_path / 'elsewhere.nii')
    for name in ('c', 'b'):
        (anat / f'sub-1_acq-{name}_T2w.nii').touch()
    names = [scan.entities['acq'] for scan in find_scans(tmp_path, '1', 'T2w')]
    assert names == ['a', 'b', 'c']
