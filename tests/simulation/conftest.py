"""A generator of known values and a plain brain, so that what is drawn can be worked by hand."""

import numpy as np
import pytest
import torch

from secondglance.simulation.animal import Animal


class Steady(np.random.Generator):
    """Draws one share of every range and one deviation of every Gaussian; the least number."""

    def __init__(self, share, deviation=0.0):
        super().__init__(np.random.PCG64(0))
        self.share, self.deviation = share, deviation

    def random(self, size=None):
        return self.share if size is None else np.full(size, self.share)

    def uniform(self, low=0.0, high=1.0, size=None):
        return low + (high - low) * self.random(size)

    def normal(self, loc=0.0, scale=1.0, size=None):
        return loc + scale * (self.deviation if size is None else np.full(size, self.deviation))

    def standard_normal(self, size=None, dtype=np.float64):
        return np.full(size, self.deviation, dtype)

    def integers(self, low, high=None, size=None):
        least = 0 if high is None else low
        return least if size is None else np.full(size, least)


@pytest.fixture(scope='session')
def steady():
    """Return a function that makes such a generator, of a share in [0, 1) and a deviation."""
    return Steady


@pytest.fixture
def rod():
    """A brain that is a rod of 4 mm radius, 4.8 mm long, with the distance to it all around."""
    across = (np.arange(48) - 23.5) * 0.5
    radius = np.hypot(across[:, None], across)
    brain, none = radius < 4, np.zeros_like(radius)
    away = np.clip(radius - 4, 0, None)
    plane = np.stack([~brain, none, brain, none, none, away]).astype(np.float32)
    running = torch.from_numpy(np.arange(41, dtype=np.float32)[:, None, None, None] * plane)
    return Animal(running, (4, 36), 0.5, running[:, :3])
