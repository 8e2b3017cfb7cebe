"""A head is read as a stack in the animal's own millimetres, with the mask of its brain."""

import numpy as np
import pytest

from secondglance.files.heads import read_head
from secondglance.imaging.errors import InputError
from secondglance.imaging.pose import Pose

AFFINE = np.diag([0.4, 0.4, 1.0, 1.0])
POSE = Pose('rat', 0.4, slice_axis='k')


@pytest.fixture
def head(rng):
    """An ellipsoid of 20 × 16 × 8 mm, brighter to one end."""
    i, j, k = np.indices((60, 50, 10))
    inside = ((i - 30) / 25) ** 2 + ((j - 25) / 20) ** 2 + ((k - 4.5) / 4) ** 2 < 1
    return (rng.normal(5, 1, inside.shape) + inside * (100 + i)).astype(np.float32)


def test_a_head_comes_with_its_mask_on_the_grid_of_its_pose(head, save):
    image = save(head, AFFINE, 'head.nii')
    mask = save((head > 130).astype(np.uint8), AFFINE, 'mask.nii')
    found, grid = read_head(image, mask, POSE)
    expected = POSE.grid(head.shape, AFFINE)
    np.testing.assert_allclose(grid.affine, expected.affine)
    np.testing.assert_allclose(found.images, expected.to_stack(head), rtol=1e-3)
    labels = expected.to_stack((head > 130).astype(np.float32)) >= 0.5
    np.testing.assert_array_equal(np.asarray(found.labels) > 0, labels)
    alone, _ = read_head(image, None, POSE)
    assert alone.labels is None


def test_lengths_are_those_of_the_animal(head, save):
    """A header for human software has ten times the lengths."""
    longer = np.diag([10, 10, 10, 1]) @ AFFINE
    found, grid = read_head(save(head, longer, 'head.nii'), None, POSE)
    right, right_grid = read_head(save(head, AFFINE, 'right.nii'), None, POSE)
    np.testing.assert_allclose(grid.affine, right_grid.affine, atol=1e-6)
    np.testing.assert_allclose(found.images, right.images, rtol=1e-3)
    assert found.thickness == pytest.approx(1.0)


def test_what_is_no_head_is_named(head, save):
    image = save(head, AFFINE, 'head.nii')
    series = save(np.stack([head, head, head], -1), AFFINE, 'series.nii')
    with pytest.raises(InputError, match=r'series\.nii has 3 volumes: give one, or their mean'):
        read_head(series, None, POSE)
    labels = save((head > 50).astype(np.uint8), AFFINE, 'labels.nii')
    with pytest.raises(InputError, match=r'labels\.nii .*as a mask or labels do'):
        read_head(labels, None, POSE)
    shifted = AFFINE.copy()
    shifted[0, 3] = 1
    away = save((head > 50).astype(np.uint8), shifted, 'away.nii')
    with pytest.raises(InputError, match='different grids'):
        read_head(image, away, POSE)
