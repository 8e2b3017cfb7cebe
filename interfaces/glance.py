"""Interfaces of the two glances: saliency, its enhancement, background removal, segmentation."""

import json

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

from secondglance.imaging.enhancement import enhance
from secondglance.imaging.lognormality import lognormal_fit
from secondglance.interfaces.stacks import grid_of, in_cwd, read_stack, write_stack


def _device(name: str) -> str:
    """Resolve ``auto`` to ``cuda`` where torch can use it."""
    if name != 'auto':
        return name
    import torch

    return 'cuda' if torch.cuda.is_available() else 'cpu'


def _model(inputs):
    """Load the node's weights on its device, with the node's number of threads."""
    import torch

    from secondglance.models.weights import load_weights

    torch.set_num_threads(inputs.num_threads)
    return load_weights(inputs.weights, device=_device(inputs.device))


class _NetworkInputSpec(BaseInterfaceInputSpec):
    weights = File(exists=True, mandatory=True, desc='weights of the network, safetensors')
    device = traits.Str('auto', usedefault=True, nohash=True, desc='auto, cpu, cuda or cuda:N')
    use_gpu = traits.Bool(False, usedefault=True, nohash=True, desc='counts as one GPU process')
    num_threads = traits.Range(
        low=1, value=1, usedefault=True, nohash=True, desc='threads of the CPU'
    )


class _SaliencySpec(_NetworkInputSpec):
    method = traits.Enum(
        'guided', 'deconvnet', 'gradient', usedefault=True, desc='how the gradient passes a ReLU'
    )
    target = traits.Enum(
        'brain', 'WM', 'GM', 'CSF', usedefault=True, desc='classes whose logits are summed'
    )


class _SaliencyInputSpec(_SaliencySpec):
    in_file = File(exists=True, mandatory=True, desc='slab of whole-head slices, (H, W, N)')


class _SaliencyOutputSpec(TraitedSpec):
    saliency = File(exists=True, desc='gradient of the target, (H, W, N)')
    probabilities = File(exists=True, desc='the first glance, (H, W, N, 4)')


class Saliency(SimpleInterface):
    """Take the first glance at a slab and show what held the network's attention."""

    input_spec = _SaliencyInputSpec
    output_spec = _SaliencyOutputSpec

    def _run_interface(self, runtime):
        from secondglance.models.saliency import saliency_stack

        stack, affine = read_stack(self.inputs.in_file)
        model = _model(self.inputs)
        maps, probabilities = saliency_stack(
            model,
            stack,
            target=self.inputs.target,
            method=self.inputs.method,
            device=_device(self.inputs.device),
        )
        for name, voxels in (('saliency', maps), ('probabilities', probabilities)):
            path = in_cwd(self.inputs.in_file, runtime, f'_{name}')
            self._results[name] = write_stack(voxels, affine, path)
        return runtime


class _EnhanceInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='saliency, (H, W, N)')
    peak = traits.Float(2.0, usedefault=True, desc='standard score that is kept whole')
    width = traits.Range(
        low=0.0, exclude_low=True, value=0.5, usedefault=True, desc='width of what is kept'
    )


class _EnhanceOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc='enhanced saliency in [0, 1], (H, W, N)')


class Enhance(SimpleInterface):
    """Enhance saliency, slice by slice, under the log-normal model."""

    input_spec = _EnhanceInputSpec
    output_spec = _EnhanceOutputSpec

    def _run_interface(self, runtime):
        stack, affine = read_stack(self.inputs.in_file)
        enhanced = enhance(stack, peak=self.inputs.peak, width=self.inputs.width)
        self._results['out_file'] = write_stack(
            enhanced.astype(np.float32), affine, in_cwd(self.inputs.in_file, runtime, '_enhanced')
        )
        return runtime


class _LognormalInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='saliency, (H, W, N)')


class _LognormalOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc='fit of each slice, JSON')


class Lognormal(SimpleInterface):
    """Measure, slice by slice, how log-normal the magnitude of the saliency is."""

    input_spec = _LognormalInputSpec
    output_spec = _LognormalOutputSpec

    def _run_interface(self, runtime):
        stack, _ = read_stack(self.inputs.in_file)
        fit = lognormal_fit(stack)
        fields = {
            name: np.asarray(getattr(fit, name)).tolist()
            for name in fit.__dataclass_fields__
            if not name.startswith('_')
        }
        self._results['out_file'] = in_cwd(self.inputs.in_file, runtime, '_lognormal', '.json')
        with open(self._results['out_file'], 'w') as stream:
            json.dump(fields, stream)
        return runtime


class _DonorSaliencyInputSpec(_SaliencySpec):
    images = InputMultiObject(File(exists=True), mandatory=True, desc='heads of the donors')
    masks = InputMultiObject(File(exists=True), mandatory=True, desc='their brain masks')
    spacing = traits.Range(
        low=0.0, exclude_low=True, mandatory=True, desc='in-plane spacing of the stack, mm'
    )


class _DonorSaliencyOutputSpec(TraitedSpec):
    enhanced = OutputMultiObject(File(exists=True), desc='enhanced saliency of each donor')
    masks = OutputMultiObject(File(exists=True), desc='brain mask of each donor, as a stack')


class DonorSaliency(SimpleInterface):
    """Compute the donors' own enhanced saliency under the current weights, once."""

    input_spec = _DonorSaliencyInputSpec
    output_spec = _DonorSaliencyOutputSpec

    def _run_interface(self, runtime):
        import nibabel as nib

        from secondglance.models.saliency import saliency_stack

        model = _model(self.inputs)
        self._results.update(enhanced=[], masks=[])
        for index, (image, mask) in enumerate(
            zip(self.inputs.images, self.inputs.masks, strict=True)
        ):
            grid = grid_of(image, self.inputs.spacing, 'auto')
            stack = grid.to_stack(np.asarray(nib.load(image).dataobj, np.float32))
            maps, _ = saliency_stack(
                model,
                stack,
                target=self.inputs.target,
                method=self.inputs.method,
                device=_device(self.inputs.device),
            )
            inside = grid.to_stack(np.asarray(nib.load(mask).dataobj, np.float32)) >= 0.5
            for name, voxels in (('enhanced', enhance(maps)), ('masks', inside)):
                path = in_cwd(f'donor-{index:02d}.nii', runtime, f'_{name}')
                self._results[name].append(write_stack(voxels, grid.affine, path))
        return runtime


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


class _SegmentInputSpec(_NetworkInputSpec):
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
        probabilities = predict(_model(self.inputs), stack, device=_device(self.inputs.device))
        self._results['out_file'] = write_stack(
            probabilities, affine, in_cwd(self.inputs.in_file, runtime, '_probabilities')
        )
        return runtime
