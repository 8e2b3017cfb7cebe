"""Pieces of a mask."""

import numpy as np
import pytest
from scipy import ndimage

from secondglance.imaging.pieces import largest_piece, opened


def blobs(rng, shape):
    """A random mask, empty along the frame."""
    mask = np.zeros(shape, bool)
    inner = tuple(slice(4, -4) for _ in shape)
    smooth = ndimage.gaussian_filter(rng.random(shape), 2)
    mask[inner] = (smooth > np.median(smooth))[inner]
    return mask


@pytest.mark.parametrize('radius', [1.0, 2.0, 3.3])
def test_opening_equals_that_by_the_disc_as_a_structuring_element(rng, radius):
    mask = blobs(rng, (50, 41))
    away = np.arange(-4, 5)
    disc = away[:, None] ** 2 + away**2 <= radius**2
    expected = ndimage.binary_opening(mask, disc)
    assert 0 < expected.sum() < mask.sum()
    np.testing.assert_array_equal(opened(mask, radius), expected)


def test_the_ball_is_round_in_millimetres(rng):
    mask = blobs(rng, (22, 24, 26))
    spacing = (0.5, 1.0, 0.7)
    axes = np.ogrid[-4:5, -4:5, -4:5]
    ball = sum((a * s) ** 2 for a, s in zip(axes, spacing, strict=True)) <= 1.1**2
    expected = ndimage.binary_opening(mask, ball)
    assert 0 < expected.sum() < mask.sum()
    np.testing.assert_array_equal(opened(mask, 1.1, spacing), expected)


def test_nothing_is_left_where_the_disc_fits_nowhere():
    assert not opened(np.eye(9, dtype=bool), 1).any()
    assert not opened(np.zeros((5, 5), bool), 1).any()


def test_the_largest_piece_is_kept():
    mask = np.zeros((5, 7), bool)
    mask[0, :2], mask[2:4, 3:6], mask[0, 6] = True, True, True
    expected = np.zeros_like(mask)
    expected[2:4, 3:6] = True
    np.testing.assert_array_equal(largest_piece(mask), expected)
    assert not largest_piece(np.zeros((2, 2), bool)).any()
