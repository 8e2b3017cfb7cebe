"""Labelled scans as training material: a lab's own animals, beside simulated ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from secondglance.files.digests import digest_of_voxels
from secondglance.files.labelled import find_labelled
from secondglance.imaging.grids import slice_grid
from secondglance.imaging.head_size import species_of_brain
from secondglance.imaging.intensity import normalise_slices
from secondglance.imaging.species import AUTO, BRAIN_SIZE
from secondglance.simulation.brains import imperfect_masks
from secondglance.simulation.head_slices import random_grid
from secondglance.simulation.random_fields import column, smooth_noise
from secondglance.simulation.scanner import field_of_view, simulate_scanner

UNKNOWN = -1
"""Label of a brain pixel of unknown tissue, from a brain mask."""


@dataclass(frozen=True)
class LabelledScan:
    """One scan as a stack at the network's spacing.

    Attributes
    ----------
    animal : str
        Scans of one animal share it, and are never on two sides of a split.
    name : str
    images : array of float32, shape (N, H, W)
        Whole head, in any unit.
    labels : array of int64, shape (N, H, W)
        Places in `CLASSES`, or `UNKNOWN` throughout the brain.
    positions : (N,) array
        Of the slices, mm, ascending.
    digest : str
        Of the voxels of its file, by which a copy of another name is recognised; empty where it
        is of no file.
    """

    animal: str
    name: str
    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    positions: NDArray[np.float64]
    digest: str = ''


def draw_scans(
    scans: list[LabelledScan],
    rng: np.random.Generator,
    batch_size: int,
    spacing: float,
    side: int,
    background_free: float = 0.35,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw slices of labelled scans: each animal as often, in a new pose, by another scanner.

    Parameters
    ----------
    scans : list of LabelledScan
    rng : numpy.random.Generator
    batch_size : int
    spacing : float
        In-plane spacing of the stacks, in mm.
    side : int
        Pixels of the square slices; larger fields of view are cut about their middle.
    background_free : float
        Share of slices that show the brain alone, inside a mask as a placement leaves it.

    Returns
    -------
    images : tensor of float32, shape (B, 1, H, W)
        Normalised by `normalise_slices`.
    labels : tensor of int64, shape (B, 1, H, W)
    """
    by_animal: dict[str, list[LabelledScan]] = {}
    for one in scans:
        by_animal.setdefault(one.animal, []).append(one)
    animals = sorted(by_animal)
    channels = []
    for _ in range(batch_size):
        of_animal = by_animal[animals[int(rng.integers(len(animals)))]]
        chosen = of_animal[int(rng.integers(len(of_animal)))]
        n = int(rng.integers(len(chosen.images)))
        image = normalise_slices(chosen.images[n : n + 1])[0]
        label = chosen.labels[n]
        parts = [image, *(label == k for k in (1, 2, 3)), label == UNKNOWN]
        channels.append(frame(torch.from_numpy(np.stack(parts).astype(np.float32)), side))
    slices = torch.stack(channels)
    grid, _ = random_grid((batch_size, side, side), rng, spacing)
    slices = functional.grid_sample(slices, grid, align_corners=False)
    image, shares = slices[:, :1], slices[:, 1:]
    brain = shares.sum(dim=1, keepdim=True)
    kinds = torch.tensor([1, 2, 3, UNKNOWN])
    labels = torch.where(brain > 0.5, kinds[shares.argmax(dim=1, keepdim=True)], 0)

    image = simulate_scanner(recolour(image, rng), rng, spacing)
    stripped = torch.from_numpy(rng.random(batch_size) < background_free)[:, None, None, None]
    shape = (batch_size, side, side)
    mask = torch.where(stripped, imperfect_masks(brain, rng), field_of_view(shape, rng))
    normalised = torch.from_numpy(normalise_slices((image * mask)[:, 0].numpy()))[:, None]
    return normalised, labels * mask


def frame(slices: torch.Tensor, side: int, outside: torch.Tensor | float = 0.0) -> torch.Tensor:
    """Pad or cut slices about their middle to a square.

    Parameters
    ----------
    slices : (C, H, W) tensor
    side : int
        Height and width that are wanted, pixels.
    outside : float or (C,) tensor
        What lies around the slices, one value or one a channel.

    Returns
    -------
    (C, side, side) tensor
    """
    level = torch.as_tensor(outside).reshape(-1, 1, 1)
    slices = slices - level
    for axis in (1, 2):
        extra = side - slices.shape[axis]
        before = extra // 2
        pad = [0, 0, 0, 0]
        pad[2 * (2 - axis)], pad[2 * (2 - axis) + 1] = before, extra - before
        slices = functional.pad(slices, pad)
    return slices + level


def recolour(image: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Give slices another contrast.

    Parameters
    ----------
    image : (B, 1, H, W) tensor
        Normalised, mostly in [0, 1.5]; air is 0 and stays so.
    rng : numpy.random.Generator

    Returns
    -------
    (B, 1, H, W) tensor
        A third of the slices with a random curve over intensities; all mottled, and brighter or
        darker by up to 30 %.
    """
    b, _, h, w = image.shape
    levels = np.linspace(0.0, 1.5, 6)
    recoloured = image.clone()
    for i in np.flatnonzero(rng.random(b) < 0.35):
        curve = rng.uniform(0.0, 1.2, 6)
        if rng.random() < 0.6:
            curve = np.sort(curve)
        # Air stays black
        curve[0] = 0.0
        recoloured[i] = torch.from_numpy(
            np.interp(image[i].numpy(), levels, curve).astype(np.float32)
        )
    mottle = smooth_noise((b, 1, h, w), rng, rng.uniform(0.0, 0.1, b), 14)
    return recoloured * torch.exp(mottle) * column(rng.uniform(0.7, 1.3, b))


def read_labelled_scans(
    bids_dir: Path,
    suffix: str,
    spacing: float,
    subjects: Sequence[str] | None = None,
    reference: Path | None = None,
    species: str = AUTO,
) -> list[LabelledScan]:
    """Read the labelled scans of a data set as stacks to train on.

    Parameters
    ----------
    bids_dir, suffix, subjects, reference
        As of `find_labelled`.
    spacing : float
        In-plane spacing of the stacks, in mm.
    species : {'auto', 'rat', 'mouse'}
        A smaller species has pixels and slice positions scaled to the size of a rat; estimated
        from the size of the labelled brain by default.

    Returns
    -------
    list of LabelledScan
    """
    scans = []
    for found in find_labelled(bids_dir, suffix, subjects, reference):
        inside = found.labels > 0
        found_species = species_of_brain(inside, found.affine) if species == AUTO else species
        relative_size = BRAIN_SIZE[found_species]
        grid = slice_grid(found.voxels.shape, found.affine, spacing * relative_size)
        brain = grid.to_stack(inside) >= 0.5
        if found.tissues:
            shares = [grid.to_stack(found.labels == k) for k in (1, 2, 3)]
            labels = np.where(brain, np.argmax(shares, axis=0) + 1, 0)
        else:
            labels = np.where(brain, UNKNOWN, 0)
        scans.append(
            LabelledScan(
                animal=found.scan.subject,
                name=found.scan.name,
                images=grid.to_stack(found.voxels),
                labels=labels.astype(np.int64),
                positions=grid.positions / relative_size,
                digest=digest_of_voxels(found.voxels),
            )
        )
    return scans
