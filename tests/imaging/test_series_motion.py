"""Diffusion-weighted volumes come back to the reference, and a tensor fits them there."""

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from secondglance.imaging.coil_field import remove_field
from secondglance.imaging.diffusion import rotate_bvecs
from secondglance.imaging.motion import resample_motion
from secondglance.imaging.series_motion import (
    SHELL_WIDTH,
    as_contrast,
    series_motion,
    shells,
)

B_VALUE = 1000.0
AFFINE = np.diag([-0.4, 0.4, 0.5, 1.0])


def tensor_of(series, bvals, directions):
    """FA and principal direction by linear least squares of the logarithm; independent of ours."""
    x, y, z = directions
    columns = [x * x, y * y, z * z, 2 * x * y, 2 * x * z, 2 * y * z]
    design = np.stack([np.ones_like(bvals), *(-bvals * column for column in columns)], axis=1)
    logs = np.log(np.maximum(series, 1e-3)).reshape(-1, len(bvals)).T
    xx, yy, zz, xy, xz, yz = np.linalg.lstsq(design, logs, rcond=None)[0][1:]
    matrices = np.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz], axis=-1).reshape(-1, 3, 3)
    values, vectors = np.linalg.eigh(matrices)
    spread = values - values.mean(axis=1, keepdims=True)
    fa = np.sqrt(1.5 * (spread**2).sum(1) / np.maximum((values**2).sum(1), 1e-30))
    return fa.reshape(series.shape[:3]), vectors[..., -1].reshape(*series.shape[:3], 3)


def world_of(bvecs, affine=AFFINE):
    """World directions of a ``.bvec``, by an independent reading of the format."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    flip = np.array([-1.0, 1, 1]) if np.linalg.det(axes) > 0 else np.ones(3)
    return axes @ (flip[:, None] * bvecs)


@pytest.fixture(scope='module')
def phantom():
    """A head that moves and turns: fibres along one known direction in one half of the brain."""
    from scipy.spatial.transform import Rotation

    rng = np.random.default_rng(4)
    shape = (36, 40, 26)
    grid = nib.affines.apply_affine(AFFINE, np.moveaxis(np.indices(shape), 0, -1))
    middle = nib.affines.apply_affine(AFFINE, (np.array(shape) - 1) / 2)
    fibre = np.array([0.6, 0.64, 0.48])
    mean_d, high, low = 0.75e-3, 1.35e-3, 0.45e-3
    n = 12
    bvals = np.full(n, B_VALUE)
    bvals[[0, 6]] = 0
    world = rng.standard_normal((3, n))
    world = np.where(bvals > 0, world / np.linalg.norm(world, axis=0), 0)
    matrices = np.tile(np.eye(4), (n, 1, 1))
    for t in range(1, n):
        turn = Rotation.from_rotvec(np.radians(rng.uniform(-8, 8, 3))).as_matrix()
        matrices[t, :3, :3] = turn
        matrices[t, :3, 3] = middle - turn @ middle + rng.uniform(-0.5, 0.5, 3)

    def head(points, direction, b):
        """Signal of a head at rest, at world points."""
        x, y, z = np.moveaxis(points - middle, -1, 0)
        inside = (x / 5) ** 2 + (y / 6.2) ** 2 + (z / 4.6) ** 2
        brain = inside < 1
        white = brain & (x > 0.4)
        fluid = ((x + 2.2) / 1.1) ** 2 + ((y - 1) / 1.6) ** 2 + (z / 1.5) ** 2 < 1
        muscle = (inside > 1.25) & (inside < 1.9) & (y < 4)
        along = (direction @ fibre) ** 2
        signal = np.zeros(x.shape)
        for where, b0, d in (
            (brain, 700, mean_d),
            (white, 500, low + (high - low) * along),
            (fluid, 1400, 3e-3),
            (muscle, 450, 1.2e-3),
        ):
            signal[where] = b0 * np.exp(-b * d)
        return signal, white

    series = np.zeros((*shape, n), np.float32)
    for t in range(n):
        # Where a voxel of the volume lies in the head at rest; fibres turn with the head
        points = nib.affines.apply_affine(matrices[t], grid)
        signal, _ = head(points, matrices[t, :3, :3] @ world[:, t], bvals[t])
        noise = rng.normal(0, 12, (2, *shape))
        series[..., t] = np.hypot(ndimage.gaussian_filter(signal, 0.6) + noise[0], noise[1])
    white = ndimage.binary_erosion(head(grid, np.zeros(3), 0)[1], iterations=3)
    # As a .bvec holds them: along the voxel axes, here left-handed
    bvecs = np.linalg.solve(AFFINE[:3, :3] / [0.4, 0.4, 0.5], world)
    return series, bvals, bvecs, matrices, white, fibre


@pytest.fixture(scope='module')
def found(phantom):
    series, bvals, _, matrices, *_ = phantom
    b0 = np.flatnonzero(bvals == 0)
    mean = resample_motion(series[..., b0], AFFINE, matrices[b0]).mean(axis=3)
    return series_motion(series, AFFINE, shells(bvals, bvals > 50), b0, matrices[b0], mean)


@pytest.mark.slow
def test_weighted_volumes_are_brought_to_the_b0_reference(phantom, found):
    _, _, _, matrices, white, _ = phantom
    points = nib.affines.apply_affine(AFFINE, np.argwhere(white))
    for matrix, true in zip(found, matrices, strict=True):
        left = nib.affines.apply_affine(matrix, points) - nib.affines.apply_affine(true, points)
        assert np.linalg.norm(left, axis=1).mean() < 0.1


def test_a_shell_without_signal_does_not_stop_the_next(rng):
    head = ndimage.gaussian_filter(rng.random((24, 24, 12)), 1.5).astype(np.float32) ** 2
    moved = 0.5 * np.roll(head, 1, axis=0)
    series = np.stack([head, 0 * head, moved, moved], axis=-1)
    weighted = [np.array([1]), np.array([2, 3])]
    found = series_motion(series, AFFINE, weighted, [0], [np.eye(4)], head)
    # Back by one voxel of 0.4 mm
    assert found[2, 0, 3] == pytest.approx(0.4, abs=0.1)
    assert np.abs(found[3] - found[2]).max() < 0.01


@pytest.mark.slow
def test_fa_and_direction_of_a_phantom_are_right_after_motion(phantom, found):
    series, bvals, bvecs, _, white, fibre = phantom
    corrected = resample_motion(series, AFFINE, found)
    turned = rotate_bvecs(bvecs, found, AFFINE)
    fa, direction = tensor_of(corrected, bvals, world_of(turned))
    # Of eigenvalues 1.35, 0.45 and 0.45
    assert np.median(fa[white]) == pytest.approx(0.603, abs=0.03)
    off = np.degrees(np.arccos(np.clip(np.abs(direction[white] @ fibre), 0, 1)))
    assert np.median(off) < 4
    mean = direction[white] * np.sign(direction[white] @ fibre)[:, None]
    mean = mean.mean(axis=0) / np.linalg.norm(mean.mean(axis=0))
    assert np.degrees(np.arccos(mean @ fibre)) < 1.5
    # Directions that stayed as they were give another tensor
    _, wrong = tensor_of(corrected, bvals, world_of(bvecs))
    worse = np.degrees(np.arccos(np.clip(np.abs(wrong[white] @ fibre), 0, 1)))
    assert np.median(worse) > np.median(off)


def test_the_coil_field_is_removed_inside_the_mask(rng):
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in (20, 18, 10)), indexing='ij')
    mask = (x / 0.9) ** 2 + (y / 0.8) ** 2 + (z / 0.85) ** 2 < 1
    truth = np.where(x**2 + y**2 < 0.2, 140.0, 100.0)
    field = np.exp(0.5 * x - 0.4 * y)
    volume = truth * field + rng.normal(0, 2, truth.shape)
    freed = remove_field(volume, mask, (0.42, 0.43, 0.7))
    assert not freed[~mask].any()
    assert freed[mask].mean() == pytest.approx(volume[mask].mean(), rel=1e-3)
    for tissue in (100.0, 140.0):
        there = mask & (truth == tissue)
        before = volume[there].std() / volume[there].mean()
        after = freed[there].std() / freed[there].mean()
        assert after < 0.55 * before


def test_a_brain_in_one_slice_is_left_as_it_is():
    volume, mask = np.full((9, 9, 3), 7.0), np.zeros((9, 9, 3), bool)
    mask[2:6, 2:6, 1] = True
    np.testing.assert_array_equal(remove_field(volume, mask, (1, 1, 1)), np.where(mask, 7, 0))


@pytest.mark.parametrize(('n', 'freed'), [(3, False), (4, True), (5, True)])
def test_the_field_of_four_slices_can_be_told(n, freed):
    x, y, _ = np.meshgrid(*(np.linspace(-1, 1, k) for k in (20, 18, n)), indexing='ij')
    volume, mask = 100 * np.exp(0.6 * x), x**2 + y**2 < 0.8
    found = remove_field(volume, mask, (0.3, 0.3, 1.0))[mask]
    if freed:
        assert found.std() < 0.5 * volume[mask].std()
    else:
        np.testing.assert_allclose(found, volume[mask], rtol=1e-6)


def test_a_contrast_is_given_in_as_many_steps_as_are_asked_for():
    """Two halves: means of 0.5 and 2.5, to which those of 1 and 15 belong; between them a line."""
    image = np.array([0.0, 1, 2, 3])
    found = as_contrast(image, [0, 2, 10, 20], np.ones(4, bool), 2)
    np.testing.assert_allclose(found, [1, 4.5, 11.5, 15])


def test_b_values_as_far_apart_as_a_shell_is_wide_are_of_one():
    bvals = np.array([0.0, 1000, 1000 + SHELL_WIDTH, 3000])
    assert [group.tolist() for group in shells(bvals, bvals > 50)] == [[1, 2], [3]]
    bvals[2] += 1
    assert [group.tolist() for group in shells(bvals, bvals > 50)] == [[1], [2], [3]]


def test_a_mask_over_nothing_stays_nothing():
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, k) for k in (20, 18, 8)), indexing='ij')
    mask = x**2 + y**2 + z**2 < 0.8
    found = remove_field(np.zeros(mask.shape), mask, (0.3, 0.3, 1.0))
    np.testing.assert_array_equal(found, 0)
