import argparse
import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from secondglance.commands.folders import data_set_of
from secondglance.commands.run import (
    check_apart,
    check_name_lengths,
    folders_of,
    scans_of_subjects,
)
from secondglance.files.bids import Scan, find_scans
from secondglance.imaging.errors import InputError
from secondglance.interfaces.mcflirt import resolve_engine
from secondglance.pipelines.execution.cache import open_cache
from secondglance.pipelines.execution.records import recipe, write_record
from secondglance.pipelines.settings import Method
from secondglance.pipelines.subject import workflow_name
from secondglance.workflows import main

SILENT = Console(quiet=True)


@pytest.fixture
def study(tmp_path):
    return make(tmp_path / 'ds', b'one animal')


def make(root, content, description='{"Name": "mine"}'):
    path = root / 'sub-01' / 'anat' / 'sub-01_T2w.nii.gz'
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    (root / 'dataset_description.json').write_text(description)
    return root


def arguments(**changes):
    given = {'image': None, 'bids_dir': None, 'output_dir': None, 'reference': None}
    given |= {'example': None, 'session': None, 'run': None, 'suffix': 'T2w', 'subject': ['01']}
    given |= {'bids_filter_file': None, 'group': False}
    return argparse.Namespace(**(given | changes))


@pytest.mark.parametrize('inside', ['.', 'sub-01', 'sub-01/anat'])
def test_without_a_data_set_that_of_the_folder_is_meant(study, monkeypatch, inside):
    monkeypatch.chdir(study / inside)
    assert folders_of(arguments(), SILENT)[0] == study


def test_the_example_is_never_the_users_animal(study, monkeypatch):
    made = []
    monkeypatch.setattr('secondglance.commands.simulate.make_example', made.append)
    monkeypatch.chdir(study)
    found = folders_of(arguments(example=Path('example'), bids_dir=study), SILENT)
    assert found[0] == study / 'example'
    assert made == [study / 'example']


def test_the_example_is_not_written_over_a_data_set(study):
    with pytest.raises(InputError, match='choose another folder'):
        folders_of(arguments(example=study), SILENT)


def test_the_example_is_written_once(study, example, monkeypatch):
    monkeypatch.chdir(study.parent)
    before = {path: path.stat().st_mtime_ns for path in example.rglob('*')}
    assert folders_of(arguments(example=example), SILENT)[:2] == (example, study.parent / 'out')
    assert {path: path.stat().st_mtime_ns for path in example.rglob('*')} == before


def test_subjects_without_a_description_are_not_passed_over(study, monkeypatch):
    (study / 'dataset_description.json').unlink()
    monkeypatch.chdir(study)
    with pytest.raises(InputError, match='give --bids-dir'):
        folders_of(arguments(), SILENT)


def test_a_derivative_is_not_the_data_set(study):
    ours = make(study / 'derivatives' / 'x', b'', json.dumps({'DatasetType': 'derivative'}))
    assert data_set_of(ours) == study


def test_a_subject_named_twice_is_one(study):
    found, _ = scans_of_subjects(arguments(subject=['01', 'sub-01']), study, SILENT)
    assert len(found) == 1


def test_what_is_left_out_of_a_subject_is_told(study, capsys):
    phase = study / 'sub-01' / 'anat' / 'sub-01_part-phase_T2w.nii.gz'
    phase.write_bytes(b'a phase')
    found, lost = scans_of_subjects(arguments(), study, Console(soft_wrap=True))
    assert [scan.path.name for scan in found] == ['sub-01_T2w.nii.gz']
    assert not lost
    assert f'{phase.name} is not a magnitude image' in capsys.readouterr().out


def test_a_subject_without_a_scan_is_an_outcome_unless_it_is_the_only_one(study):
    (study / 'sub-02').mkdir()
    found, [lost] = scans_of_subjects(arguments(subject=['01', '02']), study, SILENT)
    assert [scan.name for scan in found] == ['sub-01_T2w']
    assert (lost.scan, lost.status) == ('sub-02', 'failed')
    assert math.isnan(lost.seconds)
    for named in (['02'], ['02', 'sub-02']):
        with pytest.raises(InputError, match='sub-02'):
            scans_of_subjects(arguments(subject=named), study, SILENT)
    (study / 'sub-01' / 'anat' / 'sub-01_T2w.nii.gz').rename(study / 'a.nii.gz')
    found, lost = scans_of_subjects(arguments(subject=['all']), study, SILENT)
    assert not found
    assert [one.scan for one in lost] == ['sub-01', 'sub-02']


def test_results_of_another_data_set_are_not_replaced(study, tmp_path):
    out, other = tmp_path / 'out', make(tmp_path / 'other', b'another animal')
    mine, theirs = find_scans(study, '01', 'T2w'), find_scans(other, '01', 'T2w')
    write_record(out, mine[0], None, 'recipe')
    check_apart(mine, out)
    with pytest.raises(InputError, match=f'{theirs[0].path} .* as {mine[0].path} is'):
        check_apart(theirs, out)


def test_a_data_set_may_move(study, tmp_path):
    write_record(tmp_path / 'out', find_scans(study, '01', 'T2w')[0], None, 'recipe')
    moved = study.rename(Path(tmp_path, 'moved'))
    check_apart(find_scans(moved, '01', 'T2w'), tmp_path / 'out')


def test_the_length_of_a_name_counts_in_bytes(tmp_path):
    fits, too_long = (Scan(tmp_path / 'x.nii', {'sub': 'é' * n}, 'T2w', 'anat') for n in (71, 72))
    assert len(fits.name.encode()) == 150
    check_name_lengths([], [fits])
    with pytest.raises(InputError, match='too long a name'):
        check_name_lengths([], [fits, too_long])


def test_scans_of_one_name_in_two_folders_are_apart(study, tmp_path):
    (there,) = find_scans(study, '01', 'T2w')
    there = replace(there, suffix='dwi', datatype='dwi')
    other = replace(there, suffix='head', datatype='anat', path=tmp_path / 'sub-01.nii.gz')
    check_apart([there, other], tmp_path / 'out')
    with pytest.raises(InputError, match='would both be sub-01/dwi/sub-01'):
        check_apart([there, there], tmp_path / 'out')


@pytest.fixture
def finished(study, tmp_path):
    """Return the call of a scan that is finished, and unlike eight others."""
    out = tmp_path / 'out'
    made_by = recipe(Method(motion=resolve_engine('auto')))
    usual = {'species': 'rat', 'WM_mm3': 500.0, 'GM_mm3': 1100.0, 'CSF_mm3': 200.0}
    for n in range(9):
        path = study / 'sub-01' / 'anat' / 'sub-01_T2w.nii.gz'
        scan = Scan(path, {'sub': f'0{n}'}, 'T2w', 'anat')
        result = out / f'{n}.txt'
        result.parent.mkdir(exist_ok=True)
        result.write_text('made before')
        figures = {**usual, 'confidence': 0.99, 'brain_mm3': 1200.0 if n == 1 else 1800.0 + n}
        write_record(out, scan, None, made_by, outputs=[result], seconds=7.0, figures=figures)
    where = ['--bids-dir', study, '-o', out, '-w', tmp_path / 'w']
    return [str(part) for part in ('--subject', '01', *where)]


def test_one_scan_is_compared_with_the_others_of_its_cohort(finished, tmp_path, capsys):
    for there in (False, True):
        assert main(finished) == 0
        said = capsys.readouterr()
        assert ('Brain volume' in said.out + said.err) == there
        (tmp_path / 'out' / 'cohort.tsv').touch()


def test_what_a_finished_scan_left_goes_where_it_is_asked_for(finished, study, tmp_path):
    (scan,) = find_scans(study, '01', 'T2w')
    left = open_cache(tmp_path / 'w') / workflow_name(scan) / 'node'
    left.mkdir(parents=True)
    for options, stays in (([], True), (['--clean'], False)):
        assert main([*finished, *options]) == 0
        assert left.exists() == stays


def described(folder, **content):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'dataset_description.json').write_text(json.dumps(content))
    return folder


def mounted(study, content, name):
    """Put another data set where one was, as two containers have them."""
    [image] = study.glob('sub-01/anat/*')
    image.write_bytes(content)
    described(study, **({'Name': name} if name else {}))
    return find_scans(study, '01', 'T2w')


def test_another_data_set_at_the_same_path_is_known_by_its_name(study, tmp_path):
    out = tmp_path / 'out'
    write_record(out, mounted(study, b'one animal', 'A')[0], None, 'recipe')
    with pytest.raises(InputError, match="of the data set 'A' is"):
        check_apart(mounted(study, b'another animal', 'B'), out)
    # The same animal in a data set that was renamed, and a scan that was exported anew
    check_apart(mounted(study, b'one animal', 'B'), out)
    check_apart(mounted(study, b'one animal, anew', 'A'), out)
    check_apart(mounted(study, b'one animal, anew', None), out)


SLOW_TO_IMPORT = ('torch', 'nipype', 'pydra', 'scipy.ndimage', 'networkx', 'matplotlib', 'pandas')


def imported_by(code: str, *arguments) -> set[str]:
    """Which of the large libraries a Python of its own has imported after some code."""
    told = f'{code}\nimport sys\nprint(*sorted(set(sys.modules) & {set(SLOW_TO_IMPORT)}))'
    call = [sys.executable, '-c', told, *map(str, arguments)]
    return set(subprocess.run(call, check=True, capture_output=True, text=True).stdout.split())


def test_a_finished_scan_is_answered_without_the_libraries_that_segment_it(study, tmp_path):
    (scan,) = find_scans(study, '01', 'T2w')
    result = tmp_path / 'out' / 'result.txt'
    result.parent.mkdir()
    result.write_text('made before')
    made_by = recipe(Method(motion=resolve_engine('auto')))
    write_record(result.parent, scan, None, made_by, outputs=[result], seconds=7.0)
    code = 'import sys\nfrom secondglance.workflows import main\nassert main(sys.argv[1:]) == 0'
    call = ['--subject', '01', '--bids-dir', study, '-o', tmp_path / 'out', '-w', tmp_path / 'w']
    assert imported_by(code, *call) == set()
    # And it was the record that answered: without its result the scan is read, and refused
    result.unlink()
    assert main([str(part) for part in call]) == 1


@pytest.mark.slow
def test_libraries_that_draw_and_count_are_not_imported_to_segment():
    code = 'import secondglance.pipelines.execution.job'
    assert imported_by('import scipy.ndimage, pandas') >= {'scipy.ndimage', 'pandas'}
    assert not imported_by(code) & {'torch', 'pydra', 'matplotlib', 'pandas'}
