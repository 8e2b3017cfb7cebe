"""What is written of motion: about which point, in which file, for which volume."""

import contextlib
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nibabel.affines import apply_affine, from_matvec
from scipy.spatial.transform import Rotation

from secondglance.imaging.motion import motion_parameters, within_volume_motion
from secondglance.imaging.motion_correction import PARAMETERS
from secondglance.imaging.pose import Pose
from secondglance.interfaces.preprocessing import (
    Displacement,
    MeanVolume,
    NoMotion,
    SelectB0,
    SitkMotion,
)
from secondglance.interfaces.series import BrainImage, CorrectSeries

SHAPE = (30, 28, 20)
ANGLE = 0.04


pytestmark = pytest.mark.usefixtures('in_tmp')


@pytest.fixture(scope='module')
def turned():
    """A head of blobs by a formula, far off the origin; its second volume is turned about z."""
    rng = np.random.default_rng(5)
    linear = Rotation.from_rotvec([0.2, -0.1, 0.15]).as_matrix() @ np.diag([0.5, -0.5, 0.7])
    affine = from_matvec(linear, [20.0, -15, 8])
    middle = apply_affine(affine, (np.array(SHAPE) - 1) / 2)
    turn = Rotation.from_rotvec([0, 0, ANGLE]).as_matrix()
    world = apply_affine(affine, np.moveaxis(np.indices(SHAPE), 0, -1))
    places, heights = middle + rng.uniform(-4, 4, (30, 3)), rng.uniform(50, 200, 30)

    def scan(points):
        away = np.linalg.norm((points - middle) / 5.5, axis=-1)
        head = 100 / (1 + np.exp((away - 1) / 0.05))
        for place, height in zip(places, heights, strict=True):
            head = head + height * np.exp(-((points - place) ** 2).sum(-1) / 1.5)
        return head + rng.normal(0, 1, SHAPE)

    back = from_matvec(turn, middle - turn @ middle)
    volumes = [scan(world), scan(apply_affine(back, world)), scan(world)]
    return np.stack(volumes, axis=-1).astype(np.float32), affine


@pytest.fixture(scope='module', params=[1, 10])
def found(request, turned, tmp_path_factory):
    """What the embedded engine finds, with lengths of the header times a scale."""
    (volumes, affine), scale = turned, request.param
    folder = tmp_path_factory.mktemp('motion')
    path = folder / 'b0.nii'
    nib.save(nib.Nifti1Image(volumes, np.diag([scale, scale, scale, 1]) @ affine), path)
    with contextlib.chdir(folder):
        selected = SelectB0(in_file=str(path), all_b0=True, voxel_scale=1 / scale).run().outputs
        engine = SitkMotion(in_file=selected.out_file, volumes=[0, 1, 2])
        return engine.run().outputs, scale


def test_a_turn_about_the_middle_is_no_translation_and_radius_times_angle(found):
    found, _ = found
    table = pd.read_csv(found.confounds, sep='\t')
    moves = table[list(PARAMETERS)].to_numpy()
    told = np.array(json.loads(Path(found.transforms).read_text())['matrices'])
    # Angles have eight digits, and do not depend on the centre
    turns = motion_parameters(told, np.zeros(3))[:, 3:]
    np.testing.assert_allclose(moves[:, 3:], turns, rtol=1e-7, atol=1e-9)
    # The reference is at rest: what differs between volumes is the turn alone
    step = moves[1] - moves[0]
    np.testing.assert_allclose(step[:3], 0, atol=0.02)
    np.testing.assert_allclose(step[3:], [0, 0, ANGLE], atol=3e-3)
    pose = Pose('rat', 0.3).to_plain()
    displaced = Displacement(in_file=found.confounds, pose=pose).run().outputs.out_file
    fd = pd.read_csv(displaced, sep='\t')['framewise_displacement']
    np.testing.assert_allclose(fd, [np.nan, 10 * ANGLE, 10 * ANGLE], atol=0.06)


def test_displacement_is_between_neighbours_in_the_scan(tmp_path):
    # Volumes 1 and 2 are diffusion-weighted, 4 was left out
    table = pd.DataFrame(0.0, index=range(4), columns=['volume', *PARAMETERS])
    table['volume'], table['trans_x'] = [0, 3, 4, 5], [0.0, 1.0, np.nan, 3.0]
    table.to_csv('motion.tsv', sep='\t', index=False, na_rep='n/a')
    pose = Pose('rat', 0.3).to_plain()
    found = Displacement(in_file=str(tmp_path / 'motion.tsv'), pose=pose).run().outputs.out_file
    assert pd.read_csv(found, sep='\t')['framewise_displacement'].isna().all()


def test_itk_reads_the_motion_in_millimetres_of_the_header(found, turned):
    import SimpleITK as sitk

    (found, scale), affine = found, turned[1]
    told = json.loads(Path(found.transforms).read_text())
    matrix = np.array(told['matrices'])
    t = next(t for t in range(3) if not np.allclose(matrix[t], np.eye(4), atol=1e-3))
    # ITK takes one transform a file: that of the volume that moved
    lines = Path(found.itk_transforms).read_text().splitlines()
    one = Path('one.txt')
    one.write_text('\n'.join([lines[0], '#Transform 0', *lines[2 + 4 * t : 5 + 4 * t]]) + '\n')
    lps = np.diag([-1.0, -1, 1])
    rest = apply_affine(affine, [12, 9, 7])
    point = sitk.ReadTransform(str(one)).TransformPoint((lps @ rest * scale).tolist())
    # From the reference to the volume, left and posterior positive
    expected = apply_affine(np.linalg.inv(matrix[t]), rest)
    np.testing.assert_allclose(lps @ np.array(point) / scale, expected, atol=1e-4)
    assert np.linalg.norm(expected - rest) > 0.05


def test_the_place_of_each_volume_and_header_survives_every_file(turned, save, tmp_path):
    """``dim_info``, units, codes and position are those of the scan in all that is made."""
    volumes, affine = turned[0][8:22, 8:20, 6:14], turned[1]
    image = nib.Nifti1Image(volumes, affine)
    image.header.set_dim_info(freq=1, phase=0, slice=2)
    image.header.set_xyzt_units('mm', 'sec')
    image.header.set_zooms((*image.header.get_zooms()[:3], 2.5))
    image.set_sform(affine, 2)
    image.set_qform(affine, 1)
    scan = tmp_path / 'scan.nii'
    nib.save(image, scan)
    b0 = SelectB0(in_file=str(scan), all_b0=True, voxel_scale=1.0).run().outputs
    still = NoMotion(in_file=b0.out_file, volumes=[0, 1, 2]).run().outputs
    mean = MeanVolume(in_file=still.out_file).run().outputs.out_file
    mask = np.zeros(volumes.shape[:3], np.uint8)
    mask[2:12, 1:11, 1:7] = 1
    mask_file = save(mask, affine, 'mask.nii')
    brain = BrainImage(in_file=mean, mask_file=str(mask_file)).run().outputs.out_file
    series = (
        CorrectSeries(
            in_file=str(scan), transforms=still.transforms, mean_file=mean, estimate=False
        )
        .run()
        .outputs.out_file
    )
    for path in (b0.out_file, still.out_file, mean, brain, series):
        header = nib.load(path).header
        assert header.get_dim_info() == (1, 0, 2), path
        assert header.get_xyzt_units()[0] == 'mm', path
        assert (int(header['sform_code']), int(header['qform_code'])) == (2, 1), path
        np.testing.assert_allclose(nib.load(path).affine, affine, rtol=1e-6)
    assert nib.load(series).header['pixdim'][4] == 2.5
    np.testing.assert_allclose(nib.load(mean).get_fdata(), volumes.mean(axis=3), atol=1e-3)


def test_a_scale_that_was_asked_for_goes_with_every_file(turned, save):
    volumes, affine = turned
    path = save(volumes, affine, 'scan.nii')
    b0 = SelectB0(in_file=str(path), all_b0=True, voxel_scale=0.5).run().outputs
    still = NoMotion(in_file=b0.out_file, volumes=[0, 1, 2]).run().outputs
    told = json.loads(Path(still.engine).read_text())
    assert told['header_scale'] == 2
    assert told['n_b0'] == 3
    assert json.loads(Path(still.transforms).read_text())['HeaderScale'] == 2


def test_the_volume_most_like_all_others_is_named_by_its_place_in_the_scan(turned, save):
    volumes, affine = turned
    path = save(volumes, affine, 'b0.nii')
    found = SitkMotion(in_file=str(path), volumes=[4, 6, 9]).run().outputs
    told = json.loads(Path(found.transforms).read_text())
    [rest] = np.flatnonzero([np.array_equal(m, np.eye(4)) for m in told['matrices']])
    assert told['reference'] == [4, 6, 9][rest]


@pytest.mark.parametrize(('axis', 'name'), [(0, 'i'), (2, 'k')])
def test_motion_within_volumes_is_between_the_slices_of_the_scan(turned, save, axis, name):
    volumes, affine = turned
    volumes = np.stack([volumes[..., 0]] * 3, axis=-1)
    torn = turned[0][..., 1]
    volumes[:, :, ::2, 1] = torn[:, :, ::2]
    path = save(volumes, affine, 'b0.nii')
    found = NoMotion(in_file=str(path), volumes=[0, 1, 2], slice_axis=name).run().outputs
    table = pd.read_csv(found.confounds, sep='\t')
    expected = within_volume_motion(volumes, affine, np.tile(np.eye(4), (3, 1, 1)), axis)
    np.testing.assert_allclose(table['within_volume'], expected, atol=3e-3)
    # Between halves of another direction nothing is torn
    assert (expected[1] > 0.05) == (axis == 2)
    assert any('volumes were scanned' in note for note in found.notes) == (expected[1] > 0.12)
