"""Each option of the pose reaches its estimate (`interfaces.pose`)."""

import nibabel as nib
import numpy as np
import pytest

from secondglance.files.nifti_header import mark_scale
from secondglance.interfaces.pose import EstimatePose
from secondglance.interfaces.preprocessing import SitkMotion
from secondglance.models.pose import estimate_pose
from secondglance.models.weights import default_weights, load_weights

AFFINE = np.diag([1.1, 1.2, 1.0, 1])


@pytest.fixture(scope='module')
def head(tmp_path_factory):
    """A head of 11 × 9 × 8 mm in a header of lengths ten times too large."""
    rng = np.random.default_rng(3)
    i, j, k = np.indices((12, 10, 11))
    inside = ((i - 6) / 5) ** 2 + ((j - 4) / 4) ** 2 + ((k - 5) / 4) ** 2 < 1
    voxels = (rng.rayleigh(3, inside.shape) + inside * (80 + i - 2 * k)).astype(np.float32)
    image = nib.Nifti1Image(voxels, np.diag([10, 10, 10, 1]) @ AFFINE)
    mark_scale(image.header, 10)
    path = tmp_path_factory.mktemp('head') / 'head.nii'
    nib.save(image, path)
    return path, voxels


@pytest.mark.parametrize(
    ('species', 'turn', 'axis'),
    [
        ('auto', 'auto', 'i'),
        ('auto', 'auto', 'k'),
        ('mouse', 'auto', 'i'),
        ('auto', '90', 'auto'),
        ('rat', 'auto', 'k'),
    ],
)
def test_what_is_known_is_taken_and_the_rest_estimated(head, small_weights, species, turn, axis):
    path, voxels = head
    asked = {'species': species, 'turn': turn, 'slice_axis': axis}
    found = EstimatePose(in_file=str(path), weights=str(small_weights), **asked).run().outputs
    expected = estimate_pose(
        load_weights(small_weights),
        voxels,
        AFFINE,
        species=species,
        quarter_turns={'auto': None, '90': 1}[turn],
        slice_axis=axis,
    ).to_plain()
    assert found.pose['spacing'] == pytest.approx(expected.pop('spacing'), rel=1e-5)
    assert {name: found.pose[name] for name in expected} == expected
    # This network takes the head for a mouse's where it is cut along the first axis
    assert found.pose['species'] == (
        'mouse' if 'mouse' in asked.values() or axis == 'i' else 'rat'
    )
    if turn != 'auto':
        assert found.pose['quarter_turns'] == int(turn) // 90


@pytest.mark.parametrize(('turn', 'quarters'), [('0', 0), ('90', 1), ('180', 2), ('270', 3)])
def test_degrees_are_quarter_turns(head, turn, quarters):
    given = {'species': 'rat', 'turn': turn}
    node = EstimatePose(in_file=str(head[0]), weights=str(default_weights()), **given)
    assert node.run().outputs.pose['quarter_turns'] == quarters


@pytest.mark.parametrize(('turn', 'quarters'), [('90', 1), ('180', 2), ('270', 3)])
def test_motion_looks_for_the_brain_in_the_turn_that_is_told(
    head, small_weights, tmp_path, turn, quarters
):
    voxels = np.stack([head[1]] * 2, axis=-1)
    nib.save(nib.Nifti1Image(voxels, AFFINE), tmp_path / 'series.nii')
    given = {'species': 'rat', 'slice_axis': 'k', 'turn': turn, 'device': 'cpu'}
    node = SitkMotion(
        in_file=str(tmp_path / 'series.nii'), volumes=[0, 1], weights=str(small_weights), **given
    )
    assert node.run(cwd=str(tmp_path)).outputs.pose['quarter_turns'] == quarters
