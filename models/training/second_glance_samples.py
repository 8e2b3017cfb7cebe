"""Training samples of the second glance: input channels and targets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from secondglance.imaging.species import BRAIN_SIZE
from secondglance.models.second_glance.channels import (
    ACROSS,
    CHANNELS,
    FROM_BACK,
    FROM_FRONT,
    N_IMAGES,
    SPECIES,
    UP,
    brain_input,
)
from secondglance.models.second_glance.grid import SPACING_MM
from secondglance.models.training.painted_lesions import paint_lesions
from secondglance.models.training.scans import frame, recolour
from secondglance.simulation.brains import imperfect_masks
from secondglance.simulation.deformation import pose_grid, resample
from secondglance.simulation.head_stack import along_head
from secondglance.simulation.placed_stack import PlacedStack, upright_grid
from secondglance.simulation.random_fields import column
from secondglance.simulation.scanner import log_bias, simulate_scanner

FRAME = (80, 64)
"""Height and width of training slices, pixels of the network's grid."""

_MOST_SLICES = 14
"""Slices kept of one stack; neighbours are drawn before."""


def redraw_placed(
    one: PlacedStack, rng: np.random.Generator, *, as_it_is: bool = False
) -> PlacedStack:
    """Change pose and mask of a labelled scan, and simulate another scanner.

    Parameters
    ----------
    one : PlacedStack
    rng : numpy.random.Generator
    as_it_is : bool
        Whether scanner and pose stay as they are.

    Returns
    -------
    PlacedStack
    """
    n = len(one.images)
    scale = BRAIN_SIZE[one.species]
    positions = one.positions_mm / scale
    spacing = one.in_plane_mm / scale
    along = along_head(rng, positions)
    inside = one.images[one.mask > 0.5]
    level = float(np.percentile(inside, 99)) if inside.size else 1.0
    images = torch.from_numpy(np.clip(one.images / level, 0, 1.5))[:, None]
    parts = [images, torch.from_numpy(one.mask)[:, None], torch.from_numpy(one.known)[:, None]]
    parts += [torch.from_numpy(one.placed)[:, None], torch.from_numpy(one.fractions)]
    parts += [torch.from_numpy(np.nan_to_num(one.coordinates))]
    stack = torch.cat(parts, dim=1)
    flip = 1.0
    if not as_it_is:
        grid, _, flip = upright_grid((n, *one.images.shape[1:]), rng, along, spacing)
        # Unknown coordinates must not leak in
        weight = stack[:, 3:4]
        stack = torch.cat([stack[:, :7], stack[:, 7:] * weight], dim=1)
        stack = functional.grid_sample(stack, grid, align_corners=False)
        stack[:, 7:] /= stack[:, 3:4].clamp(min=1e-3)
        stack[:, 7] *= flip
    images, mask, known, placed = (stack[:, i : i + 1] for i in range(4))
    mask = mask > 0.5
    if not as_it_is:
        images = recolour(images, along)
        if rng.random() < 0.7:
            images = simulate_scanner(images, along, spacing)
    if rng.random() < (0.5 if not as_it_is else 0.0):
        mask = imperfect_masks(mask.float(), along)
    if rng.random() < 0.2:
        images = images * mask
    keep = np.arange(n)
    if rng.random() < 0.2 and n > 6 and not as_it_is:
        cut = int(rng.integers(1, n // 2))
        keep = keep[cut:] if rng.random() < 0.5 else keep[: n - cut]
    fractions = stack[:, 4:7].clamp(0, 1)
    fractions = fractions / fractions.sum(dim=1, keepdim=True).clamp(min=1e-3)
    return PlacedStack(
        images[keep, 0].numpy(),
        mask[keep, 0].float().numpy(),
        fractions[keep].numpy(),
        (known[keep, 0].numpy() > 0.9).astype(np.float32),
        stack[keep, 7:].numpy(),
        (placed[keep, 0].numpy() > 0.9).astype(np.float32),
        np.full((len(keep), *images.shape[2:]), -1, np.float32),
        one.positions_mm[keep],
        one.in_plane_mm,
        one.species,
        one.animal,
    )


def lay_out(
    stack: PlacedStack,
    rng: np.random.Generator | None = None,
    spacing_mm: float = SPACING_MM,
) -> torch.Tensor:
    """Compose input channels and targets of a stack, slice by slice.

    Parameters
    ----------
    stack : PlacedStack
    rng : numpy.random.Generator, optional
        Chooses a few slices; all without.
    spacing_mm : float

    Returns
    -------
    tensor of float16, shape (N, 13 + 9, *FRAME)
        Channels of `brain_input`, then fractions, their weight, coordinates, their weight, and the
        share of the pixel that is brain, negative where it is not known.
    """
    brain = brain_input(
        stack.images, stack.mask, stack.positions_mm, stack.in_plane_mm, stack.species, spacing_mm
    )
    grid = brain.grid
    known = grid.to_grid(stack.known, linear=True)
    placed = grid.to_grid(stack.placed, linear=True)
    fractions = grid.to_grid(stack.fractions * stack.known[:, None], linear=True)
    fractions = fractions / np.maximum(fractions.sum(axis=1, keepdims=True), 1e-3)
    places = grid.to_grid(np.nan_to_num(stack.coordinates) * stack.placed[:, None], linear=True)
    places = (places / np.maximum(placed, 1e-3)[:, None]).astype(np.float32)
    parts = [
        brain.channels,
        fractions,
        (known > 0.5)[:, None],
        places,
        (placed > 0.7)[:, None],
        grid.to_grid(stack.share, linear=True)[:, None],
    ]
    laid = np.concatenate([np.asarray(p, np.float32) for p in parts], axis=1)
    worth = np.flatnonzero(known.sum(axis=(1, 2)) + placed.sum(axis=(1, 2)) > 10)
    if rng is not None and len(worth) > _MOST_SLICES:
        worth = rng.choice(worth, _MOST_SLICES, replace=False)
    framed = [_frame(torch.from_numpy(laid[n])) for n in worth]
    return torch.stack(framed).to(torch.float16) if framed else torch.zeros(0)


def _frame(one: torch.Tensor) -> torch.Tensor:
    """Pad or cut a slice (C, h, w) to `FRAME` about the brain, the place going on beyond."""
    outside = torch.zeros(len(one))
    square = frame(one, max(FRAME), outside)
    spare = (max(FRAME) - FRAME[1]) // 2
    cut = square[:, :, spare : spare + FRAME[1]]
    # What is the same, or linear, across a slice goes on around it
    for channel in (ACROSS, UP, FROM_BACK, FROM_FRONT, *range(SPECIES, len(CHANNELS))):
        cut[channel] = _extended(one[channel], channel)
    for n in range(N_IMAGES, 2 * N_IMAGES):
        if float(one[n].max()) < 0:
            cut[n] = -1.0
    return cut


def _extended(plane: torch.Tensor, channel: int) -> torch.Tensor:
    """A plane that is linear along one axis, or constant, on the whole of `FRAME`."""
    h, w = plane.shape
    if channel == ACROSS:
        return _line(plane[:, 0], FRAME[0], h)[:, None].expand(*FRAME)
    if channel == UP:
        return _line(plane[0], max(FRAME), w)[(max(FRAME) - FRAME[1]) // 2 :][: FRAME[1]][
            None
        ].expand(*FRAME)
    return plane[0, 0].expand(*FRAME)


def _line(values: torch.Tensor, n: int, held: int) -> torch.Tensor:
    """Go on with equally spaced values, `held` of them, to n about the same middle."""
    before = (n - held) // 2
    step = (values[-1] - values[0]) / max(held - 1, 1)
    return values[0] + step * (torch.arange(n) - before)


def draw_second_glance_samples(
    pools: Sequence[tuple[float, Sequence[torch.Tensor]]],
    rng: np.random.Generator,
    batch_size: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw slices from pools of laid-out stacks, each in a new pose and contrast.

    Parameters
    ----------
    pools : sequence of (share, stacks)
        Share of the batch that each pool gives; stacks as of `lay_out`.
    rng : numpy.random.Generator
    batch_size : int

    Returns
    -------
    channels : tensor, shape (B, 13, *FRAME)
    targets : tensor, shape (B, 9, *FRAME)
    """
    shares = np.array([share if len(stacks) else 0.0 for share, stacks in pools])
    chosen = rng.choice(len(pools), batch_size, p=shares / shares.sum())
    slices = []
    for number in chosen:
        stacks = pools[number][1]
        stack = stacks[int(rng.integers(len(stacks)))]
        slices.append(stack[int(rng.integers(len(stack)))])
    batch = torch.stack(slices).float()
    return vary_samples(batch, rng)


def vary_samples(
    batch: torch.Tensor, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Give slices a new pose, contrast, noise and place.

    Parameters
    ----------
    batch : (B, 22, H, W) tensor
        Slices as `lay_out` gives them.
    rng : numpy.random.Generator
        All that is random comes from it.

    Returns
    -------
    channels : (B, 13, H, W) tensor
    targets : (B, 9, H, W) tensor
        Posed as the channels are.
    """
    b, _, h, w = batch.shape
    n_seen = len(CHANNELS)
    flip = np.where(rng.random(b) < 0.5, -1.0, 1.0)
    angle = np.deg2rad(rng.normal(0.0, 4.0, b))
    scale = rng.uniform(0.94, 1.06, (b, 2))
    shift = rng.normal(0.0, 0.03, (b, 2))
    turned, straight = (pose_grid((b, h, w), a, scale, flip, shift) for a in (angle, 0.0))
    # A mask beyond the stack is −1 everywhere, also where the frame ends
    beyond = batch[:, N_IMAGES : 2 * N_IMAGES].amin(dim=(2, 3), keepdim=True) < 0
    weight = batch[:, n_seen + 7 : n_seen + 8]
    sampled = functional.grid_sample(
        torch.cat([batch[:, :-5], batch[:, -5:-2] * weight, batch[:, -2:]], dim=1),
        turned,
        align_corners=False,
    )
    lines = resample(batch[:, [ACROSS, UP]], straight)
    channels, targets = sampled[:, :n_seen].clone(), sampled[:, n_seen:].clone()
    channels[:, N_IMAGES : 2 * N_IMAGES] = torch.where(
        beyond, -1.0, channels[:, N_IMAGES : 2 * N_IMAGES]
    )
    channels[:, FROM_BACK:] = batch[:, FROM_BACK:n_seen]
    loose = [column(rng.normal(0, s, b))[:, 0] for s in (0.03, 0.03, 0.02, 0.04, 0.04, 0.05)]
    mirror = column(flip)[:, 0]
    channels[:, ACROSS] = lines[:, 0] * mirror * (1 + loose[2]) + loose[0]
    channels[:, UP] = lines[:, 1] * (1 + loose[2]) + loose[1]
    channels[:, FROM_BACK] += loose[3]
    channels[:, FROM_FRONT] += loose[4]
    channels[:, SPECIES] *= column(rng.random(b) > 0.1)[:, 0]
    channels[:, SPECIES + 1] += loose[5]
    place = targets[:, 4:7] / targets[:, 7:8].clamp(min=1e-3)
    place = torch.cat([place[:, :1] * mirror[:, None], place[:, 1:]], dim=1)
    fractions = targets[:, :3].clamp(0, 1)
    fractions = fractions / fractions.sum(dim=1, keepdim=True).clamp(min=1e-3)
    known, placed = (targets[:, n : n + 1] > 0.9 for n in (3, 7))
    parts = [fractions, known.float(), place, placed.float(), targets[:, 8:]]
    targets = torch.cat(parts, dim=1)
    paint_lesions(channels, targets, rng)
    _vary_images(channels, rng)
    return channels, targets


def _vary_images(channels: torch.Tensor, rng: np.random.Generator) -> None:
    """Change brightness and contrast of the image and its neighbours, and add noise."""
    b, _, h, w = channels.shape
    images = channels[:, :N_IMAGES]
    shown = images != 0
    gain = column(np.exp(rng.normal(0.0, 0.15, b)))
    level = column(rng.normal(0.0, 0.12, b))
    bend = column(rng.normal(0.0, 0.04, b))
    field = log_bias((b, h, w), rng, rng.uniform(0.0, 0.25, b))
    noise = torch.from_numpy(rng.standard_normal((b, N_IMAGES, h, w), dtype=np.float32))
    noise = noise * column(rng.uniform(0.0, 0.25, b) * (rng.random(b) < 0.5))
    changed = images * gain + level + bend * images.clamp(-2, 2) ** 2 + field + noise
    changed = changed.clamp(-2, 3) * shown
    # At the ends of a stack there are no neighbours
    for side in (0, N_IMAGES - 1):
        gone = column(rng.random(b) < 0.06).bool()
        changed[:, side : side + 1] = torch.where(gone, 0.0, changed[:, side : side + 1])
        mask = channels[:, N_IMAGES + side : N_IMAGES + side + 1]
        channels[:, N_IMAGES + side : N_IMAGES + side + 1] = torch.where(gone, -1.0, mask)
    channels[:, :N_IMAGES] = changed


def save_samples(laid: torch.Tensor, path: Path) -> None:
    """Keep a stack on disk.

    Parameters
    ----------
    laid : (N, 22, H, W) tensor
        As `lay_out` gives it.
    path : path
        ``.safetensors``; written whole or not at all.
    """
    from safetensors.torch import save_file

    partial = path.with_name(f'.{path.name}.partial')
    save_file({'laid': laid.contiguous()}, partial)
    partial.replace(path)


def load_samples(path: Path) -> torch.Tensor:
    """Read what `save_samples` wrote.

    Parameters
    ----------
    path : path
        As of `save_samples`.

    Returns
    -------
    (N, 22, H, W) tensor
    """
    from safetensors.torch import load_file

    return load_file(path)['laid']
