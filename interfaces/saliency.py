"""Interfaces of the first glance: saliency, enhancement, log-normal fit, explanation."""

import json

import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from secondglance.files.geometry import affine_of
from secondglance.files.stacks import read_stack, write_like, write_stack
from secondglance.imaging.enhancement import enhance
from secondglance.imaging.errors import InputError
from secondglance.imaging.lognormality import lognormal_fit
from secondglance.interfaces.network import EnhanceSpec, SaliencySpec, attribute, load_model
from secondglance.interfaces.stacks import GridSpec, in_cwd


class _SaliencyInputSpec(SaliencySpec):
    in_file = File(exists=True, mandatory=True, desc='slab of whole-head slices, (H, W, N)')


class _SaliencyOutputSpec(TraitedSpec):
    saliency = File(exists=True, desc='gradient of the target, (H, W, N)')
    probabilities = File(exists=True, desc='the first glance, (H, W, N, 4)')


class Saliency(SimpleInterface):
    """Take the first glance at a slab and show what held the network's attention."""

    input_spec = _SaliencyInputSpec
    output_spec = _SaliencyOutputSpec

    def _run_interface(self, runtime):
        stack, affine = read_stack(self.inputs.in_file)
        maps, probabilities = attribute(self.inputs, load_model(self.inputs), stack)
        for name, voxels in (('saliency', maps), ('probabilities', probabilities)):
            path = in_cwd(self.inputs.in_file, runtime, f'_{name}')
            self._results[name] = write_stack(voxels, affine, path)
        return runtime


class _EnhanceInputSpec(EnhanceSpec):
    in_file = File(exists=True, mandatory=True, desc='saliency, (H, W, N)')


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
    out_file = File(exists=True, desc='fit of each slice with its quantiles, JSON')
    table = File(exists=True, desc='a row a slice: distances, and what fits best (.tsv)')


class Lognormal(SimpleInterface):
    """Measure, slice by slice, how log-normal the magnitude of the saliency is."""

    input_spec = _LognormalInputSpec
    output_spec = _LognormalOutputSpec

    def _run_interface(self, runtime):
        import pandas as pd

        stack, _ = read_stack(self.inputs.in_file)
        fit = lognormal_fit(stack)
        rows = pd.DataFrame(
            {
                'slice': np.arange(len(stack)),
                'mu': fit.mu,
                'sigma': fit.sigma,
                'ks_distance': fit.ks_distance,
                'anderson_darling': fit.anderson_darling,
                **{f'aic_{name}': values for name, values in fit.aic.items()},
                'best': fit.best(),
            }
        )
        self._results['table'] = in_cwd(self.inputs.in_file, runtime, '_lognormal', '.tsv')
        rows.to_csv(
            self._results['table'], sep='\t', index=False, na_rep='n/a', float_format='%.6g'
        )
        fields = {name: getattr(fit, name).tolist() for name in ('theoretical', 'observed')}
        fields |= {name: rows[name].tolist() for name in ('ks_distance', 'best')}
        self._results['out_file'] = in_cwd(self.inputs.in_file, runtime, '_lognormal', '.json')
        with open(self._results['out_file'], 'w') as stream:
            json.dump(fields, stream)
        return runtime


class _ExplainInputSpec(SaliencySpec, GridSpec):
    in_file = File(exists=True, mandatory=True, desc='3-D volume of a whole head')
    region = File(
        exists=True, xor=['voxel'], desc='mask on the grid of in_file: whose logits are summed'
    )
    voxel = traits.List(
        traits.Int(), minlen=3, maxlen=3, xor=['region'], desc='the same, of one voxel of in_file'
    )


class _ExplainOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc='signed saliency on the grid of in_file')
    stack_file = File(exists=True, desc='the same as a stack, (H, W, N)')


class Explain(SimpleInterface):
    """Show what in a whole head speaks for a class, everywhere or in one region."""

    input_spec = _ExplainInputSpec
    output_spec = _ExplainOutputSpec

    def _run_interface(self, runtime):
        import nibabel as nib

        image = nib.load(self.inputs.in_file)
        grid = self.inputs.grid(self.inputs.in_file)
        stack = grid.to_stack(np.asarray(image.dataobj, np.float32))
        maps, _ = attribute(
            self.inputs, load_model(self.inputs), stack, self._weights(grid, image)
        )
        name = f'_{self.inputs.target}'
        self._results['stack_file'] = write_stack(
            maps, grid.affine, in_cwd(self.inputs.in_file, runtime, f'{name}_stack')
        )
        self._results['out_file'] = write_like(
            grid.to_native(maps), image, in_cwd(self.inputs.in_file, runtime, name)
        )
        return runtime

    def _weights(self, grid, image):
        """Weight of each pixel's logits, (N, H, W), or None for all alike."""
        import nibabel as nib

        if isdefined(self.inputs.region):
            region = nib.load(self.inputs.region)
            weights = grid.to_stack((np.asarray(region.dataobj) > 0).astype(np.float32))
            if not weights.any():
                raise InputError(
                    f'{self.inputs.region} marks nothing that the network sees: give a larger one.'
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
