import json

import nibabel as nib
import numpy as np
import pytest

from secondglance.commands.simulate import make_example
from secondglance.data import example_rat
from secondglance.interfaces.bids import find_reference, find_scans, find_subjects
from secondglance.workflows import main


@pytest.fixture(scope='module')
def herd(tmp_path_factory):
    folder = tmp_path_factory.mktemp('simulated') / 'herd'
    options = ['--subjects', '2', '--seed', '7', '--b0-volumes', '2', '--dwi-volumes', '1']
    assert main(['simulate', '--output', str(folder), *options]) == 0
    return folder


def test_scan_and_truth_lie_on_one_oblique_grid(herd):
    assert find_subjects(herd) == ['01', '02']
    for subject in ('01', '02'):
        (scan,) = find_scans(herd, subject)
        image = nib.load(scan.path)
        assert image.shape == (64, 64, 40, 3)
        assert image.header.get_zooms()[:3] == pytest.approx((0.375, 0.375, 0.5))
        assert np.count_nonzero(np.abs(image.affine[:3, :3]) > 1e-3) > 3
        truth = nib.load(find_reference(herd / 'derivatives/reference', scan))
        np.testing.assert_allclose(truth.affine, image.affine, atol=1e-5)
        assert set(np.unique(truth.get_fdata())) == {0, 1, 2, 3}


def test_animals_differ(herd):
    one, two = (
        nib.load(herd / f'derivatives/reference/sub-{s}/dwi/sub-{s}_dseg.nii.gz').get_fdata()
        for s in ('01', '02')
    )
    assert (one != two).mean() > 0.02


def test_gradient_table_has_a_row_a_volume(herd):
    folder = herd / 'sub-01/dwi'
    bvals = np.loadtxt(folder / 'sub-01_dwi.bval')
    bvecs = np.loadtxt(folder / 'sub-01_dwi.bvec')
    assert bvals.tolist() == [0, 1000, 0]
    assert bvecs.shape == (3, 3)
    np.testing.assert_allclose(np.linalg.norm(bvecs, axis=0), [0, 1, 0], atol=1e-5)


def test_motion_is_written_and_rigid(herd):
    path = herd / 'derivatives/reference/sub-02/dwi/sub-02_desc-motion_xfm.json'
    matrices = np.array(json.loads(path.read_text())['matrices'])
    assert matrices.shape == (3, 4, 4)
    for matrix in matrices:
        np.testing.assert_allclose(matrix[:3, :3].T @ matrix[:3, :3], np.eye(3), atol=1e-9)


def test_a_folder_that_is_not_empty_is_left_alone(herd, capsys):
    before = sorted(herd.rglob('*'))
    assert main(['simulate', '--output', str(herd)]) == 2
    assert 'not empty' in capsys.readouterr().err
    assert sorted(herd.rglob('*')) == before


def test_atlas_without_maps_leaves_no_folder(tmp_path, capsys):
    code = main(['simulate', '--output', str(tmp_path / 'o'), '--atlas', str(tmp_path)])
    assert code == 2
    assert '*wm.nii.gz' in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_example_is_the_same_bytes_each_time(example, tmp_path):
    make_example(tmp_path / 'again')
    names = [p.relative_to(example) for p in example.rglob('*') if p.is_file()]
    assert len(names) > 12
    for name in names:
        assert (tmp_path / 'again' / name).read_bytes() == (example / name).read_bytes(), name


def test_example_holds_a_real_rat_with_its_mask(example):
    (scan,) = find_scans(example, '02')
    assert scan.path.read_bytes() == example_rat()[0].read_bytes()
    reference = find_reference(example / 'derivatives/reference', scan)
    assert nib.load(reference).shape == nib.load(scan.path).shape
