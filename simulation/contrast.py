"""Contrast and disease of simulated tissues."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from secondglance.imaging.labels import BRAIN_SHARE
from secondglance.simulation.atlas import TISSUE_MAPS
from secondglance.simulation.random_fields import column, smooth_noise

CONTRASTS: dict[str, tuple[float, float, float]] = {
    'b0': (0.45, 0.6, 1.0),
    'T2w': (0.35, 0.55, 1.2),
    'EPI': (0.5, 0.6, 0.7),
    'T1w': (0.75, 0.55, 0.25),
    'inverted': (1.0, 0.7, 0.2),
}
"""Brightness of WM, GM and CSF by contrast, for simulations with a known contrast."""


def brain_labels(maps: torch.Tensor) -> torch.Tensor:
    """Label the brain in maps of tissue.

    Of the three tissues the likeliest. The arg-max over all maps would lose voxels at the surface
    that two tissues share, and so make every brain smaller than it is.

    Parameters
    ----------
    maps : (B, 5 or more, H, W) tensor
        Shares in [0, 1]: background, WM, GM, CSF, skull, …

    Returns
    -------
    (B, 1, H, W) tensor of int
        0, and 1 WM, 2 GM, 3 CSF where tissue fills `BRAIN_SHARE` of a pixel.
    """
    tissues = maps[:, TISSUE_MAPS]
    inside = tissues.sum(dim=1, keepdim=True) > BRAIN_SHARE
    return torch.where(inside, tissues.max(dim=1, keepdim=True).indices + 1, 0)


def brain_signal(
    maps: torch.Tensor,
    rng: np.random.Generator,
    contrast: tuple[float, float, float] | None = None,
) -> torch.Tensor:
    """Draw the intensity of the brain alone, each pixel by its shares of tissue.

    Parameters
    ----------
    maps : (B, 5 or more, H, W) tensor
        Shares in [0, 1]: background, WM, GM, CSF, skull, …
    rng : numpy.random.Generator
    contrast : (float, float, float), optional
        Brightness of WM, GM and CSF; by default random, slice by slice.

    Returns
    -------
    (B, 1, H, W) tensor
        0 outside the brain; grey matter is at 0.15 to 1 mostly.
    """
    b, _, h, w = maps.shape
    levels = tissue_levels((b, h, w), rng, contrast)
    return (maps[:, TISSUE_MAPS] * levels).sum(1, keepdim=True)


def tissue_levels(
    shape: tuple[int, int, int],
    rng: np.random.Generator,
    contrast: tuple[float, float, float] | None = None,
) -> torch.Tensor:
    """Draw the brightness of each tissue at every pixel.

    Parameters
    ----------
    shape : (B, H, W)
    rng : numpy.random.Generator
    contrast : (float, float, float), optional
        Brightness of WM, GM and CSF; by default random, slice by slice.

    Returns
    -------
    (B, 3, H, W) tensor
        Of WM, GM and CSF: none is uniform.
    """
    b, h, w = shape
    drawn = [contrast or draw_contrast(rng) for _ in range(b)]
    means = torch.from_numpy(np.array(drawn, np.float32))
    # No tissue is uniform: slow and less slow variations within each
    within = smooth_noise((b, 3, h, w), rng, rng.uniform(0.0, 0.15, b), 7)
    within += smooth_noise((b, 3, h, w), rng, rng.uniform(0.0, 0.12, b), 20)
    return means[:, :, None, None] * torch.exp(within)


def draw_contrast(rng: np.random.Generator) -> tuple[float, float, float]:
    """Draw mean intensities: T2-weighted like (55 %), T1-weighted like (15 %), or any.

    Parameters
    ----------
    rng : numpy.random.Generator

    Returns
    -------
    (float, float, float)
        Of WM, GM and CSF, in the unit of a slice's brightness.
    """
    kind = rng.random()
    if kind < 0.55:  # b0, EPI and T2-weighted: CSF > GM > WM
        grey = rng.uniform(0.45, 0.8)
        return grey * rng.uniform(0.5, 0.92), grey, grey * rng.uniform(1.1, 2.2)
    if kind < 0.7:  # T1-weighted like: WM > GM > CSF
        grey = rng.uniform(0.5, 0.85)
        return grey * rng.uniform(1.05, 1.6), grey, grey * rng.uniform(0.2, 0.85)
    white, grey, fluid = rng.uniform(0.15, 1.0, 3)
    return float(white), float(grey), float(fluid)


def vary_tissues(maps: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Change slices of maps (B, 5 or more, H, W) as disease and species do, inside the brain.

    In some slices CSF grows by up to two pixels, as ventricles do; there is more white matter, or
    less; and a round lesion is all one tissue. So a network learns to rely on intensity more than
    on position.

    Parameters
    ----------
    maps : (B, 5 or more, H, W) tensor
        Shares in [0, 1]: background, WM, GM, CSF, skull, …
    rng : numpy.random.Generator

    Returns
    -------
    tensor of the shape of `maps`
        A new one; shares of the brain still sum to what they did.
    """
    b, _, h, w = maps.shape
    white, grey, fluid = maps[:, TISSUE_MAPS].split(1, dim=1)
    brain = white + grey + fluid
    swells = column(np.where(rng.random(b) < 0.25, rng.uniform(0.0, 2.0, b), 0.0))
    for pixels in range(2):
        grown = torch.minimum(functional.max_pool2d(fluid, 3, 1, 1), brain)
        fluid = torch.where(swells > pixels, grown, fluid)
    more = column(np.exp(np.where(rng.random(b) < 0.5, rng.uniform(-0.8, 0.8, b), 0.0)))
    share = white * more / (white * more + grey).clamp(min=1e-6)
    white, grey = share * (brain - fluid), (1 - share) * (brain - fluid)

    across = torch.arange(h)[:, None] - column(h * rng.uniform(0.25, 0.75, b))
    up = torch.arange(w)[None] - column(w * rng.uniform(0.25, 0.75, b))
    oblong = column(np.exp(rng.uniform(-0.6, 0.6, b)))
    away = torch.hypot(across * oblong, up / oblong) - column(rng.uniform(1.0, 6.0, b))
    lesion = torch.sigmoid(-away / 0.5) * column(rng.random(b) < 0.15)
    of = torch.from_numpy(np.digitize(rng.random(b), (0.2, 0.4)))
    alone = functional.one_hot(of, 3).float()[:, :, None, None] * brain
    tissues = torch.cat([white, grey, fluid], dim=1) * (1 - lesion) + alone * lesion
    return torch.cat([maps[:, :1], tissues, maps[:, TISSUE_MAPS.stop :]], dim=1)
