import numpy as np
import pytest

from secondglance.imaging.errors import InputError
from secondglance.imaging.metrics import dice
from secondglance.models.labelling.atlas_labels import LabelOptions, label_by_atlas

SIZE = 0.6
"""Of the brain beside a mouse's: small, so that ANTs is quick."""

AFFINE = np.diag([0.25 * SIZE, 0.25 * SIZE, 0.25 * SIZE, 1.0])
AFFINE[:3, 3] = -6.0 * SIZE


def brain_at(points):
    """Tissues of a made-up brain at places (…, 3) in mm: core, shell, fluid."""
    points = points / SIZE
    radius = np.linalg.norm(points / [4.4, 5.4, 3.6], axis=-1)
    core = np.linalg.norm((points - [0, 0.6, -0.5]) / [2.4, 2.6, 1.3], axis=-1)
    hole = np.linalg.norm((points - [0, -0.6, 1.6]) / [1.2, 1.8, 0.7], axis=-1)
    tissue = np.full(radius.shape, 2)
    tissue[core < 1] = 1
    tissue[(hole < 1) | (radius > 0.9)] = 3
    tissue[radius > 1] = 0
    return tissue


def places(shape, affine):
    return np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]


def made_atlas():
    from scipy import ndimage

    tissue = brain_at(places((48, 48, 48), AFFINE))
    return np.stack([ndimage.gaussian_filter((tissue == k).astype(float), 0.8) for k in (1, 2, 3)])


def scan_of(oblique, rng):
    """A larger, turned brain in thick slices on a tilted grid, with a coil field and noise."""
    shape = (44, 48, 14)
    affine = oblique.copy()
    affine[:3, :3] *= SIZE
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) / 2)
    angle = np.deg2rad(8)
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    # A slice shows the mean over its thickness
    thin = np.diag([1, 1, 0.25, 1.0])
    thin[2, 3] = -0.375
    fine = places((*shape[:2], 4 * shape[2]), affine @ thin)
    tissue = brain_at((fine - [0.4, -0.3, 0.2]) @ turn / 1.06).reshape(*shape, 4)
    world = places(shape, affine)
    field = 1 + 0.04 * world[..., 0] - 0.03 * world[..., 1]
    signal = np.array([5.0, 60.0, 85.0, 130.0])[tissue].mean(axis=-1)
    image = signal * field + rng.normal(0, 3, shape)
    share = np.stack([(tissue == k).mean(axis=-1) for k in (1, 2, 3)], axis=-1)
    truth = np.where(share.sum(axis=-1) > 0.5, share.argmax(axis=-1) + 1, 0)
    return np.abs(image), truth, affine


@pytest.mark.slow
def test_atlas_finds_the_tissues_of_another_brain(oblique, rng):
    pytest.importorskip('ants')
    image, truth, affine = scan_of(oblique, rng)
    mask = truth > 0
    found = label_by_atlas(
        image,
        mask,
        affine,
        made_atlas(),
        AFFINE,
        species='mouse',
        options=LabelOptions(iterations=(20, 10, 0)),
    )
    labels = np.where(mask, found.mixture.fractions.argmax(-1) + 1, 0)
    scores = [dice(labels == k, truth == k) for k in (1, 2, 3)]
    # Labels are better than the atlas in its place without registration, for every tissue
    straight = np.where(mask, brain_at(places(truth.shape, affine)), 0)
    before = [dice(straight == k, truth == k) for k in (1, 2, 3)]
    assert min(np.subtract(scores, before)) > 0.1, (before, scores)
    # and tell white matter better than the registered atlas does alone
    atlas = np.where(mask, found.priors.argmax(-1) + 1, 0)
    assert scores[0] > dice(atlas == 1, truth == 1) + 0.03
    # Each voxel's place in the atlas has the tissue that the voxel has
    there = brain_at(found.coordinates[mask])
    assert (there == truth[mask]).mean() > 0.75
    assert np.isnan(found.coordinates[~mask]).all()
    np.testing.assert_allclose(found.mixture.fractions.sum(-1), mask, atol=1e-5)


@pytest.mark.parametrize(
    ('mask', 'message'), [(np.zeros((9, 9, 9)), '0 voxels'), (np.ones((9, 9, 9)), 'constant')]
)
def test_what_cannot_be_labelled_is_refused(mask, message):
    with pytest.raises(InputError, match=message):
        label_by_atlas(np.ones((9, 9, 9)), mask, np.eye(4), None, np.eye(4), species='rat')
