import numpy as np

from secondglance.imaging.labels import CLASSES
from secondglance.imaging.reference import as_labels
from secondglance.imaging.species import MOUSE_SECTION_MM2, species_of_section
from secondglance.imaging.tissues import tissues_inside

PROBABILITIES = np.array(
    [
        [0.6, 0.24, 0.08, 0.08],  # two fifths tissue, most of it white
        [1.0, 0.0, 0.0, 0.0],  # nothing but background
        [0.1, 0.2, 0.3, 0.4],
        [0.2, -0.1, 0.5, 0.3],  # as splines overshoot
        [0.0, 0.0, 1.0, 0.0],  # outside the mask
    ]
).reshape(5, 1, 4)
MASK = np.array([1, 1, 1, 1, 0]).reshape(5, 1)


def test_tissues_share_out_a_voxel_of_the_mask_worked_by_hand():
    found = tissues_inside(PROBABILITIES, MASK)
    # Grey matter where the network finds none
    assert found.labels.ravel().tolist() == [
        CLASSES.index(n) for n in ('WM', 'GM', 'CSF', 'GM')
    ] + [0]
    np.testing.assert_allclose(
        found.fractions[:, 0],
        [[0.6, 0.2, 0.2], [0, 1, 0], [2 / 9, 3 / 9, 4 / 9], [0, 0.625, 0.375], [0, 0, 0]],
        atol=1e-6,
    )
    assert (found.labels.dtype, found.fractions.dtype) == (np.uint8, np.float32)


def test_values_of_a_mask_become_one_and_labels_stay():
    assert as_labels([0, 255, 255]).tolist() == [0, 1, 1]
    assert as_labels([0, 200, 255]).tolist() == [0, 200, 255]
    assert as_labels([0, 2, 2.2]).tolist() == [0, 2, 2]
    assert as_labels([0, 1, 3]).tolist() == [0, 1, 3]
    assert as_labels([0, -1]).tolist() == [0, 1]
    assert as_labels([0, 0]).tolist() == [0, 0]


def test_the_largest_section_of_an_adult_tells_the_species():
    # Those of mice are 45 to 65 mm², those of rats 100 to 140 mm²
    assert [species_of_section(area) for area in (45, 65, 100, 140)] == ['mouse'] * 2 + ['rat'] * 2
    assert species_of_section(MOUSE_SECTION_MM2) == 'rat'
