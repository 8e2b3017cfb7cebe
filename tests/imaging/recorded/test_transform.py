"""Smooth transforms, by numbers that were recorded."""

import numpy as np
import pytest

from secondglance.imaging.smooth_transform import (
    SmoothTransform,
    fit_transform,
    roughness,
    tukey_weight,
)


@pytest.fixture(scope='module')
def matches():
    """Points, where they belong, with noise and some that are wrong, and how much each counts."""
    rng = np.random.default_rng(30)
    points = rng.uniform([-3, -2, -2.5], [3.5, 2.5, 2], (600, 3))
    x, y, z = points.T
    goal = points @ np.array([[1.1, 0.1, 0], [-0.05, 0.9, 0.1], [0, 0.05, 1.2]]) + [1, -2, 0.5]
    goal += np.column_stack([0.3 * np.sin(0.8 * y), 0.2 * np.cos(x * 0.6), 0.25 * np.sin(z + y)])
    goal += rng.normal(0, 0.05, goal.shape)
    goal[::13] += rng.normal(0, 4, goal[::13].shape)
    return points, goal, np.where(rng.random(600) < 0.1, 0, rng.uniform(0.3, 1, 600))


def shown(transform):
    """A transform, and what it does within its box and beyond."""
    rng = np.random.default_rng(4)
    points = rng.uniform(-4, 5, (6, 5, 3))
    axes = np.linspace(-4, 4, 6), np.linspace(-3, 3, 5), np.linspace(-3, 3, 7)
    return {
        'transform': transform,
        'applied': transform.apply(points),
        'grid': transform.apply_grid(*axes),
        'inverse': transform.inverse(points[:2], tolerance_mm=1e-9),
        'step': transform.inverse(points, 1),
        'jacobian': [transform.least_jacobian(), transform.least_jacobian(5)],
    }


def test_fitted_transforms(recorded, matches):
    points, goal, weights = matches
    recorded(
        {
            'fine': shown(fit_transform(points, goal, weights, knots_mm=1.9, smooth=0.02)),
            'as is': shown(fit_transform(points, goal)),
            'steps': shown(fit_transform(points, goal, weights, iterations=1)),
            'many': fit_transform(*(np.tile(m, (12, 1)) for m in (points, goal)), knots_mm=6.0),
            'flat': shown(fit_transform(points * [1, 1, 0.1], goal)),
            'a few': fit_transform(points[:31], goal[:31], weights[:31] + 0.1),
        },
        tolerance=1e-5,
    )


def test_transforms_that_fold(recorded, matches, said):
    points, goal, weights = matches
    folded = goal + 2.5 * np.sin(2.5 * points[:, ::-1])
    worse = np.column_stack([goal[:, 0] * np.sign(points[:, 1]), goal[:, 1:]])
    recorded(
        {
            'folded': fit_transform(points, folded, smooth=1e-4, knots_mm=1.5),
            'worse': fit_transform(points, worse, weights, smooth=1e-6, knots_mm=1.5),
            'too few': said(fit_transform, points[:40], goal[:40], np.arange(40) % 4 > 1),
            'enough': said(fit_transform, points[:29], goal[:29]),
        },
        tolerance=1e-4,
    )


def test_a_transform_by_hand(recorded):
    rng = np.random.default_rng(11)
    affine = np.array([[1.2, 0.1, 0, 3], [0, 0.9, -0.2, -1], [0.1, 0, 1.1, 2]])
    made = SmoothTransform(
        affine, np.array([-3.0, -2, -2]), np.array([4.0, 3, 2]), rng.normal(0, 0.2, (3, 4, 6, 5))
    )
    recorded(
        {
            **shown(made),
            'rough': roughness((4, 5, 6)),
            'trust': tukey_weight(np.linspace(0, 9, 40)),
            'trust in small ones': tukey_weight(np.linspace(0, 0.2, 40)),
        }
    )
