import numpy as np
import pytest

from secondglance.imaging.errors import InputError
from secondglance.imaging.pose import HeadStack, Pose

AFFINE = np.diag([0.2, 0.2, 0.7, 1.0])


def test_a_mouse_becomes_as_large_as_a_rat(rng):
    voxels = rng.random((30, 28, 5))
    mask = np.zeros(voxels.shape, np.uint8)
    mask[8:20, 8:20, 1:4] = 255
    pose = Pose('mouse', 0.13, 'k')
    grid = pose.grid(voxels.shape, AFFINE)
    head = pose.stack(grid, voxels, mask)
    assert head.spacing == pytest.approx(0.2)
    np.testing.assert_allclose(head.positions, np.arange(-2, 3) * 0.7 / 0.65)
    assert head.thickness == pytest.approx(0.7 / 0.65)
    # Any value above zero is brain: 12 × 12 voxels of 0.2 mm in each of three slices
    area = head.brain.sum(axis=(1, 2)) * 0.13**2
    np.testing.assert_allclose(area, np.array([0, 1, 1, 1, 0]) * 2.4**2, rtol=0.1)
    np.testing.assert_array_equal(pose.stack(grid, voxels).images, head.images)
    with pytest.raises(ValueError, match='no labels'):
        _ = pose.stack(grid, voxels).brain


def test_a_mask_between_pixels_is_interpolated_and_cut_at_one_half():
    """One voxel of 1.6 mm on pixels of 0.1: by linear interpolation a diamond with round sides."""
    affine = np.diag([1.6, 1.6, 2.0, 1.0])
    mask = np.zeros((9, 9, 1))
    mask[4, 4] = 3
    pose = Pose('rat', 0.1, 'k')
    grid = pose.grid(mask.shape, affine)
    rows, columns = (
        np.clip(1 - np.abs((grid.affine[a, 3] + 0.1 * np.arange(n)) / 1.6 - 4), 0, 1)
        for a, n in enumerate(grid.stack_shape[1:])
    )
    expected = np.outer(rows, columns) >= 0.5
    assert 0.2 < expected.sum() / 16**2 < 0.8
    np.testing.assert_array_equal(pose.stack(grid, mask, mask).brain[0], expected)


def test_distance_of_slices_is_their_mean():
    images = np.zeros((3, 4, 4), np.float32)
    assert HeadStack(images, np.array([0.0, 0.5, 2.0]), 0.3).thickness == 1.0
    assert HeadStack(images[:1], np.array([3.0]), 0.3).thickness == 1.0
    assert HeadStack(images[:2], np.array([0.0, 0.6]), 0.3).thickness == pytest.approx(0.6)


def test_slices_are_turned_and_the_shortest_side_counts():
    pose = Pose('rat', 0.2, 'k', 1)
    grid = pose.grid((32, 40, 3), AFFINE)
    assert grid.in_plane == (1, 0)
    pose.check_extent(grid, 32)
    with pytest.raises(InputError, match=r'Slices of 6\.4 mm are too small; .* 6\.6 mm'):
        pose.check_extent(grid, 33)
    assert Pose(**pose.to_plain()) == pose
