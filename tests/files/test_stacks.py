"""Stacks of slices on disk."""

import nibabel as nib
import numpy as np
import pytest

from secondglance.files.stacks import read_stack, write_like, write_stack


@pytest.mark.parametrize('shape', [(3, 4, 5), (3, 2, 4, 5)])
def test_a_stack_comes_back_as_it_was_written(rng, oblique, tmp_path, shape):
    stack = rng.random(shape, dtype=np.float32)
    path = write_stack(stack, oblique, tmp_path / 'a.nii')
    found, affine = read_stack(path)
    np.testing.assert_array_equal(found, stack)
    np.testing.assert_allclose(affine, oblique, atol=1e-6)
    image = nib.load(path)
    # Rows, columns and slices on disk, channels last; in mm
    assert image.shape == (4, 5, 3, *shape[1:-2])
    assert image.header.get_xyzt_units()[0] == 'mm'


def test_a_mask_is_written_as_whole_numbers(rng, tmp_path):
    mask = rng.random((3, 4, 5)) < 0.5
    path = write_stack(mask, np.eye(4), tmp_path / 'a.nii')
    assert nib.load(path).get_data_dtype() == np.uint8
    np.testing.assert_array_equal(read_stack(path)[0], mask)


@pytest.mark.parametrize('kind', [np.float32, np.uint8, np.int16])
def test_a_volume_on_the_grid_of_another_keeps_its_own_type_and_values(
    rng, oblique, tmp_path, kind
):
    """The scan is scaled int16; a probability or a label that is written beside it is not."""
    like = nib.Nifti1Image(rng.random((4, 5, 3)) * 1000, oblique)
    like.set_data_dtype(np.int16)
    nib.save(like, tmp_path / 'like.nii')
    like = nib.load(tmp_path / 'like.nii')
    volume = (rng.random((4, 5, 3)) * 200).astype(kind)
    found = nib.load(write_like(volume, like, tmp_path / 'a.nii'))
    assert found.get_data_dtype() == kind
    np.testing.assert_array_equal(np.asarray(found.dataobj), volume)
    np.testing.assert_array_equal(found.affine, like.affine)
