import argparse
import gzip
import json
import re
from fnmatch import fnmatch

import nibabel as nib
import numpy as np
import pytest

from secondglance.commands.simulate import add_arguments, describe, is_example, make_example
from secondglance.data import atlas_path, donor_paths, example_rat
from secondglance.files.bids import find_reference, find_scans, find_subjects
from secondglance.imaging.errors import InputError
from secondglance.simulation.atlas import read_maps
from secondglance.workflows import main


@pytest.fixture(scope='module')
def herd(tmp_path_factory):
    folder = tmp_path_factory.mktemp('simulated') / 'herd'
    options = ['--subjects', '2', '--seed', '7', '--b0-volumes', '2', '--dwi-volumes', '1']
    assert main(['simulate', '--output', str(folder), *options]) == 0
    return folder


def test_scan_and_truth_lie_on_one_oblique_grid(herd):
    assert find_subjects(herd) == ['001', '002']
    for subject in ('001', '002'):
        (scan,) = find_scans(herd, subject)
        image = nib.load(scan.path)
        assert image.shape == (64, 64, 40, 3)
        assert image.header.get_zooms()[:3] == pytest.approx((0.375, 0.375, 0.5))
        assert image.header.get_xyzt_units()[0] == 'mm'
        assert np.count_nonzero(np.abs(image.affine[:3, :3]) > 1e-3) > 3
        truth = nib.load(find_reference(herd / 'derivatives/reference', scan))
        np.testing.assert_allclose(truth.affine, image.affine, atol=1e-5)
        assert set(np.unique(truth.get_fdata())) == {0, 1, 2, 3}


def test_everybody_may_read_what_was_simulated(herd):
    assert herd.stat().st_mode & 0o777 == 0o755


def test_the_help_tells_the_defaults():
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    told = {
        action.dest: float(re.findall(r'\(([\d.]+)\)', action.help)[0])
        for action in parser._actions
        if isinstance(action.default, int | float)
    }
    assert told == {name: parser.get_default(name) for name in told}
    assert (told['motion_mm'], told['snr'], told['subjects']) == (0.25, 25.0, 4)


def test_a_file_is_no_new_folder(tmp_path, capsys):
    (tmp_path / 'file').write_text('mine')
    assert main(['simulate', '--output', str(tmp_path / 'file')]) == 2
    assert f'{tmp_path / "file"} is there and not empty' in capsys.readouterr().err
    assert (tmp_path / 'file').read_text() == 'mine'


def test_animals_differ(herd):
    one, two = (
        nib.load(herd / f'derivatives/reference/sub-{s}/dwi/sub-{s}_dseg.nii.gz').get_fdata()
        for s in ('001', '002')
    )
    assert (one != two).mean() > 0.02


def test_gradient_table_has_a_row_a_volume(herd):
    folder = herd / 'sub-001/dwi'
    bvals = np.loadtxt(folder / 'sub-001_dwi.bval')
    bvecs = np.loadtxt(folder / 'sub-001_dwi.bvec')
    assert bvals.tolist() == [0, 1000, 0]
    assert bvecs.shape == (3, 3)
    np.testing.assert_allclose(np.linalg.norm(bvecs, axis=0), [0, 1, 0], atol=1e-5)


def test_motion_is_written_and_rigid(herd):
    path = herd / 'derivatives/reference/sub-002/dwi/sub-002_desc-motion_xfm.json'
    truth = json.loads(path.read_text())
    matrices = np.array(truth['matrices'])
    np.testing.assert_array_equal(matrices[truth['reference']], np.eye(4))
    assert matrices.shape == (3, 4, 4)
    for matrix in matrices:
        np.testing.assert_allclose(matrix[:3, :3].T @ matrix[:3, :3], np.eye(3), atol=1e-9)


def test_what_bids_has_no_name_for_is_ignored_by_its_validator(herd):
    truth = herd / 'derivatives/reference'
    patterns = (truth / '.bidsignore').read_text().split()
    moved = [path for path in truth.rglob('*_xfm.*') if path.is_file()]
    assert len(moved) >= 2
    for path in truth.rglob('*_*.*'):
        ignored = any(fnmatch(path.name, pattern) for pattern in patterns)
        assert ignored == (path in moved)


@pytest.mark.parametrize('terms', ['Free for all.', ''])
def test_a_licence_is_named_where_there_are_terms(tmp_path, terms):
    (tmp_path / 'derivatives/reference').mkdir(parents=True)
    describe(tmp_path, ['1'], 'Rats', terms)
    described = json.loads((tmp_path / 'dataset_description.json').read_text())
    assert ('License' in described) == bool(terms)
    assert (tmp_path / 'README').read_text().rstrip().endswith(terms or '.')


@pytest.mark.parametrize('content', [None, '', '{', '[]', '{}', '{"Name": "mine"}', '\udcff'])
def test_what_is_no_example_is_none(tmp_path, content):
    if content is not None:
        path = tmp_path / 'dataset_description.json'
        path.write_text(content, encoding='utf-8', errors='surrogateescape')
    assert not is_example(tmp_path)


def test_a_folder_that_is_not_empty_is_left_alone(herd, capsys):
    before = sorted(herd.rglob('*'))
    assert main(['simulate', '--output', str(herd)]) == 2
    assert 'not empty' in capsys.readouterr().err
    assert sorted(herd.rglob('*')) == before


@pytest.mark.parametrize('option', ['--motion-mm', '--snr'])
@pytest.mark.parametrize('value', ['inf', 'nan', '-1'])
def test_what_is_no_number_of_millimetres_or_noise_is_refused(tmp_path, capsys, option, value):
    assert main(['simulate', '--output', str(tmp_path / 'o'), option, value]) == 2
    assert f'{option} {float(value)} cannot be used' in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_atlas_without_maps_leaves_no_folder(tmp_path, capsys):
    code = main(['simulate', '--output', str(tmp_path / 'o'), '--atlas', str(tmp_path)])
    assert code == 2
    assert '*wm.nii.gz' in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_example_is_the_same_bytes_each_time(example, tmp_path):
    make_example(tmp_path / 'again')
    names = [p.relative_to(example) for p in example.rglob('*') if p.is_file()]
    assert len(names) > 12
    for name in names:
        assert (tmp_path / 'again' / name).read_bytes() == (example / name).read_bytes(), name


def test_example_holds_a_real_rat_with_its_mask(example):
    (scan,) = find_scans(example, '02', 'sbref')
    assert scan.path.read_bytes() == example_rat()[0].read_bytes()
    reference = find_reference(example / 'derivatives/reference', scan)
    assert nib.load(reference).shape == nib.load(scan.path).shape


def test_csf_is_brighter_than_white_matter_where_the_truth_says(herd):
    for subject in ('001', '002'):
        image = nib.load(herd / f'sub-{subject}/dwi/sub-{subject}_dwi.nii.gz').dataobj[..., 0]
        truth = nib.load(
            herd / f'derivatives/reference/sub-{subject}/dwi/sub-{subject}_dseg.nii.gz'
        ).get_fdata()
        white, grey, water = (np.median(image[truth == label]) for label in (2, 1, 3))
        assert water > grey > white > np.median(image[truth == 0])


@pytest.mark.parametrize(
    ('option', 'value'),
    [
        ('--seed', '-1'),
        ('--snr', '0'),
        ('--snr', 'nan'),
        ('--motion-mm', '-1'),
        ('--subjects', '0'),
        ('--b0-volumes', '0'),
        ('--dwi-volumes', '-2'),
    ],
)
def test_a_number_that_does_not_do_is_named(tmp_path, capsys, option, value):
    assert main(['simulate', '--output', str(tmp_path / 'o'), option, value]) == 2
    error = capsys.readouterr().err
    assert option in error
    assert value in error
    assert list(tmp_path.iterdir()) == []


def test_maps_are_found_under_their_bids_names(tmp_path):
    for tissue, name in (('wm', 'WM'), ('gm', 'GM'), ('csf', 'CSF')):
        source = atlas_path() / f'rat_{tissue}.nii.gz'
        (tmp_path / f'tpl-rat_label-{name}_probseg.nii.gz').symlink_to(source)
    maps, affine = read_maps(tmp_path)
    shipped, shipped_affine = read_maps()
    assert set(maps) == {'wm', 'gm', 'csf'}
    np.testing.assert_array_equal(maps['wm'], shipped['wm'])
    np.testing.assert_array_equal(affine, shipped_affine)


def test_maps_in_percent_are_refused(save, tmp_path):
    for tissue in ('wm', 'gm', 'csf'):
        save(np.linspace(0, 100, 27).reshape(3, 3, 3), name=f'{tissue}.nii.gz')
    with pytest.raises(InputError, match='probabilities from 0 to 1'):
        read_maps(tmp_path)


def test_a_full_disk_ends_in_a_sentence_and_leaves_nothing(tmp_path, monkeypatch, capsys):
    def full(*_, **how):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(gzip, 'compress', full)
    few = ['--subjects', '1', '--b0-volumes', '1', '--dwi-volumes', '0']
    assert main(['simulate', '--output', str(tmp_path / 'o'), *few]) == 2
    assert 'No space left on device' in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_example_keeps_the_terms_of_what_it_is_made_from(example):
    readme = (example / 'README').read_text(encoding='utf-8')
    assert 'GPL-3.0' in readme
    assert 'Copyright (c) 2019 Sidney Pontes-Filho' in readme
    assert 'The above copyright notice and this permission notice shall be included' in readme


def test_example_and_donors_are_different_animals():
    # The readme of each says which; 01 and 09 are one animal, so neither is anywhere
    donors = {p.name.removeprefix('rat-') for p in donor_paths() if p.name.startswith('rat-')}
    (example,) = re.findall(r'of animal (\d\d)', (_beside(example_rat()[0])))
    assert example not in donors
    assert not {'01', '09'} & {example, *donors}
    named = re.search(r'of animals ([\d, ]+) of', _beside(donor_paths()[0])).group(1)
    assert set(named.split(', ')) == donors


def _beside(path):
    return path.with_name('README.md').read_text(encoding='utf-8')
