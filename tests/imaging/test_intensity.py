"""Which pixels show the head, by images of which that is known."""

import numpy as np
import pytest

from secondglance.imaging.intensity import head_mask, head_pixels, near_head, normalise_slices


@pytest.fixture
def slices(rng):
    """An ellipse of known size in noise, 64 × 56, twice: its place and the image."""
    y, x = np.mgrid[:64, :56] - np.array([32, 28])[:, None, None]
    head = (y / 22) ** 2 + (x / 17) ** 2 < 1
    image = np.where(head, rng.uniform(80, 120, head.shape), rng.rayleigh(4, head.shape))
    return np.stack([head, head]), np.stack([image, 1e-3 * image])


def test_what_is_remembered_of_a_stack_is_not_changed_from_outside(slices):
    _, images = slices
    found = head_mask(images)
    known = found.copy()
    found[:] = False
    np.testing.assert_array_equal(head_mask(images), known)
    images[0] = images[0, ::-1, ::-1]
    np.testing.assert_array_equal(head_mask(images)[1], known[1])
    assert not np.array_equal(head_mask(images), known)
    # The same bytes are another stack in another shape
    assert head_mask(images.reshape(2, 56, 64)).shape == (2, 56, 64)


def test_the_head_is_found_in_any_unit_to_its_edge(slices):
    head, images = slices
    found = head_mask(images)
    for one, other in zip(found, head, strict=True):
        # Smoothing moves the edge by a pixel
        assert 2 * (one & other).sum() / (one.sum() + other.sum()) > 0.93
    np.testing.assert_array_equal(found[0], found[1])


def test_holes_and_gaps_are_the_heads_and_islands_are_not(slices):
    _, images = slices
    images = images[:1].copy()
    images[0, 28:38, 24:34] = 1
    images[0, 44, 12:45] = 1
    images[0, 2:4, 2:4] = 90
    found = head_mask(images)[0]
    assert found[28:38, 24:34].all()
    assert found[44, 16:40].all()
    assert not found[:8, :8].any()


def test_a_wide_hole_is_filled_and_a_gap_open_to_the_air_is_closed(slices):
    _, images = slices
    wide, gap = images[0].copy(), images[0].copy()
    wide[20:44, 18:38] = gap[30:35, :28] = 1
    assert not head_pixels(wide)[24:40, 22:34].any()
    assert not head_pixels(gap)[32, :26].any()
    filled, closed = head_mask(np.stack([wide, gap]))
    assert filled[20:44, 18:38].all()
    assert closed[30:35, 14:28].all()


def test_the_percentile_is_that_of_the_head_however_much_air_there_is(slices):
    _, images = slices
    narrow = images[:1]
    wide = np.pad(narrow, [(0, 0), (100, 100), (100, 100)], constant_values=4.0)
    scaled = normalise_slices(narrow), normalise_slices(wide)[:, 100:164, 100:156]
    np.testing.assert_allclose(scaled[1], scaled[0], rtol=0.02)


def test_an_image_of_little_contrast_shows_no_air(rng):
    image = rng.uniform(60, 100, (40, 40))
    assert head_pixels(image).all()
    half = image.copy()
    half[:, 20:] *= 0.1
    assert head_pixels(half)[:, :17].all()
    assert not head_pixels(half)[:, 24:].any()


def test_spikes_are_no_head(slices):
    head, images = slices
    image = images[0].copy()
    image[10, 20] = image[40, 25] = 1e7
    shown = head_pixels(image)
    assert (shown == head_pixels(images[0])).mean() > 0.97
    assert shown[head[0]].mean() > 0.95


@pytest.mark.parametrize('value', [0.0, -3.0])
def test_nothing_positive_is_no_head(value):
    assert not head_pixels(np.full((9, 9), value)).any()


def test_a_flat_image_is_all_head():
    assert head_pixels(np.full((9, 9), 4.0)).all()


def test_near_the_head_is_within_three_pixels_in_the_slice(slices):
    _, images = slices
    images = np.concatenate([images[:1], np.zeros((1, 64, 56))])
    head, near = head_mask(images), near_head(images)
    assert not near[1].any()
    rows = np.flatnonzero(head[0, :, 28])
    expected = np.arange(rows[0] - 3, rows[-1] + 4)
    np.testing.assert_array_equal(np.flatnonzero(near[0, :, 28]), expected)


def test_the_99th_percentile_of_the_head_becomes_one_and_nothing_exceeds_its_half_more():
    image = np.zeros((1, 60, 50))
    image[0, 10:40, 10:30] = np.linspace(50, 100, 600).reshape(30, 20)
    image[0, 20, 20] = 400
    scaled = normalise_slices(image)
    # Of 600 values the 99th percentile is the 594.01th
    inside = np.sort(image[0, 10:40, 10:30].ravel())
    assert scaled[0, 25, 15] == pytest.approx(
        image[0, 25, 15] / np.percentile(inside, 99), rel=1e-3
    )
    assert scaled.max() == 1.5


def test_noise_of_air_is_no_head(rng):
    """A head of 100 in air of which single pixels are half as bright."""
    y, x = np.mgrid[:64, :56] - np.array([32, 28])[:, None, None]
    head = (y / 22) ** 2 + (x / 17) ** 2 < 1
    image = np.where(head, 100, 0) + rng.rayleigh(18, head.shape)
    assert np.percentile(image[~head], 99) > 50
    shown = head_pixels(image)
    assert (shown == head).mean() > 0.95


def test_noise_beside_emptiness_is_no_head(rng):
    """A head in noisy air, in a frame that is zero around the field of view."""
    y, x = np.mgrid[:64, :56] - np.array([32, 28])[:, None, None]
    head = (y / 22) ** 2 + (x / 17) ** 2 < 1
    image = np.where(head, 100, 0) + rng.rayleigh(12, head.shape)
    framed = np.pad(image, 40)
    shown = head_pixels(framed)
    assert (shown == np.pad(head, 40)).mean() > 0.98


def test_a_brain_without_background_keeps_its_darker_part(rng):
    y, x = np.mgrid[:64, :56] - np.array([32, 28])[:, None, None]
    brain = (y / 22) ** 2 + (x / 17) ** 2 < 1
    image = np.where(brain, (60 - 1.8 * y) * rng.uniform(0.6, 1.4, brain.shape), 0)
    assert head_pixels(image)[brain].mean() > 0.97
