"""Animals whose size, pose and warp are known."""

import numpy as np
import pytest
import torch

from secondglance.simulation.animal import FINE_MM, cut_coordinates, cut_slices, draw_animal
from secondglance.simulation.atlas import Atlas


@pytest.fixture(scope='module')
def egg():
    """Grey matter of 4 × 6 × 3 mm radius about the middle of its world."""
    shape = np.array([20, 28, 16])
    origin = -(shape - 1) / 4
    x, y, z = np.moveaxis(0.5 * np.moveaxis(np.indices(shape), 0, -1) + origin, -1, 0)
    brain = ((x / 4) ** 2 + (y / 6) ** 2 + (z / 3) ** 2 < 1).astype(np.float32)
    none = np.zeros_like(brain)
    maps = torch.from_numpy(np.stack([1 - brain, none, brain, none, none]))
    return Atlas(maps, (0.5, 0.5, 0.5), tuple(origin))


def middle_of(animal):
    """Cut the middle section, and the places of its pixels."""
    at, thick = np.array([np.mean(animal.extent_mm)]), np.array([FINE_MM])
    return cut_slices(animal, at, thick)[0], cut_coordinates(animal, at, thick)[0]


@pytest.fixture(scope='module')
def at_rest(egg, steady):
    """Half of every range is no turn, no scale and no warp."""
    return draw_animal(egg, steady(0.5), 0.4, 24, coordinates=True)


def test_an_animal_at_rest_lies_in_the_middle_of_its_slices(at_rest):
    maps, places = middle_of(at_rest)
    np.testing.assert_allclose(maps, maps.flip(1), atol=1e-4)
    np.testing.assert_allclose(maps, maps.flip(2), atol=1e-4)
    across = (np.arange(24) - 11.5) * 0.4
    np.testing.assert_allclose(places[0, :, 0], across, atol=1e-4)
    np.testing.assert_allclose(places[2, 0], across, atol=1e-4)


def test_an_animal_of_half_the_size_is_half_as_wide_and_as_long(egg, at_rest, steady):
    half = draw_animal(egg, steady(0.5), 0.4, 24, (0.5, 0.5), coordinates=True)
    # Sections of an ellipsoid, along which 20 pixels and more are brain
    lengths = [one.extent_mm[1] - one.extent_mm[0] for one in (at_rest, half)]
    assert lengths == pytest.approx([11.5, 4.9], rel=0.1)
    areas = [float((middle_of(one)[0][2] > 0.5).sum()) * 0.4**2 for one in (at_rest, half)]
    assert areas == pytest.approx([np.pi * 4 * 3, np.pi * 2 * 1.5], rel=0.15)


def test_a_pixel_further_out_is_a_pixel_further_away(at_rest):
    """Beside the middle of the egg and above it."""
    away = middle_of(at_rest)[0][5].numpy()
    for row in (away[12:, 12], away[12, 12:]):
        assert (row > 0).sum() > 1
        np.testing.assert_allclose(np.diff(row[row > 0]), 0.4, rtol=1e-3)


def test_before_the_brain_it_is_as_far_away_as_the_planes_say(at_rest):
    far = at_rest.extent_mm[1] + FINE_MM * np.array([3, 9])
    away = cut_slices(at_rest, far, np.full(2, FINE_MM))[:, 5].amin(dim=(1, 2))
    assert np.diff(away) == pytest.approx(6 * FINE_MM, abs=0.01)
