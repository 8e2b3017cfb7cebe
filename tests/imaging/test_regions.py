"""Regions are looked up by coordinates, and end where their tissue ends."""

import numpy as np
import pytest

from secondglance.imaging.regions import Region, RegionAtlas, region_volumes

REGIONS = (
    Region(1, 'Left cortex', 'L-Ctx', '#112233', 'GM'),
    Region(2, 'Left ventricle', 'L-V', '#445566', 'CSF'),
)


@pytest.fixture
def atlas():
    """Cortex below x = 0, ventricle above, in voxels of 0.1 mm that begin at (−1, −1, −1)."""
    labels = np.ones((20, 20, 20), np.int16)
    labels[10:] = 2
    affine = np.diag([0.1, 0.1, 0.1, 1.0])
    affine[:3, 3] = -1
    return RegionAtlas(labels, affine, REGIONS)


def test_labels_are_found_by_world_coordinates(atlas):
    assert atlas.look_up([[-0.5, 0, 0], [0.5, 0, 0], [9, 9, 9]]).tolist() == [1, 2, 0]


def test_other_species_is_looked_up_in_its_own_size(atlas):
    to_rat = np.diag([2.0, 2.0, 2.0, 1.0])
    mouse = RegionAtlas(atlas.labels, atlas.affine, REGIONS, to_rat)
    assert mouse.look_up([[-1.0, 0, 0], [1.0, 0, 0]]).tolist() == [1, 2]


def test_tissue_moves_the_border_by_at_most_its_reach(atlas):
    grey, fluid = [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]
    places = [[0.06, 0, 0], [0.06, 0, 0], [-0.16, 0, 0], [0.6, 0, 0]]
    found = atlas.look_up(places, [grey, fluid, fluid, grey])
    assert found.tolist() == [1, 2, 2, 2]


def test_volumes_count_every_region():
    labels = np.array([[0, 1], [1, 1]])
    rows = region_volumes(labels, REGIONS, 0.5)
    assert [row['volume_mm3'] for row in rows] == [1.5, 0.0]
    assert rows[1]['name'] == 'Left ventricle'


@pytest.mark.parametrize('axis', [0, 1, 2])
def test_a_mirrored_atlas_gives_mirrored_regions(rng, axis):
    """Places are looked up the same way to every side."""
    labels = rng.integers(0, 3, (14, 12, 10)).astype(np.int16)
    affine = np.diag([0.1, 0.1, 0.1, 1.0])
    affine[:3, 3] = [-0.65, -0.55, -0.45]
    places = rng.uniform(-0.5, 0.5, (400, 3))
    shares = rng.dirichlet(np.ones(3), 400)
    one = RegionAtlas(labels, affine, REGIONS)
    other = RegionAtlas(np.flip(labels, axis), affine, REGIONS)
    flip = np.ones(3)
    flip[axis] = -1
    found = one.look_up(places, shares)
    np.testing.assert_array_equal(other.look_up(places * flip, shares), found)
    assert len(np.unique(found)) == 3


def test_votes_of_near_labels_count_more_worked_by_hand():
    """At (0, 0, 0) lies grey matter, fluid on all sides: 14 votes of it against one."""
    labels = np.full((5, 5, 5), 2, np.int16)
    labels[2, 2, 2] = 1
    affine = np.diag([0.2, 0.2, 0.2, 1.0])
    affine[:3, 3] = -0.4
    atlas = RegionAtlas(labels, affine, REGIONS)
    # Votes: 1 for grey; 6 exp(−1/2) + 8 exp(−3/2) = 5.42 for fluid; each times share + 0.05
    even = 5.4241 / (1 + 5.4241)
    for grey in (even - 0.06, even + 0.12):
        found = atlas.look_up([[0, 0, 0]], [[0.0, grey, 1 - grey]])
        expected = 1 if (grey + 0.05) > 5.4241 * (1 - grey + 0.05) else 2
        assert found.tolist() == [expected]
    assert atlas.look_up([[0.09, -0.09, 0.09]]).tolist() == [1]
    assert atlas.look_up([[0.11, 0, 0]]).tolist() == [2]


def test_coordinates_go_to_an_atlas_that_is_turned(atlas):
    turn = np.array([[0.0, -1, 0, 2], [1, 0, 0, 3], [0, 0, 1, 4], [0, 0, 0, 1]])
    other = RegionAtlas(atlas.labels, atlas.affine, REGIONS, turn)
    place = np.array([-0.5, 0.3, 0.2])
    there = turn[:3, :3] @ place + turn[:3, 3]
    assert other.look_up(there[None]).tolist() == [1]
    assert other.look_up((turn[:3, :3] @ [0.5, 0.3, 0.2] + turn[:3, 3])[None]).tolist() == [2]


@pytest.mark.parametrize('axis', [0, 1, 2])
def test_beyond_an_atlas_of_a_single_plane_there_is_nothing(axis):
    shape = np.full(3, 4)
    shape[axis] = 1
    flat = RegionAtlas(np.ones(shape, np.int16), np.eye(4), REGIONS)
    places = np.array([[0, 0, 0], [0, 0, 0], [0, 0, 0.0]])
    places[1, axis], places[2, axis] = 2, -2
    assert flat.look_up(places).tolist() == [1, 0, 0]


@pytest.mark.parametrize(('fluid', 'found'), [(0.06, 1), (0.075, 2)])
def test_a_region_of_mixed_tissue_is_worth_a_third(fluid, found):
    """By hand: next to the border fluid has 1 + 5 e^(−1/2) + 4 e^(−3/2) votes, 4.925.

    The mixed region beyond has e^(−1/2) + 4 e^(−3/2), 1.499, each worth 1/3 + 0.05: fluid wins
    from a share of 0.067 on.
    """
    mixed = (Region(1, 'Mixed', 'M', '#112233', ''), REGIONS[1])
    labels = np.ones((4, 4, 4), np.int16)
    labels[2:] = 2
    affine = np.diag([0.2, 0.2, 0.2, 1.0])
    affine[:3, 3] = -0.3
    atlas = RegionAtlas(labels, affine, mixed)
    assert atlas.look_up([[0.01, 0, 0]], [[1 - fluid, 0.0, fluid]]).tolist() == [found]
