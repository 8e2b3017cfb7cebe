"""Smooth random fields in volumes and slices, and random values shaped for slices."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage


def smooth_field(
    shape: tuple[int, ...], rng: np.random.Generator, points: int = 4
) -> NDArray[np.float32]:
    """Draw a smooth random field of about unit variance.

    Parameters
    ----------
    shape : tuple of int
    rng : numpy.random.Generator
    points : int
        Random values along each axis; fewer is smoother.

    Returns
    -------
    array of `shape`, float32
    """
    field = rng.standard_normal([points] * len(shape)).astype(np.float32).astype(np.float64)
    for axis, size in enumerate(shape):
        field = np.moveaxis(np.tensordot(_spline(points, size), field, (1, axis)), 0, axis)
    return field.astype(np.float32)


def elastic_displacement(
    shape: tuple[int, ...], rng: np.random.Generator, amplitude: float, points: int = 5
) -> NDArray[np.float32]:
    """Draw a smooth displacement by which the shapes of two animals differ.

    Parameters
    ----------
    shape : tuple of int
    rng : numpy.random.Generator
    amplitude : float
        Standard deviation of each component, in the unit wanted back.
    points : int
        Random values along each axis; fewer is smoother.

    Returns
    -------
    (len(shape), *shape) array, float32
    """
    return np.stack([amplitude * smooth_field(shape, rng, points) for _ in shape])


def smooth_noise(
    shape: tuple[int, ...], rng: np.random.Generator, strength: NDArray, points: int
) -> torch.Tensor:
    """Draw a smooth random field for each of many slices.

    Parameters
    ----------
    shape : tuple of int
        (B, C, H, W).
    rng : numpy.random.Generator
    strength : (B,) array
        Standard deviation of the random values in each slice.
    points : int
        Random values along H and along W; fewer is smoother.

    Returns
    -------
    (B, C, H, W) tensor of float32
    """
    coarse = normal((*shape[:2], points, points), rng) * column(strength)
    rows, columns = (torch.from_numpy(_spline(points, n)).float() for n in shape[2:])
    return rows @ coarse @ columns.T


@lru_cache(maxsize=64)
def _spline(points: int, size: int) -> NDArray[np.float64]:
    """Matrix (size, points) that interpolates by a cubic spline: much faster than point by point.

    Volumes and slices share it, so that their fields are equally smooth.
    """
    at = np.linspace(0, points - 1, size)
    values = [ndimage.map_coordinates(u, [at], order=3, mode='nearest') for u in np.eye(points)]
    return np.stack(values, axis=1)


def normal(shape: tuple[int, ...], rng: np.random.Generator) -> torch.Tensor:
    """Draw standard normal values, float32.

    Parameters
    ----------
    shape : tuple of int
    rng : numpy.random.Generator

    Returns
    -------
    tensor of float32
    """
    return torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))


def column(values: NDArray) -> torch.Tensor:
    """Shape one value a slice to multiply slices (B, C, H, W).

    Parameters
    ----------
    values : (B,) array
        One a slice.

    Returns
    -------
    (B, 1, 1, 1) tensor of float32
    """
    return torch.from_numpy(np.asarray(values, np.float32))[:, None, None, None]
