"""Interfaces between a volume's own grid, the stack of slices of a network, and slabs of it."""

from pathlib import Path

import nibabel as nib
import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    Bunch,
    File,
    InputMultiObject,
    OutputMultiObject,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)
from nipype.utils.filemanip import fname_presuffix

from secondglance.files.nifti_header import grid_of
from secondglance.files.stacks import read_stack, write_like, write_stack
from secondglance.imaging.grids import SliceGrid
from secondglance.imaging.pose import HeadStack, Pose
from secondglance.imaging.species import BRAIN_SIZE


def in_cwd(path: str | Path, runtime: Bunch, suffix: str, ext: str | None = None) -> str:
    """Name a new file in the node's folder after `path`; uncompressed, as it is read once."""
    stem = fname_presuffix(str(path), suffix=suffix, newpath=runtime.cwd, use_ext=False)
    return stem + (ext or '.nii')


def read_head_stack(path: str | Path, species: str) -> tuple[HeadStack, np.ndarray]:
    """Read a stack from disk as a head in the size of a rat.

    Parameters
    ----------
    path : path
        NIfTI of shape (H, W, N) in mm of the animal.
    species : str

    Returns
    -------
    head : HeadStack
    affine : (4, 4) array
        Of the file.
    """
    images, affine = read_stack(path)
    size = BRAIN_SIZE[species]
    thickness = np.linalg.norm(affine[:3, 2]) / size
    positions = (np.arange(len(images)) - (len(images) - 1) / 2) * thickness
    return HeadStack(images, positions, float(np.linalg.norm(affine[:3, 0]) / size)), affine


def join_slabs(paths: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Read slabs and join them to the stack that they were cut from; as `read_stack`."""
    slabs = [read_stack(path) for path in paths]
    return np.concatenate([stack for stack, _ in slabs]), slabs[0][1]


class PoseSpec(BaseInterfaceInputSpec):
    """How a stack of slices lies over a volume."""

    pose = traits.Dict(
        mandatory=True, desc='species, spacing in mm, slice axis and quarter turns of the stack'
    )

    def grid(self, path: str) -> SliceGrid:
        """Lay out the stack over the volume at `path`."""
        return grid_of(path, Pose(**self.pose))


class _ToSlabsInputSpec(PoseSpec):
    in_file = File(exists=True, mandatory=True, desc='3-D volume on its own grid')
    mask_file = File(exists=True, desc='brain mask; what lies outside becomes zero')
    order = traits.Range(
        low=0, high=1, value=1, usedefault=True, desc='1: linear; 0: the nearest voxel'
    )
    n_slabs = traits.Range(low=1, value=1, usedefault=True, desc='how many slabs at most')
    slices_per_job = traits.Range(
        low=0, value=0, usedefault=True, desc='slices a slab; 0: N/n_slabs'
    )


class _ToSlabsOutputSpec(TraitedSpec):
    stack = File(exists=True, desc='stack of slices, (H, W, N)')
    slabs = OutputMultiObject(File(exists=True), desc='the same, cut into slabs, in order')


class ToSlabs(SimpleInterface):
    """Resample a volume, in plane alone, to a stack of slices, and cut it into slabs."""

    input_spec = _ToSlabsInputSpec
    output_spec = _ToSlabsOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        from secondglance.models.segment import remove_background

        path = self.inputs.in_file
        grid = self.inputs.grid(path)
        voxels = np.asarray(nib.load(path).dataobj, np.float32)
        stack = grid.to_stack(voxels, order=self.inputs.order)
        if isinstance(self.inputs.mask_file, str):
            mask = np.asarray(nib.load(self.inputs.mask_file).dataobj, np.float32)
            stack = remove_background(stack, grid.to_stack(mask))
        self._results['stack'] = write_stack(stack, grid.affine, in_cwd(path, runtime, '_stack'))
        n_slices = len(stack)
        size = self.inputs.slices_per_job or -(-n_slices // min(self.inputs.n_slabs, n_slices))
        whole = nib.load(self._results['stack'])
        self._results['slabs'] = []
        for first in range(0, n_slices, size):
            slab = in_cwd(path, runtime, f'_slab-{first:04d}')
            nib.save(whole.slicer[:, :, first : first + size], slab)
            self._results['slabs'].append(slab)
        return runtime


class _ToNativeInputSpec(PoseSpec):
    in_files = InputMultiObject(
        File(exists=True), mandatory=True, desc='a stack, or its slabs: (H, W, N[, C])'
    )
    like = File(exists=True, mandatory=True, desc='volume with the grid of the result')
    threshold = traits.Float(desc='values at or above it become 1, others 0 (a mask)')


class _ToNativeOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc='volume(s) on the grid of `like`')


class ToNative(SimpleInterface):
    """Bring a stack back to the grid, and the affine, of the volume it came from."""

    input_spec = _ToNativeInputSpec
    output_spec = _ToNativeOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        stack, _ = join_slabs(self.inputs.in_files)
        volume = self.inputs.grid(self.inputs.like).to_native(stack)
        if isdefined(self.inputs.threshold):
            volume = (volume >= self.inputs.threshold).astype(np.uint8)
        path = in_cwd(self.inputs.in_files[0], runtime, '_native')
        self._results['out_file'] = write_like(volume, nib.load(self.inputs.like), path)
        return runtime
