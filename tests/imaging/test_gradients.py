import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from secondglance.imaging.errors import InputError
from secondglance.imaging.gradients import rotate_bvecs, select_b0


@pytest.mark.parametrize(
    ('bvals', 'n', 'options', 'expected'),
    [
        ([0, 1000, 50, 51], 4, {}, [0, 2]),
        ([0, 1000, 50, 51], 4, {'threshold': 60}, [0, 2, 3]),
        (None, 1, {}, [0]),
        (None, 3, {'all_b0': True}, [0, 1, 2]),
        ([1000, 1000], 2, {'all_b0': True}, [0, 1]),
    ],
)
def test_volumes_of_small_b_values_are_taken(bvals, n, options, expected):
    assert select_b0(bvals, n, **options).tolist() == expected


@pytest.mark.parametrize(
    ('bvals', 'n', 'says'),
    [
        (None, 3, '--all-b0'),
        ([0, 1], 3, '2 b-values for 3 volumes'),
        ([1000, 900], 2, 'smallest is 900'),
        ([0, np.nan], 2, 'negative or no numbers'),
    ],
)
def test_what_cannot_be_decided_is_said(bvals, n, says):
    with pytest.raises(InputError, match=says):
        select_b0(bvals, n)


@pytest.mark.parametrize('handed', [1, -1])
def test_directions_turn_with_the_volume(handed, oblique):
    affine = oblique @ np.diag([handed, 1, 1, 1])
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler('z', 90, degrees=True).as_matrix()
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    flip = np.diag([-1, 1, 1]) if np.linalg.det(axes) > 0 else np.eye(3)
    world = np.array([[1.0, 0, 0], [0, 0.6, 0.8]]).T
    local = flip @ axes.T @ world
    turned = axes @ flip @ rotate_bvecs(local, [turn, turn], affine)
    # About z, x goes to y and y to −x
    np.testing.assert_allclose(turned.T, [[0, 1, 0], [-0.6, 0, 0.8]], atol=1e-9)
