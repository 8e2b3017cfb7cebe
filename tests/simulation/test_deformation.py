import numpy as np
import torch

from secondglance.simulation.deformation import bend_grid, pose_grid, resample


def image(rng):
    return torch.from_numpy(rng.random((1, 1, 8, 8), dtype=np.float32))


def test_no_pose_is_the_identity(rng):
    slices = image(rng)
    same = resample(slices, pose_grid((1, 8, 8), 0.0, 1.0, 1.0, np.zeros((1, 2))))
    np.testing.assert_allclose(same, slices, atol=1e-5)


def test_flip_swaps_left_and_right(rng):
    slices = image(rng)
    swapped = resample(slices, pose_grid((1, 8, 8), 0.0, 1.0, -1.0, np.zeros((1, 2))))
    np.testing.assert_allclose(swapped, slices.flip(2), atol=1e-5)


def test_a_scale_a_direction_grows_each_by_its_own():
    slices = torch.zeros(1, 1, 16, 16)
    slices[..., 6:10, 6:10] = 1
    grid = pose_grid((1, 16, 16), 0.0, np.array([[2.0, 1.0]]), 1.0, np.zeros((1, 2)))
    grown = resample(slices, grid)[0, 0] > 0.5
    assert grown.any(dim=1).sum() == 4
    assert grown.any(dim=0).sum() == 8


def test_a_bend_of_one_pixel_moves_one_pixel(rng):
    slices, still = image(rng), torch.zeros(1, 2, 8, 8)
    grid = pose_grid((1, 8, 8), 0.0, 1.0, 1.0, np.zeros((1, 2)))
    moved = resample(slices, bend_grid(grid, still, torch.full((1, 1, 8, 8), 0.5), 0, 0.5))
    np.testing.assert_allclose(moved[..., :-1], slices[..., 1:], atol=1e-5)
