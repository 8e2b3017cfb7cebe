import numpy as np
import pytest
from scipy import ndimage, stats

from secondglance.imaging.map_similarity import rank_correlation, ssim


def test_rank_correlation_is_scipys_of_the_magnitudes(rng):
    a, b = rng.normal(size=(2, 3, 12, 10))
    b += a
    expected = [
        stats.spearmanr(abs(x).ravel(), abs(y).ravel()).statistic
        for x, y in zip(a, b, strict=True)
    ]
    np.testing.assert_allclose(rank_correlation(a, b), expected)


@pytest.mark.filterwarnings('error')
def test_an_empty_slice_has_no_rank_correlation(rng):
    pair = np.zeros((1, 5, 5)), rng.normal(size=(1, 5, 5))
    for first, second in (pair, pair[::-1]):
        assert np.isnan(rank_correlation(first, second)[0])


def two_maps(rng):
    """A map, and the same with noise."""
    a = ndimage.gaussian_filter(rng.random((40, 40)), 2)
    return a, a + 0.02 * rng.normal(size=a.shape)


def test_structural_similarity_is_the_known_one(rng):
    a, b = two_maps(rng)
    # By torchmetrics 1.9, which takes a second to import
    assert ssim(a[None], b[None])[0] == pytest.approx(0.7737, abs=0.01)


@pytest.mark.slow
def test_structural_similarity_is_torchmetrics(rng):
    torch = pytest.importorskip('torch')
    from torchmetrics.functional.image import structural_similarity_index_measure

    a, b = two_maps(rng)
    shown = [np.clip(abs(x) / np.percentile(abs(x), 99.5), 0, 1) for x in (a, b)]
    expected, image = structural_similarity_index_measure(
        *(torch.from_numpy(x)[None, None] for x in shown),
        data_range=1.0,
        return_full_image=True,
    )
    # The oracle pads its edges otherwise; its inner part is what both define
    assert ssim(a[None], b[None])[0] == pytest.approx(float(expected), abs=0.01)
    assert 0.2 < float(expected) < 0.99
    assert image.shape[-1] == 40


def test_the_same_map_in_another_unit_and_sign_is_the_same(rng):
    a = rng.normal(size=(2, 20, 20))
    np.testing.assert_allclose(ssim(a, -1e-7 * a), 1)
    np.testing.assert_allclose(rank_correlation(a, -1e-7 * a), 1)


def test_noise_has_nothing_in_common_with_noise(rng):
    a, b = rng.normal(size=(2, 1, 60, 60))
    assert abs(rank_correlation(a, b)[0]) < 0.1
    assert ssim(a, b)[0] < 0.2


def test_a_spike_does_not_hide_the_rest_of_a_map(rng):
    a = ndimage.gaussian_filter(rng.random((1, 50, 50)), (0, 2, 2))
    spoilt = a.copy()
    spoilt[0, 25, 25] *= 1000
    assert ssim(a, spoilt)[0] > 0.9


@pytest.mark.filterwarnings('error')
def test_an_empty_map_is_like_an_empty_one_and_like_no_other(rng):
    empty, noise = np.zeros((1, 20, 20)), rng.normal(size=(1, 20, 20))
    assert ssim(empty, empty)[0] == pytest.approx(1)
    assert ssim(empty, noise)[0] < 0.1


def test_maps_of_different_numbers_of_slices_are_refused(rng):
    three, two = rng.random((3, 20, 20)), rng.random((2, 20, 20))
    with pytest.raises(ValueError, match='shorter'):
        ssim(three, two)
