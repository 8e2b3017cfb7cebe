"""Masks as a placement leaves them."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from secondglance.simulation import brains
from secondglance.simulation.brains import imperfect_masks, render_slices


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


@pytest.mark.parametrize('share', [0.1, 0.65])
def test_a_slice_is_blurred_by_up_to_four_fifths_of_a_pixel(share, steady, monkeypatch):
    """Alike along both axes: the noise-free slice is a Gaussian's, within two pixels."""
    maps = torch.zeros(2, 5, 24, 20)
    maps[0, 2, 8:], maps[0, 3, :8] = 1, 1
    maps[1, 2, :, 9:], maps[1, 3, :, :9] = 1, 1
    handed = []
    monkeypatch.setattr(
        brains, 'add_rician_noise', lambda image, *_: handed.append(image.numpy()) or image
    )
    render_slices(maps, steady(share), perfect_mask=True)
    found = handed[0][:, 0]
    # Fluid and grey matter are uniform without noise
    fluid, grey = found[0, 0, 0], found[0, -1, -1]
    assert abs(fluid - grey) > 0.05
    for one, sharp in zip(found, maps[:, 3].numpy(), strict=True):
        expected = ndimage.gaussian_filter(sharp, 0.8 * share, radius=2, mode='nearest')
        np.testing.assert_allclose((one - grey) / (fluid - grey), expected, atol=1e-4)
