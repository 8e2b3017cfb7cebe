"""The corrected series: one file of all volumes, gradients turned, b-values as they were."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nipype.interfaces.base import isdefined

from secondglance.files.gradient_table import read_bvecs
from secondglance.files.nifti_header import mark_scale, scale_of
from secondglance.imaging.coil_field import remove_field
from secondglance.imaging.errors import InputError
from secondglance.interfaces.series import BrainImage, CorrectSeries

BVALS = [0, 0, 1000, 1000]
BVECS = np.array([[0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]], float)


@pytest.fixture
def inputs(rng, save, tmp_path):
    """A series; its third and fourth volume have the motion of the second, a quarter turn."""
    quarter = np.array([[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    affine = np.diag([-1.0, 1, 1, 1])
    affine[:3, 3] = 4, -4, -2
    still = rng.uniform(10, 100, (9, 9, 5)).astype(np.float32)
    # World points of the volume go to those of the reference by the quarter turn about z
    to_voxels = np.linalg.inv(affine) @ quarter @ affine
    index = np.moveaxis(np.indices(still.shape), 0, -1)
    there = np.rint(nib.affines.apply_affine(to_voxels, index)).astype(int)
    moved = still[there[..., 0], there[..., 1], there[..., 2]]
    series = save(np.stack([still, moved, moved, moved], -1), affine, 'sub-1_dwi.nii.gz')
    told = {'volumes': [0, 1], 'matrices': [np.eye(4).tolist(), quarter.tolist()]}
    (tmp_path / 'hmc.json').write_text(json.dumps(told))
    (tmp_path / 'a.bval').write_text('0 0 1000 1000\n')
    np.savetxt(tmp_path / 'a.bvec', BVECS)
    return still, {
        'in_file': str(series),
        'transforms': str(tmp_path / 'hmc.json'),
        'mean_file': str(save(still, affine, 'mean.nii.gz')),
        'bval_file': str(tmp_path / 'a.bval'),
        'bvec_file': str(tmp_path / 'a.bvec'),
    }


def test_every_volume_comes_to_the_reference_with_its_gradient(inputs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    still, files = inputs
    found = CorrectSeries(estimate=False, **files).run().outputs
    corrected = nib.load(found.out_file)
    assert corrected.shape == (9, 9, 5, 4)
    for t in range(4):
        np.testing.assert_allclose(corrected.dataobj[..., t], still, atol=0.05)
    assert np.loadtxt(found.bval_file).tolist() == BVALS
    # Voxel axes are world −x, y, z: +x of the .bvec is world −x, which the turn takes to −y
    turned = np.loadtxt(found.bvec_file)
    np.testing.assert_allclose(turned[:, 2], [0, -1, 0], atol=1e-6)
    np.testing.assert_allclose(turned[:, 3], [1, 0, 0], atol=1e-6)
    matrices = json.loads(Path(found.about).read_text())['MotionMatrices']
    assert len(matrices) == 4


@pytest.mark.parametrize(('threshold', 'kept'), [(50.0, True), (10.0, False)])
def test_a_little_weighting_makes_no_volume_a_weighted_one(inputs, tmp_path, threshold, kept):
    """Motion of what was b0 is what it was found to be; of others it is estimated."""
    _, files = inputs
    (tmp_path / 'a.bval').write_text('0 20 1000 1000\n')
    given = json.loads((tmp_path / 'hmc.json').read_text())['matrices'][1]
    found = CorrectSeries(estimate=True, threshold=threshold, **files).run(cwd=str(tmp_path))
    matrices = json.loads(Path(found.outputs.about).read_text())['MotionMatrices']
    assert np.allclose(matrices[1], given, atol=1e-9) == kept


def test_one_image_has_no_gradients(inputs, save, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    still, files = inputs
    (tmp_path / 'one.json').write_text(
        json.dumps({'volumes': [0], 'matrices': [np.eye(4).tolist()]})
    )
    found = (
        CorrectSeries(
            in_file=files['mean_file'],
            mean_file=files['mean_file'],
            transforms=str(tmp_path / 'one.json'),
        )
        .run()
        .outputs
    )
    np.testing.assert_array_equal(np.squeeze(nib.load(found.out_file).dataobj), still)


def test_the_brain_alone_is_on_the_grid_of_the_mean(inputs, save, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    still, files = inputs
    mask = np.zeros(still.shape, np.uint8)
    mask[2:8, 1:8, 1:3] = 1
    path = save(mask, nib.load(files['mean_file']).affine, 'mask.nii.gz')
    found = nib.load(
        BrainImage(in_file=files['mean_file'], mask_file=str(path)).run().outputs.out_file
    )
    np.testing.assert_array_equal(found.affine, nib.load(path).affine)
    np.testing.assert_allclose(found.dataobj, np.where(mask, still, 0))


def test_directions_in_columns_are_read_too(tmp_path):
    np.savetxt(tmp_path / 'a.bvec', BVECS.T)
    np.testing.assert_array_equal(read_bvecs(tmp_path / 'a.bvec', 4), BVECS)


@pytest.mark.parametrize('text', ['1 0\n0 1\n', '1 0 0 x\n0 0 0 0\n0 0 0 0\n', '1 2\n3\n', ''])
def test_other_tables_are_named(tmp_path, text):
    (tmp_path / 'a.bvec').write_text(text)
    with pytest.raises(InputError, match=r'a\.bvec'):
        read_bvecs(tmp_path / 'a.bvec', 4)


def test_the_time_between_volumes_and_the_scale_of_the_header_are_kept(inputs, tmp_path):
    """A tenfold header, whose mean was marked when it was checked; a volume every 2.5 s."""
    still, files = inputs
    series = nib.load(files['in_file'])
    tenfold = np.diag([10.0, 10, 10, 1])
    image = nib.Nifti1Image(series.dataobj, tenfold @ series.affine)
    image.header['pixdim'][4] = 2.5
    nib.save(image, files['in_file'])
    mean = nib.Nifti1Image(still, tenfold @ series.affine)
    mark_scale(mean.header, 10)
    nib.save(mean, files['mean_file'])
    found = CorrectSeries(estimate=False, **files).run(cwd=str(tmp_path)).outputs
    corrected = nib.load(found.out_file)
    assert corrected.header['pixdim'][4] == 2.5
    assert scale_of(corrected) == 10
    np.testing.assert_allclose(corrected.affine, image.affine)
    about = json.loads(Path(found.about).read_text())
    assert about['HeaderScale'] == 10
    # Matrices are in the animal's own mm: the quarter turn as it was given
    np.testing.assert_allclose(about['MotionMatrices'][1][0], [0, -1, 0, 0], atol=1e-9)
    np.testing.assert_allclose(corrected.dataobj[..., 1], still, atol=0.05)


@pytest.mark.parametrize(('threshold', 'given'), [(20.0, True), (19.9, False)])
def test_a_volume_is_weighted_above_the_threshold_alone(inputs, tmp_path, threshold, given):
    _, files = inputs
    (tmp_path / 'a.bval').write_text('0 20 1000 1000\n')
    matrix = json.loads((tmp_path / 'hmc.json').read_text())['matrices'][1]
    found = CorrectSeries(threshold=threshold, **files).run(cwd=str(tmp_path)).outputs
    matrices = json.loads(Path(found.about).read_text())['MotionMatrices']
    assert np.allclose(matrices[1], matrix, atol=1e-9) == given


def test_without_b_values_no_volume_is_weighted(inputs, tmp_path):
    """Volumes between known ones move as these; there are no gradients to turn."""
    still, files = inputs
    del files['bval_file'], files['bvec_file']
    found = CorrectSeries(**files).run(cwd=str(tmp_path)).outputs
    for t in range(4):
        np.testing.assert_allclose(nib.load(found.out_file).dataobj[..., t], still, atol=0.05)
    assert not isdefined(found.bval_file)
    assert not isdefined(found.bvec_file)


def test_every_file_beside_a_series_is_written_to_the_letter(inputs, tmp_path):
    _, files = inputs
    (tmp_path / 'a.bval').write_text('0, 0, 1000.5, 1e3')
    found = CorrectSeries(estimate=False, **files).run(cwd=str(tmp_path)).outputs
    assert Path(found.bval_file).read_text() == '0 0 1000.5 1000\n'
    lines = Path(found.bvec_file).read_text().splitlines()
    assert [len(line.split()) for line in lines] == [4, 4, 4]
    decimals = {len(word.split('.')[1]) for line in lines for word in line.split()}
    assert decimals == {8}
    about = json.loads(Path(found.about).read_text())
    assert list(about) == ['Millimetres', 'HeaderScale', 'MotionMatrices']
    assert about['HeaderScale'] == 1
    told = json.loads((tmp_path / 'hmc.json').read_text())['matrices']
    np.testing.assert_allclose(about['MotionMatrices'][1], told[1], atol=1e-9)
    names = [Path(getattr(found, name)).name for name in ('out_file', 'about', 'bvec_file')]
    assert names == ['sub-1_dwi_preproc.nii', 'sub-1_dwi_preproc.json', 'sub-1_dwi_preproc.bvec']


def test_matrices_have_nine_decimals(inputs, tmp_path):
    _, files = inputs
    told = json.loads((tmp_path / 'hmc.json').read_text())
    told['matrices'][0][0][3] = 0.1234567891234
    (tmp_path / 'hmc.json').write_text(json.dumps(told))
    found = CorrectSeries(estimate=False, **files).run(cwd=str(tmp_path)).outputs
    assert json.loads(Path(found.about).read_text())['MotionMatrices'][0][0][3] == 0.123456789


@pytest.mark.parametrize('n', [1, 2])
def test_the_fourth_size_is_that_of_a_series_alone(inputs, save, tmp_path, n):
    """Of one volume in three axes pixdim[4] says nothing."""
    still, files = inputs
    voxels = still if n == 1 else np.stack([still] * n, -1)
    image = nib.Nifti1Image(voxels, nib.load(files['mean_file']).affine)
    image.header['pixdim'][4] = 7
    nib.save(image, tmp_path / 'scan.nii')
    told = {'volumes': list(range(n)), 'matrices': [np.eye(4).tolist()] * n}
    (tmp_path / 'one.json').write_text(json.dumps(told))
    node = CorrectSeries(
        in_file=str(tmp_path / 'scan.nii'),
        mean_file=files['mean_file'],
        transforms=str(tmp_path / 'one.json'),
    )
    header = nib.load(node.run(cwd=str(tmp_path)).outputs.out_file).header
    assert header['pixdim'][4] == (1 if n == 1 else 7)


def test_the_field_of_the_coil_is_removed_by_sizes_in_the_animals_millimetres(
    rng, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    i, j, k = np.indices((16, 14, 6))
    mask = ((i - 8) / 6) ** 2 + ((j - 7) / 5) ** 2 + ((k - 2.5) / 3) ** 2 < 1
    head = ((100 + 20 * rng.random(mask.shape)) * np.exp(0.06 * i)).astype(np.float32)
    sizes = np.array([0.8, 0.9, 1.3])
    expected = remove_field(head, mask, sizes)
    files = {}
    for name, voxels in (('in_file', head), ('mask_file', mask.astype(np.uint8) * 2)):
        image = nib.Nifti1Image(voxels, np.diag([*sizes * 10, 1]))
        mark_scale(image.header, 10)
        files[name] = str(tmp_path / f'{name}.nii')
        nib.save(image, files[name])
    found = nib.load(BrainImage(**files).run().outputs.out_file)
    np.testing.assert_allclose(found.get_fdata(), expected, rtol=1e-4)
    assert Path(found.get_filename()).name == 'in_file_brain.nii'
    assert np.abs(expected - np.where(mask, head, 0)).max() > 1
