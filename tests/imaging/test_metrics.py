import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import distance

from secondglance.imaging.metrics import (
    hausdorff_95,
    per_slice_metrics,
    relative_error,
    segmentation_metrics,
    tissue_volumes,
)


def test_scores_worked_by_hand():
    # Of ten voxels: three right, one too many, two missed, four rightly left out
    found = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0]).reshape(10, 1, 1)
    true = np.array([1, 1, 1, 0, 1, 1, 0, 0, 0, 0]).reshape(10, 1, 1)
    row = segmentation_metrics(found, true, (1, 1, 1))[0]
    assert row['label'] == 'WM'
    assert row['accuracy'] == pytest.approx(7 / 10)
    assert row['specificity'] == pytest.approx(4 / 5)
    assert row['sensitivity'] == pytest.approx(3 / 5)
    assert row['precision'] == pytest.approx(3 / 4)
    assert row['dsc'] == pytest.approx(6 / 9)


def test_dice_is_the_harmonic_mean_of_sensitivity_and_precision(rng):
    found, true = rng.integers(0, 4, (2, 6, 7, 5))
    for row in segmentation_metrics(found, true, (1, 1, 1)):
        s, p = row['sensitivity'], row['precision']
        assert row['dsc'] == pytest.approx(2 * s * p / (s + p))


def test_a_volume_that_is_too_small_has_a_negative_error():
    whole = np.ones(8, bool)
    half = np.arange(8) < 4
    assert relative_error(half, whole) == -0.5
    assert relative_error(whole, half) == 1
    assert np.isnan(relative_error(half, ~whole))


def test_brain_is_any_tissue():
    found, true = np.array([[[1, 2, 0]]]), np.array([[[3, 1, 0]]])
    rows = {r['label']: r for r in segmentation_metrics(found, true, (1, 1, 1))}
    assert rows['brain']['dsc'] == 1
    assert rows['WM']['dsc'] == 0
    assert rows['WM']['hd95_mm'] == 1  # one voxel beside the other


def test_absent_class_is_not_a_score():
    row = segmentation_metrics(np.zeros((2, 2, 2), int), np.zeros((2, 2, 2), int), (1, 1, 1))[0]
    assert np.isnan(row['dsc'])
    assert np.isnan(row['hd95_mm'])
    assert row['specificity'] == 1


def test_hausdorff_of_two_points_is_their_distance_in_mm():
    found, true = np.zeros((2, 9, 9, 9), bool)
    found[1, 1, 1] = true[4, 1, 5] = True
    assert hausdorff_95(found, true, (0.5, 1, 2)) == pytest.approx(np.hypot(1.5, 8))


def two_balls():
    """Two balls of voxels that overlap, and the voxels' size in mm."""
    grid = np.indices((20, 22, 16)) - np.array([10, 11, 8])[:, None, None, None]
    found = (grid**2).sum(0) < 36
    true = ((grid - np.array([1, 2, 0])[:, None, None, None]) ** 2).sum(0) < 30
    return found, true, (0.375, 0.375, 0.5)


def test_hausdorff_is_the_95th_percentile_of_distances_between_surfaces():
    found, true, spacing = two_balls()
    edges = [np.argwhere(m & ~ndimage.binary_erosion(m)) * spacing for m in (found, true)]
    apart = distance.cdist(*edges)
    expected = max(np.percentile(apart.min(axis), 95) for axis in (0, 1))
    assert hausdorff_95(found, true, spacing) == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
def test_hausdorff_is_monais():
    torch = pytest.importorskip('torch')
    metrics = pytest.importorskip('monai.metrics')
    found, true, spacing = two_balls()
    expected = metrics.compute_hausdorff_distance(
        torch.tensor(found)[None, None], torch.tensor(true)[None, None],
        percentile=95, spacing=spacing, include_background=True,
    )  # fmt: skip
    assert hausdorff_95(found, true, spacing) == pytest.approx(float(expected), rel=1e-4)


def test_what_one_mask_has_alone_is_far_whichever_of_the_two_has_it():
    small = np.zeros((30, 12), bool)
    small[2:8, 2:10] = True
    large = small.copy()
    large[20:28, 2:10] = True
    # The nearest of the other is the row 7; the 95th percentile of rows 20 to 27 is 26 or 27
    for pair in ((small, large), (large, small)):
        assert 19 <= hausdorff_95(*pair, (1.0, 1.0)) <= 20


def test_slices_are_scored_by_themselves():
    found, true = np.zeros((2, 4, 3, 5), int)
    found[:, 0] = true[:, 0] = 1
    found[:, 2] = 1
    rows = [r for r in per_slice_metrics(found, true, (1, 1, 1), axis=1) if r['label'] == 'WM']
    assert [r['slice'] for r in rows] == [0, 1, 2]
    assert rows[0]['dsc'] == 1
    assert np.isnan(rows[1]['dsc'])
    assert rows[2]['dsc'] == 0


def test_slices_of_a_file_that_runs_backwards_are_counted_from_its_end():
    found, true = np.zeros((2, 4, 3, 5), int)
    found[:, 0] = true[:, 0] = 1
    rows = per_slice_metrics(found, true, (1, 1, 1), axis=1, backwards=True)
    scored = [row['slice'] for row in rows if row['dsc'] == 1 and row['label'] == 'brain']
    assert scored == [2]


def test_amounts_of_a_volume_are_added_up_by_tissue(rng):
    labels, amounts = rng.integers(0, 4, (4, 5, 6)), rng.random((4, 5, 6, 3))
    rows = tissue_volumes(labels, 0.5, amounts=amounts)
    expected = [*(0.5 * amounts[..., k].sum() for k in range(3)), 0.5 * amounts.sum()]
    assert [row['volume_from_fractions_mm3'] for row in rows] == pytest.approx(expected)


def test_volumes_are_counts_times_voxel_volume():
    rows = tissue_volumes(np.array([0, 1, 1, 3, 2, 2, 2]), 0.5)
    assert [(r['label'], r['volume_mm3']) for r in rows] == [
        ('WM', 1.0), ('GM', 1.5), ('CSF', 0.5), ('brain', 3.0),
    ]  # fmt: skip


@pytest.mark.parametrize('axis', [0, 1, 2])
def test_distances_in_a_slice_are_in_the_millimetres_of_its_own_axes(axis):
    """Points 3 and 4 voxels apart along the two axes of a slice, of 0.5, 1 and 2 mm."""
    found, true = np.zeros((2, 6, 6, 6), int)
    size = [0.5, 1.0, 2.0]
    place = [1, 1, 1]
    found[tuple(place)] = 1
    first, second = (a for a in range(3) if a != axis)
    place[first], place[second] = 4, 5
    true[tuple(place)] = 1
    rows = per_slice_metrics(found, true, size, axis)
    (distance,) = (r['hd95_mm'] for r in rows if r['slice'] == 1 and r['label'] == 'brain')
    assert distance == pytest.approx(np.hypot(3 * size[first], 4 * size[second]))
