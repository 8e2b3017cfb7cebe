"""Stacks of slices on disk."""

import nibabel as nib
import numpy as np
import pytest

from secondglance.files.stacks import image_like, read_stack, write_like, write_stack


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


def test_a_stack_is_read_from_a_file_written_by_hand(tmp_path):
    """Voxel (h, w, n) of the file is pixel (h, w) of slice n; channels lie behind the slice."""
    voxels = np.arange(24).reshape(2, 3, 4).astype(np.int16)
    image = nib.Nifti1Image(voxels, np.diag([2, 3, 4, 1]))
    nib.save(image, tmp_path / 'a.nii')
    stack, affine = read_stack(str(tmp_path / 'a.nii'))
    assert (stack.shape, stack.dtype) == ((4, 2, 3), np.float32)
    assert stack.flags.c_contiguous
    for h, w, n in ((1, 2, 3), (0, 2, 1), (1, 0, 2)):
        assert stack[n, h, w] == voxels[h, w, n]
    np.testing.assert_array_equal(affine, np.diag([2, 3, 4, 1]))
    channels = np.arange(120).reshape(2, 3, 4, 5).astype(np.float32)
    nib.save(nib.Nifti1Image(channels, np.eye(4)), tmp_path / 'b.nii')
    found, _ = read_stack(tmp_path / 'b.nii')
    assert found.shape == (4, 5, 2, 3)
    assert found.flags.c_contiguous
    assert found[3, 4, 1, 2] == channels[1, 2, 3, 4]


@pytest.mark.parametrize('shape', [(4, 5, 3), (4, 5, 3, 2)])
def test_an_image_like_another_has_its_header_and_no_scaling(rng, oblique, shape):
    like = nib.Nifti1Image(np.ones((4, 5, 3), np.int16), oblique)
    like.header.set_xyzt_units('micron', 'msec')
    like.header['descrip'] = b'of another'
    like.header.set_slope_inter(2, 7)
    volume = rng.random(shape, dtype=np.float32)
    out = image_like(volume, like)
    assert out.header.get_xyzt_units() == ('micron', 'msec')
    assert out.header['descrip'].item() == b'of another'
    assert (float(out.header['scl_slope']), float(out.header['scl_inter'])) == (1, 0)
    assert out.get_data_dtype() == np.float32
    np.testing.assert_array_equal(np.asarray(out.dataobj), volume)
    np.testing.assert_array_equal(out.affine, oblique)
    # The other is as it was
    assert like.header['descrip'].item() == b'of another'
    assert like.get_data_dtype() == np.int16


def test_paths_come_back_as_text(tmp_path):
    path = tmp_path / 'a.nii'
    assert write_stack(np.ones((2, 3, 4), np.float32), np.eye(4), path) == str(path)
    assert write_like(np.ones((3, 4, 2), np.float32), nib.load(path), path) == str(path)
