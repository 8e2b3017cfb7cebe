import numpy as np
import pytest

from secondglance.imaging.tissue_mixture import tissue_mixture


@pytest.fixture
def brain(rng):
    """Three bands of known tissue, noisy, with priors that are blurred and moved."""
    truth = np.zeros((30, 20, 5), int)
    truth[10:20], truth[20:] = 1, 2
    image = np.array([50.0, 80.0, 120.0])[truth] + rng.normal(0, 6, truth.shape)
    prior = np.full((*truth.shape, 3), 0.1)
    moved = np.roll(truth, 2, axis=0)
    moved[:2] = 0
    np.put_along_axis(prior, moved[..., None], 0.8, axis=-1)
    return image, truth, prior


def test_image_corrects_priors_that_are_moved(brain):
    image, truth, prior = brain
    mask = np.ones(truth.shape, bool)
    found = tissue_mixture(image, mask, prior)
    wrong_before = (prior.argmax(-1) != truth).mean()
    wrong = (found.fractions.argmax(-1) != truth).mean()
    assert wrong_before > 0.1
    assert wrong < 0.02
    np.testing.assert_allclose(found.means, [50, 80, 120], atol=3)


def test_fractions_sum_to_one_inside_the_mask_alone(brain):
    image, truth, prior = brain
    mask = np.ones(truth.shape, bool)
    mask[:4] = False
    total = tissue_mixture(image, mask, prior).fractions.sum(axis=-1)
    np.testing.assert_allclose(total[mask], 1, atol=1e-5)
    assert not total[~mask].any()


def test_gain_of_the_scanner_changes_nothing(brain):
    image, truth, prior = brain
    mask = np.ones(truth.shape, bool)
    once, more = (tissue_mixture(image * gain, mask, prior) for gain in (1, 1e4))
    np.testing.assert_allclose(once.fractions, more.fractions, atol=1e-4)
    np.testing.assert_allclose(once.means * 1e4, more.means, rtol=1e-4)


def test_signal_dropout_in_grey_matter_is_no_fluid(brain):
    image, truth, prior = brain
    image = image.copy()
    image[13:17, :4] = 2.0
    found = tissue_mixture(image, np.ones(truth.shape, bool), prior)
    assert not (found.fractions[13:17, :4].argmax(-1) == 2).any()


def test_a_few_vessels_are_no_tissue_of_their_own(brain):
    image, truth, prior = brain
    image = image.copy()
    image[22:28:3, 2:18:3, 2] = 4000.0
    found = tissue_mixture(image, np.ones(truth.shape, bool), prior)
    np.testing.assert_allclose(found.means, [50, 80, 120], atol=4)
    assert (found.fractions.argmax(-1) != truth).mean() < 0.02


def test_means_and_deviations_are_in_the_unit_of_the_image(brain):
    image, truth, prior = brain
    found = tissue_mixture(image, np.ones(truth.shape, bool), prior)
    np.testing.assert_allclose(found.deviations, 6, atol=1.5)


def test_a_prior_of_no_weight_only_begins(rng):
    """One band is likely of another tissue by the atlas, and the image says nothing against it."""
    truth = np.zeros((20, 12, 3), int)
    truth[10:] = 1
    image = np.array([50.0, 90.0])[truth] + rng.normal(0, 3, truth.shape)
    prior = np.zeros((*truth.shape, 3))
    prior[..., 0], prior[..., 1], prior[..., 2] = 0.6, 0.35, 0.05
    prior[10:, :, :, 0], prior[10:, :, :, 1] = 0.35, 0.6
    strange = prior.copy()
    strange[2:5, 2:5, 1] = 0.02, 0.96, 0.02
    given = image, np.ones(truth.shape, bool)
    by_image = tissue_mixture(*given, strange, prior_weight=0).fractions[3, 3, 1]
    by_atlas = tissue_mixture(*given, strange, prior_weight=3).fractions[3, 3, 1]
    assert by_image[0] > by_atlas[0] + 1e-3


def test_neighbours_decide_where_intensity_does_not(rng):
    """Two voxels of an intensity between two tissues, one amid either; the atlas says nothing."""
    truth = np.zeros((36, 20, 3), int)
    truth[12:24], truth[24:] = 1, 2
    image = np.array([60.0, 120.0, 200.0])[truth] + rng.normal(0, 8, truth.shape)
    image[5, 10, 1] = image[18, 10, 1] = 90
    prior = np.full((*truth.shape, 3), 0.1)
    np.put_along_axis(prior, truth[..., None], 0.8, axis=-1)
    prior[5, 10, 1] = prior[18, 10, 1] = (0.45, 0.45, 0.1)
    found = tissue_mixture(image, np.ones(truth.shape, bool), prior).fractions.argmax(-1)
    assert (found[5, 10, 1], found[18, 10, 1]) == (0, 1)
