import itertools

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from secondglance.imaging.errors import InputError
from secondglance.imaging.grids import BLOCK, edge_letters, holds_signal, slice_grid, slices_apart

SHAPE = (41, 38, 17)


def blob(shape, affine, centre_mm, width_mm=1.6):
    """Smooth blob with a known centroid in the world."""
    world = nib.affines.apply_affine(affine, np.moveaxis(np.indices(shape), 0, -1))
    return np.exp(-((world - centre_mm) ** 2).sum(-1) / (2 * width_mm**2)).astype(np.float32)


def centroid(voxels, affine):
    index = np.moveaxis(np.indices(voxels.shape), 0, -1)
    world = nib.affines.apply_affine(affine, index)
    return (world * voxels[..., None]).sum((0, 1, 2)) / voxels.sum()


@pytest.mark.parametrize('order', list(itertools.permutations(range(3))))
@pytest.mark.parametrize('signs', [(1, 1, 1), (-1, 1, -1), (-1, -1, -1)])
def test_world_positions_survive_every_orientation(oblique, order, signs):
    affine = oblique.copy()
    affine[:3, :3] = (oblique[:3, :3] * signs)[:, order]
    shape = tuple(SHAPE[a] for a in order)
    middle = nib.affines.apply_affine(affine, (np.array(shape) - 1) / 2)
    volume = blob(shape, affine, middle + np.array([0.3, -0.2, 0.4]))
    grid = slice_grid(shape, affine, 0.375)
    stack = grid.to_stack(volume)
    on_disk = stack.transpose(1, 2, 0)
    assert nib.affines.voxel_sizes(grid.affine) == pytest.approx([0.375, 0.375, 0.9])
    np.testing.assert_allclose(centroid(on_disk, grid.affine), centroid(volume, affine), atol=0.02)


def test_round_trip_restores_oblique_volume(oblique):
    middle = nib.affines.apply_affine(oblique, (np.array(SHAPE) - 1) / 2)
    volume = blob(SHAPE, oblique, middle)
    grid = slice_grid(SHAPE, oblique, 0.2)
    # What linear interpolation there and back leaves of a blob 1.6 mm wide
    np.testing.assert_allclose(grid.to_native(grid.to_stack(volume)), volume, atol=0.02)


def test_own_spacing_is_identity_to_the_bit(rng):
    affine = np.diag([0.375, 0.375, 0.6, 1])
    affine[:3, 3] = [-1.3, 0.4, 2.0]
    volume = rng.random((7, 9, 5), dtype=np.float32)
    grid = slice_grid(volume.shape, affine, 0.375)
    h, w = (round(-start) for start in grid.starts)
    stack = grid.to_stack(volume)
    np.testing.assert_array_equal(stack[:, h : h + 7, w : w + 9], volume.transpose(2, 0, 1))
    assert stack.sum() == pytest.approx(volume.sum())
    np.testing.assert_array_equal(grid.to_native(stack), volume)


@pytest.mark.parametrize('spacing', [0.2, 0.3])
@pytest.mark.parametrize('turns', [0, 1])
def test_pixels_do_not_depend_on_the_field_of_view(rng, oblique, spacing, turns):
    volume = rng.random(SHAPE, dtype=np.float32)
    low, high = np.array([5, 3, 0]), np.array([2, 9, 0])
    part = tuple(slice(a, n - b) for a, b, n in zip(low, high, SHAPE, strict=True))
    affine = oblique.copy()
    affine[:3, 3] = nib.affines.apply_affine(oblique, low)
    whole = slice_grid(SHAPE, oblique, spacing, quarter_turns=turns)
    cropped = slice_grid(volume[part].shape, affine, spacing, quarter_turns=turns)
    # The same pixel has the same place in the world, and blocks begin at the same ones
    offset = np.linalg.solve(whole.affine, cropped.affine)[:2, 3]
    np.testing.assert_allclose(offset / BLOCK, np.round(offset / BLOCK), atol=1e-6)
    h, w = np.round(offset).astype(int)
    inner = cropped.to_stack(volume[part])
    outer = whole.to_stack(volume)[:, h : h + inner.shape[1], w : w + inner.shape[2]]
    # But for the rim, where interpolation or smoothing reaches beyond the crop
    inside = (
        cropped.to_stack(
            np.pad(np.ones(np.array(volume[part].shape) - [8, 8, 0]), [(4, 4), (4, 4), (0, 0)])
        )
        == 1
    )
    assert inside.mean() > 0.1
    np.testing.assert_allclose(inner[inside], outer[inside], atol=1e-5)


@pytest.mark.parametrize('turns', [1, 2, 3, 5])
def test_slices_are_turned_in_plane_and_come_back(oblique, turns, rng):
    volume = rng.random(SHAPE, dtype=np.float32)
    straight, turned = (slice_grid(SHAPE, oblique, 0.25, quarter_turns=k) for k in (0, turns))
    np.testing.assert_allclose(
        turned.to_stack(volume), np.rot90(straight.to_stack(volume), turns, (1, 2)), atol=1e-6
    )
    middle = nib.affines.apply_affine(oblique, (np.array(SHAPE) - 1) / 2)
    smooth = blob(SHAPE, oblique, middle + np.array([0.3, -0.2, 0.4]))
    stack = turned.to_stack(smooth)
    np.testing.assert_allclose(
        centroid(stack.transpose(1, 2, 0), turned.affine), centroid(smooth, oblique), atol=0.02
    )
    np.testing.assert_allclose(turned.to_native(stack), smooth, atol=0.02)


def test_nothing_is_cropped(rng):
    volume = np.ones((11, 83, 4), np.float32)
    grid = slice_grid(volume.shape, np.diag([0.25, 0.25, 1, 1]), 0.375)
    assert all(side % BLOCK == 0 for side in grid.stack_shape[1:])
    # 2.75 mm and 20.75 mm, in pixels of 0.375 mm
    assert grid.to_stack(volume)[0].sum() == pytest.approx(2.75 * 20.75 / 0.375**2, rel=0.06)
    np.testing.assert_allclose(grid.to_native(grid.to_stack(volume))[1:-1, 1:-1], 1, atol=1e-6)


def test_flipped_axes_come_in_canonical_order():
    volume = np.zeros((3, 3, 4), np.float32)
    volume[0, 0, 0], volume[1, 0, 0] = 1, 2
    grid = slice_grid(volume.shape, np.diag([-1, -1, -2, 1]), 1.0)
    stack = grid.to_stack(volume)
    (n, h, w), (m, g, v) = np.argwhere(stack == 1)[0], np.argwhere(stack == 2)[0]
    # The first voxel along a flipped axis is the last one of the canonical axis
    assert (n, m, h - g, w - v) == (3, 3, 1, 0)


@pytest.mark.parametrize(
    ('sizes', 'asked', 'expected'),
    [
        ((0.25, 0.25, 1), 'auto', 2),
        ((1, 0.25, 0.25), 'auto', 0),
        ((0.3, 0.3, 0.3), 'auto', 1),
        ((0.2, 0.2, 0.25), 'auto', 1),
        ((0.2, 0.2, 0.32), 'auto', 2),
        ((0.3, 0.3, 0.303), 'auto', 1),
        ((0.25, 0.25, 1), 'j', 1),
    ],
)
def test_slice_axis(sizes, asked, expected):
    affine = np.diag([*sizes, 1])
    grid = slice_grid((20, 20, 20), affine, 0.375, slice_axis=asked)
    assert grid.slice_axis == expected


def test_positions_are_millimetres_about_the_middle():
    grid = slice_grid((8, 8, 3), np.diag([0.5, 0.5, 2, 1]), 0.5)
    assert grid.positions.tolist() == [-2, 0, 2]
    assert grid.thickness == 2


def test_singular_affine_is_refused():
    with pytest.raises(InputError, match='inverted'):
        slice_grid((4, 4, 4), np.diag([1, 0, 1, 1]), 0.375)


def test_a_field_of_view_too_large_for_memory_is_refused():
    with pytest.raises(InputError, match='field of view of 20000 × 20000 × 17 mm'):
        slice_grid((80, 80, 17), np.diag([250, 250, 1, 1]), 0.3, slice_axis='k')


def test_pixels_far_larger_than_the_image_cost_no_memory(rng):
    volume = rng.random((6, 6, 3), dtype=np.float32)
    grid = slice_grid(volume.shape, np.diag([1e-6, 1e-6, 1e-5, 1]), 0.3)
    assert grid.stack_shape == (3, BLOCK, BLOCK)
    assert np.isfinite(grid.to_stack(volume)).all()


@pytest.mark.parametrize('spacing', [0.3, 0.375, 0.5])
@pytest.mark.parametrize('order', list(itertools.permutations(range(3))))
@pytest.mark.parametrize('signs', [(1, 1, 1), (-1, 1, -1), (1, -1, 1), (-1, -1, -1)])
def test_permuted_and_flipped_axes_give_the_identical_stack(rng, spacing, order, signs):
    affine = np.diag([0.3, 1.0, 0.3, 1])
    affine[:3, 3] = [-4.1, 2.3, -5.05]
    image = nib.Nifti1Image(rng.random((27, 6, 31), dtype=np.float32), affine)
    other = image.as_reoriented(np.stack([order, signs], axis=1))
    one, two = (slice_grid(i.shape, i.affine, spacing) for i in (image, other))
    stacks = [g.to_stack(i.get_fdata()) for g, i in ((one, image), (two, other))]
    np.testing.assert_allclose(two.affine, one.affine, atol=1e-6)
    np.testing.assert_allclose(stacks[1], stacks[0], atol=1e-5)
    np.testing.assert_array_equal(two.positions, one.positions)
    # From posterior to anterior, left to right, ventral to dorsal
    assert nib.aff2axcodes(two.affine) == ('R', 'S', 'A')


@pytest.mark.parametrize('axis', [0, 1])
def test_nothing_aliases_when_going_coarser(axis):
    # Stripes two voxels wide along the finer axis; at 0.3 mm they would show as wide ones
    stripes = np.zeros((60, 40, 2), np.float32)
    stripes[::2, :, 0] = 1
    stripes[:, ::2, 1] = 1
    sizes = [0.3, 0.3, 1.0]
    sizes[axis] = 0.1
    grid = slice_grid(stripes.shape, np.diag([*sizes, 1]), 0.3, slice_axis='k')
    back = grid.to_native(grid.to_stack(stripes))[8:-8, 8:-8]
    # The stripes along the axis that is averaged are gone, those along the other are as they were
    fine, kept = (back[..., k] for k in ((0, 1) if axis == 0 else (1, 0)))
    np.testing.assert_allclose(fine, 0.5, atol=0.01)
    np.testing.assert_allclose(kept, stripes[8:-8, 8:-8, 1 - axis], atol=0.01)


@pytest.mark.parametrize('spacing', [0.1, 0.2, 0.25, 0.375, 0.9])
def test_a_constant_image_is_constant_to_its_edge_and_zero_beyond(spacing, oblique):
    affine = oblique @ np.diag([1, 1 / 1.2, 1, 1])
    volume = np.full((23, 38, 3), 7, np.float32)
    grid = slice_grid(volume.shape, affine, spacing)
    stack = grid.to_stack(volume).transpose(1, 2, 0)
    pixels = np.moveaxis(np.indices(stack.shape), 0, -1)
    voxels = nib.affines.apply_affine(np.linalg.solve(affine, grid.affine), pixels)
    inside = ((voxels > -0.499) & (voxels < np.array(volume.shape) - 0.501)).all(-1)
    beyond = ((voxels < -0.501) | (voxels > np.array(volume.shape) - 0.499)).any(-1)
    np.testing.assert_allclose(stack[inside], 7, rtol=1e-5)
    assert not stack[beyond].any()
    assert inside.any()
    assert beyond.any()


@pytest.mark.parametrize('order', [0, 1])
@pytest.mark.parametrize('spacing', [0.13, 0.2, 0.25, 0.3])
def test_pixels_have_the_values_that_scipy_finds_where_they_lie(rng, order, spacing):
    affine = np.diag([0.3, -0.31, 1, 1])
    affine[:3, 3] = [-2.03, 4.4, 1]
    volume = rng.random((15, 21, 3), dtype=np.float32)
    grid = slice_grid(volume.shape, affine, spacing, slice_axis='k')
    stack = grid.to_stack(volume, order=order)
    pixels = np.indices(stack.transpose(1, 2, 0).shape).reshape(3, -1).T
    voxels = nib.affines.apply_affine(np.linalg.solve(affine, grid.affine), pixels)
    inside = ((voxels > -0.49) & (voxels < np.array(volume.shape) - 0.51)).all(-1)
    expected = ndimage.map_coordinates(volume, voxels.T, order=order, mode='nearest')
    found = stack.transpose(1, 2, 0).ravel()
    # Half way between two voxels, either is the nearest
    tied = (order == 0) & (np.abs(voxels[:, :2] % 1 - 0.5).min(-1) < 1e-6)
    np.testing.assert_allclose(found[inside & ~tied], expected[inside & ~tied], atol=1e-4)
    assert inside.sum() > 200


def test_an_order_that_there_is_not_is_refused(rng):
    volume = rng.random((15, 21, 3), dtype=np.float32)
    grid = slice_grid(volume.shape, np.diag([0.3, 0.3, 1, 1]), 0.2)
    with pytest.raises(ValueError, match='order of interpolation is 3'):
        grid.to_stack(volume, order=3)


def test_labels_stay_labels_there_and_back(rng, oblique):
    volume = 3.0 * rng.integers(0, 2, SHAPE)
    grid = slice_grid(SHAPE, oblique, 0.2)
    stack = grid.to_stack(volume, order=0)
    assert set(np.unique(stack)) == {0, 3}
    assert set(np.unique(grid.to_native(stack, order=0))) == {0, 3}
    assert len(np.unique(grid.to_native(stack))) > 10
    assert len(np.unique(grid.to_stack(volume))) > 10


def test_labels_stay_labels_on_coarser_pixels_too(rng):
    volume = 3.0 * rng.integers(0, 2, (40, 36, 3))
    grid = slice_grid(volume.shape, np.diag([0.1, 0.1, 1, 1]), 0.25)
    assert set(np.unique(grid.to_stack(volume, order=0))) == {0, 3}
    assert len(np.unique(grid.to_stack(volume))) > 10


def test_uneven_slices_are_a_mean_distance_apart():
    assert slices_apart([0.0, 0.5, 2.0]) == 1.0
    assert slices_apart([3.0]) == 1.0


def test_a_slice_of_one_value_is_lost_whatever_the_value():
    stack = np.zeros((3, 4, 4))
    stack[1], stack[2, 1, 1] = 7, 7
    assert holds_signal(stack).tolist() == [False, False, True]


def test_going_half_as_fine_again_averages_too(rng):
    """White noise: the variance that is left is that of the weights, not of single voxels."""
    noise = rng.standard_normal((96, 96, 2)).astype(np.float32)
    inner = slice(12, -12)
    left = {}
    for spacing in (0.1, 0.102, 0.15, 0.2):
        stack = slice_grid(noise.shape, np.diag([0.1, 0.1, 1, 1]), spacing).to_stack(noise)
        rows = np.flatnonzero(stack.any(axis=(0, 2)))[inner]
        left[spacing] = stack[:, rows][:, :, rows].var()
    # With sigma = sqrt(1.5² − 1) / 2: 1 / (2 sqrt(pi) sigma) along each of two axes, and less by
    # interpolation
    assert left[0.1] == pytest.approx(1, abs=0.05)
    assert left[0.102] > 0.3
    assert left[0.15] < (1 / (2 * np.sqrt(np.pi) * 0.559)) ** 2
    assert left[0.2] < 1.1 * (1 / (2 * np.sqrt(np.pi) * 0.866)) ** 2


def test_a_stack_is_no_view_of_the_volume(rng):
    volume = rng.random((32, 32, 3), dtype=np.float32)
    before = volume.copy()
    grid = slice_grid(volume.shape, np.diag([0.3, 0.3, 1, 1]), 0.3)
    stack = grid.to_stack(volume)
    stack[:] = 0
    grid.to_native(stack)[:] = 7
    np.testing.assert_array_equal(volume, before)


def test_edges_are_named_by_the_header():
    coronal = np.array([[0.3, 0, 0, 1], [0, 0.1, 1, 2], [0, 0.3, -0.2, 3], [0, 0, 0, 1.0]])
    assert edge_letters(coronal) == ('L', 'R', 'D', 'V')
    assert edge_letters(coronal[[0, 2, 1, 3]]) == ('L', 'R', 'A', 'P')
    assert edge_letters(coronal * [[-1], [1], [1], [1]]) == ('R', 'L', 'D', 'V')


@pytest.mark.parametrize(('size', 'spacing'), [(0.5, 0.55), (0.5, 0.5)])
def test_a_ramp_of_the_world_is_one_of_the_stack(size, spacing):
    """The stack has as many pixels as the volume has voxels, or begins where it does."""
    n = 16 if size != spacing else 20
    affine = np.diag([size, size, 1, 1.0])
    affine[:3, 3] = [0.4, 0.4, 0] if size != spacing else [size / 2, size / 2, 0]
    world = affine[0, 3] + size * np.arange(n)
    volume = np.broadcast_to(world[:, None, None], (n, n, 3)).astype(np.float32)
    grid = slice_grid(volume.shape, affine, spacing, 'k')
    stack = grid.to_stack(volume)
    assert stack.shape == grid.stack_shape
    assert (stack.shape[1:] == (n, n)) == (size != spacing)
    rows = grid.affine[0, 3] + spacing * np.arange(stack.shape[1])
    inside = (rows > world[2]) & (rows < world[-3])
    np.testing.assert_allclose(stack[1, inside, 8], rows[inside], atol=1e-5)
    assert not stack[:, rows > world[-1] + size].any()


@pytest.mark.parametrize('n', [15, 16, 17, 31, 32, 33])
@pytest.mark.parametrize('offset', [-0.3, 0.1, 0.25, 0.5])
def test_every_block_holds_the_middle_of_a_pixel_in_the_volume(n, offset):
    """The first and the last: what holds none costs time, and a network has nothing to see."""
    affine = np.diag([0.5, 0.5, 1, 1.0])
    affine[:3, 3] = offset, -4 + offset, 0
    grid = slice_grid((n, n, 2), affine, 0.4, 'k')
    for axis in (0, 1):
        edges = affine[axis, 3] + 0.5 * np.array([-0.5, n - 0.5])
        middles = grid.affine[axis, 3] + 0.4 * np.arange(grid.stack_shape[1 + axis])
        held = (middles > edges[0] - 1e-3) & (middles < edges[1] + 1e-3)
        assert len(held) % BLOCK == 0
        assert held[:BLOCK].any()
        assert held[-BLOCK:].any()
        # None that lies in the volume is missing
        assert middles[0] < edges[0] + 0.4
        assert middles[-1] > edges[1] - 0.4


@pytest.mark.parametrize('spacing', [0.4, 0.13])
@pytest.mark.parametrize('signs', [(1, 1, 1), (-1, 1, -1)])
def test_the_worlds_origin_lies_between_two_pixels(spacing, signs):
    """So pixels do not depend on where the volume begins."""
    affine = np.diag([0.25, 0.9, 0.3, 1.0]) * [*signs, 1]
    affine[:3, 3] = [3.1, -7.7, 12.3]
    first = slice_grid((60, 20, 50), affine, spacing).affine[:3, 3]
    np.testing.assert_allclose(first[[0, 2]] / spacing % 1, 0.5, atol=1e-9)


@pytest.mark.parametrize('spacing', [0.45, 0.9])
def test_coarser_pixels_are_those_of_scipys_gaussian(rng, spacing):
    """Of half the root of what is missing to the square of a pixel, in voxels."""
    size = np.array([0.3, 0.2])
    volume = rng.random((40, 50, 2), dtype=np.float32)
    grid = slice_grid(volume.shape, np.diag([*size, 1, 1]), spacing, slice_axis='k')
    stack = grid.to_stack(volume).transpose(1, 2, 0)
    widths = np.sqrt((spacing / size) ** 2 - 1) / 2
    blurred = ndimage.gaussian_filter(volume, (*widths, 0), mode='nearest')
    pixels = np.indices(stack.shape).reshape(3, -1).T
    voxels = nib.affines.apply_affine(grid.affine, pixels) / [*size, 1]
    inside = ((voxels > 0) & (voxels < np.array(volume.shape) - 1))[:, :2].all(-1)
    expected = ndimage.map_coordinates(blurred, voxels[inside].T, order=1)
    np.testing.assert_allclose(stack.ravel()[inside], expected, atol=1e-4)
    assert inside.sum() > 50
