"""What is told and written of motion (`interfaces.preprocessing` and `mcflirt`), to the letter."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nipype.interfaces.base import isdefined

from secondglance.files.nifti_header import scale_of
from secondglance.imaging.errors import InputError
from secondglance.imaging.motion import WITHIN_VOLUME, itk_text
from secondglance.imaging.pose import Pose
from secondglance.interfaces.mcflirt import mcflirt_path, resolve_engine
from secondglance.interfaces.preprocessing import (
    Displacement,
    MeanVolume,
    NoMotion,
    SelectB0,
    motion_notes,
)

pytestmark = pytest.mark.usefixtures('in_tmp')


def row(volume, excluded='n/a', within=None):
    return {'volume': volume, 'excluded': excluded, 'within_volume': within}


@pytest.mark.parametrize(
    ('table', 'notes'),
    [
        ([row(0), row(1, within=0.0)], []),
        (
            [row(4, 'noise'), row(2, 'zeros'), row(7, 'zeros'), row(9, 'registration')],
            [
                'Left out of the mean (they hold nothing): volumes 2, 7.',
                'Left out of the mean (they hold nothing but noise): volumes 4.',
                'Left out of the mean (they could not be brought to the others): volumes 9.',
            ],
        ),
        (
            [row(1, within=0.126), row(3, within=0.3), row(5, within=0.05), row(6)],
            [
                'The head moved while these volumes were scanned, so that their slices do not '
                'fit together: 1, 3 (up to 0.30 mm).'
            ],
        ),
    ],
)
def test_volumes_that_are_left_out_or_torn_are_named(table, notes):
    """In pixels of a millimetre's half, motion counts above a quarter of a pixel at most."""
    assert motion_notes(table, 0.125 / WITHIN_VOLUME) == notes


def test_motion_within_a_volume_counts_above_its_share_of_a_pixel():
    assert motion_notes([row(0, within=WITHIN_VOLUME * 0.5)], 0.5) == []
    assert len(motion_notes([row(0, within=WITHIN_VOLUME * 0.5 + 1e-9)], 0.5)) == 1


@pytest.fixture
def series(rng, save):
    """Noise in a head of 12 × 11 × 8 voxels, three volumes; the middle one is empty."""
    i, j, k = np.indices((12, 11, 8))
    head = 100.0 * (((i - 6) / 5) ** 2 + ((j - 5) / 4) ** 2 + ((k - 4) / 4) ** 2 < 1)
    volumes = np.stack([head + rng.normal(20, 5, head.shape) for _ in range(3)], -1)
    volumes[..., 1] = 0
    affine = np.diag([1.5, 1.6, 1.7, 1])
    return str(save(volumes.astype(np.float32), affine, 'scan.nii')), volumes.astype(np.float32)


def test_of_a_series_that_is_all_b0_what_holds_nothing_is_told_by_its_place(series):
    path, volumes = series
    out = SelectB0(in_file=path, all_b0=True).run().outputs
    assert (out.volumes, out.empty, out.notes[:0]) == ([0, 2], [1], [])
    image = nib.load(out.out_file)
    assert image.get_data_dtype() == np.float32
    np.testing.assert_array_equal(image.get_fdata(dtype=np.float32), volumes[..., [0, 2]])
    assert scale_of(image) == 1
    assert Path(out.out_file).name == 'scan_b0.nii'


def test_what_the_gradients_say_wrong_is_told_of_the_file(series, tmp_path):
    path, _ = series
    for text, threshold, says in (
        ('900 1000 900', 50.0, 'no volume has a b-value'),
        ('0 1000', 50.0, '2 b-values for 3 volumes'),
    ):
        (tmp_path / 'a.bval').write_text(text)
        node = SelectB0(in_file=path, bval_file=str(tmp_path / 'a.bval'), threshold=threshold)
        with pytest.raises(InputError, match=says) as caught:
            node.run()
        assert str(caught.value).startswith(f'{path}: ')
    (tmp_path / 'a.bval').write_text('900 1000 900')
    node = SelectB0(in_file=path, bval_file=str(tmp_path / 'a.bval'), threshold=900.0)
    assert node.run().outputs.volumes == [0, 2]


def test_notes_of_file_values_and_lengths_come_in_this_order(series, tmp_path):
    _, volumes = series
    affine = np.diag([1.5, 1.6, 1.7, 1])
    image = nib.Nifti1Image((volumes[..., 0] * 1j).astype(np.complex64), affine)
    image.header.set_xyzt_units('mm')
    nib.save(image, tmp_path / 'c.nii')
    out = SelectB0(in_file=str(tmp_path / 'c.nii'), all_b0=True, voxel_scale=0.5).run().outputs
    assert [note.split(':')[0].split(' (')[0] for note in out.notes] == [
        'The image holds complex values',
        'The lengths of the header were multiplied by 0.5',
    ]
    assert scale_of(nib.load(out.out_file)) == 2


def test_every_file_of_a_correction_is_written_in_full(series):
    _, volumes = series
    kept = nib.Nifti1Image(volumes[..., [0, 2]], np.diag([1.5, 1.6, 1.7, 1]))
    nib.save(kept, 'b0.nii')
    given = {'volumes': [0, 2], 'empty': [1], 'notes': ['known'], 'slice_axis': 'k'}
    out = NoMotion(in_file=str(Path('b0.nii').resolve()), **given).run().outputs
    assert json.loads(Path(out.engine).read_text()) == {
        'engine': 'none',
        'engine_version': '',
        'n_b0': 2,
        'b0_volumes': [0, 2],
        'header_scale': 1.0,
        'pixel_mm': pytest.approx(1.5, rel=1e-6),
        'estimated_on': 'head',
    }
    assert json.loads(Path(out.transforms).read_text()) == {
        'Units': 'mm',
        'Millimetres': 'of the animal: lengths of the header divided by HeaderScale',
        'HeaderScale': 1.0,
        'EstimatedOn': 'head',
        'reference': 0,
        'volumes': [0, 2],
        'matrices': np.tile(np.eye(4), (2, 1, 1)).tolist(),
    }
    for path, first in ((out.engine, '"engine": "none",'), (out.transforms, '"Units": "mm",')):
        assert Path(path).read_text().startswith(f'{{\n  {first}\n  "')
        assert Path(path).read_text().endswith('\n}\n')
    text = itk_text(np.tile(np.eye(4), (2, 1, 1)), 1.0)
    assert Path(out.itk_transforms).read_text() == text
    assert out.notes == [
        'known',
        'Left out of the mean (they hold nothing): volumes 1.',
    ]
    assert out.pose == {}
    table = pd.read_csv(out.confounds, sep='\t', keep_default_na=False)
    assert table['volume'].tolist() == [0, 1, 2]
    assert table['excluded'].tolist() == ['n/a', 'zeros', 'n/a']
    np.testing.assert_array_equal(nib.load(out.out_file).get_fdata(), volumes[..., [0, 2]])
    names = [Path(getattr(out, one)).name for one in ('engine', 'transforms', 'itk_transforms')]
    assert names == ['b0_engine.json', 'b0_transforms.json', 'b0_itk.txt']


def test_numbers_of_motion_have_eight_digits(tmp_path):
    columns = ('trans_x', 'trans_y', 'trans_z', 'rot_x', 'rot_y', 'rot_z')
    table = pd.DataFrame(0.0, index=range(2), columns=['volume', *columns])
    table['volume'] = [0, 1]
    table.loc[1, 'trans_x'] = 1 / 3
    table.to_csv('motion.tsv', sep='\t', index=False)
    node = Displacement(in_file=str(tmp_path / 'motion.tsv'), pose=Pose('rat', 0.3).to_plain())
    out = node.run().outputs
    last = Path(out.out_file).read_text().splitlines()[-1].split('\t')
    assert (last[1], last[-1]) == ('0.33333333', '0.33333333')
    about = json.loads(Path(out.about).read_text())
    assert list(about) == ['framewise_displacement']
    told = about['framewise_displacement']
    assert (told['Units'], told['HeadRadius']) == ('mm', 10)
    assert list(told) == ['Units', 'HeadRadius', 'Description']


@pytest.mark.parametrize('shape', [(4, 3, 2), (4, 3, 2, 1), (4, 3, 2, 5), (4, 3, 2, 2, 2)])
def test_the_mean_is_of_all_volumes_in_single_precision(save, rng, shape):
    voxels = rng.random(shape, dtype=np.float32)
    found = nib.load(MeanVolume(in_file=str(save(voxels))).run().outputs.out_file)
    assert found.get_data_dtype() == np.float32
    assert found.shape == (4, 3, 2)
    expected = voxels.reshape(4, 3, 2, -1).mean(axis=3, dtype=np.float64).astype(np.float32)
    np.testing.assert_array_equal(found.get_fdata(dtype=np.float32), expected)


def test_mcflirt_is_there_where_it_can_be_run(tmp_path, monkeypatch):
    monkeypatch.delenv('FSLDIR', raising=False)
    assert mcflirt_path() is None
    monkeypatch.setenv('FSLDIR', '')
    assert mcflirt_path() is None
    monkeypatch.setenv('FSLDIR', str(tmp_path))
    assert mcflirt_path() is None
    path = tmp_path / 'bin' / 'mcflirt'
    path.mkdir(parents=True)
    assert mcflirt_path() is None
    path.rmdir()
    path.write_text('#!/bin/sh')
    path.chmod(0o644)
    assert mcflirt_path() is None
    with pytest.raises(InputError) as caught:
        resolve_engine('fsl')
    assert f'(FSLDIR is {tmp_path}): set FSLDIR or give --motion sitk.' in str(caught.value)
    path.chmod(0o755)
    assert mcflirt_path() == path


def test_an_estimate_without_a_network_has_no_pose(series):
    nib.save(nib.Nifti1Image(series[1][..., :1], np.eye(4)), 'one.nii')
    out = NoMotion(in_file=str(Path('one.nii').resolve()), volumes=[7]).run().outputs
    assert isdefined(out.pose)
    assert json.loads(Path(out.transforms).read_text())['reference'] == 7


def test_a_series_is_judged_by_the_first_volume_that_is_taken(series, tmp_path):
    """The others hold a single bright voxel: as labels do, and less wide than any head."""
    _, volumes = series
    spot = np.zeros(volumes.shape[:3], np.float32)
    spot[6, 5, 4] = 1
    scan = np.stack([spot, volumes[..., 0], spot, spot, spot], -1)
    path = tmp_path / 'spots.nii'
    nib.save(nib.Nifti1Image(scan, np.diag([0.8, 0.85, 0.9, 1])), path)
    (tmp_path / 'a.bval').write_text('900 0 900 0 0')
    given = {'in_file': str(path), 'bval_file': str(tmp_path / 'a.bval')}
    out = SelectB0(**given).run().outputs
    assert (out.volumes, out.notes) == ([1, 3, 4], [])
    (tmp_path / 'a.bval').write_text('0 0 900 0 0')
    with pytest.raises(InputError, match='as a mask or labels do'):
        SelectB0(**given).run()
