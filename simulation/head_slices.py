"""Simulated slices of whole heads, to train networks for any scanner.

Around the tissue maps of an `Animal`, bone, muscles, skin, eyes, ear tubes and bars of random
shape and brightness are drawn; coil and artefacts are random. The heads need not be realistic: a
network trained on enough variety also segments real heads (Billot et al. 2023, *SynthSeg*, doi
10.1016/j.media.2023.102789; Hoopes et al. 2022, *SynthStrip*, doi
10.1016/j.neuroimage.2022.119474).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from secondglance.imaging.intensity import normalise_slices
from secondglance.simulation.animal import THICKNESS_MM, Animal, cut_slices
from secondglance.simulation.atlas import MAPS
from secondglance.simulation.brains import imperfect_masks
from secondglance.simulation.contrast import CONTRASTS, brain_labels, brain_signal, vary_tissues
from secondglance.simulation.deformation import bend_grid, pose_grid, resample
from secondglance.simulation.random_fields import column, smooth_noise
from secondglance.simulation.scanner import (
    add_rician_noise,
    cut_off,
    field_of_view,
    log_bias,
    simulate_scanner,
)

BEYOND_MM = 4.0
"""How far before the brain slices are drawn, in mm; behind it lies the cord."""


_SNOUT_MM = 9.0
"""How far a few are drawn: through eyes, snout and air, where there is nothing to find."""


_LOST = 0.02
"""Share of slices that the coil does not reach."""


_DISTANCE = len(MAPS)


_SKULL = MAPS.index('skull')


def draw_heads(
    animals: list[Animal],
    rng: np.random.Generator,
    batch_size: int = 16,
    spacing: float = 0.3,
    background_free: float = 0.35,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw slices of whole heads, some without background, with their labels.

    Parameters
    ----------
    animals : list of Animal
    rng : numpy.random.Generator
    batch_size : int
    spacing : float
        In-plane spacing of the animals, in mm.
    background_free : float
        Share of slices that show the brain alone, inside a mask as a placement leaves it.

    Returns
    -------
    images : tensor of float32, shape (B, 1, H, W)
        Normalised by `normalise_slices`.
    labels : tensor of int64, shape (B, 1, H, W)
        Values are places in `CLASSES`.
    """
    maps = []
    for animal in (animals[i] for i in rng.integers(len(animals), size=batch_size)):
        low, high = animal.extent_mm
        kind = rng.random()
        beyond = _SNOUT_MM if kind < 0.08 else BEYOND_MM if kind < 0.33 else 0.0
        centre = rng.uniform(low, high + beyond, 1)
        maps.append(cut_slices(animal, centre, rng.uniform(*THICKNESS_MM, 1)))
    posed = pose_freely(vary_tissues(torch.cat(maps), rng), rng, spacing)
    return render_heads(posed, rng, spacing, background_free)


def render_heads(
    maps: torch.Tensor,
    rng: np.random.Generator,
    spacing: float = 0.3,
    background_free: float = 0.0,
    contrast: tuple[float, float, float] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Give slices of maps a head, a contrast, a coil and artefacts.

    Parameters
    ----------
    maps : tensor, shape (B, 6, H, W)
        Tissue maps and the distance to the brain in mm, as `cut_slices` gives them.
    rng : numpy.random.Generator
    spacing : float
        In mm.
    background_free : float
        Share of slices without background.
    contrast : tuple of float, optional
        Brightness of WM, GM and CSF in all slices; random in each where not given.

    Returns
    -------
    images : tensor of float32, shape (B, 1, H, W)
    labels : tensor of int64, shape (B, 1, H, W)
    """
    b, _, h, w = maps.shape
    tissue = maps[:, 1:4].sum(dim=1, keepdim=True)
    labels = brain_labels(maps)
    stripped = torch.from_numpy(rng.random(b) < background_free)[:, None, None, None]
    around = _surroundings(maps, rng, spacing)
    # How bright the rest of the head is beside the brain: fat saturation, distance to the coil
    around = around * column(np.exp(rng.uniform(np.log(0.2), np.log(1.6), b)))
    image = brain_signal(maps, rng, contrast) + (1 - tissue) * around
    image = simulate_scanner(image, rng, spacing)
    # Where the coil does not reach there is noise alone, and no label
    lost = torch.from_numpy(rng.random(b) < _LOST)[:, None, None, None]
    noise = add_rician_noise(torch.zeros(b, 1, h, w), 1.0, rng)
    image, labels = torch.where(lost, noise, image), labels * ~lost
    mask = torch.where(stripped, imperfect_masks(tissue, rng), field_of_view((b, h, w), rng))
    image = image * mask
    normalised = torch.from_numpy(normalise_slices(image[:, 0].numpy()))[:, None]
    return normalised, labels * mask


def render_as(
    maps: torch.Tensor,
    rng: np.random.Generator,
    spacing: float,
    *,
    contrast: tuple[float, float, float] = CONTRASTS['b0'],
    snr: float = 20.0,
    bias: float = 0.3,
    voxel: float = 0.3,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Give slices of maps a random head and a given scanner, to test where a network fails.

    Parameters
    ----------
    maps : tensor, shape (B, 6, H, W)
    rng : numpy.random.Generator
    spacing : float
        Of the slices, in mm.
    contrast : tuple of float
        Brightness of WM, GM and CSF.
    snr : float
        Grey matter over the standard deviation of the noise.
    bias : float
        Standard deviation of the logarithm of the coil's sensitivity.
    voxel : float
        What the scanner resolves, in mm.

    Returns
    -------
    images : tensor of float32, shape (B, 1, H, W)
    labels : tensor of int64, shape (B, 1, H, W)
    """
    b, _, h, w = maps.shape
    tissue = maps[:, 1:4].sum(dim=1, keepdim=True)
    around = _surroundings(maps, rng, spacing) * float(np.exp(rng.uniform(-1.2, 0.3)))
    image = brain_signal(maps, rng, contrast) + (1 - tissue) * around
    image = image * torch.exp(log_bias((b, h, w), rng, np.full(b, bias)))
    image = cut_off(image, spacing, voxel)
    image = add_rician_noise(image, contrast[1] / snr, rng)
    normalised = torch.from_numpy(normalise_slices(image[:, 0].numpy()))[:, None]
    return normalised, brain_labels(maps)


def pose_freely(maps: torch.Tensor, rng: np.random.Generator, spacing: float) -> torch.Tensor:
    """Pose every slice by itself.

    Parameters
    ----------
    maps : (B, 6, H, W) tensor
        Shares of tissue, and the distance from the brain, mm.
    rng : numpy.random.Generator
    spacing : float
        Of the pixels, mm.

    Returns
    -------
    (B, 6, H, W) tensor
        What lies at the edge of a map goes on beyond it; distances grow with the head.
    """
    b, _, h, w = maps.shape
    grid, scale = random_grid((b, h, w), rng, spacing)
    posed = resample(maps, grid)
    posed[:, _DISTANCE] *= torch.from_numpy(scale.astype(np.float32))[:, None, None]
    return posed


def random_grid(
    shape: tuple[int, int, int], rng: np.random.Generator, spacing: float
) -> tuple[torch.Tensor, NDArray[np.float64]]:
    """Turn, scale, shift, flip and bend slices; one in five becomes a small animal.

    Most heads are upright; some are upside down or on their side, as with a wrong header.

    Parameters
    ----------
    shape : (B, H, W)
    rng : numpy.random.Generator
    spacing : float
        In mm.

    Returns
    -------
    grid : tensor, shape (B, H, W, 2)
        For `torch.nn.functional.grid_sample`.
    scale : array, shape (B,)
        By which each slice grew.
    """
    b, h, w = shape
    angle = np.deg2rad(rng.uniform(-15.0, 15.0, b))
    angle += np.where(rng.random(b) < 0.12, rng.integers(1, 4, b) * np.pi / 2, 0.0)
    scale = np.where(rng.random(b) < 0.8, rng.uniform(0.85, 1.15, b), rng.uniform(0.55, 0.85, b))
    flip = np.where(rng.random(b) < 0.5, -1.0, 1.0)
    shift = rng.normal(0.0, 0.15, (b, 2)).clip(-0.35, 0.35)
    grid = pose_grid(shape, angle, scale, flip, shift)
    bend = smooth_noise((b, 2, h, w), rng, rng.uniform(0.0, 0.35, b), 6)
    epi = smooth_noise((b, 1, h, w), rng, np.where(rng.random(b) < 0.4, 0.8, 0.0), 4)
    return bend_grid(grid, bend, epi, rng.integers(0, 2, b), spacing), scale


def _surroundings(maps: torch.Tensor, rng: np.random.Generator, spacing: float) -> torch.Tensor:
    """Intensity (B, 1, H, W) of everything that is not brain."""
    b, _, h, w = maps.shape
    distance = maps[:, _DISTANCE:]
    x = ((torch.arange(h) - (h - 1) / 2) * spacing)[None, None, :, None]
    z = ((torch.arange(w) - (w - 1) / 2) * spacing)[None, None, None, :]

    # The outline: a cover of uneven depth over the brain, deeper below; an ellipse where none is
    # and over the cord the muscles of the neck
    cover = column(np.where(rng.random(b) < 0.8, rng.uniform(1.0, 8.0, b), rng.uniform(4, 14, b)))
    cover = cover + smooth_noise((b, 1, h, w), rng, rng.uniform(0.0, 2.0, b), 5)
    cover = cover + column(rng.uniform(0.0, 1.5, b)) * (-z).clamp(0, 8)
    inside = torch.sigmoid((cover - distance) / 0.2)
    radii = rng.uniform(4.0, 10.0, (b, 2)) * np.where(rng.random((b, 1)) < 0.7, 1.0, 0.01)
    ellipse = ((x - column(rng.normal(0, 1.5, b))) / column(radii[:, 0])) ** 2
    ellipse = ellipse + ((z - column(rng.normal(-1, 1.5, b))) / column(radii[:, 1])) ** 2
    inside = torch.maximum(inside, torch.sigmoid((1 - ellipse.sqrt()) * column(radii[:, 0]) / 0.2))

    # Muscles, glands and cavities: regions of one brightness each
    k = 6
    shapes = smooth_noise((b, k, h, w), rng, np.ones(b), 6)
    shapes = shapes + smooth_noise((b, k, h, w), rng, rng.uniform(0.1, 0.9, b), 16)
    levels = torch.from_numpy(_levels(rng, (b, k)))[:, :, None, None].expand(-1, -1, h, w)
    flesh = levels.gather(1, shapes.max(dim=1, keepdim=True).indices)
    flesh = flesh * torch.exp(smooth_noise((b, 1, h, w), rng, rng.uniform(0.0, 0.4, b), 20))
    # Skin and the fat below it
    skin = (cover - distance) < column(rng.uniform(0.2, 1.5, b))
    flesh = torch.where(skin & column(rng.random(b) < 0.6).bool(), column(_levels(rng, b)), flesh)
    # Sheets of muscle that follow the brain's outline, as those of the neck do, between fasciae
    wavy = distance + smooth_noise((b, 1, h, w), rng, rng.uniform(0.0, 1.0, b), 6)
    for _ in range(2):
        depth, width = column(rng.uniform(0.3, 6.0, b)), column(rng.uniform(0.5, 5.0, b))
        present = column(rng.random(b) < 0.35)
        sheet = torch.sigmoid((wavy - depth) / 0.15) * torch.sigmoid((depth + width - wavy) / 0.15)
        sheet = sheet * torch.sigmoid((z - column(rng.uniform(-10.0, 2.0, b))) / 0.3) * present
        fascia = torch.exp(-(((wavy - depth) / column(rng.uniform(0.1, 0.35, b))) ** 2))
        flesh = flesh * (1 - sheet) + sheet * column(_levels(rng, b))
        flesh = flesh * (1 - present * fascia * column(rng.uniform(0.0, 1.0, b)))
    image = inside * flesh

    # Dura just outside the brain, then bone: of the atlas, or a layer, or none to see. What is
    # bright between brain and bone is fluid, and belongs to the brain
    gap = rng.uniform(0.0, 0.4, b) * (rng.random(b) < 0.3)
    bone = gap + rng.uniform(0.2, 1.3, b) * (rng.random(b) < 0.85)
    bone_level = np.where(rng.random(b) < 0.8, rng.uniform(0.0, 0.25, b), rng.uniform(0.2, 1.2, b))
    uneven = distance + smooth_noise((b, 1, h, w), rng, rng.uniform(0.0, 0.2, b), 12)
    layer = torch.sigmoid((column(bone) - uneven) / 0.1)
    from_atlas = column(rng.random(b) < 0.5)
    layer = from_atlas * maps[:, _SKULL : _SKULL + 1] + (1 - from_atlas) * layer
    image = image * (1 - layer) + layer * column(bone_level)
    dura = torch.sigmoid((column(gap) - uneven) / 0.1) * column(gap > 0)
    image = image * (1 - dura) + dura * column(rng.uniform(0.0, 0.5, b))

    # Eyes, ear canals and tubes, tongue, bars, tubes of water: round things, often in pairs
    for _ in range(4):
        present = column(rng.random(b) < 0.55)
        paired = torch.from_numpy(rng.random(b) < 0.6)[:, None, None, None]
        across = torch.where(paired, x.abs(), x) - column(rng.uniform(-10, 10, b))
        up = z - column(rng.uniform(-10.0, 9.0, b))
        turn = rng.uniform(0, np.pi, b)
        cos, sin = column(np.cos(turn)), column(np.sin(turn))
        size = np.exp(rng.uniform(np.log(0.4), np.log(3.0), b))
        oblong = np.exp(rng.uniform(0.0, 0.9, b))
        length = ((across * cos + up * sin) / column(size * oblong)) ** 2
        radius = (length + ((up * cos - across * sin) / column(size / oblong)) ** 2).sqrt()
        ball = torch.sigmoid((1 - radius) * column(size) / 0.12) * present
        hollow = column(np.where(rng.random(b) < 0.3, rng.uniform(0.3, 0.8, b), 0.0))
        core = torch.sigmoid((hollow - radius) * column(size) / 0.12) * (hollow > 0)
        image = image * (1 - ball) + ball * column(_levels(rng, b))
        image = image * (1 - core * present) + core * present * column(_levels(rng, b))
    # Air is black, but for the odd scanner's offset
    offset = np.where(rng.random(b) < 0.1, rng.uniform(0.0, 0.15, b), 0.0)
    return image + column(offset)


def _levels(rng: np.random.Generator, size: int | tuple[int, ...]) -> NDArray[np.float32]:
    """Brightness of what is not brain, brain being about 0.2 to 1: dark, alike or bright."""
    kind = rng.random(size)
    level = np.where(kind < 0.3, rng.uniform(0.0, 0.25, size), rng.uniform(0.2, 1.0, size))
    return np.where(kind > 0.8, rng.uniform(0.9, 2.5, size), level).astype(np.float32)
