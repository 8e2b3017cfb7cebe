"""A smooth map is found from noisy matches, and can be undone."""

import numpy as np
import pytest

from secondglance.imaging.errors import InputError
from secondglance.imaging.smooth_transform import (
    SmoothTransform,
    fit_transform,
    roughness,
    tukey_weight,
)


def bent(points):
    """A known map: affine, and a smooth warp of up to half a millimetre."""
    matrix = np.array([[1.1, 0.05, -0.1], [-0.05, 0.95, 0.08], [0.1, 0.0, 1.05]])
    x, y, z = np.moveaxis(points, -1, 0)
    waves = np.stack([np.sin(y / 5), np.cos(x / 5 + z / 4), np.sin(x / 4)], axis=-1)
    return points @ matrix.T + [1.0, -2.0, 0.5] + 0.5 * waves


@pytest.fixture
def brain():
    axes = np.linspace(-7, 7, 36), np.linspace(-10, 10, 24), np.linspace(-5, 5, 30)
    grid = np.stack(np.meshgrid(*axes, indexing='ij'), axis=-1)
    return grid[((grid / [7, 10, 5]) ** 2).sum(axis=-1) < 1]


def test_known_warp_is_recovered_to_a_tenth_of_a_millimetre(brain):
    found = fit_transform(brain, bent(brain)).apply(brain)
    assert np.linalg.norm(found - bent(brain), axis=1).max() < 0.1


def test_wrong_matches_do_not_count(brain):
    rng = np.random.default_rng(0)
    targets = bent(brain) + rng.normal(0, 0.2, brain.shape)
    wrong = rng.random(len(brain)) < 0.1
    targets[wrong] += rng.normal(5, 2, (wrong.sum(), 3))
    away = np.linalg.norm(fit_transform(brain, targets).apply(brain) - bent(brain), axis=1)
    assert np.median(away) < 0.1
    assert away.max() < 0.5


def test_wrong_matches_do_not_turn_the_affine_map(brain):
    """One in seven, all in one half, lies 6 mm too far to one side."""
    matrix = np.array([[1.1, 0.05, -0.1], [-0.05, 0.95, 0.08], [0.1, 0.0, 1.05]])
    noise = np.random.default_rng(0).normal(0, 0.1, brain.shape)
    targets = brain @ matrix.T + [1.0, -2.0, 0.5] + noise
    wrong = np.flatnonzero(brain[:, 0] > 0)[::4]
    targets[wrong, 1] += 6
    found = fit_transform(brain, targets).affine
    np.testing.assert_allclose(found[:, :3], matrix, atol=0.02)
    np.testing.assert_allclose(found[:, 3], [1.0, -2.0, 0.5], atol=0.05)


def test_weights_of_zero_leave_matches_out(brain):
    targets = bent(brain)
    half = brain[:, 0] > 0
    targets[half] = 0
    found = fit_transform(brain, targets, ~half).apply(brain[~half])
    assert np.abs(found - bent(brain[~half])).max() < 0.1


def test_inverse_undoes_the_map(brain):
    found = fit_transform(brain, bent(brain))
    assert np.allclose(found.inverse(found.apply(brain)), brain, atol=5e-3)


def test_grid_and_points_agree(brain):
    found = fit_transform(brain, bent(brain))
    axes = np.array([-3.0, 0, 2]), np.array([-9.0, 1]), np.array([-4.0, -1, 0, 9])
    points = np.stack(np.meshgrid(*axes, indexing='ij'), axis=-1)
    assert np.allclose(found.apply_grid(*axes), found.apply(points))


def test_single_slice_is_placed(brain):
    """One slice says nothing of the third direction; the map must stay sound."""
    plane = brain[np.abs(brain[:, 1] - brain[0, 1]) < 20]
    plane = plane[plane[:, 1] == plane[len(plane) // 2, 1]]
    moved = plane + np.array([0.0, 3.0, 0.0])
    found = fit_transform(plane, moved)
    assert np.allclose(found.apply(plane), moved, atol=0.05)
    assert found.least_jacobian() > 0


def test_folding_targets_give_a_map_that_does_not_fold(brain):
    targets = brain.copy()
    targets[:, 0] = np.abs(targets[:, 0])
    assert fit_transform(brain, targets).least_jacobian() > 0


def test_too_few_matches_are_refused():
    with pytest.raises(InputError, match='only 3 usable pixels'):
        fit_transform(np.eye(3), np.eye(3))


def test_only_bends_are_rough():
    """Of 5 × 4 × 6 coefficients: x² has 2 as its second difference in 3 × 4 × 6 places."""
    x, y, z = (axis.ravel() for axis in np.indices((5, 4, 6)).astype(float))
    # Beside a little on size
    rough = roughness((5, 4, 6)) - 1e-3 * np.eye(120)

    def of(coefficients):
        return coefficients @ rough @ coefficients

    assert of(2 * x + 3 * y - z + 7) == pytest.approx(0, abs=1e-9)
    assert of(x**2) == pytest.approx(4 * 3 * 4 * 6)
    assert of(y**2) == pytest.approx(4 * 5 * 2 * 6)
    assert of(z**2) == pytest.approx(4 * 5 * 4 * 4)


def test_change_of_volume_is_told_beside_that_of_the_affine_map(brain):
    """A map that doubles every length, and nothing more, changes no volume beside itself."""
    straight = np.column_stack([2 * np.eye(3), np.zeros(3)])
    box = np.array([-7.0, -10, -5]), np.array([7.0, 10, 5])
    empty = SmoothTransform(straight, *box, np.zeros((3, 5, 5, 5)))
    assert empty.least_jacobian() == pytest.approx(1)
    # Control points that move with their place by a tenth of it: one axis grows from 2 to 2.2
    ramp = np.zeros((3, 5, 5, 5))
    ramp[0] += (np.arange(5.0) - 2)[:, None, None] * 7 * 0.2
    assert SmoothTransform(straight, *box, ramp).least_jacobian() == pytest.approx(1.1, abs=1e-6)


@pytest.mark.parametrize('size', [1.0, 3.0])
def test_knots_lie_apart_in_millimetres_of_the_target(brain, size):
    """A box of 14 × 20 × 10 mm of the target, whatever the points are measured in."""
    found = fit_transform(brain / size, brain, knots_mm=5)
    box = np.ptp(brain, axis=0)
    assert found.splines.shape == (3, *(int(n) + 3 for n in np.ceil(box / 5)))


def test_matches_count_less_the_farther_they_are_off_and_nothing_beyond_three_deviations():
    """Of residuals of a median of 1.54 mm: a deviation of 1 mm, an end at 4.62 mm."""
    away = np.array([0, 1.54, 1.54, 2.31, 4.7])
    by_hand = [1, (1 - 1 / 9) ** 2, (1 - 1 / 9) ** 2, (1 - 1 / 4) ** 2, 0]
    assert tukey_weight(away) == pytest.approx(by_hand)
    # Good matches are taken to spread by a tenth of a millimetre at least
    assert tukey_weight(np.array([0, 0, 0, 0.231])) == pytest.approx([1, 1, 1, (1 - 1 / 4) ** 2])


def test_reweighting_has_come_to_its_end_by_default():
    """To 5 µm; one match in forty is wrong, all in one place. One time less leaves 11 µm."""
    rng = np.random.default_rng(0)
    points = rng.uniform(-6, 6, (1500, 3))
    targets = bent(points) + rng.normal(0, 0.05, points.shape)
    wrong = (np.linalg.norm(points - [2, 1, 0], axis=1) < 3) & (rng.random(len(points)) < 0.4)
    targets[wrong] += [2, 0, 0]
    end = fit_transform(points, targets, iterations=12).apply(points)
    away = [
        np.linalg.norm(fit_transform(points, targets, **few).apply(points) - end, axis=1).max()
        for few in ({}, {'iterations': 2})
    ]
    assert away[0] < 0.005 < away[1]
