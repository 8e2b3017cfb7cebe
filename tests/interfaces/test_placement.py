"""The table of a placed mask, in millimetres of the animal."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from secondglance.files.stacks import read_stack, write_stack
from secondglance.imaging.placement.donors import Donor, place_from_bank
from secondglance.imaging.pose import Pose
from secondglance.interfaces.placement import Place, placement_rows


@pytest.mark.parametrize(('species', 'size'), [('rat', 1.0), ('mouse', 0.65)])
def test_known_shifts_are_told_in_millimetres(rng, tmp_path, monkeypatch, species, size):
    """A donor, in the size of a rat, moved by 2 and −3 pixels of 0.3 mm of it."""
    monkeypatch.chdir(tmp_path)
    y, x = np.mgrid[:40, :44] - np.array([20, 22])[:, None, None]
    mask = np.stack([(y / 11) ** 2 + (x / 9) ** 2 < 1 + 0.03 * n for n in range(5)])
    edges = ndimage.gaussian_filter(rng.random(mask.shape), (0, 1.5, 1.5)) * mask
    shifts = np.tile([2, -3], (5, 1))
    shifts[3] = [-8, 6]
    moved = np.stack([ndimage.shift(e, s, order=0) for e, s in zip(edges, shifts, strict=True)])
    donor = np.diag([0.3, 0.3, 1.0, 1.0])
    affine = np.diag([size, size, size, 1.0]) @ donor
    found = (
        Place(
            enhanced_stack=write_stack(moved.astype(np.float32), affine, tmp_path / 'e.nii'),
            donor_enhanced=[write_stack(edges.astype(np.float32), donor, tmp_path / 'd.nii')],
            donor_masks=[write_stack(mask, donor, tmp_path / 'm.nii')],
            pose=Pose(species, 0.3 * size).to_plain(),
        )
        .run()
        .outputs
    )
    table = pd.read_csv(found.placement, sep='\t')
    np.testing.assert_allclose(table['position_mm'], np.arange(-2, 3) * size)
    np.testing.assert_allclose(table['shift_x_mm'], 2 * 0.3 * size)
    np.testing.assert_allclose(table['shift_y_mm'], -3 * 0.3 * size)
    np.testing.assert_allclose(table['found_x_mm'], shifts[:, 0] * 0.3 * size)
    np.testing.assert_allclose(table['found_y_mm'], shifts[:, 1] * 0.3 * size)
    assert table['replaced'].tolist() == [False, False, False, True, False]
    assert table['donor_slice'].tolist() == list(range(5))
    assert table['confidence'].tolist()[:3] == [1, 1, 1]
    assert table['confidence'][3] < 0.01
    assert table['peak'].min() > 0.9
    told = json.loads(Path(found.donor).read_text())
    assert (told['donor'], told['scale']) == (0, 1)
    assert told['offset_mm'] == pytest.approx(0, abs=1e-5)
    assert told['slices'] == list(range(5))
    assert (told['in_plane_scale'], told['degrees']) == (1, 0)
    expected = ndimage.shift(mask.astype(float), (0, 2, -3), order=0) > 0.5
    np.testing.assert_array_equal(read_stack(found.placed_stack)[0] > 0, expected)


@pytest.mark.parametrize(('species', 'size'), [('rat', 1.0), ('mouse', 0.65)])
def test_the_offset_of_a_donor_is_in_millimetres_of_the_animal(
    rng, tmp_path, monkeypatch, species, size
):
    """The subject has the last six of the donor's nine slices: the middle lies 1.5 mm farther."""
    monkeypatch.chdir(tmp_path)
    y, x = np.mgrid[:40, :44] - np.array([20, 22])[:, None, None]
    mask = np.broadcast_to((y / 11) ** 2 + (x / 9) ** 2 < 1, (9, 40, 44))
    edges = (ndimage.gaussian_filter(rng.random(mask.shape), (0, 1.5, 1.5)) * mask).astype('f4')
    donor = np.diag([0.3, 0.3, 1.0, 1.0])
    affine = np.diag([size, size, size, 1.0]) @ donor
    found = Place(
        enhanced_stack=write_stack(edges[3:], affine, tmp_path / 'e.nii'),
        donor_enhanced=[write_stack(edges, donor, tmp_path / 'd.nii')],
        donor_masks=[write_stack(mask, donor, tmp_path / 'm.nii')],
        pose=Pose(species, 0.3 * size).to_plain(),
    ).run()
    told = json.loads(Path(found.outputs.donor).read_text())
    assert told['slices'] == [3, 4, 5, 6, 7, 8]
    assert told['offset_mm'] == pytest.approx(1.5 * size, abs=1e-5)


@pytest.fixture
def two_donors(rng, tmp_path, monkeypatch):
    """The second donor is the subject, moved; masks are soft at their outlines."""
    monkeypatch.chdir(tmp_path)
    y, x = np.mgrid[:26, :28] - np.array([13, 14])[:, None, None]
    away = np.stack([(y / 7) ** 2 + (x / 6) ** 2 - 0.03 * n for n in range(3)])
    soft = np.clip(1.5 - away, 0, 1)
    edges = [ndimage.gaussian_filter(rng.random(away.shape), (0, 1.5, 1.5)) * soft for _ in '12']
    subject = ndimage.shift(edges[1], (0, 2, -3), order=0)
    affine = np.diag([0.3, 0.3, 1.0, 1.0])
    donors = [
        (
            write_stack(one.astype('f4'), affine, tmp_path / f'd{n}.nii'),
            write_stack(soft.astype('f4'), affine, tmp_path / f'm{n}.nii'),
        )
        for n, one in enumerate(edges)
    ]
    stack = write_stack(subject.astype('f4'), affine, tmp_path / 'e.nii')
    positions = np.arange(-1.0, 2)
    bank = [Donor(one.astype('f4'), soft.astype('f4') >= 0.5, positions) for one in edges]
    return stack, donors, bank, positions


@pytest.mark.parametrize('similarity', [False, True])
def test_the_table_and_stacks_are_those_of_the_placement(two_donors, similarity):
    stack, donors, bank, positions = two_donors
    given = {'donor_enhanced': [d for d, _ in donors], 'donor_masks': [m for _, m in donors]}
    pose = Pose('rat', 0.3).to_plain()
    node = Place(enhanced_stack=stack, **given, similarity=similarity, pose=pose)
    out = node.run().outputs
    found = place_from_bank(read_stack(stack)[0], positions, bank, similarity=similarity)
    np.testing.assert_array_equal(read_stack(out.placed_stack)[0], found.mask)
    kernels, _ = read_stack(out.kernel_stack)
    np.testing.assert_allclose(kernels[:, 0], found.match.kernels, atol=1e-6)
    np.testing.assert_array_equal(kernels[:, 1], found.match.mask)
    told = json.loads(Path(out.donor).read_text())
    assert told == {
        'donor': 1,
        'scores': found.match.scores,
        'offset_mm': float(found.match.slices.offset_mm),
        'scale': float(found.match.slices.scale),
        'slices': found.match.slices.nearest.tolist(),
        'in_plane_scale': found.match.scale,
        'degrees': found.match.degrees,
    }
    assert told['scores'][1] > told['scores'][0]
    table = pd.read_csv(out.placement, sep='\t')
    rows = placement_rows(found, positions, 0.3)
    assert list(table) == list(rows[0])
    assert table['slice'].tolist() == [0, 1, 2]
    assert table['donor'].tolist() == [1] * 3
    for name in list(table)[1:]:
        np.testing.assert_allclose(table[name].astype(float), [float(r[name]) for r in rows], 1e-4)
