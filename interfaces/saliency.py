"""Interfaces of the first glance: saliency, its enhancement, explanation of a class."""

import json

import nibabel as nib
import numpy as np
from nipype.interfaces.base import (
    Bunch,
    File,
    InputMultiObject,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from secondglance.files.nifti import read_volume
from secondglance.files.nifti_header import affine_of
from secondglance.files.stacks import read_stack, write_like, write_stack
from secondglance.files.tables import write_tsv
from secondglance.imaging.enhancement import enhance
from secondglance.imaging.errors import InputError
from secondglance.imaging.grids import SliceGrid
from secondglance.imaging.intensity import head_mask
from secondglance.imaging.lognormality import lognormal_fit
from secondglance.interfaces.network import (
    EnhanceSpec,
    SaliencySpec,
    device_of,
    load_model,
    options_of,
)
from secondglance.interfaces.stacks import PoseSpec, in_cwd, join_slabs


class _SaliencyInputSpec(SaliencySpec):
    in_file = File(exists=True, mandatory=True, desc='slab of whole-head slices, (H, W, N)')


class _SaliencyOutputSpec(TraitedSpec):
    saliency = File(exists=True, desc='gradient of the target, (H, W, N)')
    probabilities = File(exists=True, desc='the first glance, (H, W, N, 4)')


class Saliency(SimpleInterface):
    """Compute class probabilities and saliency of a slab in one forward pass."""

    input_spec = _SaliencyInputSpec
    output_spec = _SaliencyOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        from secondglance.models.saliency.attribution import Smoothing, saliency_stack

        stack, affine = read_stack(self.inputs.in_file)
        options = options_of(self.inputs)
        found = saliency_stack(
            load_model(self.inputs),
            stack,
            options.target,
            options.method,
            device_of(self.inputs),
            smoothing=Smoothing(options.copies),
        )
        for name, voxels in zip(('saliency', 'probabilities'), found, strict=True):
            path = in_cwd(self.inputs.in_file, runtime, f'_{name}')
            self._results[name] = write_stack(voxels, affine, path)
        return runtime


class _EnhanceInputSpec(EnhanceSpec, PoseSpec):
    saliency = InputMultiObject(
        File(exists=True), mandatory=True, desc='slabs of saliency, (H, W, N)'
    )
    probabilities = InputMultiObject(
        File(exists=True), mandatory=True, desc='slabs of the first glance, (H, W, N, 4)'
    )
    stack = File(exists=True, mandatory=True, desc='whole-head slices, (H, W, N)')
    like = File(exists=True, mandatory=True, desc='volume that the slabs were cut from')


class _EnhanceOutputSpec(TraitedSpec):
    saliency_stack = File(exists=True, desc='signed gradient, (H, W, N)')
    enhanced_stack = File(exists=True, desc='enhanced saliency in [0, 1], (H, W, N)')
    probabilities_stack = File(exists=True, desc='first glance, (H, W, N, 4)')
    saliency = File(exists=True, desc='signed gradient on the grid of `like`')
    enhanced = File(exists=True, desc='enhanced saliency on the grid of `like`')
    probabilities = File(exists=True, desc='first glance on the grid of `like`, (X, Y, Z, 4)')
    lognormal = File(exists=True, desc='log-normal fit of each slice with its quantiles (.json)')
    lognormal_slices = File(exists=True, desc='a row a slice: distances, best fit (.tsv)')


class Enhance(SimpleInterface):
    """Join the slabs of the first glance, and enhance saliency under the log-normal model."""

    input_spec = _EnhanceInputSpec
    output_spec = _EnhanceOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        saliency, affine = join_slabs(self.inputs.saliency)
        probabilities, _ = join_slabs(self.inputs.probabilities)
        images, _ = read_stack(self.inputs.stack)
        enhanced = enhance(
            saliency, head_mask(images), peak=self.inputs.peak, width=self.inputs.width
        )
        like, grid = nib.load(self.inputs.like), self.inputs.grid(self.inputs.like)
        for name, stack in (
            ('saliency', saliency),
            ('enhanced', enhanced),
            ('probabilities', probabilities),
        ):
            path = in_cwd(self.inputs.like, runtime, f'_{name}_stack')
            self._results[f'{name}_stack'] = write_stack(stack, affine, path)
            path = in_cwd(self.inputs.like, runtime, f'_{name}')
            self._results[name] = write_like(grid.to_native(stack), like, path)
        self._write_fit(saliency, runtime)
        return runtime

    def _write_fit(self, saliency: np.ndarray, runtime: Bunch) -> None:
        fit = lognormal_fit(saliency)
        rows = [
            {
                'slice': n,
                'mu': fit.mu[n],
                'sigma': fit.sigma[n],
                'ks_distance': fit.ks_distance[n],
                'anderson_darling': fit.anderson_darling[n],
                **{f'aic_{name}': values[n] for name, values in fit.aic.items()},
                'best': best,
            }
            for n, best in enumerate(fit.best())
        ]
        path = in_cwd(self.inputs.like, runtime, '_lognormal', '.tsv')
        self._results['lognormal_slices'] = write_tsv(rows, path)
        fields = {name: getattr(fit, name).tolist() for name in ('theoretical', 'observed')}
        fields['ks_distance'] = fit.ks_distance.tolist()
        fields['best'] = [row['best'] for row in rows]
        self._results['lognormal'] = in_cwd(self.inputs.like, runtime, '_lognormal', '.json')
        with open(self._results['lognormal'], 'w') as stream:
            json.dump(fields, stream)


class _ExplainInputSpec(SaliencySpec, PoseSpec):
    in_file = File(exists=True, mandatory=True, desc='3-D volume of a whole head')
    region = File(
        exists=True, xor=['voxel'], desc='mask on the grid of in_file: logits summed there'
    )
    voxel = traits.List(
        traits.Int(), minlen=3, maxlen=3, xor=['region'], desc='the same, of one voxel of in_file'
    )


class _ExplainOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc='signed saliency on the grid of in_file')
    stack_file = File(exists=True, desc='the same as a stack, (H, W, N)')


class Explain(SimpleInterface):
    """Map the saliency of a class, everywhere or in one region."""

    input_spec = _ExplainInputSpec
    output_spec = _ExplainOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        from secondglance.models.saliency.attribution import Smoothing, saliency_stack

        image = nib.load(self.inputs.in_file)
        grid = self.inputs.grid(self.inputs.in_file)
        stack = grid.to_stack(np.asarray(image.dataobj, np.float32))
        options = options_of(self.inputs)
        maps, _ = saliency_stack(
            load_model(self.inputs),
            stack,
            options.target,
            options.method,
            device_of(self.inputs),
            region=self._weights(grid, image),
            smoothing=Smoothing(options.copies),
        )
        name = f'_{self.inputs.target}'
        self._results['stack_file'] = write_stack(
            maps, grid.affine, in_cwd(self.inputs.in_file, runtime, f'{name}_stack')
        )
        self._results['out_file'] = write_like(
            grid.to_native(maps), image, in_cwd(self.inputs.in_file, runtime, name)
        )
        return runtime

    def _weights(self, grid: SliceGrid, image: nib.Nifti1Pair) -> np.ndarray | None:
        """Weight of each pixel's logits, (N, H, W), or None for all alike."""
        if isdefined(self.inputs.region):
            _, region = read_volume(self.inputs.region, mask=True)
            weights = grid.to_stack((region > 0).astype(np.float32))
            if not weights.any():
                raise InputError(
                    f'{self.inputs.region} marks no pixel of the network: give a larger region.'
                )
            return weights
        if isdefined(self.inputs.voxel) and self.inputs.voxel:
            to_stack = np.linalg.inv(grid.affine) @ affine_of(image)
            h, w, n = np.rint((to_stack @ [*self.inputs.voxel, 1])[:3]).astype(int)
            weights = np.zeros(grid.stack_shape, np.float32)
            last = np.array(weights.shape) - 1
            weights[tuple(np.clip((n, h, w), 0, last))] = 1
            return weights
        return None
