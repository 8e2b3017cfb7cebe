from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nipype.interfaces.base import Bunch

from secondglance.files.stacks import read_stack, write_stack
from secondglance.imaging.placement.correlation import centre_on
from secondglance.imaging.pose import Pose
from secondglance.interfaces.stacks import (
    ToNative,
    ToSlabs,
    in_cwd,
    join_slabs,
    read_head_stack,
)

pytestmark = pytest.mark.usefixtures('in_tmp')


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


GRID = np.diag([0.3, 0.3, 1.0, 1.0])
POSE = Pose('rat', 0.3, 'k')
"""Pixels are voxels: nothing is resampled."""


@pytest.mark.parametrize(
    ('values', 'threshold', 'found'),
    [
        ([0.25, 0.5, 0.75], 0.5, [0, 1, 1]),
        ([0.25, 0.5, 0.75], 0.75, [0, 0, 1]),
        ([-2, -1, 0.5], -1.0, [0, 1, 1]),
        ([-1, 0, 0.5], 0.0, [0, 1, 1]),
    ],
)
def test_a_mask_is_what_is_at_or_above_the_threshold(save, values, threshold, found):
    like = save(np.zeros((24, 20, 3), np.float32), GRID)
    grid = POSE.grid((24, 20, 3), GRID)
    stack = np.ones(grid.stack_shape, np.float32) * np.array(values, np.float32)[:, None, None]
    path = write_stack(stack, grid.affine, 'values.nii')
    node = ToNative(in_files=[path], like=like, threshold=threshold, pose=POSE.to_plain())
    out = nib.load(node.run().outputs.out_file)
    assert out.get_data_dtype() == np.uint8
    assert np.asarray(out.dataobj)[12, 10].tolist() == found
    without = ToNative(in_files=[path], like=like, pose=POSE.to_plain()).run().outputs.out_file
    np.testing.assert_allclose(nib.load(without).dataobj[12, 10], values)


def test_slabs_come_back_as_the_stack_that_they_are_of(save, rng):
    """Also of several channels, in their order."""
    like = save(np.zeros((24, 20, 5), np.float32), GRID)
    grid = POSE.grid((24, 20, 5), GRID)
    n, h, w = grid.stack_shape
    stack = rng.random((n, 4, h, w), dtype=np.float32)
    parts = [slice(0, 2), slice(2, 3), slice(3, 5)]
    slabs = [write_stack(stack[p], grid.affine, f'{p.start}.nii') for p in parts]
    found = ToNative(in_files=slabs, like=like, pose=POSE.to_plain()).run().outputs.out_file
    assert nib.load(found).shape == (24, 20, 5, 4)
    np.testing.assert_allclose(nib.load(found).get_fdata(), grid.to_native(stack), atol=1e-5)


@pytest.mark.parametrize(
    ('options', 'sizes'),
    [
        ({}, [5]),
        ({'n_slabs': 3}, [2, 2, 1]),
        ({'n_slabs': 4}, [2, 2, 1]),
        ({'n_slabs': 5}, [1] * 5),
        ({'n_slabs': 6}, [1] * 5),
        ({'slices_per_job': 5}, [5]),
        ({'slices_per_job': 9}, [5]),
        ({'slices_per_job': 1, 'n_slabs': 2}, [1] * 5),
        ({'slices_per_job': 4, 'n_slabs': 5}, [4, 1]),
    ],
)
def test_slabs_have_their_slices_in_order_and_none_is_empty(save, rng, options, sizes):
    path = save(rng.random((24, 20, 5), dtype=np.float32), GRID, 'a.nii')
    found = ToSlabs(in_file=path, pose=POSE.to_plain(), **options).run().outputs
    slabs = [found.slabs] if isinstance(found.slabs, str) else found.slabs
    assert [nib.load(slab).shape[2] for slab in slabs] == sizes
    firsts = np.cumsum([0, *sizes[:-1]])
    assert [Path(slab).name for slab in slabs] == [f'a_slab-{n:04d}.nii' for n in firsts]
    assert Path(found.stack).name == 'a_stack.nii'


@pytest.mark.parametrize(
    ('ext', 'name'), [(None, 'scan_x.nii'), ('.tsv', 'scan_x.tsv'), ('', 'scan_x.nii')]
)
def test_a_new_file_lies_in_the_nodes_folder_under_the_name_of_its_source(tmp_path, ext, name):
    runtime = Bunch(cwd=str(tmp_path / 'node'))
    assert in_cwd(tmp_path / 'in' / 'scan.nii.gz', runtime, '_x', ext) == f'{tmp_path}/node/{name}'


@pytest.mark.parametrize(('species', 'size'), [('rat', 1.0), ('mouse', 0.65)])
def test_a_stack_is_read_in_the_size_of_a_rat(rng, tmp_path, species, size):
    stack = rng.random((4, 6, 5), dtype=np.float32)
    affine = np.array([[0, -0.3, 0, 1], [0.3, 0, 0, 2], [0, 0, 1.2, 3], [0, 0, 0, 1]])
    path = write_stack(stack, affine, tmp_path / 'a.nii')
    head, found = read_head_stack(path, species)
    np.testing.assert_array_equal(head.images, stack)
    np.testing.assert_allclose(found, affine, atol=1e-6)
    assert head.spacing == pytest.approx(0.3 / size)
    np.testing.assert_allclose(head.positions, np.array([-1.8, -0.6, 0.6, 1.8]) / size, rtol=1e-6)
    assert head.labels is None
