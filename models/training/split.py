"""Simulated animals split into parts that never mix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from secondglance.imaging.errors import InputError


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
    """Make the generator of one animal of a cohort.

    Parameters
    ----------
    seed, number : int
        Of the cohort, and of the animal in it.

    Returns
    -------
    numpy.random.Generator
        Independent of how many animals there are.
    """
    return np.random.default_rng([seed, 1, number])
