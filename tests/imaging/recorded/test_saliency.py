"""Enhanced saliency, its distribution, and how alike maps are, by numbers that were recorded."""

import numpy as np
import pytest

from secondglance.imaging.enhancement import enhance, enhancement_steps, weight_of
from secondglance.imaging.lognormality import lognormal_fit
from secondglance.imaging.map_similarity import rank_correlation, ssim


@pytest.fixture(scope='module')
def maps():
    """Signed maps of several distributions; one slice is empty, one has few values."""
    rng = np.random.default_rng(12)
    shape = (23, 31)
    few = np.zeros(shape)
    few[3, 4:12] = rng.gamma(2, 1, 8)
    fewer = few * (few != few[3, 7])
    made = [
        rng.lognormal(0.3, 0.8, shape),
        rng.gamma(1.6, 2.5, shape),
        rng.weibull(1.8, shape) * 3,
        rng.normal(0, 2, shape),
        np.where(rng.random(shape) < 0.4, 0, rng.exponential(1, shape)),
        np.zeros(shape),
        few,
        fewer,
        np.ones(shape),
    ]
    return np.stack(made) * rng.choice([-1, 1], (9, *shape))


def test_enhanced_saliency(recorded, maps):
    head = np.indices(maps.shape)[1] + 2 * np.indices(maps.shape)[2] > 20
    recorded(
        {
            'weight': weight_of(np.linspace(-3, 5, 23)),
            'weight elsewhere': weight_of(np.linspace(-3, 5, 23), 1.2, 0.9),
            'steps': enhancement_steps(maps[0][head[0]]),
            'steps elsewhere': enhancement_steps(maps[1][head[1]], peak=1.1, width=0.8),
            'no steps': enhancement_steps(maps[5][head[5]]),
            'none at all': enhancement_steps([]),
            'everywhere': enhance(maps),
            'head': enhance(maps, head),
            'head elsewhere': enhance(maps, head, peak=0.7, width=1.3),
        }
    )


def test_distributions_of_saliency(recorded, maps):
    found = lognormal_fit(maps)
    recorded({'fit': found, 'best': found.best()})


def test_likeness_of_maps(recorded, maps):
    other = 0.7 * maps + 0.5 * np.roll(maps, (2, -3), axis=(1, 2)) + 0.1
    recorded(
        {
            'rank': rank_correlation(maps, other),
            'rank of others': rank_correlation(maps[:4], maps[1:5]),
            'ssim': ssim(maps, other),
            'ssim of others': ssim(maps[:6], -maps[1:7] * 2.5),
        }
    )
