"""Simulated slices without background, inside imperfect masks."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from secondglance.imaging.intensity import normalise_slices
from secondglance.imaging.labels import BRAIN_SHARE
from secondglance.simulation.animal import FINE_MM, THICKNESS_MM, Animal, cut_slices
from secondglance.simulation.atlas import MAPS, SKULL_MAP, TISSUE_MAPS
from secondglance.simulation.contrast import brain_labels, draw_contrast, vary_tissues
from secondglance.simulation.deformation import pose_grid, resample
from secondglance.simulation.random_fields import column, smooth_noise
from secondglance.simulation.scanner import add_rician_noise, log_bias


def draw_batch(
    animals: list[Animal], rng: np.random.Generator, batch_size: int = 16
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw background-free slices of random animals with their labels.

    Parameters
    ----------
    animals : list of Animal
    rng : numpy.random.Generator
    batch_size : int

    Returns
    -------
    images : tensor of float32, shape (B, 1, H, W)
        Normalised by `normalise_slices`.
    labels : tensor of int64, shape (B, 1, H, W)
        Values are places in `CLASSES`.
    """
    maps = []
    for animal in (animals[i] for i in rng.integers(len(animals), size=batch_size)):
        low, high = animal.planes
        centre = rng.uniform(low, high, 1) * FINE_MM
        maps.append(cut_slices(animal, centre, rng.uniform(*THICKNESS_MM, 1)))
    posed = _pose(vary_tissues(torch.cat(maps), rng), rng)
    return render_slices(posed, rng)


def render_slices(
    maps: torch.Tensor, rng: np.random.Generator, *, perfect_mask: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Give slices of tissue maps a random contrast and artefacts, and remove the background.

    Parameters
    ----------
    maps : tensor, shape (B, 5, H, W)
    rng : numpy.random.Generator
    perfect_mask : bool
        Whether the brain mask is the true one in every slice; otherwise in about half of them.

    Returns
    -------
    images : tensor of float32, shape (B, 1, H, W)
    labels : tensor of int64, shape (B, 1, H, W)
    """
    b, _, h, w = maps.shape
    labels = brain_labels(maps)
    tissue = maps[:, TISSUE_MAPS].sum(dim=1, keepdim=True)
    brain = labels > 0
    mask = brain if perfect_mask else imperfect_masks(tissue, rng)
    signal = _signal(maps[:, : len(MAPS)], rng)
    signal = signal * torch.exp(log_bias((b, h, w), rng, rng.uniform(0.05, 0.35, b)))
    signal = _blur(signal, torch.from_numpy(rng.uniform(0.0, 0.8, b).astype(np.float32)))
    sigma = column(np.where(rng.random(b) < 0.1, 0.0, rng.uniform(0.005, 0.07, b)))
    images = add_rician_noise(signal, sigma, rng) * mask
    normalised = torch.from_numpy(normalise_slices(images[:, 0].numpy()))[:, None]
    # Pixels outside the mask are black, and labelled background.
    return normalised, labels * mask


def imperfect_masks(tissue: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Brain masks as a placement leaves them: half exact, half off by one or two pixels.

    A few have an island or a hole, as a bad placement leaves.

    Parameters
    ----------
    tissue : tensor, shape (B, 1, H, W)
        Probability of brain.
    rng : numpy.random.Generator

    Returns
    -------
    tensor of bool, shape (B, 1, H, W)
    """
    b = len(tissue)
    exact = tissue > BRAIN_SHARE
    off = rng.random(b) < 0.5
    # Which mask each slice gets: eroded by 2 or 1, as it is, dilated by 1 or 2 pixels, ...
    steps = rng.choice([-2, -1, 0, 1, 2], size=b, p=[0.08, 0.22, 0.25, 0.28, 0.17])
    shifts = rng.integers(-2, 3, size=(b, 2))
    # ... with a ragged outline: the threshold on a blurred mask varies along the rim.
    ragged = smooth_noise(tuple(tissue.shape), rng, np.full(b, 0.18), 10)
    blurred = functional.avg_pool2d(exact.float(), 5, 1, 2, count_include_pad=False)
    masks = []
    for i in range(b):
        if not off[i]:
            masks.append(exact[i])
            continue
        outline = (blurred[i] + ragged[i]) > 0.5
        step = int(steps[i])
        if step > 0:
            outline = functional.max_pool2d(outline.float(), 2 * step + 1, 1, step) > 0
        elif step < 0:
            # Erosion is dilation of the outside.
            outline = functional.max_pool2d((~outline).float(), 1 - 2 * step, 1, -step) == 0
        masks.append(torch.roll(outline, tuple(int(s) for s in shifts[i]), dims=(1, 2)))
    return torch.stack(masks)


def _signal(maps: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Intensity (B, 1, H, W) of tissue maps (B, 5, H, W) under random contrasts."""
    b, _, h, w = maps.shape
    means = np.empty((b, len(MAPS)), np.float32)
    means[:, TISSUE_MAPS] = [draw_contrast(rng) for _ in range(b)]
    # Around the brain: dark gap and bone, or muscle and fat as bright as tissue.
    means[:, SKULL_MAP] = np.where(
        rng.random(b) < 0.75, rng.uniform(0.0, 0.25, b), rng.uniform(0.2, 0.9, b)
    )
    means[:, 0] = np.where(rng.random(b) < 0.3, rng.uniform(0.0, 0.2, b), rng.uniform(0.2, 1.1, b))
    # No tissue is uniform: a slow variation within each, coarse outside where muscles differ.
    within = smooth_noise((b, len(MAPS), h, w), rng, rng.uniform(0.0, 0.15, b), 7)
    within[:, [0, SKULL_MAP]] += smooth_noise((b, 2, h, w), rng, rng.uniform(0.0, 0.6, b), 16)
    levels = torch.from_numpy(means)[:, :, None, None] * torch.exp(within)
    return (maps * levels).sum(dim=1, keepdim=True)


def _pose(maps: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Left-right flips and small in-plane poses of maps (B, 5, H, W)."""
    b, _, h, w = maps.shape
    angle = np.deg2rad(rng.uniform(-10.0, 10.0, b))
    scale = rng.uniform(0.95, 1.05, b)
    flip = np.where(rng.random(b) < 0.5, -1.0, 1.0)
    shift = rng.uniform(-0.25, 0.25, (b, 2))
    return resample(maps, pose_grid((b, h, w), angle, scale, flip, shift))


def _blur(images: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Gaussian blur of images (B, 1, H, W) by `sigma` (B,) pixels."""
    offsets = torch.arange(-2.0, 3.0)
    kernel = torch.exp(-0.5 * (offsets / sigma.clamp(min=1e-3)[:, None]) ** 2)
    kernel = kernel / kernel.sum(dim=1, keepdim=True)
    b = len(images)
    padded = functional.pad(images, (2, 2, 2, 2), mode='replicate').transpose(0, 1)
    padded = functional.conv2d(padded, kernel[:, None, :, None], groups=b)
    return functional.conv2d(padded, kernel[:, None, None, :], groups=b).transpose(0, 1)
