import inspect

import numpy as np
import pytest
from scipy import stats

from secondglance.imaging.lognormality import lognormal_fit


def test_fit_recovers_a_lognormal(rng):
    fit = lognormal_fit(rng.lognormal(-2.0, 0.7, size=(1, 128, 128)))
    assert fit.mu[0] == pytest.approx(-2.0, abs=0.03)
    assert fit.sigma[0] == pytest.approx(0.7, abs=0.03)
    assert fit.ks_distance[0] < 0.02


def test_distance_is_scipys(rng):
    values = np.abs(rng.normal(size=(1, 40, 40)))
    log = np.log(values.ravel())
    expected = stats.kstest(log, stats.norm(log.mean(), log.std()).cdf).statistic
    assert lognormal_fit(values).ks_distance[0] == pytest.approx(expected, abs=1e-9)


def test_empty_slice_has_no_fit():
    fit = lognormal_fit(np.zeros((1, 4, 4)))
    assert np.isnan(fit.ks_distance[0])
    assert np.isnan(fit.mu[0])


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('value', [1.0, 0.1, 3.0, 1e-7])
def test_a_slice_of_one_value_has_no_fit(value):
    fit = lognormal_fit(np.full((1, 23, 31), value))
    assert np.isnan([fit.mu[0], fit.sigma[0], fit.aic['weibull'][0]]).all()
    assert fit.best() == ['']


def test_anderson_darling_is_scipys(rng):
    values = np.abs(rng.normal(size=(1, 30, 30)))
    log = np.log(values.ravel())
    # SciPy divides by the unbiased deviation: the same to one part in two thousand
    # Newer versions ask for a method of the p-value, which is not needed here
    asks = 'method' in inspect.signature(stats.anderson).parameters
    expected = stats.anderson(log, 'norm', **({'method': 'interpolate'} if asks else {})).statistic
    assert lognormal_fit(values).anderson_darling[0] == pytest.approx(expected, rel=5e-3)


@pytest.mark.parametrize(
    ('name', 'distribution', 'parameters'),
    [
        ('lognormal', stats.lognorm, (0.8, 0, 0.01)),
        ('gamma', stats.gamma, (1.7, 0, 3.0)),
        ('weibull', stats.weibull_min, (0.7, 0, 200.0)),
        ('halfnormal', stats.halfnorm, (0, 0.5)),
    ],
)
def test_what_was_drawn_is_found_and_its_fit_is_scipys(name, distribution, parameters, rng):
    values = distribution.rvs(*parameters, size=(1, 60, 60), random_state=rng)
    fit = lognormal_fit(values)
    if name == 'halfnormal':
        # A Weibull or gamma may come as near as chance, at the price of a parameter
        assert fit.aic[name][0] < min(fit.aic[n][0] for n in fit.aic if n != name) + 1e-3
    else:
        assert fit.best() == [name]
    maximum = distribution.logpdf(values, *distribution.fit(values.ravel(), floc=0)).mean()
    n_parameters = 1 if name == 'halfnormal' else 2
    expected = 2 * n_parameters / values.size - 2 * maximum
    assert fit.aic[name][0] == pytest.approx(expected, abs=1e-5)


def test_unit_of_saliency_does_not_change_what_is_best(rng):
    values = rng.lognormal(size=(1, 40, 40))
    one, other = lognormal_fit(values), lognormal_fit(1e-6 * values)
    differences = [fit.aic['gamma'] - fit.aic['lognormal'] for fit in (one, other)]
    np.testing.assert_allclose(*differences, atol=1e-9)


def test_empty_slice_is_like_nothing():
    assert lognormal_fit(np.zeros((1, 4, 4))).best() == ['']


def test_fewer_than_eight_values_are_not_fitted(rng):
    values = np.zeros((2, 4, 4))
    values[0, 0, :4] = values[0, 1, :3] = rng.lognormal(size=4)[0]
    values[0].flat[:7] = rng.lognormal(size=7)
    values[1].flat[:8] = rng.lognormal(size=8)
    fit = lognormal_fit(values)
    assert np.isnan(fit.mu[0])
    assert np.isfinite(fit.mu[1])
    assert fit.best()[0] == ''


def test_quantiles_are_those_of_the_standardised_logarithm(rng):
    values = rng.lognormal(-1.0, 0.5, size=(1, 60, 60))
    fit = lognormal_fit(values)
    np.testing.assert_allclose(fit.theoretical, stats.norm.ppf((np.arange(32) + 0.5) / 32))
    z = (np.log(values) - np.log(values).mean()) / np.log(values).std()
    np.testing.assert_allclose(fit.observed[0], np.quantile(z, (np.arange(32) + 0.5) / 32))


@pytest.mark.parametrize('shape', [0.2, 1.0, 6.0])
@pytest.mark.parametrize('name', ['weibull', 'gamma'])
def test_fits_are_at_the_maximum_however_skewed_the_values_are(rng, name, shape):
    """No shape near that of the fit has a higher likelihood."""
    kinds = {'weibull': stats.weibull_min, 'gamma': stats.gamma}
    values = kinds[name].rvs(shape, scale=3.0, size=(1, 40, 40), random_state=rng)
    found = -(lognormal_fit(values).aic[name][0] - 4 / values.size) / 2
    fitted = kinds[name].fit(values.ravel(), floc=0)
    best = kinds[name].logpdf(values, *fitted).mean()
    assert found == pytest.approx(best, abs=1e-7)


@pytest.mark.parametrize(
    ('name', 'kind'), [('weibull', stats.weibull_min), ('gamma', stats.gamma)]
)
def test_fits_are_at_the_maximum_for_values_of_another_distribution_too(rng, name, kind):
    """Two populations a thousandfold apart: far from where the search for the maximum begins."""
    values = rng.lognormal(0, 0.3, (1, 40, 40))
    values[:, ::4] *= 1000
    found = -(lognormal_fit(values).aic[name][0] - 4 / values.size) / 2
    best = kind.logpdf(values, *kind.fit(values.ravel(), floc=0)).mean()
    assert found == pytest.approx(best, abs=1e-6)
