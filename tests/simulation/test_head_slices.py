"""Whole heads around simulated brains: reproducible, various, and truly labelled."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from secondglance.imaging.labels import BRAIN_SHARE
from secondglance.simulation import head_slices
from secondglance.simulation.animal import Animal, cut_slices, draw_animal
from secondglance.simulation.contrast import brain_labels, vary_tissues
from secondglance.simulation.head_slices import draw_heads, random_grid, render_as, render_heads

SPACING = 0.5


@pytest.fixture(scope='module')
def animal(rat_atlas):
    return draw_animal(rat_atlas, np.random.default_rng(0), SPACING, 48)


@pytest.fixture(scope='module')
def maps(animal):
    low, high = animal.extent_mm
    centres = np.linspace(low + 2, high - 2, 12)
    return cut_slices(animal, centres, np.full(12, 0.8))


def test_distance_is_zero_in_the_brain_and_grows_around_it(maps):
    brain = maps[:, 1:4].sum(dim=1) > 0.99
    distance = maps[:, 5]
    assert (distance[brain] < 0.2).all()
    # Two pixels beyond the brain it is at least one pixel
    near = torch.nn.functional.max_pool2d((maps[:, 1:4].sum(1) > 0.01).float()[:, None], 5, 1, 2)
    assert (distance[near[:, 0] == 0] > SPACING).all()


def test_tissues_vary_inside_a_brain_that_stays_as_it_is(maps):
    many = maps.repeat(6, 1, 1, 1)
    varied, again = (vary_tissues(many, np.random.default_rng(2)) for _ in range(2))
    assert torch.equal(varied, again)
    assert varied.min() >= 0
    torch.testing.assert_close(varied[:, 1:4].sum(1), many[:, 1:4].sum(1))
    assert torch.equal(varied[:, [0, 4, 5]], many[:, [0, 4, 5]])
    before, after = brain_labels(many), brain_labels(varied)
    assert (((before > 0) != (after > 0)).float().mean()) < 1e-4
    changed = (before != after).flatten(1).float().mean(dim=1)
    # Some stay, some change, and fluid gains
    assert (changed == 0).float().mean() > 0.1
    assert (changed > 0.01).float().mean() > 0.3
    assert (after == 3).sum() > 1.1 * (before == 3).sum()


def test_batches_are_reproducible_and_differ(animal):
    first, again, other = (
        draw_heads([animal], np.random.default_rng(seed), 6, SPACING) for seed in (1, 1, 2)
    )
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])
    assert first[0].shape == first[1].shape == (6, 1, 48, 48)
    assert torch.isfinite(first[0]).all()
    assert first[0].min() >= 0
    assert first[0].max() <= 1.5


def test_heads_surround_brains_and_stripped_ones_do_not(maps):
    images, labels = render_heads(maps, np.random.default_rng(0), SPACING, background_free=0.0)
    around = (labels == 0) & (maps[:, 5:] < 3)
    assert (images[around] > 0.05).float().mean() > 0.4
    images, labels = render_heads(maps, np.random.default_rng(0), SPACING, background_free=1.0)
    far = maps[:, 5:] > 3
    # But for the islands that a bad placement leaves
    assert (images[far] > 0).float().mean() < 0.01
    assert not labels[images == 0].any()


def test_labels_are_those_of_the_maps_where_the_field_of_view_shows_them(maps):
    _, labels = render_heads(maps, np.random.default_rng(3), SPACING)
    brain = maps[:, 1:4].sum(dim=1, keepdim=True) > BRAIN_SHARE
    assert not labels[~brain].any()
    assert (labels[brain] > 0).float().mean() > 0.8
    brain = labels > 0
    assert torch.equal(labels[brain], (maps[:, 1:4].argmax(dim=1, keepdim=True) + 1)[brain])


@pytest.mark.parametrize(('share', 'shown'), [(0.01, False), (0.5, True)])
def test_what_the_coil_does_not_reach_has_no_labels(share, shown, maps, steady):
    """Of a hundred slices two are lost: all where the least is drawn, none at the middle."""
    _, labels = render_heads(maps[:2], steady(share), SPACING)
    assert bool(labels.any()) == shown


def test_neither_brightness_nor_darkness_gives_the_brain_away(maps):
    """Over many heads the brain is now brighter, now darker than what surrounds it."""
    brighter = []
    for seed in range(12):
        images, labels = render_heads(maps, np.random.default_rng(seed), SPACING)
        for image, label, distance in zip(images, labels, maps[:, 5:], strict=True):
            near = (label == 0) & (distance > 0.5) & (distance < 3)
            if label.any() and near.any():
                brighter.append(float(image[label > 0].mean() > image[near].mean()))
    assert 0.15 < np.mean(brighter) < 0.95


def test_a_grid_of_no_bend_is_a_similarity():
    grid, scale = random_grid((200, 8, 8), np.random.default_rng(0), SPACING)
    assert grid.shape == (200, 8, 8, 2)
    assert scale.min() < 0.7
    assert scale.max() > 1.1
    assert 0.1 < (scale < 0.85).mean() < 0.35


def test_a_scan_to_order_has_the_noise_and_contrast_asked_for(maps, monkeypatch):
    clean, labels = render_as(maps, np.random.default_rng(0), SPACING, snr=1e6, bias=0.0)
    noisy, _ = render_as(maps, np.random.default_rng(0), SPACING, snr=5.0, bias=0.0)
    # Deep grey and white matter, away from what blurs in
    deep = maps[:, 1:4].sum(dim=1, keepdim=True) > 0.99
    grey, white = deep & (labels == 2), deep & (labels == 1)
    assert clean[white].mean() < clean[grey].mean()
    inverted, _ = render_as(
        maps, np.random.default_rng(0), SPACING, snr=1e6, bias=0.0, contrast=(1.0, 0.6, 0.2)
    )
    assert inverted[white].mean() > inverted[grey].mean()
    beside = grey[..., 1:] & grey[..., :-1]

    asked = []
    monkeypatch.setattr(
        head_slices, 'add_rician_noise', lambda image, sigma, _: asked.append(sigma) or image
    )
    render_as(maps, np.random.default_rng(0), SPACING, snr=20.0, contrast=(1.0, 0.6, 0.2))
    # Of grey matter
    assert asked == [pytest.approx(0.6 / 20)]

    def roughness(images):
        return (images[..., 1:] - images[..., :-1])[beside].std()

    assert roughness(noisy) > 1.3 * roughness(clean)


def test_slices_lie_before_the_brain_too_and_may_come_without_background(rod):
    """A brain 4.8 mm long: 8 % of the slices within 9 mm before it, 25 % within 4 mm."""
    plane = rod.cumulative[1, :, ::2, ::2]
    bare = plane.clone()
    bare[0], bare[2], bare[5] = 1, 0, 5
    planes = torch.stack([plane * 0, *[plane] * 36, *[bare] * 100])
    animal = Animal(planes.cumsum(dim=0), (4, 36), 1.0)
    (head, labels), (brain, _) = (
        draw_heads([animal], np.random.default_rng(0), n, 1.0, background_free=free)
        for n, free in ((100, 0.0), (20, 1.0))
    )
    # 0.08 × 9 / 13.8 + 0.25 × 4 / 8.8, and what is lost
    assert 0.1 < (~labels.flatten(1).any(dim=1)).float().mean() < 0.27
    assert (brain > 0).float().mean() < 0.4 * (head > 0).float().mean()


def test_a_scan_to_order_has_the_voxels_and_the_coil_asked_for(rod, steady):
    maps = cut_slices(rod, np.array([3.0]), np.array([0.8]))

    def scanned(**options):
        images, _ = render_as(maps, steady(0.5), 0.5, snr=1e9, **{'bias': 0.0} | options)
        return images[0, 0].numpy()

    def steps(image):
        return np.abs(np.diff(image, axis=0)).max()

    assert steps(scanned(voxel=1.5)) < 0.7 * steps(scanned(voxel=0.3))
    # The coil's field multiplies; without one grey matter is uniform
    rng = np.random.default_rng
    even, shaded = (
        render_as(maps, rng(1), 0.5, snr=1e9, bias=bias)[0][0, 0].numpy() for bias in (0.0, 1.0)
    )
    deep = ndimage.binary_erosion(maps[0, 2] > 0.99, iterations=2)
    assert np.log(shaded[deep]).std() > np.log(even[deep]).std() + 0.2
