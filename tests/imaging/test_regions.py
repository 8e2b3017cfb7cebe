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
    assert np.allclose(mouse.from_rat([[-1.0, 0, 2.0]]), [[-0.5, 0, 1.0]])


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
