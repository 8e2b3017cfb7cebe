import argparse
import json
from pathlib import Path

import pytest
from rich.console import Console

from secondglance.commands.run import _check_apart, _data_set_of, _folders, _scans_of_subjects
from secondglance.files.bids import find_scans
from secondglance.imaging.errors import InputError
from secondglance.pipelines.execution.records import write_record

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
    given |= {'example': False, 'session': None, 'run': None, 'suffix': 'T2w', 'subject': ['01']}
    return argparse.Namespace(**(given | changes))


@pytest.mark.parametrize('inside', ['.', 'sub-01', 'sub-01/anat'])
def test_without_a_data_set_that_of_the_folder_is_meant(study, monkeypatch, inside):
    monkeypatch.chdir(study / inside)
    assert _folders(arguments(), SILENT)[0] == study


def test_the_example_is_never_the_users_animal(study, monkeypatch):
    made = []
    monkeypatch.setattr('secondglance.commands.simulate.make_example', made.append)
    monkeypatch.chdir(study)
    found = _folders(arguments(example=True, bids_dir=study), SILENT)
    assert found[0] == study / 'example'
    assert made == [study / 'example']


def test_subjects_without_a_description_are_not_passed_over(study, monkeypatch):
    (study / 'dataset_description.json').unlink()
    monkeypatch.chdir(study)
    with pytest.raises(InputError, match='give --bids-dir'):
        _folders(arguments(), SILENT)


def test_a_derivative_is_not_the_data_set(study):
    ours = make(study / 'derivatives' / 'x', b'', json.dumps({'DatasetType': 'derivative'}))
    assert _data_set_of(ours) == study


def test_a_subject_named_twice_is_one(study):
    found, _ = _scans_of_subjects(arguments(subject=['01', 'sub-01']), study, SILENT)
    assert len(found) == 1


def test_results_of_another_data_set_are_not_replaced(study, tmp_path):
    out, other = tmp_path / 'out', make(tmp_path / 'other', b'another animal')
    mine, theirs = find_scans(study, '01', 'T2w'), find_scans(other, '01', 'T2w')
    write_record(out, mine[0], None, 'recipe')
    _check_apart(mine, out)
    with pytest.raises(InputError, match=f'{theirs[0].path} .* as {mine[0].path} is'):
        _check_apart(theirs, out)


def test_a_data_set_may_move(study, tmp_path):
    write_record(tmp_path / 'out', find_scans(study, '01', 'T2w')[0], None, 'recipe')
    moved = study.rename(Path(tmp_path, 'moved'))
    _check_apart(find_scans(moved, '01', 'T2w'), tmp_path / 'out')
