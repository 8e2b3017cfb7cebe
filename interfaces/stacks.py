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

from secondglance.imaging.slices import SliceGrid, slice_grid
from secondglance.imaging.species import header_scale, species_of_section


def read_stack(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a stack from disk.

    Parameters
    ----------
    path : str or Path
        NIfTI of shape (H, W, N) or, for probabilities, (H, W, N, C).

    Returns
    -------
    stack : (N, H, W) or (N, C, H, W) float32 array
    affine : (4, 4) array, voxel of the file to world mm
    """
    image = nib.load(path)
    voxels = np.asarray(image.dataobj, dtype=np.float32)
    order = (2, 0, 1) if voxels.ndim == 3 else (2, 3, 0, 1)
    return np.ascontiguousarray(voxels.transpose(order)), image.affine


def write_stack(stack: np.ndarray, affine: np.ndarray, path: str | Path) -> str:
    """Write a stack (N, H, W) or (N, C, H, W) as NIfTI (H, W, N[, C]); the path is returned."""
    order = (1, 2, 0) if stack.ndim == 3 else (2, 3, 0, 1)
    voxels = np.asarray(stack).transpose(order)
    if voxels.dtype == bool:
        voxels = voxels.astype(np.uint8)
    image = nib.Nifti1Image(np.ascontiguousarray(voxels), affine)
    image.header.set_xyzt_units('mm')
    nib.save(image, path)
    return str(path)


def write_like(volume: np.ndarray, like, path: str | Path) -> str:
    """Write a volume on the grid of the image `like`; the path is returned."""
    out = nib.Nifti1Image(volume, like.affine, like.header)
    out.set_data_dtype(volume.dtype)
    out.header['scl_slope'], out.header['scl_inter'] = 1, 0
    nib.save(out, path)
    return str(path)


def grid_of(
    path: str | Path, spacing: float, slice_axis: str, quarter_turns: int = 0
) -> SliceGrid:
    """Lay out the slice grid of the NIfTI at `path` from its header alone.

    Parameters
    ----------
    path : str or Path
    spacing : float
        In-plane spacing of the stack, mm.
    slice_axis : {'auto', 'i', 'j', 'k'}
    quarter_turns : int
        By which slices are turned in plane.

    Returns
    -------
    SliceGrid
    """
    image = nib.load(path)
    return slice_grid(
        image.shape[:3],
        affine_of(image),
        spacing,
        slice_axis=slice_axis,
        dim_info=image.header.get_dim_info()[2],
        quarter_turns=quarter_turns,
    )


def scale_of(image) -> float:
    """By how much the millimetres of an image's header are too many; mostly 1."""
    return header_scale(image.shape, nib.affines.voxel_sizes(image.affine))


def affine_of(image) -> np.ndarray:
    """Affine (4, 4) of an image in the animal's own millimetres, whatever its header's are."""
    scale = scale_of(image)
    return image.affine if scale == 1 else np.diag([1 / scale] * 3 + [1.0]) @ image.affine


def species_of_mask(path: str | Path) -> str:
    """Name the species that a brain mask on disk is of; as of `species_of_brain`."""
    image = nib.load(path)
    return species_of_brain(np.asarray(image.dataobj) > 0, affine_of(image))


def species_of_brain(brain: np.ndarray, affine: np.ndarray) -> str:
    """Name the species that a brain mask (X, Y, Z) is of, by its largest section."""
    grid = slice_grid(brain.shape, affine, float(nib.affines.voxel_sizes(affine).min()))
    sections = brain.sum(axis=grid.in_plane)
    h, w = (grid.voxel_size[axis] for axis in grid.in_plane)
    return species_of_section(float(sections.max()) * h * w)


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
