"""Lesions that are painted into training samples."""

import numpy as np
import pytest
import torch

from secondglance.models.second_glance.channels import N_IMAGES
from secondglance.models.second_glance.network import N_CHANNELS
from secondglance.models.training.painted_lesions import WEIGHT, paint_lesions

LEVELS = torch.tensor([-1.0, 0.2, 1.8])
"""Intensity of WM, GM and CSF."""

MIDDLE = N_IMAGES // 2


@pytest.fixture
def slices():
    """Sixteen slices of a brain of 44 × 44 pixels with white matter and a ventricle inside."""
    tissue = torch.full((64, 64), -1)
    tissue[10:54, 10:54] = 1
    tissue[18:26, 14:50] = 0
    tissue[30:36, 28:36] = 2
    brain = tissue >= 0
    channels, targets = torch.zeros(16, N_CHANNELS, 64, 64), torch.zeros(16, 8, 64, 64)
    channels[:, :N_IMAGES] = torch.where(brain, LEVELS[tissue], torch.tensor(0.0))
    channels[:, N_IMAGES : 2 * N_IMAGES] = brain.float()
    for k in range(3):
        targets[:, k] = (tissue == k).float()
    targets[:, 3] = brain.float()
    targets[:, 4:7] = 1.5
    return channels, targets


def test_what_looks_like_another_tissue_is_labelled_as_it(slices):
    channels, targets = (part.clone() for part in slices)
    paint_lesions(channels, targets, np.random.default_rng(0), 1.0)
    was, now = slices[1][:, :3].argmax(1), targets[:, :3].argmax(1)
    changed = (was != now) & (targets[:, :3].amax(1) > 0.95)
    seen = channels[:, MIDDLE]
    assert {int(k) for k in now[changed].unique()} == {0, 1, 2}
    for k, level in enumerate(LEVELS):
        assert abs(float(seen[changed & (now == k)].median()) - level) < 0.15


def test_fractions_sum_to_one_and_places_stay(slices):
    channels, targets = (part.clone() for part in slices)
    paint_lesions(channels, targets, np.random.default_rng(1), 1.0)
    known = targets[:, 3] > 0.5
    total = targets[:, :3].sum(1)
    assert torch.allclose(total[known], torch.tensor(1.0), atol=1e-5)
    assert torch.equal(targets[:, 4:], slices[1][:, 4:])


def test_a_pixel_counts_more_by_how_much_of_it_changed(slices):
    channels, targets = (part.clone() for part in slices)
    paint_lesions(channels, targets, np.random.default_rng(1), 1.0)
    known = slices[1][:, 3] > 0.5
    # Every pixel was of one tissue: what is left of it did not change
    kept = (targets[:, :3] * slices[1][:, :3]).sum(1)[known]
    assert torch.allclose(targets[:, 3][known], 1 + WEIGHT * (1 - kept), atol=1e-5)
    assert float(kept.min()) < 0.05 < 0.95 < float(kept.max())
    assert torch.equal(targets[:, 3][~known], slices[1][:, 3][~known])


def test_nothing_outside_the_brain_and_no_other_channel_changes(slices):
    channels, targets = (part.clone() for part in slices)
    paint_lesions(channels, targets, np.random.default_rng(2), 1.0)
    outside = slices[1][:, 3] < 0.5
    for n in range(N_IMAGES):
        assert torch.equal(channels[:, n][outside], slices[0][:, n][outside])
    assert torch.equal(targets[:, :3].sum(1)[outside], slices[1][:, :3].sum(1)[outside])
    assert torch.equal(channels[:, N_IMAGES:], slices[0][:, N_IMAGES:])


def test_share_of_slices(slices):
    channels, targets = (part.clone() for part in slices)
    paint_lesions(channels, targets, np.random.default_rng(3), 0.0)
    assert torch.equal(channels, slices[0])
    paint_lesions(channels, targets, np.random.default_rng(3), 0.5)
    changed = (channels != slices[0]).flatten(1).any(1)
    assert 3 < int(changed.sum()) < 13


def test_a_tissue_that_looks_like_another_is_not_painted(slices):
    """A scan that shows no difference of white and grey matter teaches none."""
    channels, targets = (part.clone() for part in slices)
    white = targets[:, 0] > 0.5
    for n in range(N_IMAGES):
        channels[:, n][white] = LEVELS[1]
    targets_before = targets.clone()
    paint_lesions(channels, targets, np.random.default_rng(4), 1.0)
    gained = (targets[:, :2] - targets_before[:, :2]).amax(dim=(0, 2, 3))
    assert float(gained.max()) < 1e-6


def test_fluid_mixed_with_what_is_dark_is_painted_bright(slices):
    """The CSF of an EPI lies at the rim, dark; a cyst is bright."""
    channels, targets = (part.clone() for part in slices)
    fluid = targets[:, 2] > 0.5
    rng = np.random.default_rng(5)
    noise = torch.from_numpy(rng.uniform(-2.0, 0.5, channels[:, 0].shape).astype('f4'))
    for n in range(N_IMAGES):
        channels[:, n][fluid] = noise[fluid]
    before = targets[:, 2].clone()
    paint_lesions(channels, targets, rng, 1.0)
    cyst = (before < 0.5) & (targets[:, 2] > 0.95)
    assert cyst.any()
    assert float(channels[:, MIDDLE][cyst].median()) > float(LEVELS[1])
