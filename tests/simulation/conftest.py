"""A random generator whose values are known, so that what is drawn can be worked by hand."""

import numpy as np
import pytest


class Steady(np.random.Generator):
    """Draws one share of every range: noise is zero, whole numbers are the least."""

    def __init__(self, share):
        super().__init__(np.random.PCG64(0))
        self.share = share

    def random(self, size=None):
        return self.share if size is None else np.full(size, self.share)

    def uniform(self, low=0.0, high=1.0, size=None):
        return low + (high - low) * self.random(size)

    def normal(self, loc=0.0, scale=1.0, size=None):
        return loc + 0.0 * self.random(size)

    def standard_normal(self, size=None, dtype=np.float64):
        return np.zeros(size, dtype)

    def integers(self, low, high=None, size=None):
        least = 0 if high is None else low
        return least if size is None else np.full(size, least)


@pytest.fixture
def steady():
    """Return a function that makes such a generator, of a share in [0, 1)."""
    return Steady
