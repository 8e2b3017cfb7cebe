"""The coarse registration, which others refine."""

import numpy as np
import pytest

from secondglance.imaging.registration import coarse_pull, head_centre

SHAPE = (96, 88, 12)
SIZE = np.array([0.4, 0.4, 1.0])


@pytest.fixture
def head():
    """Return a function that gives an ellipsoid with blobs in it, moved by so many mm."""
    rng = np.random.default_rng(0)
    blobs = rng.uniform(-6, 6, (20, 3)), rng.uniform(0.6, 1.5, 20), rng.normal(0, 40, 20)
    rest = np.moveaxis(np.indices(SHAPE), 0, -1) * SIZE - (np.array(SHAPE) - 1) * SIZE / 2

    def _head(shift):
        where = rest - shift
        radius = np.linalg.norm(where / [12, 10, 6], axis=-1)
        image = 100 / (1 + np.exp((radius - 1) / 0.06))
        for place, width, height in zip(*blobs, strict=True):
            away = ((where - place) ** 2).sum(-1)
            image += height * np.exp(-away / (2 * width**2)) * (radius < 1)
        return image.astype(np.float32)

    return _head


def test_a_shift_of_a_head_on_fine_voxels_is_found_to_a_tenth_of_one(head):
    """Every second voxel in plane tells it; thick slices are all taken."""
    still = head(np.zeros(3))
    centre = head_centre(still) * SIZE
    pull = coarse_pull(head(np.array([1.3, -0.9, 0.5])), still, SIZE, centre)
    found = (pull @ [*centre, 1])[:3] - centre
    np.testing.assert_allclose(found, [1.3, -0.9, 0.5], atol=0.04)


@pytest.mark.parametrize('axis', range(3))
@pytest.mark.parametrize('n', [1, 3])
def test_a_few_slices_are_moved_and_turned_in_their_plane(axis, n):
    """Most of the way: what is left, others find."""
    shape, size = np.insert([60, 50], axis, n), np.array([0.4, 0.4, 0.4])
    one, two = np.delete(np.arange(3), axis)
    rest = np.moveaxis(np.indices(shape), 0, -1) * size

    def head(at):
        x, y = at[..., one] - 12, at[..., two] - 10
        ring = 100 / (1 + np.exp((np.hypot(x / 8, y / 5) - 1) / 0.05))
        return ring - 60 * np.exp(-((x - 3) ** 2 + (y - 1) ** 2) / 4)

    turn = np.eye(3)
    turn[np.ix_([one, two], [one, two])] = [[0.96, -0.28], [0.28, 0.96]]
    centre = np.array([[0.0, 12, 10], [12, 0, 10], [12, 10, 0]])[axis]
    shift = np.insert([2.0, -1.2], axis, 0)
    # What lies at a place of the moved head lay here
    moved = head((rest - centre - shift) @ turn + centre)
    pull = coarse_pull(moved, head(rest), size, centre)
    assert pull[two, one] > 0.05
    np.testing.assert_allclose(pull[axis], np.eye(4)[axis], atol=1e-12)
    np.testing.assert_allclose((pull @ [*centre, 1])[:3] - centre, shift, atol=0.5)
