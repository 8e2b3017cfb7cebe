"""Motion of a phantom that is a formula: what a moved scan shows is exact, not interpolated."""

import tracemalloc

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import apply_affine, from_matvec
from scipy import ndimage
from scipy.spatial.transform import Rotation

from secondglance.imaging import motion
from secondglance.imaging.motion import (
    FIRST_VOXELS,
    MEAN_FROM,
    WITHIN_VOLUME,
    estimate_motion,
    framewise_displacement,
    itk_text,
    looks_like_noise,
    motion_parameters,
    moved_most,
    resample_motion,
    residual_displacement,
    typical_volume,
    unlike_mean,
    within_volume_motion,
)
from secondglance.imaging.registration import (
    FINE_VOXELS,
    FineModel,
    head_region,
    in_blocks,
    robust_step,
)
from secondglance.imaging.species import HEAD_RADIUS_MM

SHAPE = (37, 32, 26)
BAR_MM = 0.02


PIXEL = 0.5
"""Of the phantom, mm."""


def oblique(flip: int = 1, voxel=(PIXEL, 0.55, 0.7), shape=SHAPE) -> np.ndarray:
    """An affine tilted by 20°, off the origin; `flip` is the sign of its determinant."""
    tilt = Rotation.from_rotvec([0.2, -0.25, 0.15]).as_matrix()
    linear = tilt @ np.diag([flip, 1, 1]) @ np.diag(voxel)
    return from_matvec(linear, np.array([3.0, -7, 11]) - linear @ ((np.array(shape) - 1) / 2))


def middle(affine: np.ndarray, shape=SHAPE) -> np.ndarray:
    return apply_affine(affine, (np.array(shape) - 1) / 2)


def rigid(affine, rotvec, shift, shape=SHAPE) -> np.ndarray:
    """World matrix that turns about the middle of the scan, then shifts."""
    turn, centre = Rotation.from_rotvec(rotvec).as_matrix(), middle(affine, shape)
    return from_matvec(turn, centre - turn @ centre + shift)


class Phantom:
    """A head of soft ellipsoids: muscle, a dark gap, a brain with blobs in it."""

    def __init__(self, rng: np.random.Generator, affine: np.ndarray, shape=SHAPE):
        self.affine, self.shape, self.centre = affine, shape, middle(affine, shape)
        self.blobs = rng.uniform(-4, 4, (25, 3)), rng.uniform(0.5, 1.2, 25), rng.normal(0, 25, 25)

    def scan(self, matrix: np.ndarray, rng=None, snr: float = np.inf) -> np.ndarray:
        """The volume of a head; `matrix` maps its world mm to those at rest."""
        grid = np.moveaxis(np.indices(self.shape), 0, -1)
        where = apply_affine(matrix @ self.affine, grid) - self.centre
        radius = np.linalg.norm(where / [6.5, 7.5, 6.5], axis=-1)

        def inside(edge):
            return 1 / (1 + np.exp((radius - edge) / 0.06))

        image = 60 * (inside(1.0) - inside(0.82)) + 100 * inside(0.75)
        places, widths, heights = self.blobs
        # |w − p|² = |w|² − 2 w·p + |p|², of all blobs at once
        distance = (where**2).sum(-1)[..., None] - 2 * where @ places.T + (places**2).sum(-1)
        blobs = np.exp((-distance / (2 * widths**2)).astype(np.float32)) @ heights
        image += blobs * inside(0.75)
        if rng is not None:
            image = np.hypot(
                image + rng.normal(0, 100 / snr, self.shape), rng.normal(0, 100 / snr, self.shape)
            )
        return image.astype(np.float32)

    def rigid(self, rotvec, shift) -> np.ndarray:
        """World matrix that turns about the middle of its scan, then shifts."""
        return rigid(self.affine, rotvec, shift, self.shape)

    @property
    def brain(self) -> np.ndarray:
        """World mm of the brain's voxels at rest."""
        world = apply_affine(self.affine, np.moveaxis(np.indices(self.shape), 0, -1))
        return world[np.linalg.norm((world - self.centre) / [6.5, 7.5, 6.5], axis=-1) < 0.75]


def small_phantom(rng: np.random.Generator, flip: int = 1) -> Phantom:
    """The same head in an eighth of the voxels, where nothing is said of how exact motion is."""
    shape = tuple(n // 2 for n in SHAPE)
    return Phantom(rng, oblique(flip, (0.95, 1.1, 1.4), shape), shape)


@pytest.fixture
def rng():
    return np.random.default_rng(11)


@pytest.mark.parametrize('flip', [1, -1])
def test_a_known_motion_is_found_in_sign_and_centre(rng, flip):
    affine = oblique(flip)
    phantom = Phantom(rng, affine)
    moved = rigid(affine, [0.03, -0.05, 0.02], [0.4, -0.3, 0.5])
    volumes = np.stack([phantom.scan(np.eye(4)), phantom.scan(moved)], axis=-1)
    matrices, reference = estimate_motion(volumes, affine, reference=0)
    assert reference == 0
    np.testing.assert_array_equal(matrices[0], np.eye(4))
    assert residual_displacement(matrices[1:], [moved], phantom.brain)[0] < BAR_MM / 2
    np.testing.assert_allclose(matrices[1], moved, atol=0.01)


def test_residual_motion_under_noise_is_below_the_bar(rng):
    affine = oblique()
    phantom = Phantom(rng, affine)
    truth = np.stack(
        [rigid(affine, rng.normal(0, 0.02, 3), rng.normal(0, 0.35, 3)) for _ in range(MEAN_FROM)]
    )
    volumes = np.stack([phantom.scan(m, rng, snr=30) for m in truth], axis=-1)
    matrices, reference = estimate_motion(volumes, affine)
    truth = np.linalg.inv(truth[reference]) @ truth
    before = residual_displacement(np.tile(np.eye(4), (MEAN_FROM, 1, 1)), truth, phantom.brain)
    left = residual_displacement(matrices, truth, phantom.brain)
    assert before.mean() > 0.3
    assert left.mean() <= BAR_MM


def test_a_coil_that_stays_is_not_taken_for_motion(rng):
    affine = oblique()
    phantom = Phantom(rng, affine)
    moved = rigid(affine, [0.02, 0.03, -0.02], [0.4, -0.5, 0.3])
    volumes = np.stack([phantom.scan(np.eye(4), rng, 30), phantom.scan(moved, rng, 30)], -1)
    along = [np.linspace(-1, 1, n) for n in SHAPE]
    x, y, z = np.meshgrid(*along, indexing='ij')
    volumes *= np.exp(0.4 * x - 0.3 * z - 0.3 * y**2)[..., None]
    matrices, _ = estimate_motion(volumes, affine, reference=0)
    assert residual_displacement(matrices[1:], [moved], phantom.brain)[0] < BAR_MM


def test_a_large_motion_is_found(rng):
    affine = oblique()
    phantom = Phantom(rng, affine)
    moved = rigid(affine, [0.15, 0.1, -0.12], [1.5, -1.2, 1.0])
    volumes = np.stack([phantom.scan(np.eye(4), rng, 30), phantom.scan(moved, rng, 30)], -1)
    matrices, _ = estimate_motion(volumes, affine, reference=0)
    assert residual_displacement(matrices[1:], [moved], phantom.brain)[0] < 2 * BAR_MM


def test_another_gain_and_a_lost_slice_do_not_matter(rng):
    affine = oblique()
    phantom = Phantom(rng, affine)
    moved = rigid(affine, [0.02, 0, -0.03], [0.3, 0.2, -0.4])
    volumes = np.stack([phantom.scan(np.eye(4), rng, 30), phantom.scan(moved, rng, 30)], -1)
    volumes[..., 1] *= 1.4
    volumes[:, :, 12, 1] *= 0.2
    matrices, _ = estimate_motion(volumes, affine, reference=0)
    assert residual_displacement(matrices[1:], [moved], phantom.brain)[0] < 3 * BAR_MM


def test_threads_do_not_change_the_result(rng):
    phantom = small_phantom(rng)
    affine = phantom.affine
    truth = [phantom.rigid(rng.normal(0, 0.02, 3), rng.normal(0, 0.3, 3)) for _ in range(3)]
    volumes = np.stack([phantom.scan(m, rng, 30) for m in truth], axis=-1)
    one, two = (estimate_motion(volumes, affine, n_threads=n)[0] for n in (1, 3))
    np.testing.assert_array_equal(one, two)


def test_matrices_are_rigid(rng):
    phantom = small_phantom(rng, -1)
    affine = phantom.affine
    volumes = np.stack(
        [phantom.scan(phantom.rigid([0, 0, 0.04], [0, s, 0]), rng, 20) for s in (0, 0.4, -0.3)], -1
    )
    matrices, _ = estimate_motion(volumes, affine)
    turns = matrices[:, :3, :3]
    np.testing.assert_allclose(
        turns @ turns.transpose(0, 2, 1), np.tile(np.eye(3), (3, 1, 1)), atol=1e-9
    )
    np.testing.assert_allclose(np.linalg.det(turns), 1)


def test_one_volume_needs_no_registration(rng):
    matrices, reference = estimate_motion(rng.random((5, 6, 7, 1)), np.eye(4))
    assert reference == 0
    np.testing.assert_array_equal(matrices, np.eye(4)[None])


@pytest.mark.parametrize('empty', [0, 1])
def test_an_empty_volume_gives_no_nan(rng, empty):
    phantom = small_phantom(rng)
    affine = phantom.affine
    volumes = np.stack([phantom.scan(np.eye(4), rng, 30)] * 3, axis=-1)
    volumes[..., empty] = 0
    matrices, reference = estimate_motion(volumes, affine)
    assert reference != empty
    assert np.isfinite(matrices).all()
    np.testing.assert_allclose(matrices[empty], np.eye(4), atol=1e-6)


def test_few_slices_give_something_finite(rng):
    shape, affine = (40, 40, 4), np.diag([0.4, 0.4, 1.0, 1])
    phantom = Phantom(rng, affine, shape)
    moved = rigid(affine, [0, 0, 0.02], [0.2, 0.1, 0], shape)
    volumes = np.stack([phantom.scan(np.eye(4), rng, 30), phantom.scan(moved, rng, 30)], -1)
    matrices, _ = estimate_motion(volumes, affine, reference=0)
    assert np.isfinite(matrices).all()
    assert np.isfinite(resample_motion(volumes, affine, matrices)).all()


@pytest.mark.parametrize('axis', range(3))
@pytest.mark.parametrize(('n', 'much'), [(1, 1), (1, 10), (2, 1)])
def test_motion_of_one_and_two_slices_is_found_in_their_plane(rng, axis, n, much):
    shape, affine = np.full(3, 36), np.diag([0.4, 0.4, 0.4, 1])
    shape[axis] = n
    phantom = Phantom(rng, affine, tuple(shape))
    turn, shift = np.zeros(3), np.delete([0.2, -0.1, 0.15], axis)
    turn[axis] = 0.03
    moved = rigid(affine, much * turn, much * np.insert(shift, axis, 0), shape)
    volumes = np.stack([phantom.scan(np.eye(4)), phantom.scan(moved)], -1)
    matrices, _ = estimate_motion(volumes, affine, reference=0)
    assert residual_displacement(matrices[1:], [moved], phantom.brain)[0] < BAR_MM
    if n == 1:
        np.testing.assert_allclose(matrices[1][axis], np.eye(4)[axis], atol=1e-9)
    corrected = resample_motion(volumes, affine, matrices)[..., 1]
    inside = phantom.scan(np.eye(4)) > 80
    assert np.corrcoef(corrected[inside], volumes[..., 0][inside])[0, 1] > 0.97


def test_a_line_of_voxels_is_left_where_it_is(rng):
    volumes = rng.random((20, 1, 1, 3)) + np.hanning(20)[:, None, None, None]
    matrices, _ = estimate_motion(volumes, np.eye(4))
    np.testing.assert_array_equal(matrices, np.stack([np.eye(4)] * 3))


def test_motion_of_two_slices_is_found_in_their_plane(rng):
    shape, affine = (40, 40, 2), np.diag([0.4, 0.4, 1.0, 1])
    phantom = Phantom(rng, affine, shape)
    moved = rigid(affine, [0, 0, 0.03], [0.4, -0.3, 0], shape)
    volumes = np.stack([phantom.scan(np.eye(4), rng, 30), phantom.scan(moved, rng, 30)], -1)
    matrices, _ = estimate_motion(volumes, affine, reference=0)
    before = residual_displacement(np.eye(4)[None], [moved], phantom.brain)[0]
    assert residual_displacement(matrices[1:], [moved], phantom.brain)[0] < before / 2


def test_the_reference_is_not_the_odd_one_out(rng):
    volumes = np.repeat(rng.random((8, 8, 8, 1)), 5, axis=-1)
    volumes += rng.normal(0, 0.05, volumes.shape)
    volumes[..., 0] = rng.random((8, 8, 8))
    assert typical_volume(volumes) != 0


def test_resampling_undoes_the_motion(rng):
    affine = oblique(-1)
    phantom = Phantom(rng, affine)
    moved = rigid(affine, [0.03, -0.05, 0.02], [0.4, -0.3, 0.5])
    rest, series = phantom.scan(np.eye(4)), phantom.scan(moved)[..., None]
    back = resample_motion(series, affine, moved[None])[..., 0]
    inner = (slice(4, -4),) * 3
    before = np.abs(series[..., 0] - rest)[inner].mean()
    assert np.abs(back - rest)[inner].mean() < before / 10


def test_a_shift_by_whole_voxels_moves_voxels_by_hand():
    volume = np.zeros((7, 6, 5, 1), np.float32)
    volume[2, 3, 1] = 9
    # The volume lies one voxel (2 mm) too far left in x: it is taken 2 mm to the right
    affine = np.diag([2.0, 2, 3, 1])
    back = resample_motion(volume, affine, from_matvec(np.eye(3), [2, 0, 0])[None])
    assert back.dtype == np.float32
    assert np.unravel_index(back.argmax(), back.shape) == (3, 3, 1, 0)
    np.testing.assert_allclose(back[3, 3, 1, 0], 9, rtol=1e-5)


def test_no_motion_leaves_voxels_alone(rng):
    volumes = rng.random((5, 6, 7, 3)).astype(np.float32)
    same = resample_motion(volumes, oblique(), np.tile(np.eye(4), (3, 1, 1)))
    np.testing.assert_array_equal(same, volumes)


def test_resampling_makes_nothing_negative(rng):
    volumes = (ndimage.gaussian_filter(rng.random((20, 20, 20)), 1) > 0.5)[..., None] * 100.0
    matrix = rigid(np.eye(4), [0.1, 0, 0], [0.4, 0.3, 0.2], (20, 20, 20))
    out = resample_motion(volumes, np.eye(4), matrix[None])
    assert out.min() >= 0
    assert np.isfinite(out).all()


def test_parameters_by_hand():
    # A quarter turn about z around (1, 0, 0), then 3 mm along y: the centre only shifts
    quarter = Rotation.from_euler('z', 90, degrees=True).as_matrix()
    centre = np.array([1.0, 0, 0])
    matrix = from_matvec(quarter, centre - quarter @ centre + [0, 3, 0])
    np.testing.assert_allclose(
        motion_parameters([matrix], centre), [[0, 3, 0, 0, 0, np.pi / 2]], atol=1e-12
    )


def test_displacement_by_hand():
    # 0.1 + 0.2 mm, and 0.01 rad at 10 mm: 0.4 mm; then all the way back
    parameters = [[0] * 6, [0.1, 0, -0.2, 0, 0.01, 0], [0] * 6]
    np.testing.assert_allclose(
        framewise_displacement(parameters, HEAD_RADIUS_MM['rat']), [np.nan, 0.4, 0.4]
    )
    np.testing.assert_allclose(
        framewise_displacement(parameters, HEAD_RADIUS_MM['mouse']), [np.nan, 0.35, 0.35]
    )


def test_displacement_is_between_neighbours_in_time():
    # Volumes 2 and 3 were not b0, 6 was left out
    parameters = [[float(t)] + [0.0] * 5 for t in range(5)]
    found = framewise_displacement(parameters, 10, volumes=[0, 1, 4, 5, 7])
    np.testing.assert_allclose(found, [np.nan, 1, np.nan, 1, np.nan])


def test_a_turn_about_the_middle_is_no_translation_and_radius_times_angle():
    affine = oblique()
    turned = rigid(affine, [0, 0, 0.02], [0, 0, 0])
    parameters = motion_parameters([np.eye(4), turned], middle(affine))
    np.testing.assert_allclose(parameters[1], [0, 0, 0, 0, 0, 0.02], atol=1e-12)
    assert framewise_displacement(parameters, 10)[1] == pytest.approx(0.2)


def test_a_permutation_of_the_volumes_permutes_the_motion(rng):
    phantom = small_phantom(rng)
    affine = phantom.affine
    truth = [phantom.rigid(rng.normal(0, 0.02, 3), rng.normal(0, 0.3, 3)) for _ in range(4)]
    volumes = np.stack([phantom.scan(m, rng, 30) for m in truth], axis=-1)
    order = [3, 0, 1, 2]
    straight, _ = estimate_motion(volumes, affine, reference=2)
    mixed, _ = estimate_motion(volumes[..., order], affine, reference=order.index(2))
    np.testing.assert_allclose(mixed, straight[order], atol=2e-3)
    assert np.abs(straight[0] - np.eye(4)).max() > 0.01


def test_a_volume_that_shows_something_else_is_named(rng):
    affine = oblique()
    phantom = Phantom(rng, affine)
    volumes = np.stack([phantom.scan(np.eye(4), rng, 30) for _ in range(5)], axis=-1)
    assert not unlike_mean(volumes).any()
    volumes[..., 3] = ndimage.gaussian_filter(rng.random(SHAPE), 2)
    assert unlike_mean(volumes).tolist() == [False, False, False, True, False]
    assert not looks_like_noise(volumes[..., 3])
    assert looks_like_noise(rng.random(SHAPE))
    assert not any(looks_like_noise(phantom.scan(np.eye(4), rng, snr)) for snr in (3, 30))


@pytest.mark.parametrize('part', [slice(None, None, 2), slice(None, 13)])
def test_slices_that_moved_while_others_did_not_are_noticed(rng, part):
    affine = oblique()
    phantom = Phantom(rng, affine)
    volumes = np.stack([phantom.scan(np.eye(4), rng, 30) for _ in range(5)], axis=-1)
    moved = phantom.scan(rigid(affine, [0.01, 0, 0], [0.3, 0.2, 0]), rng, 30)
    volumes[:, :, part, 3] = moved[:, :, part]
    still = np.tile(np.eye(4), (5, 1, 1))
    matrices, _ = estimate_motion(volumes, affine, reference=0, start=still)
    within = within_volume_motion(volumes, affine, matrices, 2)
    assert within[3] > WITHIN_VOLUME * PIXEL
    assert np.delete(within, 3).max() < 0.7 * within[3]


@pytest.mark.slow
def test_ants_undoes_motion_by_the_itk_text(rng, tmp_path):
    ants = pytest.importorskip('ants')
    import SimpleITK as sitk

    affine = oblique()
    phantom = Phantom(rng, affine)
    moved = rigid(affine, [0.03, -0.05, 0.02], [0.4, -0.3, 0.5])
    names = []
    for name, matrix in (('rest', np.eye(4)), ('moved', moved)):
        names.append(str(tmp_path / f'{name}.nii.gz'))
        nib.save(nib.Nifti1Image(phantom.scan(matrix), affine), names[-1])
    path = tmp_path / 'motion.txt'
    path.write_text(itk_text([moved]))
    assert sitk.ReadTransform(str(path)).GetDimension() == 3
    fixed, moving = map(ants.image_read, names)
    back = ants.apply_transforms(fixed, moving, [str(path)], interpolator='bSpline').numpy()
    inner = (slice(4, -4),) * 3
    before = np.abs(moving.numpy() - fixed.numpy())[inner].mean()
    assert np.abs(back - fixed.numpy())[inner].mean() < before / 5


@pytest.mark.parametrize('scale', [1.0, 10.0])
def test_itk_reads_a_known_motion(tmp_path, scale):
    import SimpleITK as sitk

    matrix = rigid(np.eye(4), [0.1, -0.2, 0.3], [0.4, -0.3, 0.5])
    path = tmp_path / 'motion.txt'
    path.write_text(itk_text([matrix], scale))
    lps = np.diag([-1.0, -1, 1])
    point = np.array([3.0, -2, 7])
    # ITK takes points of the reference to the volume, left and posterior positive, mm of headers
    found = sitk.ReadTransform(str(path)).TransformPoint((lps @ point * scale).tolist())
    expected = apply_affine(np.linalg.inv(matrix), point)
    np.testing.assert_allclose(lps @ found / scale, expected, atol=1e-9)
    both = itk_text([np.eye(4), matrix], scale).splitlines()
    assert both[3] == 'Parameters: 1 0 0 0 1 0 0 0 1 0 0 0'
    assert both[0] == '#Insight Transform File V1.0'
    assert [line for line in both if line.startswith('#T')] == ['#Transform 0', '#Transform 1']
    assert both[3] == 'Parameters: 1 0 0 0 1 0 0 0 1 0 0 0'
    assert path.read_text().splitlines()[3] == both[7]


def test_a_bright_volume_is_no_reference_for_being_bright(rng):
    head = ndimage.gaussian_filter(rng.random((12, 12, 12)), 1.5)
    volumes = np.stack([head + rng.normal(0, s, head.shape) for s in (0.01, 0.02, 0.05)], axis=-1)
    volumes[..., 2] *= 50
    assert typical_volume(volumes) != 2


def test_an_earlier_estimate_is_where_a_later_one_begins(rng):
    """A head turned by 30° and moved by 4 mm, farther than least squares alone can find."""
    affine = oblique()
    phantom = Phantom(rng, affine)
    far = rigid(affine, [0.0, 0.1, 0.5], [3.0, -2.5, 1.0])
    volumes = np.stack([phantom.scan(np.eye(4), rng, 30), phantom.scan(far, rng, 30)], -1)
    region = np.zeros(SHAPE, bool)
    inside = np.linalg.inv(affine) @ np.c_[phantom.brain, np.ones(len(phantom.brain))].T
    region[tuple(np.rint(inside[:3]).astype(int))] = True
    start = np.stack([np.eye(4), rigid(affine, [0.0, 0.1, 0.48], [2.9, -2.4, 1.0])])
    found, reference = estimate_motion(volumes, affine, 0, region=region, start=start)
    assert reference == 0
    before = residual_displacement(start[1:], [far], phantom.brain)[0]
    assert residual_displacement(found[1:], [far], phantom.brain)[0] < min(2 * BAR_MM, before / 4)


def test_an_estimate_in_another_frame_is_brought_to_that_of_the_reference(rng):
    """Every volume, the reference too, is said to lie half a millimetre away."""
    affine = oblique()
    phantom = Phantom(rng, affine)
    truth = [np.eye(4), *(rigid(affine, [0.02 * n, 0, 0], [0, 0.2 * n, 0]) for n in (1, -1, 2))]
    volumes = np.stack([phantom.scan(matrix) for matrix in truth], axis=-1)
    away = from_matvec(np.eye(3), [0.5, 0, 0])
    found, _ = estimate_motion(volumes, affine, reference=0, start=[away @ m for m in truth])
    assert residual_displacement(found, truth, phantom.brain).max() < BAR_MM


def test_noisy_volumes_that_all_differ_alike_are_lost_no_more_than_good_ones(rng):
    """What is usual is the measure: none correlates with the median by half."""
    signal = rng.standard_normal((12, 12, 12, 1))
    volumes = 0.3 * signal + rng.standard_normal((12, 12, 12, 12))
    assert np.corrcoef(volumes[..., 0].ravel(), signal.ravel())[0, 1] < 0.35
    assert not unlike_mean(volumes).any()
    volumes[..., 5] = rng.standard_normal((12, 12, 12))
    assert np.flatnonzero(unlike_mean(volumes)).tolist() == [5]


def test_thick_slices_that_differ_are_no_noise(rng):
    slices = [ndimage.gaussian_filter(rng.random((30, 30)), 2) for _ in range(12)]
    assert not looks_like_noise(np.stack(slices, axis=-1))
    assert not looks_like_noise(np.full((4, 4, 4), 3.0))


def test_beyond_the_edge_the_edge_goes_on():
    volume = np.full((8, 8, 8, 1), 5.0)
    moved = resample_motion(volume, np.eye(4), from_matvec(np.eye(3), [2.5, -1.5, 0])[None])
    np.testing.assert_allclose(moved, 5, rtol=1e-5)


def test_parts_that_moved_do_not_make_still_volumes_seem_to_move(rng):
    """Three volumes, one of them torn: the two others are at rest, whatever their gain."""
    affine = oblique()
    phantom = Phantom(rng, affine)
    volumes = np.stack([phantom.scan(np.eye(4), rng, 30) for _ in range(3)], axis=-1)
    moved = phantom.scan(rigid(affine, [0.01, 0, 0], [0.4, 0.3, 0]), rng, 30)
    volumes[:, :, ::2, 1] = moved[:, :, ::2]
    still = np.tile(np.eye(4), (3, 1, 1))
    within = within_volume_motion(volumes, affine, still, 2)
    assert within[1] > WITHIN_VOLUME * PIXEL
    assert within[[0, 2]].max() < 0.5 * WITHIN_VOLUME * PIXEL
    # Twice as bright a volume is as far apart
    bright = volumes * np.array([1.0, 3.0, 1.0])
    np.testing.assert_allclose(
        within_volume_motion(bright, affine, still, 2)[1], within[1], rtol=0.1
    )


def test_parts_are_those_of_the_slices(rng):
    affine = oblique()
    phantom = Phantom(rng, affine)
    volumes = np.stack([phantom.scan(np.eye(4), rng, 30) for _ in range(5)], axis=-1)
    moved = phantom.scan(rigid(affine, [0.01, 0, 0], [0.4, 0.3, 0]), rng, 30)
    volumes[:18, :, :, 3] = moved[:18]
    still = np.tile(np.eye(4), (5, 1, 1))
    along, across = (within_volume_motion(volumes, affine, still, axis)[3] for axis in (0, 2))
    assert along > WITHIN_VOLUME * PIXEL
    assert across < 0.85 * along


def test_parts_are_compared_where_their_volume_lies(rng):
    """Volumes that moved as a whole, each its own way, have no parts apart."""
    affine = oblique()
    phantom = Phantom(rng, affine)
    matrices = np.stack(
        [rigid(affine, rng.normal(0, 0.05, 3), rng.normal(0, 0.6, 3)) for _ in range(5)]
    )
    volumes = np.stack([phantom.scan(matrix, rng, 30) for matrix in matrices], axis=-1)
    within = within_volume_motion(volumes, affine, matrices, 2)
    assert within.max() < 0.6 * WITHIN_VOLUME * PIXEL


def test_rotations_are_about_x_then_y_then_z():
    x, y, z = 0.3, -0.2, 0.5
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    found = motion_parameters([from_matvec(about_z @ about_y @ about_x)], [0, 0, 0])
    np.testing.assert_allclose(found, [[0, 0, 0, x, y, z]], atol=1e-12)


def test_distance_left_is_the_mean_of_lengths():
    # Two points, one 1 mm too far right, the other 1 mm too far left: turned about their middle
    matrix = Rotation.from_euler('z', 90, degrees=True).as_matrix()
    points = [[1.0, 0, 0], [-1.0, 0, 0]]
    left = residual_displacement([from_matvec(matrix)], [np.eye(4)], points)
    assert left[0] == pytest.approx(np.sqrt(2))


def test_the_middle_of_a_head_is_weighted_by_its_signal():
    from secondglance.imaging.registration import head_centre

    volume = np.zeros((20, 18, 16))
    volume[4:9, 10:13, 6:8] = 100
    np.testing.assert_allclose(head_centre(volume), [6, 11, 6.5])
    np.testing.assert_allclose(head_centre(np.zeros((5, 4, 3))), [2, 1.5, 1])


@pytest.mark.slow
def test_a_long_series_is_held_once_more(rng):
    volumes = rng.random((32, 32, 16, 200), dtype=np.float32)
    matrices = np.tile(np.eye(4), (200, 1, 1))
    matrices[:, 0, 3] = 0.3
    tracemalloc.start()
    try:
        moved = resample_motion(volumes, np.eye(4), matrices)
        unlike_mean(moved)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 1.5 * moved.nbytes


def test_the_volume_moved_most_is_found_among_those_kept():
    still = dict.fromkeys(('trans_x', 'trans_y', 'trans_z', 'rot_x', 'rot_y', 'rot_z'), 0.0)
    rows = [
        {'volume': 0, **still},
        {'volume': 2, **dict.fromkeys(still, 'n/a')},
        {'volume': 5, **still, 'trans_y': -0.3, 'trans_z': 0.4},
        {'volume': 6, **still, 'rot_x': 0.04},
    ]
    # 0.3, 0.4: 0.5 mm; 0.04 rad are 0.4 mm at 10 mm, and 0.8 mm at 20 mm
    assert moved_most(rows, 10.0) == (1, 5, pytest.approx(0.5))
    assert moved_most(rows, 20.0) == (2, 6, pytest.approx(0.8))
    assert moved_most(rows[:2], 10.0) is None


def test_two_volumes_have_a_measure_each_that_is_zero(rng):
    volumes = rng.random((8, 7, 6, 2))
    found = within_volume_motion(volumes, np.eye(4), np.tile(np.eye(4), (2, 1, 1)), 2)
    np.testing.assert_array_equal(found, [0, 0])


def test_what_does_not_show_the_head_is_left_where_it_is(rng):
    """A volume with dark and bright turned round has no positive gain at any place."""
    phantom = Phantom(rng, oblique())
    fixed = phantom.scan(np.eye(4))
    moved = phantom.scan(rigid(phantom.affine, [0.02, 0, 0], [0.6, -0.4, 0]))
    size = nib.affines.voxel_sizes(phantom.affine)
    model = FineModel(fixed, size, (np.array(SHAPE) - 1) / 2 * size)
    assert np.abs(model.align(moved, np.eye(4)) - np.eye(4)).max() > 0.2
    np.testing.assert_array_equal(model.align(200 - moved, np.eye(4)), np.eye(4))


def test_voxels_beyond_4685_robust_deviations_are_ignored():
    """Tukey's biweight: (1 − (x / 4.685)²)², with 95 % of the efficiency under normal noise."""
    n = 4000
    noise = np.random.default_rng(1).standard_normal(n)
    values = noise.copy()
    values[:3] = 4.6, 4.8, 50
    columns = in_blocks(np.zeros((1, n)))
    _, weights = robust_step(columns, values, np.ones(n), np.ones(n, bool))
    spread = 1.4826 * np.median(np.abs(values)) + 1e-3
    expected = np.clip(1 - (values / spread / 4.685) ** 2, 0, None) ** 2
    np.testing.assert_allclose(weights, expected, atol=1e-12)
    assert weights[0] > 0
    assert not weights[1:3].any()


def test_a_volume_unlike_many_voxels_of_others_is_found():
    """The median of more voxels than are sorted at once."""
    ramp = np.arange(90.0**3, dtype=np.float32).reshape(90, 90, 90, 1)
    volumes = np.concatenate([ramp, -ramp, ramp, ramp], axis=3)
    assert unlike_mean(volumes).tolist() == [False, True, False, False]


def test_volumes_of_one_value_are_not_unlike_each_other():
    assert not unlike_mean(np.ones((4, 5, 6, 3))).any()


def test_where_nothing_is_bright_there_is_no_head():
    few = np.zeros((20, 20, 20))
    assert not head_region(few).any()
    few[10, 10, 10] = 1
    assert head_region(few).sum() == ndimage.binary_dilation(few, iterations=2).sum()


def test_volumes_are_registered_to_their_mean_until_nothing_moves(rng, monkeypatch):
    """Once where they were at rest, or are registered anew: to one of them, then to the mean."""
    phantom = small_phantom(rng)
    still = np.tile(np.eye(4), (MEAN_FROM, 1, 1))
    moved = [phantom.rigid([0, 0, 0.03 * (t % 2)], [0] * 3) for t in range(MEAN_FROM)]
    at_rest, moving = (
        np.stack([phantom.scan(m, rng, 99) for m in matrices], -1) for matrices in (still, moved)
    )
    made = []

    class Counted(FineModel):
        def __init__(self, fixed, size, centre, most=FINE_VOXELS, region=None):
            made.append(most)
            super().__init__(fixed, size, centre, most, region)

    def passes(volumes, **more):
        made.clear()
        estimate_motion(volumes, phantom.affine, reference=0, **more)
        return len(made)

    monkeypatch.setattr(motion, 'FineModel', Counted)
    assert passes(at_rest, start=still) == 1
    assert passes(moving) == 2
    # The first of two passes is on fewer voxels
    assert made == [FIRST_VOXELS, FINE_VOXELS]
    assert passes(moving[..., : MEAN_FROM - 1]) == 1
    assert made == [FINE_VOXELS]
    assert passes(moving, start=still) > 1


def test_a_start_that_fits_worse_than_no_motion_is_not_taken(rng):
    phantom = Phantom(rng, oblique())
    fixed = phantom.scan(np.eye(4))
    size = nib.affines.voxel_sizes(phantom.affine)
    centre = (np.array(SHAPE) - 1) / 2 * size
    # Turned by two radians
    turn = Rotation.from_rotvec([0, 0, 2.0]).as_matrix()
    start = from_matvec(turn, centre - turn @ centre + [1, 0, 0])
    found = FineModel(fixed, size, centre).align(fixed, start)
    np.testing.assert_allclose(found, np.eye(4), atol=0.01)


def test_each_volume_but_the_reference_is_brought_near_it_first(rng, monkeypatch):
    phantom = small_phantom(rng)
    volumes = np.stack([phantom.scan(np.eye(4), rng, 30) for _ in range(3)], axis=-1)
    near, brought = motion.coarse_pull, []

    def place(volume):
        return int(np.abs(volumes - volume[..., None]).sum(axis=(0, 1, 2)).argmin())

    def noted(moving, fixed, *where):
        brought.append([place(moving), place(fixed)])
        return near(moving, fixed, *where)

    monkeypatch.setattr(motion, 'coarse_pull', noted)
    estimate_motion(volumes, phantom.affine, reference=1)
    assert sorted(brought) == [[0, 1], [2, 1]]
