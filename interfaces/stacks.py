"""Interfaces between a volume's own grid, the stack of slices a network sees, and slabs of it."""

from pathlib import Path

import nibabel as nib
import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiObject,
    OutputMultiObject,
    SimpleInterface,
    TraitedSpec,
    traits,
)
from nipype.utils.filemanip import fname_presuffix

from secondglance.files.geometry import grid_of
from secondglance.files.stacks import read_stack, write_like, write_stack
from secondglance.imaging.grids import SliceGrid


def in_cwd(path: str | Path, runtime, suffix: str, ext: str | None = None) -> str:
    """Name a new file in the node's folder after `path`; uncompressed, as it is read once."""
    stem = fname_presuffix(str(path), suffix=suffix, newpath=runtime.cwd, use_ext=False)
    return stem + (ext or '.nii')


class GridSpec(BaseInterfaceInputSpec):
    """How a stack of slices lies over a volume."""

    spacing = traits.Range(
        low=0.0, exclude_low=True, mandatory=True, desc='in-plane spacing of the stack, mm'
    )
    slice_axis = traits.Enum(
        'auto', 'i', 'j', 'k', usedefault=True, desc='voxel axis along which slices lie'
    )
    quarter_turns = traits.Range(
        low=0, high=3, value=0, usedefault=True, desc='by which slices are turned to be upright'
    )

    def grid(self, path: str) -> SliceGrid:
        """Lay out the stack over the volume at `path`."""
        return grid_of(path, self.spacing, self.slice_axis, self.quarter_turns)


class _ToStackInputSpec(GridSpec):
    in_file = File(exists=True, mandatory=True, desc='3-D volume on its own grid')
    order = traits.Range(
        low=0, high=3, value=1, usedefault=True, desc='order of the interpolating spline'
    )


class _ToStackOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc='stack of slices, (H, W, N)')


class ToStack(SimpleInterface):
    """Resample a volume, in plane alone, to the stack of slices that a network sees."""

    input_spec = _ToStackInputSpec
    output_spec = _ToStackOutputSpec

    def _run_interface(self, runtime):
        image = nib.load(self.inputs.in_file)
        grid = self.inputs.grid(self.inputs.in_file)
        stack = grid.to_stack(np.asarray(image.dataobj, np.float32), order=self.inputs.order)
        self._results['out_file'] = write_stack(
            stack, grid.affine, in_cwd(self.inputs.in_file, runtime, '_stack')
        )
        return runtime


class _ToNativeInputSpec(GridSpec):
    in_file = File(exists=True, mandatory=True, desc='stack, (H, W, N) or (H, W, N, C)')
    like = File(exists=True, mandatory=True, desc='volume whose grid the result lies on')
    threshold = traits.Float(desc='values at or above it become 1, others 0 (a mask)')


class _ToNativeOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc='volume(s) on the grid of `like`')


class ToNative(SimpleInterface):
    """Bring a stack back to the grid, and the affine, of the volume it came from."""

    input_spec = _ToNativeInputSpec
    output_spec = _ToNativeOutputSpec

    def _run_interface(self, runtime):
        like = nib.load(self.inputs.like)
        grid = self.inputs.grid(self.inputs.like)
        stack, _ = read_stack(self.inputs.in_file)
        if stack.ndim == 3:
            volume = grid.to_native(stack)
        else:
            volume = np.stack([grid.to_native(c) for c in stack.swapaxes(0, 1)], axis=-1)
        if np.isfinite(self.inputs.threshold or np.nan):
            volume = (volume >= self.inputs.threshold).astype(np.uint8)
        path = in_cwd(self.inputs.in_file, runtime, '_native')
        self._results['out_file'] = write_like(volume, like, path)
        return runtime


class _SplitSlabsInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='stack, (H, W, N[, C])')
    n_slabs = traits.Range(low=1, value=1, usedefault=True, desc='how many slabs at most')
    slices_per_job = traits.Range(
        low=0, value=0, usedefault=True, desc='slices a slab; 0: N/n_slabs'
    )


class _SplitSlabsOutputSpec(TraitedSpec):
    out_files = OutputMultiObject(File(exists=True), desc='slabs, in order')


class SplitSlabs(SimpleInterface):
    """Cut a stack into slabs of neighbouring slices, each with the affine of its place."""

    input_spec = _SplitSlabsInputSpec
    output_spec = _SplitSlabsOutputSpec

    def _run_interface(self, runtime):
        image = nib.load(self.inputs.in_file)
        n_slices = image.shape[2]
        size = self.inputs.slices_per_job or -(-n_slices // min(self.inputs.n_slabs, n_slices))
        self._results['out_files'] = []
        for first in range(0, n_slices, size):
            path = in_cwd(self.inputs.in_file, runtime, f'_slab-{first:04d}')
            nib.save(image.slicer[:, :, first : first + size], path)
            self._results['out_files'].append(path)
        return runtime


class _MergeSlabsInputSpec(BaseInterfaceInputSpec):
    in_files = InputMultiObject(File(exists=True), mandatory=True, desc='slabs, in order')


class _MergeSlabsOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc='stack, (H, W, N[, C])')


class MergeSlabs(SimpleInterface):
    """Join slabs to the stack they were cut from."""

    input_spec = _MergeSlabsInputSpec
    output_spec = _MergeSlabsOutputSpec

    def _run_interface(self, runtime):
        slabs = [nib.load(path) for path in self.inputs.in_files]
        stack = np.concatenate([np.asarray(slab.dataobj) for slab in slabs], axis=2)
        self._results['out_file'] = in_cwd(self.inputs.in_files[0], runtime, '_merged')
        nib.save(
            nib.Nifti1Image(stack, slabs[0].affine, slabs[0].header), self._results['out_file']
        )
        return runtime
