"""Masks as a placement leaves them."""

import numpy as np
import torch

from secondglance.simulation.brains import imperfect_masks


def test_half_of_the_masks_are_exact_and_the_others_too_small_or_too_large():
    """By a pixel or two at every side: three in ten are smaller, nine in twenty larger."""
    tissue = torch.zeros(600, 1, 40, 40)
    tissue[..., 10:30, 10:30] = 1
    masks = imperfect_masks(tissue, np.random.default_rng(0))
    exact = (masks == (tissue > 0.5)).flatten(1).all(dim=1)
    assert 0.42 < exact.float().mean() < 0.6
    area = masks.flatten(1).sum(dim=1) / 400
    assert 0.1 < (area < 0.87).float().mean() < 0.2
    assert 0.15 < (area > 1.13).float().mean() < 0.3
    assert area.min() > 0.4
    assert area.max() < 1.9
