"""Motion correction of a series, with engines that are known."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from secondglance.imaging import motion_correction
from secondglance.imaging.motion_correction import (
    MOTION_COLUMNS,
    MotionEstimate,
    correct_motion,
    find_noise,
    motion_table,
)

AFFINE = np.diag([0.5, 0.5, 1.0, 1.0])


def shifted(mm, n=3):
    """Matrices that move the second volume along the first axis."""
    matrices = np.tile(np.eye(4), (n, 1, 1))
    matrices[1, 0, 3] = mm
    return matrices


@pytest.fixture
def series(rng):
    head = ndimage.gaussian_filter(rng.random((16, 16, 8)), 1.5).astype(np.float32)
    return np.stack([head, np.roll(head, -1, 0), head], axis=-1)


@pytest.fixture
def region():
    inside = np.zeros((16, 16, 8), bool)
    inside[5:11, 5:11, 2:6] = True
    return inside


def by_step(first, second):
    """An engine that finds `first` on the head and `second` on the brain."""

    def estimate(volumes, start, region):
        return MotionEstimate(shifted(first if start is None else second), 0, 'v')

    return estimate


def test_volumes_are_brought_to_the_reference(series):
    found = correct_motion(series, AFFINE, by_step(0.5, 0.5))
    np.testing.assert_allclose(found.volumes[2:-2, ..., 1], series[2:-2, ..., 0], atol=1e-6)
    assert found.region is None
    assert found.by_head is None


@pytest.mark.parametrize(('apart', 'by_brain'), [(0.05, False), (0.06, True)])
def test_the_brain_decides_where_it_moves_otherwise_than_the_head(series, region, apart, by_brain):
    """One of three volumes: a mean of 0.017 or 0.020 mm; 3 % of a voxel of 0.63 mm are 0.019."""
    asked = []

    def find_brain(corrected):
        asked.append(corrected)
        return region

    engine = by_step(0.5, 0.5 + apart)
    found = correct_motion(series, AFFINE, engine, find_brain)
    # The brain is sought in volumes that were corrected on the head
    np.testing.assert_allclose(asked[0][2:-2, ..., 1], series[2:-2, ..., 0], atol=1e-6)
    assert found.motion.matrices[1, 0, 3] == (0.5 + apart if by_brain else 0.5)
    assert (found.region is not None) == by_brain
    # Both estimates are on record
    assert found.by_head[1, 0, 3] == 0.5
    np.testing.assert_allclose(found.apart, [0, apart, 0], atol=1e-9)


def test_the_distance_of_both_estimates_is_a_mean_over_the_brain_in_mm(series, region):
    """A turn about the world's z: an arc's chord at each voxel's distance from the axis."""
    affine = AFFINE.copy()
    affine[:3, 3] = 3, -2, 5
    turned = shifted(0.0)
    turned[1, :3, :3] = Rotation.from_rotvec([0, 0, 0.2]).as_matrix()

    def estimate(volumes, start, region):
        return MotionEstimate(shifted(0.0) if start is None else turned, 0)

    found = correct_motion(series, affine, estimate, lambda corrected: region)
    i, j, _ = np.nonzero(region)
    chord = 2 * np.sin(0.1) * np.hypot(0.5 * i + 3, 0.5 * j - 2).mean()
    np.testing.assert_allclose(found.apart, [0, chord, 0], atol=1e-9)


def test_on_the_brain_the_target_is_the_mean_of_all_volumes(series, region):
    """Of brightness 1, 2 and 6, brought together: three times the head."""
    asked = []

    def estimate(volumes, start, region):
        asked.append(start)
        return MotionEstimate(shifted(0.5), 0)

    correct_motion(series * [1, 2, 6], AFFINE, estimate, lambda corrected: region)
    assert asked[0] is None
    np.testing.assert_allclose(asked[1].mean[2:-2], 3 * series[2:-2, ..., 0], rtol=1e-4)
    np.testing.assert_array_equal(asked[1].matrices, shifted(0.5))


@pytest.mark.parametrize('reference', [0, 2])
def test_the_reference_counts_however_unlike_the_mean_it_is(series, rng, reference):
    """All others were brought to it: it is where it belongs."""
    noise = rng.random(series.shape[:3]).astype(np.float32)
    volumes = np.stack([noise, *np.moveaxis(series, -1, 0), series[..., 0]], axis=-1)
    still = MotionEstimate(np.tile(np.eye(4), (5, 1, 1)), reference)
    found = correct_motion(volumes, AFFINE, lambda *_: still)
    assert found.lost.tolist() == [reference != 0, False, False, False, False]


def test_without_a_brain_the_head_decides(series):
    found = correct_motion(series, AFFINE, by_step(0.5, 0.9), lambda corrected: None)
    assert found.motion.matrices[1, 0, 3] == 0.5
    assert found.by_head is None


def test_lost_volumes_have_no_part_in_what_others_are_compared_with(rng):
    """Five of a head with a slice moved in each, and two of something else."""
    shape = (24, 22, 18)
    head, other = (100 * ndimage.gaussian_filter(rng.random(shape), 2) for _ in range(2))
    volumes = np.stack([head] * 5 + [other] * 2, axis=-1) + rng.normal(0, 0.2, (*shape, 7))
    still = MotionEstimate(np.tile(np.eye(4), (7, 1, 1)), 0)
    found = correct_motion(volumes, AFFINE, lambda *_: still)
    assert found.lost.tolist() == [False] * 5 + [True] * 2
    alone = MotionEstimate(np.tile(np.eye(4), (5, 1, 1)), 0)
    expected = correct_motion(volumes[..., :5], AFFINE, lambda *_: alone).within
    assert expected.min() > 0
    np.testing.assert_allclose(found.within[:5], expected, rtol=1e-9)


def test_a_single_volume_asks_no_engine(series):
    found = correct_motion(series[..., :1], AFFINE, None, None)
    np.testing.assert_array_equal(found.motion.matrices, np.eye(4)[None])


def test_noise_is_found_unless_all_is_noise(series, rng):
    noise = rng.rayleigh(1, (16, 16, 8)).astype(np.float32)
    mixed = np.stack([series[..., 0], noise, series[..., 2]], axis=-1)
    assert find_noise(mixed).tolist() == [False, True, False]
    assert not find_noise(np.stack([noise, noise[::-1]], axis=-1)).any()
    assert not find_noise(noise[..., None]).any()


def test_the_table_has_every_volume_in_the_order_of_the_scan(series):
    found = correct_motion(series, AFFINE, by_step(0.5, 0.5))
    rows = motion_table(found, [7, 2, 9], np.zeros(3), {4: 'zeros'})
    assert [row['volume'] for row in rows] == [2, 4, 7, 9]
    assert all(tuple(row) == MOTION_COLUMNS for row in rows)
    moved, empty = rows[:2]
    assert (moved['trans_x'], moved['excluded']) == (0.5, 'n/a')
    assert (empty['trans_x'], empty['excluded']) == (None, 'zeros')


def test_volumes_after_a_lost_one_keep_their_motion(series):
    found = correct_motion(series, AFFINE, by_step(0.5, 0.5))
    found = replace(found, lost=np.array([True, False, False]))
    rows = motion_table(found, [0, 1, 2], np.zeros(3), {})
    assert [row['excluded'] for row in rows] == ['registration', 'n/a', 'n/a']
    assert [row['trans_x'] for row in rows] == [None, 0.5, 0]
    assert rows[0]['within_volume'] is None
    assert [row['within_volume'] for row in rows[1:]] == found.within[1:].tolist()


@pytest.mark.parametrize(('asked', 'axis'), [('auto', 2), ('i', 0), ('j', 1)])
def test_motion_within_volumes_is_along_the_axis_that_is_asked_for(
    series, monkeypatch, asked, axis
):
    along = []

    def within(volumes, affine, matrices, slice_axis, **more):
        along.append(slice_axis)
        return np.zeros(len(matrices))

    monkeypatch.setattr(motion_correction, 'within_volume_motion', within)
    correct_motion(series, AFFINE, by_step(0.5, 0.5), slice_axis=asked)
    assert along == [axis]


def test_volumes_are_judged_by_the_brain_where_it_is_known(series, region, monkeypatch):
    """The brain moved otherwise than the head; without it the whole volume is compared."""
    asked = []

    def unlike(volumes, where=None):
        asked.append(where)
        return np.zeros(volumes.shape[3], bool)

    monkeypatch.setattr(motion_correction, 'unlike_mean', unlike)
    correct_motion(series, AFFINE, by_step(0.5, 0.9), lambda corrected: region)
    correct_motion(series, AFFINE, by_step(0.5, 0.5), lambda corrected: None)
    assert asked[0] is region
    assert asked[1] is None
