"""Scores of a network on simulated animals."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from secondglance.imaging.labels import CLASSES, TISSUES
from secondglance.imaging.metrics import dice
from secondglance.models.unet import UNet
from secondglance.simulation.animal import Animal, cut_through
from secondglance.simulation.brains import render_slices
from secondglance.simulation.head_slices import render_heads

BACKGROUNDS = ('true mask', 'imperfect mask', 'whole head')
"""Backgrounds of the slices on which a network is scored."""


_SLICES_APART_MM = 0.75
"""Distance between the slices that are scored, in mm."""


def evaluation_slices(
    animal: Animal, rng: np.random.Generator, *, background: str = 'true mask'
) -> tuple[torch.Tensor, torch.Tensor]:
    """All slices of an animal, 0.75 mm apart and thick, each with its own random contrast.

    Parameters
    ----------
    animal : Animal
    rng : numpy.random.Generator
    background : str
        One of `BACKGROUNDS`.

    Returns
    -------
    images, labels : tensor, shape (B, 1, H, W)
    """
    maps, _ = cut_through(animal, _SLICES_APART_MM)
    if background == 'whole head':
        return render_heads(maps, rng, animal.spacing)
    return render_slices(maps, rng, perfect_mask=background == 'true mask')


def dice_per_class(predicted: torch.Tensor, labels: torch.Tensor) -> NDArray[np.float64]:
    """Dice of WM, GM, CSF and of the three together.

    Parameters
    ----------
    predicted, labels : tensor of int, same shape
        Values are places in `CLASSES`.

    Returns
    -------
    array, shape (4,)
        In [0, 1]; 1, not NaN as of `dice`, where a class is in neither, so that means exist.

    Examples
    --------
    >>> a, b = torch.tensor([1, 1, 2, 0]), torch.tensor([1, 2, 2, 0])
    >>> [round(float(d), 3) for d in dice_per_class(a, b)]
    [0.667, 0.667, 1.0, 1.0]
    """
    values = []
    for label in (*range(1, len(CLASSES)), None):
        a = predicted > 0 if label is None else predicted == label
        b = labels > 0 if label is None else labels == label
        values.append(dice(a.cpu().numpy(), b.cpu().numpy()))
    return np.nan_to_num(values, nan=1.0)


def score(net: UNet, images: torch.Tensor, labels: torch.Tensor) -> NDArray[np.float64]:
    """Score a network's arg-max.

    Parameters
    ----------
    net : UNet
    images : (B, 1, H, W) tensor
        Normalised as the network was trained on.
    labels : (B, 1, H, W) tensor
        Places in `secondglance.imaging.labels.CLASSES`.

    Returns
    -------
    (4,) array
        Dice in [0, 1] of WM, GM, CSF and the whole brain.
    """
    device = next(net.parameters()).device
    with torch.no_grad():
        predicted = net(images.to(device)).argmax(dim=1, keepdim=True).to(labels.device)
    return dice_per_class(predicted, labels)


def summarise(scores: NDArray[np.float64]) -> dict[str, Any]:
    """Mean and standard deviation over animals.

    Parameters
    ----------
    scores : array, shape (n, 4)
        Dice of each animal, in the order of `dice_per_class`.

    Returns
    -------
    dict
        ``{'WM': {'mean': …, 'sd': …}, …, 'brain': …, 'n_animals': n}``.

    Examples
    --------
    >>> summarise(np.array([[0.5] * 4, [0.7] * 4]))['GM']
    {'mean': 0.6, 'sd': 0.1414}
    """
    deviation = scores.std(axis=0, ddof=1) if len(scores) > 1 else np.zeros(scores.shape[1])
    summary: dict[str, Any] = {
        name: {'mean': round(float(m), 4), 'sd': round(float(s), 4)}
        for name, m, s in zip((*TISSUES, 'brain'), scores.mean(axis=0), deviation, strict=True)
    }
    return {**summary, 'n_animals': len(scores)}


def spread(values: NDArray[np.float64]) -> dict[str, float]:
    """Mean, standard deviation and least of scores, rounded for a model card.

    Parameters
    ----------
    values : (K,) array
        At least one score.

    Returns
    -------
    dict of float
        ``mean``, ``sd`` (of a sample; 0 for a single score) and ``least``, four digits.

    Examples
    --------
    >>> spread(np.array([0.5, 0.7]))
    {'mean': 0.6, 'sd': 0.1414, 'least': 0.5}
    """
    deviation = values.std(ddof=1) if len(values) > 1 else 0.0
    found = {'mean': values.mean(), 'sd': deviation, 'least': values.min()}
    return {name: round(float(value), 4) for name, value in found.items()}
