import numpy as np
import pytest

from secondglance.imaging.enhancement import enhance


def test_equations_of_the_paper_worked_by_hand():
    saliency = np.array([[[0.0, -1.0], [2.0, 4.0]]])
    expanded = np.array([0, 255 / 4, 255 / 2, 255])
    compressed = np.log(1 + expanded)
    z = (compressed - compressed.mean()) / compressed.std()
    expected = np.exp(-(((z - 2) / 0.5) ** 2)).reshape(1, 2, 2)
    np.testing.assert_allclose(enhance(saliency), expected, rtol=1e-5)


def test_highest_where_the_standard_score_is_the_peak(rng):
    saliency = rng.lognormal(size=(1, 64, 64))
    magnitude = saliency - saliency.min()
    compressed = np.log1p(255 * magnitude / magnitude.max())
    z = (compressed - compressed.mean()) / compressed.std()
    best = np.unravel_index(enhance(saliency).argmax(), saliency.shape)
    assert abs(z[best] - 2) == np.abs(z - 2).min()


def test_sign_and_scale_do_not_matter(rng):
    saliency = rng.normal(size=(2, 9, 8))
    np.testing.assert_allclose(enhance(-1e-6 * saliency), enhance(saliency), atol=1e-5)


def test_slices_do_not_influence_each_other(rng):
    saliency = rng.normal(size=(3, 8, 8))
    other = saliency.copy()
    other[1:] *= 100
    np.testing.assert_array_equal(enhance(saliency)[0], enhance(other)[0])


@pytest.mark.parametrize('value', [0.0, 3.0])
def test_constant_slices_are_zero_and_finite(value):
    assert not enhance(np.full((2, 5, 5), value)).any()


def test_air_changes_nothing_and_is_zero(rng):
    saliency = rng.normal(size=(2, 12, 10))
    head = np.zeros(saliency.shape, bool)
    head[:, 2:9, 3:8] = True
    other = np.where(head, saliency, 50 * rng.normal(size=saliency.shape))
    found = enhance(saliency, head)
    np.testing.assert_array_equal(enhance(other, head), found)
    assert not found[~head].any()
    # Inside, what the equations make of the head's own pixels
    alone = enhance(saliency[0][head[0]].reshape(1, 7, 5))
    np.testing.assert_allclose(found[0][head[0]], alone.ravel(), rtol=1e-5)


def test_peak_and_width_are_in_standard_scores():
    saliency = np.array([[[0.0, 1.0], [2.0, 4.0]]])
    compressed = np.log1p(255 / 4 * saliency[0])
    z = (compressed - compressed.mean()) / compressed.std()
    np.testing.assert_allclose(
        enhance(saliency, peak=-1.0, width=2.0)[0], np.exp(-(((z + 1) / 2) ** 2)), rtol=1e-5
    )
