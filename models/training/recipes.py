"""How networks are trained: recipes by name, and animals split into parts that never mix."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from secondglance.imaging.errors import InputError
from secondglance.models.weights import PAPER_SPACING


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes
    ----------
    name : str
    batch_size : int
        Slices a step.
    learning_rate : float
    cross_entropy : float
        Weight of cross-entropy beside soft Dice; 0 leaves soft Dice alone.
    optimiser : str
        ``sgd`` (momentum 0.9, time-based decay) or ``adamw`` (cosine decay to zero).
    decay : float
        Time-based decay a step: the rate at step t is ``learning_rate / (1 + decay t)``.
    average : float
        Decay a step of the running average of the weights; 0 keeps the last weights.
    heads : bool
        Whether most slices show whole heads (`secondglance.simulation.head`); otherwise all are
        background-free.
    spacing : float
        In-plane spacing of the slices, in mm.
    side : int
        Pixels of the square slices.
    channels : tuple of int
        Of the `UNet`.
    precision : str
        Of the arithmetic, as Lightning names it.
    scan_share : float
        Share of each batch that is drawn from labelled scans, where there are any.
    steps, n_animals : int
        Batches, and simulated animals, where the call names none.
    """

    name: str
    batch_size: int
    learning_rate: float
    cross_entropy: float
    optimiser: str
    decay: float = 0.0
    average: float = 0.0
    heads: bool = False
    spacing: float = PAPER_SPACING
    side: int = 64
    channels: tuple[int, ...] = (16, 32, 64, 128)
    precision: str = '32-true'
    scan_share: float = 0.4
    steps: int = 20000
    n_animals: int = 36


RECIPES: dict[str, Recipe] = {
    # Matos et al. 2019, section 3.2.
    'paper': Recipe('paper', 5, 3e-4, 0.0, 'sgd', decay=1.5e-6),
    'robust': Recipe(
        'robust',
        16,
        1.5e-3,
        1.0,
        'adamw',
        average=0.998,
        heads=True,
        spacing=0.3,
        side=80,
        channels=(16, 32, 64, 128, 192),
        precision='bf16-mixed',
        steps=10000,
    ),
}


RECIPES['fine-tune'] = replace(
    RECIPES['robust'],
    name='fine-tune',
    learning_rate=5e-4,
    average=0.99,
    steps=500,
    n_animals=12,
)
"""Recipes of the network of the two glances, by name."""


REFINE = replace(
    RECIPES['robust'],
    name='refine',
    learning_rate=2e-3,
    average=0.995,
    channels=(16, 32, 64, 96),
    steps=3000,
    n_animals=60,
)
"""Recipe of the refinement (`secondglance.models.brain_refinement`)."""

SECOND_GLANCE = replace(
    RECIPES['robust'],
    name='second-glance',
    learning_rate=2e-3,
    average=0.998,
    spacing=0.2,
    side=80,
    channels=(20, 40, 80, 128, 160),
    scan_share=0.5,
    steps=8000,
    n_animals=120,
)
"""Recipe of the second glance (`secondglance.models.second_glance`)."""


@dataclass(frozen=True)
class Split:
    """Numbers of the animals in each part of a cohort; no animal is in two parts."""

    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]


def split_animals(n_animals: int, rng: np.random.Generator, test_fraction: float = 0.2) -> Split:
    """Split animals at random: a fifth to test, a fifth of the rest to validate.

    Parameters
    ----------
    n_animals : int
        At least 3.
    rng : numpy.random.Generator
    test_fraction : float

    Returns
    -------
    Split

    Raises
    ------
    InputError
        If there are too few animals for three parts.

    References
    ----------
    Matos et al. 2019, section 3.2: 80 % to train (80/20 train/validation), 20 % to test.

    Examples
    --------
    >>> split = split_animals(36, np.random.default_rng(0))
    >>> len(split.train), len(split.validation), len(split.test)
    (23, 6, 7)
    """
    if n_animals < 3:
        raise InputError(f'{n_animals} animals cannot be split in three parts; use at least 3.')
    order = [int(i) for i in rng.permutation(n_animals)]
    n_test = max(1, round(test_fraction * n_animals))
    n_validation = max(1, round(test_fraction * (n_animals - n_test)))
    test, validation = order[:n_test], order[n_test : n_test + n_validation]
    train = order[n_test + n_validation :]
    return Split(tuple(sorted(train)), tuple(sorted(validation)), tuple(sorted(test)))


def animal_rng(seed: int, number: int) -> np.random.Generator:
    """Generator of one animal of the cohort; independent of how many animals there are."""
    return np.random.default_rng([seed, 1, number])
