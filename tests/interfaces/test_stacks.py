import nibabel as nib
import numpy as np
import pytest

from secondglance.files.stacks import read_stack, write_stack
from secondglance.imaging.placement.correlation import centre_on
from secondglance.imaging.pose import Pose
from secondglance.interfaces.stacks import ToNative, ToSlabs, join_slabs


@pytest.fixture(autouse=True)
def in_tmp(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize('shape', [(5, 7, 6), (5, 4, 7, 6)])
def test_what_is_written_is_read(rng, tmp_path, oblique, shape):
    stack = rng.random(shape, dtype=np.float32)
    path = write_stack(stack, oblique, tmp_path / 'stack.nii')
    found, affine = read_stack(path)
    np.testing.assert_array_equal(found, stack)
    np.testing.assert_allclose(affine, oblique, atol=1e-5)


@pytest.mark.parametrize(('options', 'sizes'), [
    ({'n_slabs': 1}, [7]), ({'n_slabs': 2}, [4, 3]), ({'n_slabs': 40}, [1] * 7),
    ({'slices_per_job': 3}, [3, 3, 1]),
])  # fmt: skip
def test_slabs_join_to_the_stack_and_lie_where_they_were(rng, save, oblique, options, sizes):
    voxels = rng.random((4, 5, 7), dtype=np.float32)
    path = save(voxels, oblique)
    found = ToSlabs(in_file=path, pose=Pose('rat', 0.3).to_plain(), **options).run().outputs
    slabs = [found.slabs] if isinstance(found.slabs, str) else found.slabs
    assert [nib.load(s).shape[2] for s in slabs] == sizes
    whole, last = nib.load(found.stack), nib.load(slabs[-1])
    # The last slab's first voxel is, in the world, the stack's voxel there
    expected = nib.affines.apply_affine(whole.affine, [0, 0, 7 - sizes[-1]])
    np.testing.assert_allclose(last.affine[:3, 3], expected, atol=1e-4)
    joined, affine = join_slabs(slabs)
    np.testing.assert_array_equal(joined, read_stack(found.stack)[0])
    np.testing.assert_allclose(affine, whole.affine, atol=1e-5)


def test_native_grid_and_affine_come_back_untouched(rng, save, oblique):
    path = save(rng.random((21, 18, 9), dtype=np.float32), oblique)
    pose = Pose('rat', 0.375).to_plain()
    stack = ToSlabs(in_file=path, pose=pose).run().outputs.stack
    native = nib.load(ToNative(in_files=[stack], like=path, pose=pose).run().outputs.out_file)
    np.testing.assert_array_equal(native.affine, nib.load(path).affine)
    assert native.shape == (21, 18, 9)
    expected = native.get_fdata() >= 0.5
    mask = ToNative(in_files=[stack], like=path, threshold=0.5, pose=pose).run().outputs.out_file
    np.testing.assert_array_equal(nib.load(mask).get_fdata(), expected)


def test_voxels_outside_the_mask_do_not_reach_the_slabs(rng, save, oblique):
    voxels = rng.random((21, 18, 9), dtype=np.float32) + 1
    mask = np.zeros(voxels.shape, np.uint8)
    mask[6:15, 5:13, 2:7] = 1
    files = {'mask_file': save(mask, oblique, 'mask.nii.gz'), 'pose': Pose('rat', 0.3).to_plain()}
    one = ToSlabs(in_file=save(voxels, oblique, 'a.nii.gz'), **files).run().outputs.stack
    voxels[0], voxels[..., 0] = 99, 99
    other = ToSlabs(in_file=save(voxels, oblique, 'b.nii.gz'), **files).run().outputs.stack
    np.testing.assert_array_equal(read_stack(one)[0], read_stack(other)[0])
    assert read_stack(one)[0].any()


@pytest.mark.parametrize('order', [0, 1])
def test_interpolation_is_of_the_order_that_is_asked_for(save, order):
    """Half way over an edge: order 0 knows the two values alone, 1 what lies between."""
    voxels = np.zeros((24, 20, 3), np.float32)
    voxels[8:] = 1
    path = save(voxels, np.diag([0.5, 0.5, 1.0, 1.0]))
    pose = Pose('rat', 0.2, 'k').to_plain()
    stack, _ = read_stack(ToSlabs(in_file=path, pose=pose, order=order).run().outputs.stack)
    values = stack[1][:, stack.shape[2] // 2]
    between = (values > 0.01) & (values < 0.99)
    assert between.any() == (order > 0)


def test_frame_is_centred_on_the_mask_and_loses_none_of_it():
    mask = np.zeros((2, 30, 30), bool)
    mask[0, 18:28, 2:10] = True
    mask[1, 20:26, 4:8] = True
    values = np.where(mask, np.arange(30.0), 0)
    moved, moved_values = centre_on(mask, (14, 16), mask, values)
    assert moved.sum() == mask.sum()
    assert np.argwhere(moved[0]).mean(0).tolist() == [6.5, 7.5]
    assert moved_values.sum() == values.sum()
