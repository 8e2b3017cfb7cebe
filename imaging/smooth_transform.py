"""A smooth map from one brain to another, fitted robustly to many noisy matches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from secondglance.imaging.errors import InputError

KNOTS_MM = 2.5
"""Distance of the control points, mm of the target."""

_LEAST = 30
"""Matches needed to fit anything."""

_MOST = 6000
"""Matches that are used: more only cost time."""

_LEAST_SPREAD_MM = 0.1
"""Residuals of good matches are taken to spread at least so much."""

_OUTLIER = 3.0
"""Residuals beyond so many robust standard deviations count nothing."""


@dataclass(frozen=True)
class SmoothTransform:
    """An affine map, and cubic B-splines added to it.

    Attributes
    ----------
    affine : (3, 4) array
        From a point, mm, to its place in the target, mm.
    low, high : (3,) array
        Box of points in which the splines live; beyond it their values at its faces go on.
    splines : (3, a, b, c) array
        Control points of the displacement along each axis of the target, mm.
    """

    affine: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    splines: NDArray[np.float64]

    def apply(self, points: ArrayLike) -> NDArray[np.float64]:
        """Map points (..., 3), mm."""
        points = np.asarray(points, float)
        flat = points.reshape(-1, 3)
        found = flat @ self.affine[:, :3].T + self.affine[:, 3]
        sizes = self.splines.shape[1:]
        index, weight = zip(
            *(_basis(flat[:, a], self.low[a], self.high[a], sizes[a]) for a in range(3)),
            strict=True,
        )
        for i in range(4):
            for j in range(4):
                for k in range(4):
                    part = weight[0][:, i] * weight[1][:, j] * weight[2][:, k]
                    at = index[0] + i, index[1] + j, index[2] + k
                    found += part[:, None] * self.splines[:, at[0], at[1], at[2]].T
        return found.reshape(points.shape)

    def apply_grid(self, x: ArrayLike, y: ArrayLike, z: ArrayLike) -> NDArray[np.float64]:
        """Map all points of a grid with axes x (a,), y (b,) and z (c,): (a, b, c, 3)."""
        axes = [np.asarray(axis, float) for axis in (x, y, z)]
        sizes = self.splines.shape[1:]
        full = [_matrix(axis, self.low[a], self.high[a], sizes[a]) for a, axis in enumerate(axes)]
        moved = np.einsum('dijk,xi->dxjk', self.splines, full[0])
        moved = np.einsum('dxjk,yj->dxyk', moved, full[1])
        moved = np.moveaxis(np.matmul(moved, full[2].T), 0, -1)
        straight = self.affine[:, 3] + sum(
            axis.reshape([-1 if b == a else 1 for b in range(3)] + [1]) * self.affine[:, a]
            for a, axis in enumerate(axes)
        )
        return straight + moved

    def inverse(
        self, points: ArrayLike, iterations: int = 30, tolerance_mm: float = 1e-3
    ) -> NDArray[np.float64]:
        """Find the points that are mapped to these (..., 3), by fixed-point iteration."""
        targets = np.asarray(points, float)
        back = np.linalg.inv(self.affine[:, :3])
        found = (targets - self.affine[:, 3]) @ back.T
        for _ in range(iterations):
            away = targets - self.apply(found)
            found = found + away @ back.T
            if np.abs(away).max(initial=0.0) < tolerance_mm:
                break
        return found

    def least_jacobian(self, n: int = 12) -> float:
        """Least local change of volume beside the affine map's on a grid of the box.

        Not above zero where the map folds.
        """
        axes = [np.linspace(a, b, n) for a, b in zip(self.low, self.high, strict=True)]
        mapped = self.apply_grid(*axes)
        steps = [np.gradient(mapped, axis, axis=a) for a, axis in enumerate(axes)]
        local = np.linalg.det(np.stack(steps, axis=-1))
        return float((local / np.linalg.det(self.affine[:, :3])).min())


def fit_transform(
    points: ArrayLike,
    targets: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    knots_mm: float = KNOTS_MM,
    smooth: float = 0.1,
    iterations: int = 3,
) -> SmoothTransform:
    """Fit a smooth map to matches, some of which may be wrong.

    An affine map is fitted by iteratively reweighted least squares with Tukey's weights, then
    splines to the residuals, with a penalty on second differences. A map that
    folds is fitted again, smoother.

    Parameters
    ----------
    points, targets : (M, 3) array
        Matches, mm.
    weights : (M,) array, optional
        How much each counts.
    knots_mm : float
        Distance of control points, mm of the target.
    smooth : float
        Weight of smoothness.
    iterations : int
        Of reweighting.

    Returns
    -------
    SmoothTransform

    Raises
    ------
    InputError
        With fewer than 30 matches.

    References
    ----------
    Gopinath et al. 2024, *Registration by Regression (RbR)*, doi 10.1007/978-3-031-73480-9_17.
    """
    at, goal = np.asarray(points, float), np.asarray(targets, float)
    given = np.ones(len(at)) if weights is None else np.asarray(weights, float)
    held = np.flatnonzero(given > 0)
    if len(held) < _LEAST:
        raise InputError(
            f'The brain has only {len(held)} usable pixels, too few to find its place in the '
            'atlas; check the brain mask.'
        )
    held = held[np.linspace(0, len(held) - 1, min(len(held), _MOST)).astype(int)]
    at, goal, given = at[held], goal[held], given[held]

    affine, left = _fit_affine(at, goal, given)
    low, high = at.min(axis=0) - 1e-6, at.max(axis=0) + 1e-6
    stretch = np.abs(np.linalg.det(affine[:, :3])) ** (1 / 3)
    sizes = tuple(
        int(np.clip(np.ceil((b - a) * stretch / knots_mm), 1, 16)) + 3
        for a, b in zip(low, high, strict=True)
    )
    empty = SmoothTransform(affine, low, high, np.zeros((3, *sizes)))
    design = _design(at, low, high, sizes)
    penalty = _roughness(sizes) * len(at) / np.prod(sizes)
    splines = np.zeros((design.shape[1], 3))
    for _ in range(iterations):
        spline_trust = given * _tukey(np.linalg.norm(left - design @ splines, axis=1))
        splines = _solve(design, spline_trust, left, penalty * smooth)
    for _ in range(4):
        found = replace(empty, splines=splines.T.reshape(3, *sizes))
        if found.least_jacobian() > 0.05:
            return found
        smooth *= 8
        splines = _solve(design, spline_trust, left, penalty * smooth)
    return empty


def _fit_affine(at: NDArray, goal: NDArray, given: NDArray) -> tuple[NDArray, NDArray]:
    """Affine map (3, 4) by reweighted least squares, and what it leaves (M, 3), mm."""
    middle = at.mean(axis=0)
    design = np.column_stack([at - middle, np.ones(len(at))])
    trust = given.copy()
    solved = np.zeros((4, 3))
    # Few slices hold an axis loosely: a little ridge towards the identity
    prior = np.vstack([np.eye(3), np.zeros(3)])
    ridge = np.diag([1e-2 * len(at)] * 3 + [0.0])
    for _ in range(8):
        weighted = design * trust[:, None]
        solved = np.linalg.solve(weighted.T @ design + ridge, weighted.T @ goal + ridge @ prior)
        trust = given * _tukey(np.linalg.norm(goal - design @ solved, axis=1))
    affine = np.column_stack([solved[:3].T, solved[3] - solved[:3].T @ middle])
    return affine, goal - design @ solved


def _solve(design: NDArray, trust: NDArray, values: NDArray, penalty: NDArray) -> NDArray:
    # Single precision is twice as fast, and enough for sums of some thousand matches
    weighted = design * trust[:, None].astype(np.float32)
    return np.linalg.solve(weighted.T @ design + penalty, weighted.T @ values)


def _tukey(away: NDArray) -> NDArray:
    # The median length of a normal residual in three dimensions is 1.54 standard deviations
    spread = max(float(np.median(away)) / 1.54, _LEAST_SPREAD_MM)
    return np.clip(1 - (away / (_OUTLIER * 1.54 * spread)) ** 2, 0, None) ** 2


def _basis(where: NDArray, low: float, high: float, size: int) -> tuple[NDArray, NDArray]:
    """First of four control points that matter at each place, and their weights (M, 4)."""
    spans = size - 3
    at = np.clip((where - low) / (high - low), 0, 1) * spans
    first = np.minimum(at.astype(int), spans - 1)
    t = at - first
    weights = np.stack(
        [
            (1 - t) ** 3,
            3 * t**3 - 6 * t**2 + 4,
            -3 * t**3 + 3 * t**2 + 3 * t + 1,
            t**3,
        ],
        axis=-1,
    )
    return first, weights / 6


def _matrix(where: NDArray, low: float, high: float, size: int) -> NDArray:
    """Matrix (M, size) from control points to values."""
    first, weights = _basis(where, low, high, size)
    full = np.zeros((len(where), size))
    for i in range(4):
        full[np.arange(len(where)), first + i] += weights[:, i]
    return full


def _design(points: NDArray, low: NDArray, high: NDArray, sizes: Sequence[int]) -> NDArray:
    """Matrix (M, all control points) of the product of the three axes' splines."""
    parts = [_matrix(points[:, a], low[a], high[a], sizes[a]) for a in range(3)]
    joint = parts[0][:, :, None] * parts[1][:, None, :]
    joint = joint.reshape(len(points), -1)[:, :, None] * parts[2][:, None, :]
    return joint.reshape(len(points), -1).astype(np.float32)


def _roughness(sizes: Sequence[int]) -> NDArray:
    """Penalty on second differences along each axis, and a little on size."""
    total = 1e-3 * np.eye(int(np.prod(sizes)))
    for axis, size in enumerate(sizes):
        parts = [np.eye(n) for n in sizes]
        second = np.diff(np.eye(size), n=2, axis=0)
        parts[axis] = second.T @ second
        total += np.kron(np.kron(parts[0], parts[1]), parts[2])
    return total
