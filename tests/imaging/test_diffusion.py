import numpy as np
import pytest
from nibabel.affines import from_matvec
from scipy.spatial.transform import Rotation

from secondglance.imaging.diffusion import leave_out_empty, rotate_bvecs, select_b0
from secondglance.imaging.errors import InputError


def test_threshold_is_included():
    assert select_b0([0, 50, 51, 1000, 12.5], 5, threshold=50).tolist() == [0, 1, 4]


def test_one_volume_without_bvals_is_b0():
    assert select_b0(None, 1).tolist() == [0]


def test_all_b0_needs_no_bvals():
    assert select_b0(None, 3, all_b0=True).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ('bvals', 'n_volumes', 'says'),
    [
        (None, 4, '--all-b0'),
        ([0, 1000], 3, '2 b-values for 3 volumes'),
        ([800, 1000], 2, 'smallest is 800'),
        ([0, float('nan')], 2, 'no numbers'),
        ([0, -5], 2, 'negative'),
    ],
)
def test_what_cannot_be_chosen_is_said(bvals, n_volumes, says):
    with pytest.raises(InputError, match=says):
        select_b0(bvals, n_volumes)


def test_no_motion_leaves_directions():
    bvecs = np.array([[1, 0, 0.6], [0, 1, 0], [0, 0, 0.8]])
    np.testing.assert_allclose(rotate_bvecs(bvecs, [np.eye(4)] * 3, np.eye(4)), bvecs)


@pytest.mark.parametrize('flip', [-1, 1])
def test_a_quarter_turn_by_hand(flip):
    # In a .bvec x is against the first voxel axis where these are right-handed, so that in
    # either layout here [1, 0, 0] is world −x, which a quarter turn about z takes to world −y
    quarter = from_matvec([[0, -1, 0], [1, 0, 0], [0, 0, 1]])
    affine = np.diag([flip * 2.0, 2, 3, 1])
    along_x = np.array([[1.0], [0], [0]])
    turned = rotate_bvecs(along_x, [quarter], affine)
    np.testing.assert_allclose(turned[:, 0], [0, -1, 0], atol=1e-12)


def test_what_is_not_rotation_in_a_matrix_does_not_stretch_directions():
    """Axes 2 % longer, as registrations with more freedom than rigid ones leave them."""
    turn = Rotation.from_rotvec([0.1, -0.3, 0.2]).as_matrix()
    bvecs = np.array([[0.6, 0], [0, 0], [0.8, 1]])
    stretched = [from_matvec(turn * 1.02)] * 2
    affine = np.diag([-0.5, 0.5, 1, 1])
    turned = rotate_bvecs(bvecs, stretched, affine)
    np.testing.assert_allclose(turned, rotate_bvecs(bvecs, [from_matvec(turn)] * 2, affine))
    np.testing.assert_allclose(np.linalg.norm(turned, axis=0), 1)


@pytest.mark.parametrize('flip', [-1, 1])
def test_oblique_directions_turn_with_the_head(flip):
    # World direction in, world direction out, by an independent reading of the format
    rng = np.random.default_rng(3)
    tilt = Rotation.from_rotvec(rng.normal(0, 0.3, 3)).as_matrix()
    axes = tilt @ np.diag([flip, 1, 1])
    affine = from_matvec(axes * [0.375, 0.4, 0.5], rng.normal(0, 9, 3))
    world = rng.standard_normal(3)
    world /= np.linalg.norm(world)
    turn = Rotation.from_rotvec([0.1, -0.3, 0.2]).as_matrix()

    def as_bvec(direction):
        local = axes.T @ direction
        return local * ([-1, 1, 1] if flip > 0 else [1, 1, 1])

    turned = rotate_bvecs(as_bvec(world)[:, None], [from_matvec(turn, [1, 2, 3])], affine)
    np.testing.assert_allclose(turned[:, 0], as_bvec(turn @ world), atol=1e-12)


@pytest.mark.parametrize(
    ('values', 'says'),
    [
        ([0, 1, 1, 2], 'ms/µm²'),
        ([0, 0.7, 1, 3], 'ms/µm²'),
        ([0.001, 2.5], 'ms/µm²'),
        ([0, 1e9, 2e9], 's/m²'),
    ],
)
def test_b_values_in_another_unit_are_refused(values, says):
    with pytest.raises(InputError, match=says):
        select_b0(values, len(values))


@pytest.mark.parametrize('values', [[0, 0], [5, 5, 5], [0, 5, 30], [0]])
def test_b_values_of_b0_volumes_alone_are_not(values):
    assert select_b0(values, len(values)).tolist() == list(range(len(values)))


def test_small_b_values_with_a_threshold_in_their_unit_are_taken():
    assert select_b0([0, 1, 2], 3, threshold=0.1).tolist() == [0]


def test_volumes_that_hold_nothing_are_left_out():
    series = np.random.default_rng(0).random((3, 3, 2, 5))
    series[..., 1], series[..., 3] = 0, 7
    kept, empty = leave_out_empty(series, np.array([0, 1, 3, 4]))
    assert (kept.tolist(), empty.tolist()) == ([0, 4], [1, 3])
    with pytest.raises(InputError, match='nothing but one value'):
        leave_out_empty(series, np.array([1, 3]))
