"""Tissue maps without crumbs, without a false rim of white matter, and with a cord."""

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from secondglance.simulation.atlas import read_atlas
from secondglance.simulation.atlas_repair import CORD_MM, continue_cord, tidy_maps

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


def test_a_thick_piece_apart_from_the_brain_becomes_outside_too(maps):
    """A cube of 1.2 mm in the corner, which no opening removes."""
    labels, _ = maps
    spoilt = labels.copy()
    spoilt[1:9, 1:9, 1:9] = 2
    assert np.array_equal(tidy_maps(as_maps(spoilt), SPACING).argmax(0), labels)


def test_the_cord_is_extended_behind_the_last_sound_section(maps):
    labels, _ = maps
    # A ball with a cord of 1.5 mm radius that ends in a half-moon
    x, _, z = np.meshgrid(*(0.15 * (np.arange(60) - 30),) * 3, indexing='ij')
    cord = np.hypot(x, z) < 1.5
    tail = labels.copy()
    tail[:, 3:6] = np.where(cord & (z < -1.0), 3, 0)[:, 3:6]
    tail[:, 6:20] = np.where(cord, 1, labels)[:, 6:20]
    before = as_maps(tail)
    found = continue_cord(before, SPACING)
    n = round(CORD_MM / 0.15)
    assert found.shape == (5, 60, 60 - 6 + n + 1, 60)
    assert (found[0, :, 0] == 1).all()
    for plane in range(1, n + 1):
        np.testing.assert_array_equal(found[:, :, plane], before[:, :, 6])
    np.testing.assert_array_equal(found[:, :, n + 1 :], before[:, :, 6:])


def test_maps_without_a_brain_get_no_cord(maps):
    labels, _ = maps
    nothing = as_maps(np.zeros_like(labels))
    assert continue_cord(nothing, SPACING) is nothing


def test_maps_that_overlap_or_leave_gaps_sum_to_one(tmp_path):
    inside = np.zeros((20, 24, 18), np.float32)
    inside[4:16, 4:20, 4:14] = 1
    maps = {'gm': inside, 'wm': 0.5 * inside, 'csf': 0.25 * inside}
    for name, values in maps.items():
        nib.save(nib.Nifti1Image(values, np.diag([0.5, 0.5, 0.5, 1])), tmp_path / f'a_{name}.nii')
    read = read_atlas(tmp_path).maps
    np.testing.assert_allclose(read.sum(dim=0), 1, atol=1e-6)


def test_a_hole_within_the_brain_keeps_its_tissue(maps):
    """A cavity of three voxels, of which two fifths are fluid."""
    labels, _ = maps
    given = as_maps(labels)
    given[:, 28:31, 28:31, 40:43] = np.array([0.6, 0, 0, 0.4, 0])[:, None, None, None]
    found = tidy_maps(given, SPACING)
    np.testing.assert_allclose(found[3, 28:31, 28:31, 40:43], 0.4)


def test_the_edge_of_a_brain_stays_soft(maps):
    """Voxels that touch it keep their share; those beyond lose it to the outside."""
    labels, _ = maps
    given = as_maps(labels)
    brain = labels > 0
    near = ndimage.binary_dilation(brain) & ~brain
    beyond = ndimage.binary_dilation(brain, iterations=2) & ~brain & ~near
    for where in (near, beyond):
        given[0, where], given[2, where] = 0.7, 0.3
    found = tidy_maps(given, SPACING)
    np.testing.assert_allclose(found[2, near], 0.3)
    np.testing.assert_allclose(found[0, beyond], 1.0)


def test_a_thin_rim_beside_thick_white_matter_becomes_grey_too(maps):
    """The nerve below it does not reach the rim: grey matter lies between them."""
    labels, radius = maps
    rim = (radius >= 3.3) & (radius < 3.6)
    nerve = (radius >= 2.0) & (radius < 3.1) & (np.arange(60)[:, None, None] > 30)
    spoilt = np.where(rim | nerve, 1, labels)
    found = tidy_maps(as_maps(spoilt), SPACING).argmax(0)
    assert (found[rim] == 2).mean() > 0.95
    assert (found[ndimage.binary_erosion(nerve)] == 1).all()
