import numpy as np
import pytest

from secondglance.imaging.labels import CLASSES
from secondglance.imaging.reference import as_labels
from secondglance.imaging.species import MOUSE_SECTION_MM2, species_of_section
from secondglance.imaging.tissues import (
    LEAST_LABELLED,
    MOST_ODDS,
    label_tissues,
    tissues_inside,
)

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


def test_labels_are_the_largest_fractions_where_these_keep_the_volumes():
    rng = np.random.default_rng(0)
    fractions = np.repeat(np.eye(3), 50, axis=0) * 0.7 + rng.dirichlet([1, 1, 1], 150) * 0.3
    labels = label_tissues(fractions, np.ones(150, bool))
    assert labels.tolist() == (fractions.argmax(1) + 1).tolist()


def test_a_tissue_that_fills_no_voxel_by_itself_keeps_its_volume():
    """Tracts of 0.3 to 0.5 in a fifth of the voxels: the largest fraction would find none."""
    share = np.zeros(1000)
    share[:200] = np.linspace(0.3, 0.49, 200)
    fractions = np.stack([share, 1 - share, np.zeros(1000)], axis=-1)
    mask = np.ones(1000, bool)
    found = label_tissues(fractions, mask) == 1
    assert not (fractions.argmax(1) == 0).any()
    assert found.sum() == pytest.approx(LEAST_LABELLED * share.sum(), abs=8)
    # Those with the most of it, and no others
    assert share[found].min() > share[~found].max()


def test_labels_of_exactly_the_least_share_are_enough():
    """Of five voxels of white matter, four are whole ones: four fifths."""
    fractions = np.array([[1.0, 0, 0]] * 4 + [[0.25, 0.75, 0]] * 4 + [[0, 1.0, 0]] * 20)
    assert LEAST_LABELLED * fractions[:, 0].sum() == 4
    assert label_tissues(fractions, np.ones(28, bool)).tolist() == [1] * 4 + [2] * 24


def test_a_trace_everywhere_is_not_made_a_label():
    fractions = np.tile([0.0, 0.85, 0.15], (100, 1))
    assert 0.15 * MOST_ODDS < 0.85
    assert (label_tissues(fractions, np.ones(100, bool)) == 2).all()


def test_voxels_outside_the_mask_decide_nothing_and_get_no_label():
    rng = np.random.default_rng(1)
    fractions = rng.dirichlet([0.5, 2, 0.3], (12, 11, 10))
    mask = np.zeros((12, 11, 10), bool)
    mask[3:9, 2:9, 2:8] = True
    other = np.where(mask[..., None], fractions, rng.dirichlet([5, 1, 1], mask.shape))
    labels = label_tissues(fractions, mask)
    assert np.array_equal(labels, label_tissues(other, mask))
    assert np.array_equal(labels > 0, mask)
    assert (label_tissues(fractions, np.zeros_like(mask)) == 0).all()
