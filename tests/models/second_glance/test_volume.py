"""The second glance at a volume does not care how the volume lies on disk."""

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from secondglance.imaging.pose import Pose
from secondglance.imaging.tissues import label_tissues
from secondglance.models.second_glance.volume import glance_at_volume

RAT = Pose('rat', 0.3)


@pytest.fixture(scope='module')
def scan():
    """Whole-head volume (R, A, S), its mask and affine: pixels of 0.3 mm, slices of 1.1 mm."""
    rng = np.random.default_rng(0)
    x, y, z = np.mgrid[:58, :11, :47]
    away = ((x - 27) / 20) ** 2 + ((z - 24) / 15) ** 2 + ((y - 5) / 6) ** 2
    affine = np.diag([0.3, 1.1, 0.3, 1.0])
    affine[:3, 3] = [-8, -5, -6]
    return rng.normal(10, 1, away.shape) * (1 + (away < 0.3)), away < 1, affine


@pytest.fixture(scope='module')
def straight(network, scan):
    """Second glance at the volume as it lies."""
    return glance_at_volume(*scan, RAT, network)


def test_fractions_fill_the_mask_exactly(straight, scan):
    mask = scan[1]
    found = straight
    total = found.fractions.sum(axis=-1)
    assert total[mask] == pytest.approx(1, abs=1e-5)
    assert np.all(total[~mask] == 0)


def test_fractions_sum_to_one_where_pixels_are_no_squares(network, scan):
    volume, mask, affine = scan
    affine = affine @ np.diag([1.3, 1, 1, 1])
    found = glance_at_volume(volume, mask, affine, RAT, network).fractions.sum(axis=-1)
    assert found[mask] == pytest.approx(1, abs=1e-5)
    assert not found[~mask].any()


@pytest.mark.parametrize(
    ('axes', 'flips'),
    [
        ((0, 1, 2), (0,)),
        ((0, 1, 2), (1, 2)),
        ((2, 0, 1), ()),
        ((1, 2, 0), (0, 1)),
        ((1, 0, 2), (2,)),
    ],
)
def test_orientation_on_disk_changes_nothing(network, straight, scan, axes, flips):
    volume, mask, affine = scan
    expected = straight.fractions
    image = nib.Nifti1Image(volume, affine)
    ornt = np.array([[axes.index(a), -1 if a in flips else 1] for a in range(3)])
    turned = image.as_reoriented(ornt)
    cover = nib.Nifti1Image(mask.astype(np.uint8), affine).as_reoriented(ornt)
    found = glance_at_volume(
        turned.get_fdata(), np.asarray(cover.dataobj), turned.affine, RAT, network
    ).fractions
    back = np.stack(
        [
            nib.as_closest_canonical(nib.Nifti1Image(found[..., k], turned.affine)).get_fdata()
            for k in range(3)
        ],
        axis=-1,
    )
    assert np.allclose(back, expected, atol=1e-4)


def test_points_of_the_world_become_those_of_the_transform(straight, scan):
    """The transform, asked by world coordinates, gives the stack's own coordinates."""
    _, mask, affine = scan
    found = straight
    voxels = np.argwhere(mask)[::97]
    world = nib.affines.apply_affine(affine, voxels)
    places = found.stack.transform.apply(nib.affines.apply_affine(found.to_points, world))
    index = np.rint(nib.affines.apply_affine(np.linalg.inv(found.grid.affine), world))
    h, w, n = index.astype(int).T
    assert np.allclose(places, found.stack.coordinates[n, h, w], atol=1e-3)


def test_slices_of_another_direction_are_resliced(network, scan):
    """A scan of thick axial slices is shown as coronal ones."""
    volume, mask, affine = scan
    thick = np.s_[:, :, ::4]
    step = affine @ np.diag([1, 0.25, 4, 1])
    fine = np.repeat(volume[thick], 4, axis=1), np.repeat(mask[thick], 4, axis=1)
    found = glance_at_volume(*fine, step, RAT, network)
    assert found.grid.slice_axis == 1
    assert found.fractions.sum(axis=-1)[fine[1]] == pytest.approx(1, abs=1e-5)


def test_volumes_count_the_part_of_each_voxel_that_is_brain(network, straight, scan):
    mask = scan[1]
    # Nothing is added: half of every voxel is brain, as far as this network knows
    amounts = straight.tissues.amounts
    assert np.allclose(amounts[mask], 0.5 * straight.fractions[mask], atol=1e-4)
    # Slices lie along the second axis: pixels beside the mask count, neighbouring slices do not
    beside = ndimage.binary_dilation(mask, ndimage.generate_binary_structure(2, 1)[:, None])
    beside &= ~mask
    assert np.allclose(amounts[beside].sum(axis=-1), 0.5, atol=1e-4)
    assert not amounts[~mask & ~beside].any()


def test_another_mask_changes_the_second_glance(network, straight, scan):
    volume, mask, affine = scan
    less = mask.copy()
    less[:, :3] = less[:, :, :14] = False
    found = straight
    other = glance_at_volume(volume, less, affine, RAT, network)
    # Also where both masks hold brain: the mask says where in the brain a voxel lies
    assert np.abs(found.fractions - other.fractions)[less].mean() > 1e-3
    assert not other.fractions[~less].any()
    away = np.abs(found.stack.coordinates - other.stack.coordinates)
    assert np.nanmedian(away[..., 2]) > 0.3


def test_labels_and_regions_lie_in_the_mask_and_are_whole_numbers(network, scan):
    from secondglance.imaging.regions import Region, RegionAtlas

    volume, mask, affine = scan
    tilt = np.eye(4)
    tilt[:2, :2] = [[0.96, -0.28], [0.28, 0.96]]
    labels = np.where(np.indices((50, 50, 50)).sum(0) % 7 < 3, 5, 60).astype(np.int16)
    atlas = RegionAtlas(
        labels,
        np.array([[0.6, 0, 0, -15], [0, 0.6, 0, -15], [0, 0, 0.6, -15], [0, 0, 0, 1]]),
        (Region(5, 'a', 'a', '#000000'), Region(60, 'b', 'b', '#ffffff')),
    )
    found = glance_at_volume(volume, mask, tilt @ affine, RAT, network, atlas)
    assert set(np.unique(found.regions[mask])) == {5, 60}
    assert not found.regions[~mask].any()
    assert found.regions.dtype == np.int16
    np.testing.assert_array_equal(found.tissues.labels > 0, mask)
    # The untrained network's fractions are alike everywhere: labels keep their volumes
    expected = label_tissues(found.fractions, mask)
    assert np.array_equal(found.tissues.labels, expected)
    assert not np.array_equal(expected[mask], found.fractions.argmax(axis=-1)[mask] + 1)


@pytest.mark.parametrize('turns', [1, 2])
def test_a_head_that_lies_otherwise_is_turned_upright(network, straight, scan, turns):
    volume, mask, affine = scan
    # Slices turned about the second axis; the header does not know
    other, cover = (np.rot90(v, -turns, (0, 2)) for v in (volume, mask))
    pose = Pose('rat', 0.3, 'j', turns)
    found = glance_at_volume(other, cover, affine, pose, network)
    back = np.rot90(found.fractions, turns, (0, 2))
    assert (back.argmax(-1) == straight.fractions.argmax(-1))[mask].mean() > 0.9
    unturned = glance_at_volume(other, cover, affine, RAT, network)
    back = np.rot90(unturned.fractions, turns, (0, 2))
    assert (back.argmax(-1) == straight.fractions.argmax(-1))[mask].mean() < 0.9


def test_voxels_that_no_pixel_reaches_take_their_neighbours_tissue():
    from secondglance.models.second_glance.volume import fill_from_nearest

    values = np.zeros((4, 1, 1, 3))
    values[0, 0, 0], values[3, 0, 0] = (1, 0, 0), (0, 0.5, 0.5)
    known = np.array([True, False, False, True]).reshape(4, 1, 1)
    found = fill_from_nearest(values, known)[:, 0, 0]
    assert found.tolist() == [[1, 0, 0], [1, 0, 0], [0, 0.5, 0.5], [0, 0.5, 0.5]]
    assert np.allclose(fill_from_nearest(values, known & False), 1 / 3)


def test_regions_come_with_any_call_that_names_an_atlas(network, straight, scan):
    from secondglance.imaging.regions import Region, RegionAtlas
    from secondglance.models.segment import FirstGlance, look_again

    volume, mask, affine = scan
    # A first glance that sees no tissue agrees with nothing
    empty = np.zeros(RAT.grid(volume.shape, affine).stack_shape, np.float32)
    first = FirstGlance(empty, np.stack([empty] * 4, axis=1), empty)
    to_world = np.diag([1.0, 1, 1, 1])
    to_world[:3, 3] = -25
    atlas = RegionAtlas(
        np.full((50, 50, 50), 5, np.int16), to_world, (Region(5, 'a', 'a', '#000000'),)
    )
    given = {'first': first, 'model': network, 'network': network}
    tissues, regions = look_again('network', volume, mask, affine, RAT, **given, atlas=atlas)
    np.testing.assert_array_equal(regions, 5 * mask)
    np.testing.assert_array_equal(tissues.fractions, straight.fractions)
    assert look_again('network', volume, mask, affine, RAT, **given)[1] is None


def test_regions_between_pixels_are_those_of_the_nearest(network, scan):
    """Voxels of 0.45 mm on pixels of 0.3 mm: between regions 5 and 60 there is no third."""
    from secondglance.imaging.regions import Region, RegionAtlas

    volume, mask, affine = scan
    to_world = np.diag([0.6, 0.6, 0.6, 1.0])
    to_world[:3, 3] = -15
    labels = np.where(np.indices((50, 50, 50)).sum(0) % 7 < 3, 5, 60).astype(np.int16)
    regions = Region(5, 'a', 'a', '#000000'), Region(60, 'b', 'b', '#ffffff')
    atlas = RegionAtlas(labels, to_world, regions)
    coarse = affine @ np.diag([1, 1, 1.5, 1])
    found = glance_at_volume(volume, mask, coarse, RAT, network, atlas)
    assert set(np.unique(found.regions[mask])) <= {0, 5, 60}
    assert (found.regions[mask] > 0).mean() > 0.95
