import nibabel as nib
import numpy as np
import pytest

from secondglance.files.stacks import read_stack, write_stack
from secondglance.imaging.placement.correlation import centre_on
from secondglance.interfaces.stacks import MergeSlabs, SplitSlabs, ToNative, ToStack


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
    slabs = SplitSlabs(in_file=path, **options).run().outputs.out_files
    slabs = [slabs] if isinstance(slabs, str) else slabs
    assert [nib.load(s).shape[2] for s in slabs] == sizes
    # The last slab's first voxel is, in the world, the stack's voxel there
    last = nib.load(slabs[-1])
    expected = nib.affines.apply_affine(oblique, [0, 0, 7 - sizes[-1]])
    np.testing.assert_allclose(last.affine[:3, 3], expected, atol=1e-4)
    merged = nib.load(MergeSlabs(in_files=slabs).run().outputs.out_file)
    np.testing.assert_array_equal(merged.get_fdata(), voxels)
    np.testing.assert_allclose(merged.affine, oblique, atol=1e-5)


def test_native_grid_and_affine_come_back_untouched(rng, save, oblique):
    path = save(rng.random((21, 18, 9), dtype=np.float32), oblique)
    grid = {'spacing': 0.375, 'slice_axis': 'auto'}
    stack = ToStack(in_file=path, **grid).run().outputs.out_file
    native = nib.load(ToNative(in_file=stack, like=path, **grid).run().outputs.out_file)
    np.testing.assert_array_equal(native.affine, nib.load(path).affine)
    assert native.shape == (21, 18, 9)
    mask = ToNative(in_file=stack, like=path, threshold=0.5, **grid).run().outputs.out_file
    assert set(np.unique(nib.load(mask).get_fdata())) <= {0, 1}


def test_frame_is_centred_on_the_mask_and_loses_none_of_it():
    mask = np.zeros((2, 30, 30), bool)
    mask[0, 18:28, 2:10] = True
    mask[1, 20:26, 4:8] = True
    values = np.where(mask, np.arange(30.0), 0)
    moved, moved_values = centre_on(mask, (14, 16), mask, values)
    assert moved.sum() == mask.sum()
    assert np.argwhere(moved[0]).mean(0).tolist() == [6.5, 7.5]
    assert moved_values.sum() == values.sum()
