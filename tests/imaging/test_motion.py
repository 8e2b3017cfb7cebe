import numpy as np
import pytest
from nibabel.affines import apply_affine
from scipy import ndimage
from scipy.spatial.transform import Rotation
from secondglance.commands.simulate import read_maps
from secondglance.imaging.motion import (
    estimate_motion,
    framewise_displacement,
    motion_parameters,
    resample_motion,
    typical_volume,
)
from secondglance.imaging.simulation import draw_motion, simulate_dwi, simulate_head


def rigid(mm, degrees, about):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler('xyz', degrees, degrees=True).as_matrix()
    matrix[:3, 3] = about - matrix[:3, :3] @ about + mm
    return matrix


@pytest.fixture(scope='module')
def scan():
    """Return a simulated rat's b0 volumes with their true motion."""
    rng = np.random.default_rng(4)
    head = simulate_head(*read_maps(), rng)
    motion = draw_motion(5, rng, head.affine)
    series = simulate_dwi(head, rng, np.zeros(5), np.zeros((3, 5)), motion)
    return head, series, motion


def residual(head, found, true):
    """Mean displacement that is left in the brain, mm."""
    points = apply_affine(head.affine, np.argwhere(head.brain_mask))
    difference = apply_affine(found, points) - apply_affine(true, points)
    return np.linalg.norm(difference, axis=1).mean()


def test_known_motion_is_recovered_to_two_hundredths_of_a_millimetre(scan):
    head, series, motion = scan
    found, reference = estimate_motion(series, head.affine, n_threads=2)
    truth = [np.linalg.inv(motion[reference]) @ m for m in motion]
    moved = [residual(head, np.eye(4), t) for t in truth]
    left = [residual(head, f, t) for f, t in zip(found, truth, strict=True)]
    assert np.mean(moved) > 0.2
    assert np.mean(left) <= 0.02


def test_threads_do_not_change_the_result(scan):
    head, series, _ = scan
    one, _ = estimate_motion(series[..., :3], head.affine, reference=0, n_threads=1)
    two, _ = estimate_motion(series[..., :3], head.affine, reference=0, n_threads=2)
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize('handed', [1, -1])
def test_resampling_undoes_a_motion_of_either_handedness(oblique, handed):
    affine = oblique @ np.diag([handed, 1, 1, 1])
    shape = (32, 30, 14)
    middle = apply_affine(affine, (np.array(shape) - 1) / 2)
    world = apply_affine(affine, np.moveaxis(np.indices(shape), 0, -1))
    moved_by = rigid([0.3, -0.2, 0.4], [4, -3, 5], middle)

    def head(points):
        centres = middle + np.array([[0.5, 0, 0], [-0.8, 0.6, 0.7], [0.2, -1, -0.9]])
        return sum(np.exp(-((points - c) ** 2).sum(-1) / 3.0) for c in centres)

    still, moved = head(world), head(apply_affine(moved_by, world))
    series = np.stack([still, moved], axis=-1)
    undone = resample_motion(series, affine, [np.eye(4), moved_by])
    inside = (slice(5, -5), slice(5, -5), slice(3, -3))
    assert np.abs(moved - still)[inside].max() > 0.1
    np.testing.assert_allclose(undone[..., 1][inside], still[inside], atol=0.02)


def test_parameters_are_those_of_the_motion():
    about = np.array([1.0, 2.0, 3.0])
    matrix = rigid([0.1, -0.2, 0.3], [1, 2, -3], about)
    expected = [0.1, -0.2, 0.3, *np.deg2rad([1, 2, -3])]
    np.testing.assert_allclose(motion_parameters([matrix], about)[0], expected, atol=1e-9)


def test_displacement_worked_by_hand():
    parameters = np.array([[0, 0, 0, 0, 0, 0], [1, -1, 0, 0.1, 0, -0.1], [1, -1, 0, 0.1, 0, 0]])
    np.testing.assert_allclose(framewise_displacement(parameters, 5), [0, 3, 0.5])


def test_a_spoilt_volume_is_not_the_reference(rng):
    base = ndimage.gaussian_filter(rng.standard_normal((16, 16, 8)), 2)
    series = np.stack([base + 0.1 * base.std() * rng.standard_normal(base.shape)] * 4, -1)
    series[..., 0] = rng.standard_normal(base.shape)
    assert typical_volume(series) != 0
