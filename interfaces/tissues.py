"""Interfaces of the second glance: class probabilities, labels."""

import nibabel as nib
import numpy as np
from nipype.interfaces.base import (
    File,
    InputMultiObject,
    OutputMultiObject,
    SimpleInterface,
    TraitedSpec,
)

from secondglance.files.geometry import affine_of
from secondglance.files.stacks import read_stack, write_like, write_stack
from secondglance.files.tables import write_tsv
from secondglance.imaging.labels import TISSUES
from secondglance.imaging.metrics import tissue_volumes
from secondglance.imaging.tissues import tissues_inside
from secondglance.interfaces.network import NetworkSpec, device_of, load_model
from secondglance.interfaces.stacks import PoseSpec, in_cwd, join_slabs, native


class _SegmentInputSpec(NetworkSpec):
    in_file = File(exists=True, mandatory=True, desc='slab, (H, W, N)')


class _SegmentOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc='class probabilities, (H, W, N, 4)')


class Segment(SimpleInterface):
    """Infer the class probabilities of a slab."""

    input_spec = _SegmentInputSpec
    output_spec = _SegmentOutputSpec

    def _run_interface(self, runtime):
        from secondglance.models.inference import predict

        stack, affine = read_stack(self.inputs.in_file)
        probabilities = predict(load_model(self.inputs), stack, device=device_of(self.inputs))
        self._results['out_file'] = write_stack(
            probabilities, affine, in_cwd(self.inputs.in_file, runtime, '_probabilities')
        )
        return runtime


class _LabelsInputSpec(PoseSpec):
    probabilities = InputMultiObject(
        File(exists=True), mandatory=True, desc='slabs of class probabilities, (H, W, N, 4)'
    )
    mask_file = File(exists=True, mandatory=True, desc='brain mask, (X, Y, Z)')


class _LabelsOutputSpec(TraitedSpec):
    dseg = File(exists=True, desc='labels 0 background, 1 WM, 2 GM, 3 CSF')
    probsegs = OutputMultiObject(File(exists=True), desc='fraction of WM, GM and CSF')
    volumes = File(exists=True, desc='volume of each tissue, mm³ (.tsv)')
    probabilities_stack = File(exists=True, desc='class probabilities, (H, W, N, 4)')


class Labels(SimpleInterface):
    """Decide the tissue of every voxel of the brain, and measure the tissues."""

    input_spec = _LabelsInputSpec
    output_spec = _LabelsOutputSpec

    def _run_interface(self, runtime):
        like = nib.load(self.inputs.mask_file)
        stack, affine = join_slabs(self.inputs.probabilities)
        path = in_cwd(self.inputs.mask_file, runtime, '_probabilities_stack')
        self._results['probabilities_stack'] = write_stack(stack, affine, path)
        # Decided on the native grid, where the mask is exact
        volume = native(self.inputs.grid(self.inputs.mask_file), stack)
        found = tissues_inside(volume, np.asarray(like.dataobj) > 0)
        path = in_cwd(self.inputs.mask_file, runtime, '_dseg')
        self._results['dseg'] = write_like(found.labels, like, path)
        self._results['probsegs'] = [
            write_like(
                found.fractions[..., index],
                like,
                in_cwd(self.inputs.mask_file, runtime, f'_{tissue}'),
            )
            for index, tissue in enumerate(TISSUES)
        ]
        voxel_volume = abs(np.linalg.det(affine_of(like)[:3, :3]))
        self._results['volumes'] = write_tsv(
            tissue_volumes(found.labels, voxel_volume),
            in_cwd(self.inputs.mask_file, runtime, '_volumes', '.tsv'),
        )
        return runtime
