"""Interfaces of the second glance: masked image, class probabilities, labels."""

import nibabel as nib
import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    OutputMultiObject,
    SimpleInterface,
    TraitedSpec,
)

from secondglance.files.geometry import affine_of
from secondglance.files.stacks import read_stack, write_stack
from secondglance.files.tables import write_tsv
from secondglance.imaging.labels import TISSUES
from secondglance.imaging.metrics import (
    tissue_volumes,
)
from secondglance.interfaces.network import NetworkSpec, load_model, resolve_device
from secondglance.interfaces.stacks import in_cwd


class _RemoveBackgroundInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='slab, (H, W, N)')
    mask_file = File(exists=True, mandatory=True, desc='brain mask of the slab, (H, W, N)')


class _RemoveBackgroundOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc='slab with its background set to zero')


class RemoveBackground(SimpleInterface):
    """Set what lies outside the brain mask to zero."""

    input_spec = _RemoveBackgroundInputSpec
    output_spec = _RemoveBackgroundOutputSpec

    def _run_interface(self, runtime):
        stack, affine = read_stack(self.inputs.in_file)
        mask, _ = read_stack(self.inputs.mask_file)
        self._results['out_file'] = write_stack(
            np.where(mask >= 0.5, stack, np.float32(0)),
            affine,
            in_cwd(self.inputs.in_file, runtime, '_brain'),
        )
        return runtime


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
        probabilities = predict(
            load_model(self.inputs), stack, device=resolve_device(self.inputs.device)
        )
        self._results['out_file'] = write_stack(
            probabilities, affine, in_cwd(self.inputs.in_file, runtime, '_probabilities')
        )
        return runtime


class _LabelsInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='class probabilities, (X, Y, Z, 4)')
    mask_file = File(exists=True, mandatory=True, desc='brain mask, (X, Y, Z)')


class _LabelsOutputSpec(TraitedSpec):
    dseg = File(exists=True, desc='labels 0 background, 1 WM, 2 GM, 3 CSF')
    probsegs = OutputMultiObject(File(exists=True), desc='probability of WM, GM and CSF')
    volumes = File(exists=True, desc='volume of each tissue, mm³ (.tsv)')


class Labels(SimpleInterface):
    """Decide the class of every voxel of the brain, and measure the tissues."""

    input_spec = _LabelsInputSpec
    output_spec = _LabelsOutputSpec

    def _run_interface(self, runtime):
        image = nib.load(self.inputs.in_file)
        probabilities = np.asarray(image.dataobj, np.float32)
        mask = np.asarray(nib.load(self.inputs.mask_file).dataobj) > 0
        # Outside the mask all is background, whatever interpolation left there
        probabilities = np.clip(probabilities, 0, 1) * mask[..., None]
        dseg = np.where(mask, probabilities.argmax(-1), 0).astype(np.uint8)

        out = nib.Nifti1Image(dseg, image.affine, image.header)
        out.set_data_dtype(np.uint8)
        self._results['dseg'] = in_cwd(self.inputs.in_file, runtime, '_dseg')
        nib.save(out, self._results['dseg'])

        self._results['probsegs'] = []
        for index, tissue in enumerate(TISSUES, start=1):
            path = in_cwd(self.inputs.in_file, runtime, f'_{tissue}')
            nib.save(nib.Nifti1Image(probabilities[..., index], image.affine, image.header), path)
            self._results['probsegs'].append(path)

        voxel_volume = abs(np.linalg.det(affine_of(image)[:3, :3]))
        self._results['volumes'] = write_tsv(
            tissue_volumes(dseg, voxel_volume),
            in_cwd(self.inputs.in_file, runtime, '_volumes', '.tsv'),
        )
        return runtime
