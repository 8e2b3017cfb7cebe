"""Lesions painted into training samples of the second glance, so that the image outweighs place.

In healthy animals the place in the brain nearly always tells the tissue, and a network that has
seen no others labels a cyst as what lies there in health.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from secondglance.imaging.labels import TISSUES
from secondglance.models.second_glance.channels import N_IMAGES

CHANCE = 0.45
"""Share of the slices that get a lesion."""

WEIGHT = 1.0
"""How much more a pixel counts whose tissue a lesion changed as a whole.

Such pixels are few, and a network that follows the place in all of them loses little. The more
they count, the larger are white matter and CSF in all brains: with 5, by 3 and 4 %.
"""

_CSF = TISSUES.index('CSF')
_PURE = 0.8
"""Fraction of a tissue from which a pixel shows its intensity."""

_LEAST_PIXELS = 15
"""Of a tissue in a slice, by which its intensity is known."""

_CONTRAST = 0.25
"""Least difference of the intensities of two tissues, in units of the normalised image."""

_RADII = (2.0, 9.0)
"""Least and greatest half axis of a lesion, pixels."""

_RIM = 5
"""Pixels from the outline of the brain within which CSF belongs to no ventricle."""


def paint_lesions(
    channels: torch.Tensor,
    targets: torch.Tensor,
    rng: np.random.Generator,
    chance: float = CHANCE,
) -> None:
    """Paint a lesion into some of the slices, in place.

    A lesion is an ellipse about a pixel of another tissue, or the ventricles and what lies around
    them; it looks as a tissue does in this slice, and its target is that tissue. In the
    neighbouring slices it is as large, smaller, or not there.

    Parameters
    ----------
    channels : (B, 13, H, W) tensor
        Input of the network.
    targets : (B, 8, H, W) tensor
        Fractions (3), their weight, zero where they are not known, coordinates (3), and where they
        are known.
    rng : numpy.random.Generator
    chance : float
        Of each slice.
    """
    for b in np.flatnonzero(rng.random(len(channels)) < chance):
        fractions, known = targets[b, :3], targets[b, 3] > 0.5
        image = channels[b, N_IMAGES // 2]
        tissue = int(rng.choice(len(TISSUES), p=(0.25, 0.4, 0.35)))
        pure = [image[(f > _PURE) & known & (image != 0)] for f in fractions]
        if len(pure[tissue]) < _LEAST_PIXELS:
            continue
        shapes = _ventricles(fractions[_CSF], known, rng) if tissue == _CSF else None
        if shapes is None:
            # What is that tissue already would teach nothing
            other = known & (fractions[tissue] < 0.5)
            if not other.any():
                continue
            shapes = _ellipses(other, rng)
        if tissue == _CSF:
            level = _fluid_level(pure[_CSF], image[known])
        else:
            level = float(pure[tissue].median())
            others = [v for k, v in enumerate(pure) if k != tissue and len(v) >= _LEAST_PIXELS]
            if min((abs(level - float(v.median())) for v in others), default=0.0) < _CONTRAST:
                # The scan shows no difference to another tissue
                continue
        level += float(rng.normal(0.0, 0.05))
        spread = 0.5 * float((image[known] - image[known].median()).abs().median())
        for n, shape in enumerate(shapes):
            inside = shape * (channels[b, N_IMAGES + n] > 0.5) * (channels[b, n] != 0)
            noise = torch.from_numpy(rng.standard_normal(image.shape, dtype=np.float32)) * spread
            channels[b, n] = channels[b, n] * (1 - inside) + (level + noise) * inside
        share = shapes[N_IMAGES // 2] * known
        ill = fractions * (1 - share)
        ill[tissue] += share
        targets[b, 3] *= 1 + WEIGHT * (ill - fractions).abs().sum(dim=0) / 2
        targets[b, :3] = ill


def _fluid_level(values: torch.Tensor, brain: torch.Tensor) -> float:
    """Intensity of CSF in a slice, by that of its pixels and of the whole brain.

    CSF whose pixels differ as much as those of the whole brain lies at a rim, mixed with what is
    dark; what a ventricle looks like is then taken to be the brightest of the brain, as with
    every weighting that these scans have.
    """
    level = float(torch.quantile(values, 0.85))
    mixed = _spread(values) > 0.7 * _spread(brain)
    if mixed or abs(level - float(brain.median())) < _CONTRAST:
        return float(torch.quantile(brain, 0.98)) + 0.2
    return level


def _spread(values: torch.Tensor) -> float:
    low, high = torch.quantile(values, torch.tensor([0.25, 0.75]))
    return float(high - low)


def _ellipses(among: torch.Tensor, rng: np.random.Generator) -> list[torch.Tensor]:
    """An ellipse about one of these pixels, in each of the slices that are shown."""
    where = among.nonzero()
    centre = where[int(rng.integers(len(where)))]
    half = rng.uniform(*_RADII) * np.array([1.0, rng.uniform(0.6, 1.6)])
    angle = rng.uniform(0, np.pi)
    rows, columns = (torch.arange(n, dtype=torch.float32) for n in among.shape)
    down, right = rows[:, None] - centre[0], columns[None] - centre[1]
    along = float(np.cos(angle)) * down + float(np.sin(angle)) * right
    across = float(np.cos(angle)) * right - float(np.sin(angle)) * down
    shapes = []
    for n in range(N_IMAGES):
        size = 1.0 if n == N_IMAGES // 2 else float(rng.uniform(0.0, 1.1))
        if size < 0.3:
            shapes.append(torch.zeros(among.shape))
            continue
        away = torch.hypot(along / (half[0] * size), across / (half[1] * size)) - 1
        shapes.append(torch.sigmoid(-away * float(half.mean()) * size / 0.5))
    return shapes


def _ventricles(
    fluid: torch.Tensor, known: torch.Tensor, rng: np.random.Generator
) -> list[torch.Tensor] | None:
    """The ventricles of a slice, grown by one to four pixels; None where there are none."""
    if rng.random() > 0.4:
        return None
    outside = (~known).float()[None, None]
    deep = functional.max_pool2d(outside, 2 * _RIM + 1, 1, _RIM)[0, 0] < 0.5
    inner = fluid * deep
    if float(inner.sum()) < _LEAST_PIXELS / 3:
        return None
    reach = int(rng.integers(1, 5))
    grown = functional.max_pool2d(inner[None, None], 2 * reach + 1, 1, reach)
    soft = functional.avg_pool2d(grown, 3, 1, 1)[0, 0]
    return [soft] * N_IMAGES
