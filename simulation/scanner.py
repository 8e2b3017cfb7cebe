"""What a scanner adds to simulated volumes and slices: bias field, noise, ghost, drop-out."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from secondglance.simulation.random_fields import column, normal, smooth_field, smooth_noise

COIL_POINTS = 4
"""Random values along an axis, between which the sensitivity of a coil is smooth."""


def bias_field(
    shape: tuple[int, ...], rng: np.random.Generator, strength: float = 0.3
) -> NDArray[np.float32]:
    """Draw the uneven sensitivity of a coil in a volume.

    Parameters
    ----------
    shape : tuple of int
        Of the image, any number of axes.
    rng : numpy.random.Generator
    strength : float
        Standard deviation of the logarithm.

    Returns
    -------
    array of `shape`, float32
        Positive factors of mean 1.
    """
    field = np.exp(strength * smooth_field(shape, rng, COIL_POINTS))
    return field / field.mean()


def log_bias(
    shape: tuple[int, int, int], rng: np.random.Generator, strength: NDArray
) -> torch.Tensor:
    """Draw the logarithm of a coil's uneven sensitivity in slices.

    Parameters
    ----------
    shape : (B, H, W)
    rng : numpy.random.Generator
    strength : (B,) array
        Standard deviation in each slice.

    Returns
    -------
    (B, 1, H, W) tensor
    """
    b, h, w = shape
    return smooth_noise((b, 1, h, w), rng, strength, COIL_POINTS)


def add_rician_noise(
    image: torch.Tensor, sigma: float | torch.Tensor, rng: np.random.Generator
) -> torch.Tensor:
    """Take the magnitude of an image with Gaussian noise in its real and imaginary part.

    Parameters
    ----------
    image : tensor of float32, any shape
    sigma : float or tensor
        Standard deviation in each part, in units of the image; a tensor is broadcast.
    rng : numpy.random.Generator

    Returns
    -------
    tensor of float32, shape of `image`
    """
    shape = tuple(image.shape)
    real = image + sigma * normal(shape, rng)
    return torch.hypot(real, sigma * normal(shape, rng))


def add_nyquist_ghost(
    image: torch.Tensor, fraction: float | torch.Tensor, axis: int, shift: int | None = None
) -> torch.Tensor:
    """Add the displaced copy that odd and even echoes of an EPI give.

    Parameters
    ----------
    image : tensor of float32, any shape
    fraction : float or tensor
        Intensity of the ghost relative to the image; a tensor is broadcast.
    axis : int
        Axis of the phase encoding.
    shift : int, optional
        Pixels; half the field of view by default.

    Returns
    -------
    tensor of float32, shape of `image`
    """
    shift = image.shape[axis] // 2 if shift is None else shift
    return image + fraction * image.roll(shift, axis)


def cut_off(image: torch.Tensor, spacing: float, voxel: float) -> torch.Tensor:
    """Taper k-space as a scan with larger voxels does.

    Parameters
    ----------
    image : (B, 1, H, W) tensor
    spacing : float
        Of the pixels, mm.
    voxel : float
        Side of the voxels of the scan, mm.

    Returns
    -------
    (B, 1, H, W) tensor
        Magnitude.
    """
    h, w = image.shape[2:]
    fx = torch.fft.fftfreq(h)[None, None, :, None] / spacing
    fz = torch.fft.rfftfreq(w)[None, None, None, :] / spacing
    reach = torch.maximum(fx.abs(), fz.abs()) * 2 * voxel
    return torch.fft.irfft2(torch.fft.rfft2(image) * torch.exp(-0.9 * reach**2), s=(h, w)).abs()


def simulate_scanner(
    image: torch.Tensor, rng: np.random.Generator, spacing: float
) -> torch.Tensor:
    """Apply a random coil and random artefacts to slices.

    Parameters
    ----------
    image : (B, 1, H, W) tensor
        Signal without noise, mostly in [0, 1.5].
    rng : numpy.random.Generator
    spacing : float
        Of the pixels, mm.

    Returns
    -------
    (B, 1, H, W) tensor
        Not negative: with coil, drop-out, ghost, resolution, noise and gamma of its own a slice.
    """
    b, _, h, w = image.shape
    image = image * _coil((b, h, w), rng)
    image = _drop_out(image, rng, spacing)
    image = _ghost(image, rng)
    image = _resolve(image, rng, spacing)
    image = _noisy(image, rng)
    gamma = np.where(rng.random(b) < 0.3, rng.uniform(0.7, 1.4, b), 1.0)
    return image.clamp(min=0) ** column(gamma)


def _coil(shape: tuple[int, int, int], rng: np.random.Generator) -> torch.Tensor:
    """Sensitivity (B, 1, H, W): smooth, and for a surface coil falling off with depth."""
    b, h, w = shape
    field = log_bias(shape, rng, rng.uniform(0.05, 0.4, b))
    across = torch.linspace(-1, 1, h)[None, None, :, None]
    up = torch.linspace(-1, 1, w)[None, None, None, :]
    fall = np.where(rng.random(b) < 0.6, rng.uniform(0.0, 2.0, b), 0.0)
    angle = np.where(rng.random(b) < 0.75, rng.normal(0, 0.3, b), rng.uniform(-np.pi, np.pi, b))
    ramp = column(fall * np.cos(angle)) * up + column(fall * np.sin(angle)) * across
    return torch.exp(field + ramp)


def _drop_out(image: torch.Tensor, rng: np.random.Generator, spacing: float) -> torch.Tensor:
    """Signal lost near air: round shadows."""
    b, _, h, w = image.shape
    x = ((torch.arange(h) - (h - 1) / 2) * spacing)[None, None, :, None]
    z = ((torch.arange(w) - (w - 1) / 2) * spacing)[None, None, None, :]
    for _ in range(2):
        strength = np.where(rng.random(b) < 0.2, rng.uniform(0.3, 0.95, b), 0.0)
        size = rng.uniform(0.6, 2.5, b)
        away = (x - column(rng.uniform(-8, 8, b))) ** 2 + (z - column(rng.uniform(-8, 6, b))) ** 2
        image = image * (1 - column(strength) * torch.exp(-away / column(2 * size**2)))
    return image


def _ghost(image: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Nyquist ghost: a faint copy half a field of view away, along either axis."""
    b, _, h, _ = image.shape
    strength = np.where(rng.random(b) < 0.3, rng.uniform(0.01, 0.12, b), 0.0)
    across = column(rng.random(b) < 0.5)
    shift = int(rng.integers(h // 3, h // 2 + 1))
    image = add_nyquist_ghost(image, column(strength) * across, 2, shift)
    return add_nyquist_ghost(image, column(strength) * (1 - across), 3, shift)


def _resolve(image: torch.Tensor, rng: np.random.Generator, spacing: float) -> torch.Tensor:
    """What the scanner resolves: k-space cut off (ringing) or tapered (blur), and its spikes."""
    b, _, h, w = image.shape
    spectrum = torch.fft.rfft2(image)
    fx = torch.fft.fftfreq(h)[None, None, :, None] / spacing
    fz = torch.fft.rfftfreq(w)[None, None, None, :] / spacing
    # Cycles a mm that a voxel of 0.15 to 0.65 mm holds, of its own in each direction
    voxel = rng.uniform(0.15, 0.65, (b, 2)) * np.where(rng.random((b, 1)) < 0.6, 1.0, 0.01)
    limit = 0.5 / voxel
    reach = torch.maximum(fx.abs() / column(limit[:, 0]), fz.abs() / column(limit[:, 1]))
    sharp = column(rng.random(b) < 0.4)
    spectrum = spectrum * (sharp * (reach <= 1) + (1 - sharp) * torch.exp(-0.9 * reach**2))
    struck = np.flatnonzero(rng.random(b) < 0.05)
    for i in struck:
        at = int(rng.integers(2, h // 4)), int(rng.integers(2, w // 4))
        spectrum[i, 0, at[0], at[1]] += spectrum[i, 0, 0, 0] * float(rng.uniform(0.03, 0.2))
    return torch.fft.irfft2(spectrum, s=(h, w)).abs()


def _noisy(image: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Rician noise, none to a signal-to-noise ratio of about 4."""
    b = len(image)
    sigma = np.exp(rng.uniform(np.log(0.004), np.log(0.13), b)) * (rng.random(b) < 0.9)
    level = column(sigma) * image.amax(dim=(1, 2, 3), keepdim=True).clamp(max=2.0)
    return add_rician_noise(image, level, rng)


def field_of_view(shape: tuple[int, int, int], rng: np.random.Generator) -> torch.Tensor:
    """Draw fields of view, some smaller than the slice.

    Parameters
    ----------
    shape : (B, H, W)
    rng : numpy.random.Generator

    Returns
    -------
    (B, 1, H, W) tensor of bool
        True where a slice was scanned: four in ten are cut by up to a sixth at each side.
    """
    b, h, w = shape
    margin = rng.integers(0, h // 6, (b, 4)) * (rng.random((b, 1)) < 0.4)
    rows = np.arange(h)[None, :, None]
    columns = np.arange(w)[None, None, :]
    low, high, left, right = (m[:, None, None] for m in margin.T)
    inside = (rows >= low) & (rows < h - high) & (columns >= left) & (columns < w - right)
    return torch.from_numpy(inside)[:, None]
