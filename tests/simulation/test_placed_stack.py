"""Simulated brains know their fractions and their place in the atlas."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from secondglance.simulation.animal import (
    FINE_MM,
    Animal,
    cut_coordinates,
    cut_slices,
    cut_through,
    draw_animal,
)
from secondglance.simulation.atlas import Atlas
from secondglance.simulation.placed_stack import (
    atlas_at_rat_size,
    draw_placed,
    upright_grid,
)

ORIGIN = (-4.75, -6.75, -3.75)


@pytest.fixture(scope='module')
def atlas():
    """An egg with tissues that are bands of its coordinates, so that maps show the place."""
    spacing = 0.5
    x, y, z = np.meshgrid(
        *(o + np.arange(n) * spacing for o, n in zip(ORIGIN, (20, 28, 16), strict=True)),
        indexing='ij',
    )
    brain = ((x / 4) ** 2 + (y / 6) ** 2 + (z / 3) ** 2 < 1).astype(np.float32)
    white = np.clip(0.5 + x / 10, 0, 1) * brain
    maps = np.stack([1 - brain, white, brain - white, 0 * brain, 0 * brain])
    return Atlas(torch.from_numpy(maps.astype(np.float32)), (spacing,) * 3, ORIGIN)


def test_coordinates_are_those_of_the_maps_that_were_sampled(atlas):
    """White matter is 0.5 + x / 10 of the brain: what the maps say, the coordinates must say."""
    animal = draw_animal(atlas, np.random.default_rng(3), 0.4, 32, coordinates=True)
    low, high = animal.extent_mm
    centre, thick = np.array([(low + high) / 2]), np.array([0.15])
    maps = cut_slices(animal, centre, thick)[0]
    places = cut_coordinates(animal, centre, thick)[0]
    inside = maps[1:4].sum(dim=0) > 0.999
    white = (maps[1] / maps[1:4].sum(dim=0))[inside]
    assert inside.sum() > 50
    assert torch.allclose(white, 0.5 + places[0][inside] / 10, atol=2e-3)


def test_an_animal_without_coordinates_says_so(atlas):
    animal = draw_animal(atlas, np.random.default_rng(3), 0.4, 32)
    with pytest.raises(ValueError, match='without coordinates'):
        cut_coordinates(animal, np.array([5.0]), np.array([0.5]))


@pytest.mark.parametrize('seed', range(6))
def test_pose_and_mirror_keep_fractions_and_place_together(atlas, seed):
    rng = np.random.default_rng(seed)
    animal = draw_animal(atlas, rng, 0.4, 32, coordinates=True)
    stack = draw_placed(animal, rng, thickness=1.0, perfect=True)
    known = stack.known > 0.5
    sure = known & (stack.fractions.sum(axis=1) > 0.999)
    white = stack.fractions[:, 0][sure]
    # A mirrored animal has left and right swapped, in tissue and coordinates alike
    across = stack.coordinates[:, 0][sure]
    right = np.abs(white - (0.5 + across / 10)) < 0.06
    mirrored = np.abs(white - (0.5 - across / 10)) < 0.06
    assert max(right.mean(), mirrored.mean()) > 0.95
    # A perfect mask holds pixels of which a third is brain, and no other
    assert not (stack.mask > 0)[stack.share < 0.32].any()


@pytest.mark.slow
def test_left_is_left_in_mirrored_heads_too(atlas):
    """The network learns one sense of left to right, from animals and their mirror images."""
    mirrored = set()
    for seed in range(6):
        rng = np.random.default_rng(seed)
        animal = draw_animal(atlas, rng, 0.4, 32, coordinates=True)
        stack = draw_placed(animal, rng, thickness=1.0, perfect=True)
        sure = (stack.known > 0.5) & (stack.fractions.sum(axis=1) > 0.999)
        across, rows = stack.coordinates[:, 0][sure], np.nonzero(sure)[1]
        assert np.corrcoef(across, rows)[0, 1] > 0.9
        mirrored.add(bool(np.corrcoef(across, stack.fractions[:, 0][sure])[0, 1] < 0))
    assert mirrored == {False, True}


def test_fractions_sum_to_one_where_known(atlas):
    rng = np.random.default_rng(1)
    animal = draw_animal(atlas, rng, 0.4, 32, coordinates=True)
    stack = draw_placed(animal, rng, thickness=0.8)
    total = stack.fractions.sum(axis=1)[stack.known > 0.5]
    assert total == pytest.approx(1, abs=1e-4)


def test_a_mouse_keeps_its_own_millimetres(atlas):
    rng = np.random.default_rng(1)
    animal = draw_animal(atlas, rng, 0.4, 32, coordinates=True)
    stack = draw_placed(animal, rng, species='mouse', thickness=1.0)
    assert stack.in_plane_mm == pytest.approx(0.26)
    assert np.diff(stack.positions_mm) == pytest.approx(0.65)


def test_an_atlas_is_brought_to_the_size_of_the_rat(atlas):
    to_rat = np.diag([2.0, 2.0, 2.0, 1.0])
    to_rat[:3, 3] = [1, 2, 3]
    big = atlas_at_rat_size(atlas, to_rat)
    assert big.spacing == (1.0, 1.0, 1.0)
    assert big.origin == pytest.approx((-8.5, -11.5, -4.5))


def test_a_turned_atlas_keeps_world_positions(atlas):
    """Through an affine map with rotation a place of the rat's world shows what it showed."""
    turn = np.deg2rad(20)
    to_rat = np.eye(4)
    to_rat[:2, :2] = 1.5 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    to_rat[2, 2] = 1.6
    to_rat[:3, 3] = [3, -2, 1]
    big = atlas_at_rat_size(atlas, to_rat)
    assert big.maps.sum(dim=0).numpy() == pytest.approx(1, abs=1e-5)

    def centre(one):
        weight = one.maps[1:4].sum(dim=0).numpy()
        places = np.moveaxis(np.indices(weight.shape), 0, -1) * one.spacing + one.origin
        return (places * weight[..., None]).sum(axis=(0, 1, 2)) / weight.sum()

    expected = (to_rat @ [*centre(atlas), 1])[:3]
    assert centre(big) == pytest.approx(expected, abs=0.3)


def test_slices_that_touch_fill_the_brain_from_its_end_on(atlas):
    animal = draw_animal(atlas, np.random.default_rng(3), 0.4, 32)
    maps, centres = cut_through(animal, 0.9)
    low, high = animal.extent_mm
    np.testing.assert_allclose(np.diff(centres), 0.9)
    assert centres[0] == pytest.approx(low + 0.45)
    assert centres[-1] - 0.45 < high <= centres[-1] + 0.45 + 1e-9
    torch.testing.assert_close(maps, cut_slices(animal, centres, np.full(len(centres), 0.9)))


def test_a_slab_that_reaches_beyond_the_animal_is_a_mean_of_what_there_is(atlas):
    animal = draw_animal(atlas, np.random.default_rng(3), 0.4, 32)
    end = (len(animal.cumulative) - 1) * FINE_MM
    (beyond,) = cut_slices(animal, np.array([end]), np.array([2.0]))
    (within,) = cut_slices(animal, np.array([end - 0.5]), np.array([1.0]))
    torch.testing.assert_close(beyond, within)
    assert beyond[:5].sum(dim=0).min() > 0.99


def test_crumbs_of_the_maps_are_no_brain():
    """A block of grey matter is; a streak of a quarter tissue is where it touches the block."""
    grey = np.zeros((48, 48), np.float32)
    grey[14:34, 14:34] = 1
    grey[34:44, 22:26] = 0.25
    none = np.zeros_like(grey)
    plane = np.stack([1 - grey, none, grey, none, none, none])
    running = torch.from_numpy(np.arange(41, dtype=np.float32)[:, None, None, None] * plane)
    animal = Animal(running, (4, 36), 0.5, running[:, :3])
    for seed in range(4):
        stack = draw_placed(animal, np.random.default_rng(seed), thickness=1.0, perfect=True)
        brain = stack.mask > 0
        held = brain.any(axis=(1, 2))
        assert held.sum() > 2
        beside = ndimage.binary_dilation(brain, np.ones((1, 3, 3)))
        assert not stack.share[~beside].any()
        assert not stack.known[~beside].any()
        assert (stack.share[beside & ~brain] > 0).any()


def test_slices_of_a_head_lie_aside_and_are_bent_in_millimetres(steady):
    """Moved by hundredths of half a field, bent by half of 0.25 mm, without a turn or a scale."""
    shape = (3, 40, 40)
    grid, scale, flip = upright_grid(shape, steady(0.5), steady(0.5, 1.0), 0.5)
    assert (scale, flip) == (1.0, 1.0)
    middles = (np.arange(40) + 0.5) / 20 - 1
    aside = 0.01 + 0.125 / (20 * 0.5)
    np.testing.assert_allclose(grid[1, 0, :, 0], middles + aside, atol=1e-5)
    np.testing.assert_allclose(grid[1, :, 0, 1], middles + aside, atol=1e-5)
