"""Training samples of the refinement: heads with their first glance, and the truth."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from secondglance.imaging.grids import holds_signal
from secondglance.imaging.intensity import normalise_slices
from secondglance.imaging.placement.donors import Donor, place_from_bank
from secondglance.imaging.pose import HeadStack
from secondglance.models.brain_refinement import (
    CONTEXT_MM,
    N_CHANNELS,
    NEAR_MM,
    refinement_channels,
)
from secondglance.models.segment import first_glance
from secondglance.models.training.scans import LabelledScan, frame, recolour
from secondglance.models.weights import LoadedModel
from secondglance.simulation.head_slices import random_grid
from secondglance.simulation.head_stack import along_head
from secondglance.simulation.random_fields import smooth_noise
from secondglance.simulation.scanner import simulate_scanner

_N_CONTEXT = len(CONTEXT_MM)


@dataclass(frozen=True)
class RefinementSample:
    """A head after its first glance; stacks at the network's spacing.

    Attributes
    ----------
    images : (N, H, W) float16 array
        Normalised slices.
    probability : (N, H, W) float16 array
        Of brain, by the first glance.
    enhanced : (N, H, W) float16 array
        Enhanced saliency.
    placed : (N, H, W) bool array
        Another animal's mask.
    brain : (N, H, W) bool array
        The truth.
    positions : (N,) array
        mm, ascending.
    """

    images: NDArray[np.float16]
    probability: NDArray[np.float16]
    enhanced: NDArray[np.float16]
    placed: NDArray[np.bool_]
    brain: NDArray[np.bool_]
    positions: NDArray[np.float64]


def sample_of_head(
    model: LoadedModel, head: HeadStack, donors: Sequence[Donor], device: str = 'cpu'
) -> RefinementSample:
    """Take the first glance at a labelled head, and place a donor's mask on it.

    Parameters
    ----------
    model : LoadedModel
    head : HeadStack
    donors : sequence of Donor
        Other animals, prepared with the same model.
    device : str

    Returns
    -------
    RefinementSample
        Of the slices that hold signal: lost slices are skipped.
    """
    first = first_glance(model, head.images, device=device)
    placed = place_from_bank(first.enhanced, head.positions, donors).mask
    held = holds_signal(head.images)
    return RefinementSample(
        normalise_slices(head.images[held]).astype(np.float16),
        (1 - first.probabilities[held, 0]).astype(np.float16),
        first.enhanced[held].astype(np.float16),
        placed[held],
        head.brain[held],
        np.asarray(head.positions, float)[held],
    )


def save_sample(head: RefinementSample, path: Path) -> None:
    """Write a head with its first glance.

    Parameters
    ----------
    head : RefinementSample
    path : path
        ``.npz``; written whole or not at all.
    """
    partial = path.with_name(f'.{path.name}.{os.getpid()}.partial.npz')
    try:
        np.savez(partial, **{f.name: getattr(head, f.name) for f in fields(head)})
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load_sample(path: Path) -> RefinementSample:
    """Read what `save_sample` wrote.

    Parameters
    ----------
    path : path
        As of `save_sample`.

    Returns
    -------
    RefinementSample
    """
    with np.load(path, allow_pickle=False) as stored:
        return RefinementSample(**{f.name: stored[f.name] for f in fields(RefinementSample)})


def rescan(one: LabelledScan, rng: np.random.Generator, spacing: float, side: int) -> HeadStack:
    """Change the pose of a labelled scan, and simulate another scanner.

    Parameters
    ----------
    one : LabelledScan
    rng : numpy.random.Generator
    spacing : float
        In plane, mm.
    side : int
        Pixels of the square slices.

    Returns
    -------
    HeadStack
        Labels are one in the brain.
    """
    images = torch.from_numpy(normalise_slices(one.images))
    brain = torch.from_numpy((one.labels != 0).astype(np.float32))
    slices = torch.stack([frame(torch.stack(p), side) for p in zip(images, brain, strict=True)])
    n = len(slices)
    grid, _ = random_grid((1, side, side), rng, spacing)
    posed = functional.grid_sample(slices, grid.expand(n, -1, -1, -1), align_corners=False)
    along = along_head(rng, one.positions)
    image = simulate_scanner(recolour(posed[:, :1], along), along, spacing)
    inside = (posed[:, 1] > 0.5).numpy()
    return HeadStack(image[:, 0].numpy(), one.positions, spacing, inside.astype(np.uint8))


def draw_refinement_samples(
    heads: Sequence[RefinementSample],
    rng: np.random.Generator,
    batch_size: int,
    side: int,
    known: Sequence[RefinementSample] = (),
    known_share: float = 0.4,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw slices with all input channels of the refinement, and the truth.

    In one slice of four the first glance is uncertain, a neighbour is lost, or the placed mask is
    wrong or missing, so that the network does not rely on any one of them.

    Parameters
    ----------
    heads : sequence of RefinementSample
        Simulated.
    rng : numpy.random.Generator
    batch_size : int
    side : int
        Pixels of the square slices.
    known : sequence of RefinementSample
        Of real scans.
    known_share : float
        Share of the batch that is drawn from them.

    Returns
    -------
    channels : tensor of float32, shape (B, 14, H, W)
        As of `secondglance.models.brain_refinement.refinement_channels`.
    brain : tensor of float32, shape (B, 1, H, W)
    """
    channels, brain = [], []
    for k in range(batch_size):
        pool = known if known and k < round(known_share * batch_size) else heads
        head = pool[int(rng.integers(len(pool)))]
        n = int(rng.integers(len(head.positions)))
        if rng.random() < 0.3:  # a wrong header, or a stack cut the other way
            head, n = _reversed(head), len(head.positions) - 1 - n
        one = refinement_channels(
            head.images, head.probability, head.enhanced, head.placed, head.positions, [n]
        )
        truth = head.brain[n : n + 1].astype(np.float32)
        both = torch.from_numpy(np.concatenate([one[0], truth]))
        if rng.random() < 0.5:
            both = both.flip(1)
        both = frame(both, side, outside=_OUTSIDE)
        channels.append(both[:-1])
        brain.append(both[-1:])
    return _disturbed(torch.stack(channels), rng), torch.stack(brain)


def _reversed(head: RefinementSample) -> RefinementSample:
    """The same head with its slices in the other order."""
    stacks = {f.name: getattr(head, f.name)[::-1] for f in fields(head)}
    return RefinementSample(**{**stacks, 'positions': -stacks['positions']})


_OUTSIDE = torch.tensor([-1.0] * _N_CONTEXT + [0.0] * (N_CHANNELS - _N_CONTEXT + 1))


def _disturbed(channels: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Disturb some of the input channels."""
    b, _, h, w = channels.shape
    placed = slice(_N_CONTEXT + len(NEAR_MM), N_CHANNELS - 1)
    doubt = torch.from_numpy(np.where(rng.random(b) < 0.15, rng.uniform(0.3, 1.0, b), 1.0))
    channels[:, :_N_CONTEXT] *= doubt.float()[:, None, None, None]
    error = smooth_noise((b, 1, h, w), rng, np.where(rng.random(b) < 0.15, 0.3, 0.0), 6)
    channels[:, :_N_CONTEXT] = (channels[:, :_N_CONTEXT] + error).clamp(-1, 1)
    for i in range(b):
        if rng.random() < 0.04:
            channels[i, int(rng.integers(_N_CONTEXT))] = -1.0
        if rng.random() < 0.1:
            channels[i, placed] = 0.0
        elif rng.random() < 0.2:
            off = tuple(int(v) for v in rng.integers(-4, 5, 2))
            channels[i, placed] = channels[i, placed].roll(off, dims=(1, 2))
    gain = torch.from_numpy(rng.uniform(0.8, 1.2, b)).float()[:, None, None, None]
    near = slice(_N_CONTEXT, _N_CONTEXT + len(NEAR_MM))
    channels[:, near] = (channels[:, near] * gain).clamp(0, 1.5)
    return channels
