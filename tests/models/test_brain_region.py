"""The brain with a margin, on which motion is estimated."""

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from secondglance.data import example_rat
from secondglance.imaging.pose import Pose
from secondglance.models import brain_region as module
from secondglance.models.brain_region import brain_region
from secondglance.models.weights import default_weights, load_weights


@pytest.fixture(scope='module')
def model():
    return load_weights(default_weights())


@pytest.fixture(scope='module')
def rat():
    image, mask = (nib.load(path).slicer[:, :, 6:10] for path in example_rat())
    return np.asarray(image.dataobj, np.float32), np.asarray(mask.dataobj) > 0, image.affine


def region_of(model, voxels, affine, species='rat'):
    pose = Pose(species, model.spacing * Pose(species, 1.0).relative_size, 'k')
    return brain_region(model, voxels, affine, pose)


def test_the_brain_and_a_third_of_a_millimetre_about_it(model, rat):
    """Voxels of 0.25 × 0.25 × 1 mm: one beside the brain in the slice, none in the next."""
    voxels, drawn, affine = rat
    found = region_of(model, voxels, affine)
    plus = ndimage.generate_binary_structure(3, 1)
    plus[1, 1, 0] = plus[1, 1, 2] = False
    inside = ndimage.binary_erosion(found, plus)
    # Without its margin it is the brain as it was drawn
    assert 2 * (inside & drawn).sum() / (inside.sum() + drawn.sum()) > 0.95
    np.testing.assert_array_equal(ndimage.binary_dilation(inside, plus), found)
    assert found.sum() > drawn.sum()
    assert ndimage.label(found)[1] == 1
    assert (np.array([ndimage.binary_fill_holes(s) for s in found.T]) == found.T).all()


def test_a_mouse_has_the_same_margin_beside_its_size(model, rat):
    voxels, _, affine = rat
    small = np.diag([0.65, 0.65, 0.65, 1]) @ affine
    np.testing.assert_array_equal(
        region_of(model, voxels, small, 'mouse'), region_of(model, voxels, affine)
    )


def test_without_a_brain_there_is_no_region(model, rng):
    air = rng.rayleigh(5, (60, 60, 4)).astype(np.float32)
    assert region_of(model, air, np.diag([0.25, 0.25, 1, 1])) is None


def test_a_voxel_of_even_odds_is_brain(model, monkeypatch):
    """Pixels lie on voxels here: nothing is interpolated."""
    inside = np.zeros((6, 48, 48), np.float32)
    inside[:, 10:38, 12:36] = 0.5
    monkeypatch.setattr(module, 'predict', lambda *_: None)
    monkeypatch.setattr(module, 'brain_probability', lambda _, stack: inside)
    affine = np.diag([model.spacing, model.spacing, 1, 1])
    found = region_of(model, np.ones((48, 48, 6)), affine)
    assert found.sum() >= (inside > 0).sum()
