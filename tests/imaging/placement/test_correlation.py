import numpy as np
import pytest
from scipy import ndimage, signal

from secondglance.imaging.placement.correlation import (
    best_shift,
    correlate,
    peaks_with,
    place_mask,
    standardise,
)

SIZES = [(16, 16), (15, 17), (16, 21)]


@pytest.mark.parametrize('size', SIZES)
def test_correlation_is_scipys(rng, size):
    images, kernels = rng.random((2, *size)), rng.random((2, *size))
    expected = [signal.correlate2d(a, b) for a, b in zip(images, kernels, strict=True)]
    np.testing.assert_allclose(correlate(images, kernels), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('shift', [(0, 0), (1, 0), (0, -1), (-3, 2), (4, 4)])
def test_known_shift_is_recovered(rng, size, shift):
    kernel = np.zeros(size)
    kernel[5:11, 5:11] = rng.random((6, 6))
    image = ndimage.shift(kernel, shift, order=0) + 0.1 * rng.random(size)
    found, peak, ratio = best_shift(correlate(image[None], kernel[None]))
    assert found.tolist() == [list(shift)]
    assert peak[0] > 0
    assert ratio[0] > 1


def test_nothing_wraps_around():
    image, kernel = np.zeros((1, 8, 8)), np.zeros((1, 8, 8))
    image[0, 0, 0] = kernel[0, 7, 7] = 1
    assert best_shift(correlate(image, kernel))[0].tolist() == [[-7, -7]]


def test_empty_slice_is_not_moved():
    shift, peak, ratio = best_shift(correlate(np.zeros((1, 8, 8)), np.ones((1, 8, 8))))
    assert shift.tolist() == [[0, 0]]
    assert peak[0] == pytest.approx(0, abs=1e-6)
    assert np.isfinite(ratio[0])


@pytest.mark.parametrize('shift', [(0, 0), (2, -1), (-3, 3), (9, 0)])
def test_mask_moves_as_scipy_moves_it(rng, shift):
    mask = rng.random((7, 8)) > 0.5
    expected = ndimage.shift(mask.astype(int), shift, order=0) > 0
    np.testing.assert_array_equal(place_mask(mask, shift), expected)


def test_standardised_images_correlate_with_themselves_to_one(rng):
    images = standardise(7 + 3 * rng.random((2, 9, 9)))
    np.testing.assert_allclose(correlate(images, images).max((1, 2)), 1, rtol=1e-5)
    assert not standardise(np.full((1, 4, 4), 5.0)).any()


def test_a_pattern_that_the_frame_cuts_does_not_wrap(rng):
    """Half a pattern at either edge of the frame is no whole one."""
    kernel = np.zeros((20, 24), np.float32)
    kernel[6:14, 8:16] = rng.random((8, 8))
    for cut in (np.roll(kernel, 10, 0), np.roll(kernel, 12, 1)):
        images, kernels = standardise(cut[None]), standardise(kernel[None])
        expected = signal.correlate2d(images[0], kernels[0]).max()
        assert expected < 0.95
        assert peaks_with(images)(kernels[0], np.ones(len(images), bool))[0] == pytest.approx(
            expected, rel=1e-4
        )
        assert correlate(images, kernels).max() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ('second', 'value', 'ratio'),
    [((12, 4), 8.0, 1.0), ((12, 4), 4.0, 2.0), ((4, 8), 4.0, 2.0), ((7, 7), 6.0, 4.0)],
)
def test_ratio_of_two_peaks_worked_by_hand(second, value, ratio):
    # The first peak, 8, lies at (4, 4); within three pixels of it along both axes is its own
    surface = np.full((1, 15, 15), 2.0)
    surface[0, 4, 4], surface[(0, *second)] = 8, value
    shift, peak, found = best_shift(surface)
    assert shift.tolist() == [[-3, -3]]
    assert peak[0] == 8
    assert found[0] == pytest.approx(ratio)


def test_masks_move_by_the_nearest_whole_pixels():
    mask = np.zeros((7, 7), bool)
    mask[3, 3] = True
    assert np.argwhere(place_mask(mask, (1.6, -0.6))).tolist() == [[5, 2]]


def test_a_peak_ratio_is_of_the_highest_value_beyond_the_neighbourhood():
    surface = np.zeros((1, 21, 21))
    surface[0, 10, 10] = 0.8
    # Three pixels away belong to the peak, four do not
    surface[0, 10, 13], surface[0, 14, 10] = 0.7, 0.5
    shift, peak, ratio = best_shift(surface)
    assert (shift.tolist(), peak[0]) == ([[0, 0]], pytest.approx(0.8))
    assert ratio[0] == pytest.approx(0.8 / 0.5)
    surface[0, 14, 10] = 0
    assert best_shift(surface)[2][0] == 1


@pytest.mark.parametrize('shift', [(6, 0), (-6, 0), (0, 7), (0, -7), (-9, 9)])
def test_a_mask_that_is_moved_out_of_its_frame_is_gone(shift):
    mask = np.ones((4, 5), bool)
    assert not place_mask(mask, shift).any()
    near = np.clip(shift, -3, 3)
    assert place_mask(mask, near).sum() == np.prod(mask.shape - np.abs(near))
