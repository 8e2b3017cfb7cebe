"""Whole calls on scans that are odd: read right and said, or refused in a sentence."""

import html
import json
import shutil
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from secondglance.data import example_rat
from secondglance.files.tables import read_tsv
from secondglance.workflows import main

SLICES = slice(6, 11)
"""Of the rat that ships: enough to be a brain."""


@pytest.fixture(scope='module')
def rat():
    """Return five slices of a real rat, int16, and their affine."""
    image = nib.load(example_rat()[0]).slicer[:, :, SLICES]
    voxels = np.asarray(image.dataobj, np.float32)
    return np.rint(voxels * (20000 / voxels.max())).astype(np.int16), image.affine


@pytest.fixture
def call(tmp_path, capsys, monkeypatch):
    """Return a function that segments an image, and gives code, what was said and the mask."""
    monkeypatch.chdir(tmp_path)

    def _call(path, *options, out='out', work='work'):
        where = ('--output-dir', str(tmp_path / out), '--work-dir', str(tmp_path / work))
        with warnings.catch_warnings():
            code = main(['run', '--image', str(path), '--motion', 'none', *where, *options])
        said = capsys.readouterr().err
        found = list((tmp_path / out).rglob('*_desc-brain_mask.nii.gz'))
        return code, said, nib.load(found[0]) if found else None

    return _call


def _save(path, voxels, affine, units='mm', code=1):
    path.parent.mkdir(exist_ok=True)
    image = nib.Nifti1Image(voxels, affine)
    image.set_qform(affine, code)
    image.set_sform(affine, code)
    image.header.set_xyzt_units(units)
    nib.save(image, path)
    return path


@pytest.mark.slow
def test_odd_lengths_and_values_give_the_mask_of_the_plain_scan(rat, call, tmp_path):
    voxels, affine = rat
    plain = call(_save(tmp_path / 'rat.nii', voxels, affine), out='plain')
    assert plain[0] == 0
    assert np.asarray(plain[2].dataobj).sum() > 1000
    # Microns, complex values, directions × repetitions, and a volume of zeros, all at once
    odd = np.zeros((*voxels.shape, 2, 2), np.complex64)
    odd[..., 0, :] = (voxels * np.exp(1j * np.arange(len(voxels)))[:, None, None])[..., None]
    microns = np.diag([1000, 1000, 1000, 1]) @ affine
    path = _save(tmp_path / 'odd' / 'rat.nii.gz', odd, microns, 'micron', 3)
    code, said, mask = call(path, '--all-b0', out='odd-out')
    assert code == 0
    for words in ('in microns', 'magnitude', '2 × 2 volumes', '(they hold nothing): volumes 1, 3'):
        assert words in said
    np.testing.assert_array_equal(np.asarray(mask.dataobj), np.asarray(plain[2].dataobj))
    header = nib.load(path).header
    for field in ('srow_x', 'srow_y', 'srow_z', 'sform_code', 'qform_code', 'xyzt_units'):
        np.testing.assert_array_equal(mask.header[field], header[field])
    volumes = [
        next((tmp_path / out).rglob('*_desc-brain_mask.json')) for out in ('plain', 'odd-out')
    ]
    a, b = (json.loads(path.read_text())['BrainVolume'] for path in volumes)
    assert a == pytest.approx(b, rel=1e-4)


@pytest.mark.slow
def test_a_work_folder_that_was_moved_answers_with_no_other_animal(rat, call, tmp_path):
    voxels, affine = rat
    one = _save(tmp_path / 'one' / 'rat.nii', voxels, affine)
    other = _save(tmp_path / 'other' / 'rat.nii', voxels[::-1], affine)
    first = np.asarray(call(one, out='a')[2].dataobj)
    (tmp_path / 'work').rename(tmp_path / 'moved')
    assert call(other, out='b')[0] == 0
    again = np.asarray(call(one, out='c', work='moved')[2].dataobj)
    np.testing.assert_array_equal(again, first)
    # And a stage's file that a failing disk filled with zeros is made again
    [path] = (tmp_path / 'work').rglob('b0_mean/*.nii')
    path.write_bytes(bytes(path.stat().st_size))
    shutil.rmtree(tmp_path / 'b')
    found = np.asarray(call(other, out='b')[2].dataobj)
    # The mirrored rat is not its own mirror image
    assert (found != first).any()
    assert found.sum() > 1000


def _annex(path, voxels, affine):
    path.write_text('/annex/objects/MD5E-s173421--d41d8cd98f00b204e9800998ecf8427e.nii.gz\n')


def _hundredfold(path, voxels, affine):
    _save(path, voxels, np.diag([100, 100, 100, 1]) @ affine)


def _flipped_bit(path, voxels, affine):
    _save(path, voxels, affine)
    content = bytearray(path.read_bytes())
    content[-6] ^= 4  # of the checksum
    path.write_bytes(content)


def _milliseconds(path, voxels, affine):
    _save(path, np.stack([voxels, voxels // 3, voxels // 4], -1), affine)
    Path(str(path).replace('.nii.gz', '.bval')).write_text('0 1 2')


@pytest.mark.parametrize(
    ('make', 'says'),
    [
        (_annex, 'git annex get'),
        (_hundredfold, '--voxel-scale 0.01'),
        (_flipped_bit, 'CRC'),
        (_milliseconds, 'b-values of 0 to 2 are not s/mm²'),
    ],
)
def test_what_cannot_be_used_ends_in_one_sentence(rat, call, tmp_path, make, says):
    make(tmp_path / 'rat.nii.gz', *rat)
    code, said, mask = call(tmp_path / 'rat.nii.gz')
    assert code == 1
    assert mask is None
    [sentence] = [line for line in said.splitlines() if 'secondglance:' in line]
    assert says in sentence
    assert 'rat' in sentence
    assert 'Traceback' not in said
    assert 'Warning' not in said


@pytest.mark.parametrize('value', ['0', '-1', 'nan', 'inf'])
def test_a_scale_that_is_no_scale_is_refused(rat, call, tmp_path, value):
    path = _save(tmp_path / 'rat.nii', *rat)
    code, said, _ = call(path, f'--voxel-scale={value}')
    assert code == 2
    assert f'--voxel-scale {float(value):g}' in said


@pytest.mark.slow
def test_a_flag_of_the_report_is_one_of_table_cohort_page_and_summary(rat, call, tmp_path):
    voxels, affine = rat
    spoiled = voxels.copy()
    spoiled[:, :, 2] = spoiled[:, :, 2] // 4
    paths = [_save(tmp_path / 'one.nii', voxels, affine)]
    paths.append(
        _save(tmp_path / 'two.nii', spoiled, np.diag([1000, 1000, 1000, 1]) @ affine, 'micron')
    )
    code, said, _ = call(paths[0], str(paths[1]), '--nprocs', '1')
    assert code == 0
    out, said = tmp_path / 'out', ' '.join(said.split())
    rows = {row['scan']: row for row in read_tsv(out / 'cohort.tsv')}
    page = html.unescape((out / 'cohort.html').read_text())
    for name in ('sub-one_head', 'sub-two_head'):
        flags = json.loads((out / 'logs' / f'{name}.json').read_text())['flags']
        report = html.unescape((out / f'{name}.html').read_text())
        for flag in flags:
            assert flag in report
            assert flag in page
            assert flag in said
        assert ' '.join(flags) == ('' if not flags else rows[name]['flags'])
        assert rows[name]['verdict'] in page
    told = json.loads((out / 'logs' / 'sub-two_head.json').read_text())['flags']
    assert any('in microns' in flag for flag in told)
    assert any('weak' in flag for flag in told)
    assert rows['sub-two_head']['verdict'] != 'good'
