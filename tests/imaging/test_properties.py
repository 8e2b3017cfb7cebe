"""What holds for any image, mask or table, whatever its size, type and order."""

import itertools

import nibabel as nib
import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from nibabel.affines import apply_affine
from scipy.spatial.transform import Rotation

from secondglance.imaging.enhancement import enhance
from secondglance.imaging.grids import BLOCK, slice_grid
from secondglance.imaging.intensity import head_mask, normalise_slices
from secondglance.imaging.mask.cleaning import agreement, one_brain
from secondglance.imaging.metrics import SCORES, segmentation_metrics
from secondglance.imaging.motion import framewise_displacement, typical_volume
from secondglance.imaging.placement.correlation import best_shift, correlate, place_mask
from secondglance.imaging.placement.shifts import reconcile, weighted_median
from secondglance.imaging.tissues import label_tissues

SEEDS = st.integers(0, 2**32 - 1)
SIDES = st.tuples(*[st.integers(3, 12)] * 3)


@st.composite
def scans(draw):
    """A small volume of noise, and an oblique affine."""
    rng = np.random.default_rng(draw(SEEDS))
    shape = draw(SIDES)
    sizes = [draw(st.sampled_from([0.1, 0.25, 0.3, 0.7, 1.0])) for _ in range(3)]
    turn = Rotation.from_euler('xyz', rng.uniform(-20, 20, 3), degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(sizes * rng.choice([-1, 1], 3))
    affine[:3, 3] = rng.uniform(-20, 20, 3)
    return rng.uniform(0, 100, shape).astype(np.float32), affine


ORDERS = st.sampled_from(list(itertools.permutations(range(3))))
SIGNS = st.tuples(*[st.sampled_from([1, -1])] * 3)
SPACINGS = st.sampled_from([0.15, 0.3, 0.375, 0.6])


@given(scan=scans(), order=ORDERS, signs=SIGNS, spacing=SPACINGS)
def test_a_stack_does_not_depend_on_how_voxels_lie_on_disk(scan, order, signs, spacing):
    volume, affine = scan
    image = nib.Nifti1Image(volume, affine)
    other = image.as_reoriented(np.stack([order, signs], axis=1))
    # Where several axes are as long, the first one is taken
    size = np.sort(nib.affines.voxel_sizes(affine))
    assume(size[2] > 1.6 * size[1] or size[2] < 1.4 * size[1])
    one, two = (slice_grid(i.shape, i.affine, spacing) for i in (image, other))
    assert two.stack_shape == one.stack_shape
    np.testing.assert_allclose(two.affine, one.affine, atol=1e-5)
    np.testing.assert_allclose(
        two.to_stack(other.get_fdata()), one.to_stack(volume), atol=0.01, rtol=1e-3
    )


@given(scan=scans(), spacing=SPACINGS, turns=st.integers(0, 3), axis=st.sampled_from('ijk'))
def test_pixels_lie_in_the_world_where_their_affine_says(scan, spacing, turns, axis):
    """A ramp along each axis of the world is read where it is, in the middle of a volume."""
    volume, affine = scan
    grid = slice_grid(volume.shape, affine, spacing, axis, quarter_turns=turns)
    assert all(side % BLOCK == 0 for side in grid.stack_shape[1:])
    world = apply_affine(affine, np.moveaxis(np.indices(volume.shape), 0, -1))
    n, h, w = np.indices(grid.stack_shape)
    pixels = apply_affine(grid.affine, np.stack([h, w, n], axis=-1))
    voxels = apply_affine(np.linalg.inv(affine), pixels)
    # An averaged edge bends a ramp
    reach = 1 + 3 * spacing / nib.affines.voxel_sizes(affine)
    reach[grid.slice_axis] = 0.01
    inside = ((voxels > reach - 1) & (voxels < np.array(volume.shape) - reach)).all(axis=-1)
    for k in range(3):
        found = grid.to_stack(world[..., k])[inside]
        np.testing.assert_allclose(found, pixels[inside][:, k], atol=0.02)


@given(scan=scans(), margins=st.tuples(*[st.integers(0, 5)] * 6), spacing=SPACINGS)
def test_a_margin_of_air_changes_no_pixel(scan, margins, spacing):
    volume, affine = scan
    low, high = margins[:3], margins[3:]
    wide = np.pad(volume, list(zip(low, high, strict=True)))
    moved = affine.copy()
    moved[:3, 3] = apply_affine(affine, [-n for n in low])
    axis = 'ijk'[slice_grid(volume.shape, affine, spacing).slice_axis]
    one = slice_grid(volume.shape, affine, spacing, axis)
    two = slice_grid(wide.shape, moved, spacing, axis)
    offset = np.linalg.solve(two.affine, one.affine)[:3, 3]
    np.testing.assert_allclose(offset, np.round(offset), atol=1e-4)
    h, w, n = np.round(offset).astype(int)
    part = tuple(slice(a, a + side) for a, side in zip((n, h, w), one.stack_shape, strict=True))
    # A label is that of the nearest voxel, whatever lies beyond the volume
    found, expected = two.to_stack(wide, order=0)[part], one.to_stack(volume, order=0)
    assert (found == expected).mean() > 0.999


@given(scan=scans(), kind=st.sampled_from(['uint8', 'int16', 'uint16', 'int32', 'float64', '>i2']))
def test_the_type_of_the_voxels_changes_nothing(scan, kind):
    volume, affine = scan
    whole = np.rint(volume)
    grid = slice_grid(volume.shape, affine, 0.3)
    np.testing.assert_array_equal(grid.to_stack(whole.astype(kind)), grid.to_stack(whole))


@given(seed=SEEDS, factor=st.floats(1e-3, 1e6))
def test_the_unit_of_the_intensities_changes_nothing(seed, factor):
    rng = np.random.default_rng(seed)
    stack = rng.gamma(1.0, 10.0, (2, 24, 20))
    stack[:, 6:18, 5:15] += 60
    np.testing.assert_allclose(normalise_slices(stack * factor), normalise_slices(stack), 1e-4)
    assert (head_mask(stack * factor) == head_mask(stack)).mean() > 0.99
    saliency = rng.normal(0, 1, stack.shape)
    for other in (factor * saliency, -saliency):
        np.testing.assert_allclose(enhance(other), enhance(saliency), atol=1e-5)


@given(seed=SEEDS, order=st.permutations(range(4)))
def test_slices_are_normalised_and_enhanced_each_by_itself(seed, order):
    stack = np.random.default_rng(seed).gamma(1.0, 10.0, (4, 16, 18))
    for function in (normalise_slices, head_mask, enhance):
        np.testing.assert_array_equal(function(stack[order]), function(stack)[order])
        np.testing.assert_array_equal(function(stack[1:2]), function(stack)[1:2])


@given(
    first=arrays(np.int64, (5, 4, 3), elements=st.integers(0, 3)),
    second=arrays(np.int64, (5, 4, 3), elements=st.integers(0, 3)),
    order=ORDERS,
    flips=SIGNS,
)
def test_scores_do_not_depend_on_the_axes(first, second, order, flips):
    size = np.array([0.3, 0.5, 1.1])
    turned = [
        np.flip(v, [a for a in range(3) if flips[a] < 0]).transpose(order) for v in (first, second)
    ]
    straight = segmentation_metrics(first, second, size)
    for row, other in zip(straight, segmentation_metrics(*turned, size[list(order)]), strict=True):
        np.testing.assert_allclose(
            [other[name] for name in SCORES], [row[name] for name in SCORES]
        )
    # With the roles changed sensitivity is precision
    for row, other in zip(straight, segmentation_metrics(second, first, size), strict=True):
        for name, swapped in (
            ('dsc', 'dsc'),
            ('sensitivity', 'precision'),
            ('hd95_mm', 'hd95_mm'),
        ):
            np.testing.assert_allclose(other[swapped], row[name])


@given(seed=SEEDS, order=st.permutations(range(5)))
def test_permuted_volumes_have_the_same_reference(seed, order):
    volumes = np.random.default_rng(seed).gamma(2.0, 10.0, (6, 5, 4, 5))
    assert order[typical_volume(volumes[..., order])] == typical_volume(volumes)


@given(
    parameters=arrays(np.float64, (6, 6), elements=st.floats(-5, 5)),
    radius=st.sampled_from([5.0, 10.0]),
    moved=arrays(np.float64, 6, elements=st.floats(-5, 5)),
)
def test_displacement_counts_changes_alone(parameters, radius, moved):
    found = framewise_displacement(parameters, radius)
    assert np.isnan(found[0])
    for other in (parameters + moved, -parameters):
        again = framewise_displacement(other, radius)[1:]
        np.testing.assert_allclose(again, found[1:], atol=1e-9)
    backwards = framewise_displacement(parameters[::-1], radius)
    np.testing.assert_allclose(backwards[:0:-1], found[1:], atol=1e-9)
    assert (found[1:] >= 0).all()


@given(
    shifts=arrays(np.float64, (7, 2), elements=st.integers(-9, 9).map(float)),
    weights=arrays(np.float64, 7, elements=st.sampled_from([0.0, 0.25, 0.5, 1.0])),
    by=st.tuples(st.integers(-5, 5), st.integers(-5, 5)),
)
def test_a_line_of_shifts_moves_with_them(shifts, weights, by):
    positions = np.arange(7) * 0.5
    line, replaced, confidence = reconcile(shifts, weights, positions)
    moved, again, sure = reconcile(shifts + by, weights, positions)
    if weights.any():
        np.testing.assert_allclose(moved, line + by, atol=1e-9)
    np.testing.assert_array_equal(again, replaced)
    np.testing.assert_allclose(sure, confidence)
    np.testing.assert_array_equal(line[~replaced], shifts[~replaced])
    swapped, *_ = reconcile(shifts[:, ::-1], weights, positions)
    same = ~replaced
    np.testing.assert_array_equal(swapped[same], line[same][:, ::-1])


@given(
    values=arrays(np.float64, 6, elements=st.integers(-50, 50).map(float)),
    weights=arrays(np.float64, 6, elements=st.integers(1, 9).map(float)),
)
def test_half_of_the_weight_lies_on_either_side_of_a_weighted_median(values, weights):
    middle = weighted_median(values, weights)
    assert middle in values
    assert weights[values < middle].sum() <= weights.sum() / 2
    assert weights[values > middle].sum() <= weights.sum() / 2
    # Whole weights are so many equal values
    repeated = np.repeat(values, weights.astype(int))
    assert weighted_median(repeated, np.ones(len(repeated))) == middle


@given(seed=SEEDS, dy=st.integers(-3, 3), dx=st.integers(-4, 4))
def test_a_moved_image_is_found_where_it_was_moved_to(seed, dy, dx):
    rng = np.random.default_rng(seed)
    kernel = np.zeros((15, 17))
    kernel[5:10, 6:11] = rng.normal(0, 1, (5, 5))
    shift, peak, _ = best_shift(correlate(np.roll(kernel, (dy, dx), (0, 1))[None], kernel[None]))
    assert shift.tolist() == [[dy, dx]]
    np.testing.assert_allclose(peak, (kernel**2).sum(), rtol=1e-4)
    mask = kernel != 0
    np.testing.assert_array_equal(place_mask(mask, (dy, dx)), np.roll(mask, (dy, dx), (0, 1)))


@given(
    first=arrays(bool, (3, 4, 5)), second=arrays(bool, (3, 4, 5)), order=st.permutations(range(3))
)
def test_agreement_is_symmetric_and_each_slice_has_its_own(first, second, order):
    found = agreement(first, second)
    np.testing.assert_array_equal(agreement(second, first), found)
    np.testing.assert_array_equal(agreement(first[order], second[order]), found[order])
    np.testing.assert_array_equal(agreement(first, first), np.ones(3))
    assert ((found >= 0) & (found <= 1)).all()


@given(seed=SEEDS, flip=st.tuples(*[st.booleans()] * 3))
def test_one_brain_is_that_of_the_mirrored_head_mirrored(seed, flip):
    rng = np.random.default_rng(seed)
    y, x, z = np.mgrid[:5, :21, :19]
    ball = ((y - 2) / 3) ** 2 + ((x - 10) / 7) ** 2 + ((z - 9) / 6) ** 2
    probability = np.clip(1.4 - ball + rng.normal(0, 0.1, ball.shape), 0, 1)
    axes = [a for a in range(3) if flip[a]]
    found = one_brain(probability, 0.3, 1.0)
    other = one_brain(np.flip(probability, axes), 0.3, 1.0)
    assert (np.flip(other, axes) == found).mean() > 0.99
    assert not (found >= 0.5)[probability < 0.5].mean() > 0.05


@given(seed=SEEDS, order=ORDERS)
def test_tissues_keep_their_volumes_whatever_the_axes(seed, order):
    rng = np.random.default_rng(seed)
    mask = rng.random((6, 5, 4)) < 0.7
    fractions = rng.dirichlet((1, 1, 1), mask.shape).astype(np.float32) * mask[..., None]
    labels = label_tissues(fractions, mask)
    np.testing.assert_array_equal(labels > 0, mask)
    turned = label_tissues(fractions.transpose(*order, 3), mask.transpose(order))
    assert np.bincount(turned.ravel(), minlength=4).tolist() == (
        np.bincount(labels.ravel(), minlength=4).tolist()
    )
