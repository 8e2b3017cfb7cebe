"""Scores, volumes, tissues and regions, by numbers that were recorded."""

import numpy as np
import pytest

from secondglance.imaging.coil_field import remove_field
from secondglance.imaging.glance_changes import changes, compare_glances
from secondglance.imaging.metrics import (
    dice,
    hausdorff_95,
    per_slice_metrics,
    relative_error,
    scores,
    segmentation_metrics,
    tissue_volumes,
)
from secondglance.imaging.regions import Region, RegionAtlas, region_volumes
from secondglance.imaging.tissue_mixture import tissue_mixture
from secondglance.imaging.tissues import label_tissues, tissues_inside

SIZE = (0.31, 0.27, 0.9)


@pytest.fixture(scope='module')
def found(labels):
    """Labels beside the true ones."""
    moved = np.roll(labels, (2, -1, 1), axis=(0, 1, 2))
    moved[12, 20:30, 3] = 3
    moved[5:8, 5, 6] = 1
    return moved


@pytest.fixture(scope='module')
def probabilities(labels):
    """Class probabilities of slices along the last axis, (N, 4, H, W)."""
    rng = np.random.default_rng(8)
    sure = 2.2 * np.moveaxis(np.eye(4)[labels], (2, 3), (0, 1)) + rng.gumbel(
        0, 0.6, (9, 4, 41, 52)
    )
    raised = np.exp(sure)
    return raised / raised.sum(axis=1, keepdims=True)


def test_scores_of_volumes_and_slices(recorded, labels, found, said):
    recorded(
        {
            'volume': segmentation_metrics(found, labels, SIZE),
            'names': segmentation_metrics(found, labels, SIZE, ('air', 'a', 'b')),
            'slices': per_slice_metrics(found, labels, SIZE),
            'rows': per_slice_metrics(found, labels, SIZE, 0, ('air', 'a'), backwards=True),
            'mask': scores(found > 1, labels > 1, SIZE),
            'wide': hausdorff_95(found == 1, labels == 3, (1.3, 0.4, 2.1)),
            'narrow': hausdorff_95(labels[14] == 3, found[14] == 1, (0.5, 0.7)),
            'no mask': scores(found > 5, labels > 1, SIZE),
            'dice': [dice(found > k, labels > k) for k in range(4)],
            'error': [relative_error(found > k, labels == k) for k in range(5)],
            'refused': said(segmentation_metrics, found, labels[1:], SIZE),
        },
        tolerance=1e-9,
    )


def test_volumes_of_tissues(recorded, labels, probabilities):
    amounts = np.moveaxis(probabilities[:, 1:], (0, 1), (2, 3))
    recorded(
        {
            'labels': tissue_volumes(labels, 0.0753),
            'amounts': tissue_volumes(labels, 0.0753, amounts=amounts),
            'more': tissue_volumes(labels, 2.0, ('air', 'a', 'b', 'c', 'd')),
        }
    )


def test_changes_between_glances(recorded, labels, found, probabilities):
    second = np.roll(probabilities, (1, 2), axis=(2, 3)) ** 1.3
    second /= second.sum(axis=1, keepdims=True)
    again, mask = np.moveaxis(found, 2, 0), np.moveaxis(labels > 0, 2, 0)
    recorded(
        {
            'map': changes(labels, found),
            'rows': compare_glances(probabilities, second, again, mask),
            'one tissue': compare_glances(probabilities, second, again * (again == 2), mask),
            'no mask': compare_glances(probabilities, second, 0 * again, mask & False),
        }
    )


def test_labels_and_fractions_inside_masks(recorded, labels, probabilities):
    mask = np.moveaxis(labels > 0, 2, 0)
    classes = np.moveaxis(probabilities, 1, -1)
    rare = classes * [1, 0.55, 1, 0.2]
    unseen = np.where(np.indices(mask.shape)[1][..., None] > 17, classes * [1, 0, 0, 0], classes)
    maps = [tissues_inside(p, mask) for p in (classes, rare, unseen, 3 * classes - 1)]
    recorded(
        {
            'maps': maps,
            'share': maps[2].share,
            'labels': label_tissues(rare[..., 1:], mask),
            'nothing': label_tissues(rare[..., 1:], mask & False),
        },
        pixels=1,
    )


def test_mixtures(recorded, head, labels):
    rng = np.random.default_rng(9)
    mask = labels > 0
    priors = 0.6 * np.eye(4)[labels][..., 1:] + 0.3 * rng.random((*labels.shape, 3))
    voxels = np.choose(labels, [0, 70, 100, 150]) + rng.normal(0, 12, labels.shape)
    voxels[15, 24, 4], voxels[16, 25, 5] = 900, -300
    recorded(
        {
            'as is': tissue_mixture(voxels, mask, priors),
            'otherwise': tissue_mixture(
                voxels,
                mask,
                1.4 * priors - 0.2,
                prior_weight=0.4,
                neighbour_weight=1.3,
                neighbour_sigma=(0.6, 1.1, 0.5),
                n_iterations=4,
            ),
            'once': tissue_mixture(voxels, mask, priors, n_iterations=1),
            'of one value': tissue_mixture(0 * voxels, mask, priors, n_iterations=2),
        },
        tolerance=1e-6,
    )


def test_a_coil_field_that_is_removed(recorded, head, labels):
    head, mask = head[::2, ::3], labels[::2, ::3] > 0
    x, y, z = np.indices(head.shape)
    shaded = head * np.exp(0.06 * (x - 8) - 0.06 * (y - 8))
    recorded(
        {
            'slab': remove_field(shaded, mask & (z > 4), SIZE),
            'thin': remove_field(shaded, mask & (z > 5), SIZE),
            'none': remove_field(shaded, mask & False, SIZE),
        },
        tolerance=1e-5,
    )


@pytest.fixture(scope='module')
def atlas(labels):
    """Regions of one tissue, of mixed tissue, and beyond the labels; the grid lies askew."""
    found = np.where(np.indices(labels.shape)[1] > 24, labels * 2, labels)
    found[10:14, 20:29, 2:7] = 5
    affine = np.array([[0, 0.11, 0, -3], [0, 0, 0.4, -2], [-0.12, 0, 0, 4], [0, 0, 0, 1]])
    to_rat = np.diag([1.1, -0.9, 1.05, 1])
    to_rat[:3, 3] = 0.2, -0.3, 0.4
    tissues = {1: 'WM', 2: 'GM', 3: 'CSF', 4: '', 5: 'none', 6: 'CSF', 9: 'WM'}
    regions = tuple(Region(n, f'Region {n}', f'R{n}', '#123456', t) for n, t in tissues.items())
    return RegionAtlas(found.astype(np.int16), affine, regions, to_rat, 'small')


def test_regions_at_places(recorded, atlas, probabilities):
    rng = np.random.default_rng(21)
    index = rng.uniform([-3, -3, -2], [43, 54, 10], (60, 50, 3))
    index[20:] = rng.uniform([5, 10, 0], [26, 40, 8], (40, 50, 3))
    to_rat = atlas.to_rat @ atlas.affine
    places = index @ to_rat[:3, :3].T + to_rat[:3, 3]
    fractions = rng.dirichlet([0.5, 0.6, 0.4], (60, 50))
    found = atlas.look_up(places, fractions)
    plain = RegionAtlas(atlas.labels, atlas.affine, atlas.regions[:2])
    recorded(
        {
            'places': atlas.look_up(places),
            'by tissue': found,
            'one': atlas.look_up(places[30, 7], fractions[30, 7]),
            'without a map': plain.look_up(places / 1.2, fractions),
            'volumes': region_volumes(found, atlas.regions, 0.0053),
            'no regions': region_volumes(found, (), 1.0),
        },
        pixels=1,
    )
