"""Masks as a placement leaves them."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from secondglance.simulation import brains
from secondglance.simulation.animal import Animal
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


def test_around_the_brain_lies_dark_bone_and_what_is_as_uneven_as_muscle(monkeypatch):
    """One map a slice; within the brain a tissue varies by up to 15 %, around it by up to 60 %."""
    maps = torch.eye(5).repeat(60, 1)[:, :, None, None].expand(-1, -1, 40, 40)
    handed = []
    monkeypatch.setattr(brains, 'log_bias', lambda shape, *_: torch.zeros(shape[0], 1, 1, 1))
    monkeypatch.setattr(
        brains, 'add_rician_noise', lambda image, *_: handed.append(image.numpy()) or image
    )
    render_slices(maps, np.random.default_rng(0))
    signal = handed[0].reshape(60, 5, -1)
    uneven = np.log(signal).std(axis=2).mean(axis=0)
    assert (uneven[1:4] < 0.12).all()
    assert (uneven[[0, 4]] > 0.15).all()
    level = np.median(signal, axis=2)
    dark = (level < 0.3).mean(axis=0)
    # Bone in three slices of four, what lies farther out in three of ten
    assert 0.55 < dark[4] < 0.9
    assert 0.15 < dark[0] < 0.55


@pytest.mark.parametrize(('share', 'mirrored'), [(0.1, True), (0.9, False)])
def test_half_of_the_slices_are_mirrored_and_all_are_turned_a_little(
    share, mirrored, steady, monkeypatch
):
    """By up to 10°, scaled by up to a twentieth and moved by up to an eighth of the field."""
    at = (np.arange(64) - 31.5) * 0.5
    x, z = np.meshgrid(at, at, indexing='ij')
    # A bar along the second axis, with a knob at its right
    bar = ((np.abs(x) < 0.8) & (np.abs(z) < 8)) | (np.hypot(x - 2, z - 4) < 1.5)
    maps = np.zeros((6, 64, 64), np.float32)
    maps[0], maps[2] = ~bar, bar
    running = torch.from_numpy(np.arange(41, dtype=np.float32)[:, None, None, None] * maps)
    handed = []
    monkeypatch.setattr(brains, 'render_slices', lambda maps, _: handed.append(maps) or (0, 0))
    brains.draw_batch([Animal(running, (4, 36), 0.5)], steady(share), 3)
    for one in handed[0][:, 2].numpy():
        places = np.argwhere(one > 0.5) * 0.5
        axis = np.linalg.eigh(np.cov((places - places.mean(axis=0)).T))[1][:, 1]
        knob = np.argwhere(ndimage.binary_opening(one > 0.5, np.ones((5, 5)))) * 0.5
        side = (knob.mean(axis=0) - places.mean(axis=0)) @ [1, 0]
        assert (side < 0) == mirrored
        tilt = np.degrees(np.arctan2(axis[0], axis[1])) % 180
        # The knob pulls the axis of the bar aside by some degrees
        assert min(tilt, 180 - tilt) < 25


def test_masks_that_are_off_lie_aside_and_are_ragged():
    """By up to two pixels along both axes; no two outlines are the same."""
    tissue = torch.zeros(300, 1, 40, 40)
    tissue[..., 10:30, 10:30] = 1
    masks = imperfect_masks(tissue, np.random.default_rng(0))[:, 0].numpy()
    off = masks[(masks != (tissue[:, 0].numpy() > 0.5)).any(axis=(1, 2))]
    middles = np.array([ndimage.center_of_mass(mask) for mask in off]) - 19.5
    # Five places, -2 to 2, with a deviation of the square root of two
    np.testing.assert_allclose(middles.std(axis=0), np.sqrt(2), atol=0.3)
    cropped = {mask[np.ix_(mask.any(axis=1), mask.any(axis=0))].tobytes() for mask in off}
    assert len(cropped) > 0.9 * len(off)
