"""A smooth map from one brain to another, fitted robustly to many noisy matches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg, ndimage

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
        # A B-spline is one of the kernels with which arrays are read between their elements
        spans = np.array(self.splines.shape[1:]) - 3
        at = np.clip((flat - self.low) / (self.high - self.low), 0, 1) * spans + 1
        for axis, control in enumerate(self.splines):
            found[:, axis] += ndimage.map_coordinates(
                control, at.T, order=3, mode='nearest', prefilter=False
            )
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
    cells = _cells(at, low, high, sizes)
    penalty = roughness(sizes) * len(at) / np.prod(sizes)
    splines = np.zeros((len(penalty), 3))
    for _ in range(iterations):
        spline_trust = given * tukey_weight(
            np.linalg.norm(left - _read(cells, splines, left), axis=1)
        )
        splines = _solve(cells, spline_trust, left, penalty * smooth)
    for _ in range(4):
        found = replace(empty, splines=splines.T.reshape(3, *sizes))
        if found.least_jacobian() > 0.05:
            return found
        smooth *= 8
        splines = _solve(cells, spline_trust, left, penalty * smooth)
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
        trust = given * tukey_weight(np.linalg.norm(goal - design @ solved, axis=1))
    affine = np.column_stack([solved[:3].T, solved[3] - solved[:3].T @ middle])
    return affine, goal - design @ solved


@dataclass(frozen=True)
class _Cell:
    """Points between the same knots: which, their 64 control points, and the weights of these."""

    points: NDArray[np.intp]
    controls: NDArray[np.intp]
    weights: NDArray[np.float64]


def _cells(points: NDArray, low: NDArray, high: NDArray, sizes: tuple[int, ...]) -> list[_Cell]:
    """Sort points (M, 3) by the knots that they lie between."""
    first, weights = zip(
        *(_basis(points[:, a], low[a], high[a], sizes[a]) for a in range(3)), strict=True
    )
    start = np.asarray(np.ravel_multi_index(first, sizes))
    product = np.einsum('mi,mj,mk->mijk', *weights).reshape(len(points), -1)
    beside = np.ravel_multi_index(np.indices((4, 4, 4)).reshape(3, -1), sizes)
    order = np.argsort(start, kind='stable')
    groups = np.split(order, np.flatnonzero(np.diff(start[order])) + 1)
    return [_Cell(group, start[group[0]] + beside, product[group]) for group in groups]


def _read(cells: list[_Cell], splines: NDArray, like: NDArray) -> NDArray[np.float64]:
    """Values (M, 3) of splines at their points."""
    found = np.zeros(like.shape)
    for cell in cells:
        found[cell.points] = cell.weights @ splines[cell.controls]
    return found


def _solve(cells: list[_Cell], trust: NDArray, values: NDArray, penalty: NDArray) -> NDArray:
    """Control points (K, 3) by weighted least squares with a penalty."""
    normal, right = penalty.copy(), np.zeros((len(penalty), values.shape[1]))
    for cell in cells:
        weighted = (cell.weights * trust[cell.points, None]).T
        normal[np.ix_(cell.controls, cell.controls)] += weighted @ cell.weights
        right[cell.controls] += weighted @ values[cell.points]
    factor = linalg.cho_factor(normal, lower=True, overwrite_a=True, check_finite=False)
    return linalg.cho_solve(factor, right, overwrite_b=True, check_finite=False)


def tukey_weight(away: NDArray) -> NDArray:
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


def roughness(sizes: Sequence[int]) -> NDArray:
    """Penalty on second differences along each axis, and a little on size."""
    total = 1e-3 * np.eye(int(np.prod(sizes)))
    for axis, size in enumerate(sizes):
        parts = [np.eye(n) for n in sizes]
        second = np.diff(np.eye(size), n=2, axis=0)
        parts[axis] = second.T @ second
        total += np.kron(np.kron(parts[0], parts[1]), parts[2])
    return total
