"""Tissue maps without crumbs and without a false rim of white matter."""

import numpy as np
import pytest
from scipy import ndimage

from secondglance.imaging.tidying import tidy_maps

SPACING = (0.15, 0.15, 0.15)


@pytest.fixture
def maps():
    """A grey ball of 3.6 mm radius with a white core; outside around it."""
    axes = np.meshgrid(*(np.arange(60) - 30,) * 3, indexing='ij')
    radius = 0.15 * np.sqrt(sum(a**2 for a in axes))
    labels = np.where(radius < 1.5, 1, np.where(radius < 3.6, 2, 0))
    return labels, radius


def as_maps(labels):
    return np.stack([(labels == k).astype(np.float32) for k in range(5)])


def test_what_is_well_stays(maps):
    labels, _ = maps
    found = tidy_maps(as_maps(labels), SPACING)
    assert np.array_equal(found.argmax(0), labels)
    np.testing.assert_allclose(found.sum(0), 1, atol=1e-6)


def test_a_thin_rim_of_white_matter_becomes_grey(maps):
    labels, radius = maps
    rim = (radius >= 3.35) & (radius < 3.6)
    found = tidy_maps(as_maps(np.where(rim, 1, labels)), SPACING).argmax(0)
    assert (found[rim] == 2).mean() > 0.99
    assert np.array_equal(found == 1, labels == 1)


def test_thick_white_matter_at_the_surface_stays(maps):
    labels, radius = maps
    slab = (np.arange(60)[:, None, None] > 45) & (radius < 3.6)
    found = tidy_maps(as_maps(np.where(slab, 1, labels)), SPACING).argmax(0)
    inner = ndimage.binary_erosion(slab, iterations=2)
    assert (found[inner] == 1).all()


def test_crumbs_become_outside(maps):
    labels, _ = maps
    spoilt = labels.copy()
    spoilt[2:4, 2:4, 2:4] = 3
    found = tidy_maps(as_maps(spoilt), SPACING)
    assert np.array_equal(found.argmax(0), labels)
    np.testing.assert_allclose(found[0, 2:4, 2:4, 2:4], 1)
