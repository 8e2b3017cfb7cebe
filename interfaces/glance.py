"""Interfaces of the two glances: saliency, its enhancement, background removal, segmentation."""

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiObject,
    OutputMultiObject,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from secondglance import __version__
from secondglance.imaging.enhancement import enhance
from secondglance.imaging.errors import InputError
from secondglance.imaging.lognormality import lognormal_fit
from secondglance.imaging.species import AUTO, BRAIN_SIZE
from secondglance.interfaces.stacks import (
    GridSpec,
    affine_of,
    grid_of,
    in_cwd,
    read_stack,
    species_of_mask,
    write_like,
    write_stack,
)
from secondglance.models.choices import SALIENCY_METHODS, TARGETS, TURNS
from secondglance.models.weights import FORMAT, weights_spacing


def _device(name: str) -> str:
    """Resolve ``auto`` to ``cuda`` where torch can use it."""
    if name != 'auto':
        return name
    import torch

    return 'cuda' if torch.cuda.is_available() else 'cpu'


def _model(inputs, form=FORMAT):
    """Load the node's weights on its device, with the node's number of threads."""
    import torch

    from secondglance.models.weights import load_weights

    torch.set_num_threads(inputs.num_threads)
    return load_weights(inputs.weights, _device(inputs.device), form)


def _look(inputs, model, stack, region=None):
    """Take a glance at a stack as the node's inputs say."""
    from secondglance.models.saliency import Smoothing, saliency_stack

    return saliency_stack(
        model,
        stack,
        target=inputs.target,
        method=inputs.method,
        device=_device(inputs.device),
        region=region,
        smoothing=Smoothing(inputs.smooth),
    )


class _NetworkInputSpec(BaseInterfaceInputSpec):
    weights = File(exists=True, mandatory=True, desc='weights of the network, safetensors')
    device = traits.Str('auto', usedefault=True, nohash=True, desc='auto, cpu, cuda or cuda:N')
    use_gpu = traits.Bool(False, usedefault=True, nohash=True, desc='counts as one GPU process')
    num_threads = traits.Range(
        low=1, value=1, usedefault=True, nohash=True, desc='threads of the CPU'
    )


class _SaliencySpec(_NetworkInputSpec):
    method = traits.Enum(
        *SALIENCY_METHODS, usedefault=True, desc='how the target is followed back to the pixels'
    )
    target = traits.Enum(*TARGETS, usedefault=True, desc='classes whose logits are summed')
    smooth = traits.Range(
        low=0, value=0, usedefault=True, desc='noisy copies whose maps are averaged; 0: none'
    )


class _EnhanceSpec(BaseInterfaceInputSpec):
    peak = traits.Float(2.0, usedefault=True, desc='standard score that is kept whole')
    width = traits.Range(
        low=0.0, exclude_low=True, value=0.5, usedefault=True, desc='width of what is kept'
    )


class _OrientInputSpec(_NetworkInputSpec):
    in_file = File(exists=True, mandatory=True, desc='3-D volume of a whole head')
    slice_axis = traits.Enum(
        'auto', 'i', 'j', 'k', usedefault=True, desc='voxel axis along which slices lie'
    )
    species = traits.Enum(AUTO, *BRAIN_SIZE, usedefault=True, desc='whose head, where known')
    turn = traits.Enum(
        *TURNS, usedefault=True, desc='degrees by which slices are turned, where known'
    )


class _OrientOutputSpec(TraitedSpec):
    species = traits.Enum(*BRAIN_SIZE, desc='whose head it is')
    spacing = traits.Float(desc='of pixels with which it looks as large as a rat, mm')
    quarter_turns = traits.Int(desc='by which slices are turned in plane to be upright')


class Orient(SimpleInterface):
    """Find whose head it is, and which way up it lies, whatever its header says."""

    input_spec = _OrientInputSpec
    output_spec = _OrientOutputSpec

    def _run_interface(self, runtime):
        turn, species = self.inputs.turn, self.inputs.species
        turns = None if turn == TURNS[0] else int(turn) // 90
        if turns is None or species == AUTO:
            species, turns = self._find(turns)
        self._results.update(
            species=species,
            quarter_turns=turns,
            spacing=weights_spacing(self.inputs.weights) * BRAIN_SIZE[species],
        )
        return runtime

    def _find(self, turns: int | None) -> tuple[str, int]:
        import nibabel as nib

        from secondglance.models.orientation import find_pose

        path = self.inputs.in_file
        voxels = np.asarray(nib.load(path).dataobj, np.float32)
        pose = find_pose(
            _model(self.inputs),
            lambda spacing: grid_of(path, spacing, self.inputs.slice_axis).to_stack(voxels),
            species=self.inputs.species,
            quarter_turns=turns,
            device=_device(self.inputs.device),
        )
        return pose.species, pose.quarter_turns


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
        stack, affine = read_stack(self.inputs.in_file)
        maps, probabilities = _look(self.inputs, _model(self.inputs), stack)
        for name, voxels in (('saliency', maps), ('probabilities', probabilities)):
            path = in_cwd(self.inputs.in_file, runtime, f'_{name}')
            self._results[name] = write_stack(voxels, affine, path)
        return runtime


class _EnhanceInputSpec(_EnhanceSpec):
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


class _DonorSaliencyInputSpec(_SaliencySpec, _EnhanceSpec):
    images = InputMultiObject(File(exists=True), mandatory=True, desc='heads of the donors')
    masks = InputMultiObject(File(exists=True), mandatory=True, desc='their brain masks')
    cache_dir = traits.Directory(
        nohash=True, desc='where other subjects find what was computed for this one'
    )


class _DonorSaliencyOutputSpec(TraitedSpec):
    enhanced = OutputMultiObject(
        File(exists=True), desc='enhanced saliency of each donor, in the size of a rat'
    )
    masks = OutputMultiObject(File(exists=True), desc='brain mask of each, on the same grid')


class DonorSaliency(SimpleInterface):
    """Compute the donors' own enhanced saliency under the current weights, once."""

    input_spec = _DonorSaliencyInputSpec
    output_spec = _DonorSaliencyOutputSpec

    def _run_interface(self, runtime):
        self._results.update(enhanced=[], masks=[])
        shared = self._shared()
        if shared is None or not shared.is_dir():
            folder = Path(runtime.cwd, 'donors')
            folder.mkdir(exist_ok=True)
            self._compute(folder)
            if shared is not None:
                _share(folder, shared)
        for index in range(len(self.inputs.images)):
            for name in ('enhanced', 'masks'):
                found = Path(shared or folder, f'donor-{index:02d}_{name}.nii')
                path = in_cwd(found, runtime, '')
                shutil.copyfile(found, path)
                self._results[name].append(path)
        return runtime

    def _shared(self) -> Path | None:
        """Folder of what the same network made of the same donors, whoever computed it."""
        if not isdefined(self.inputs.cache_dir):
            return None
        digest = hashlib.sha256(__version__.encode())
        for path in (self.inputs.weights, *self.inputs.images, *self.inputs.masks):
            with open(path, 'rb') as stream:
                digest.update(hashlib.file_digest(stream, 'sha256').digest())
        names = ('method', 'target', 'smooth', 'peak', 'width')
        digest.update(repr([getattr(self.inputs, name) for name in names]).encode())
        return Path(self.inputs.cache_dir, digest.hexdigest()[:24])

    def _compute(self, folder: Path) -> None:
        import nibabel as nib

        from secondglance.data import donor_paths
        from secondglance.models.orientation import quarter_turns

        model, bank = _model(self.inputs), donor_paths()
        for index, (image, mask) in enumerate(
            zip(self.inputs.images, self.inputs.masks, strict=True)
        ):
            size = BRAIN_SIZE[species_of_mask(mask)]
            grid = grid_of(image, model.spacing * size, 'auto')
            head = np.asarray(nib.load(image).dataobj, np.float32)
            stack = grid.to_stack(head)
            # Those that ship lie upright
            if Path(image).parent not in bank:
                turns = quarter_turns(model, stack, _device(self.inputs.device))
                grid = grid_of(image, model.spacing * size, 'auto', turns)
                stack = grid.to_stack(head)
            maps, _ = _look(self.inputs, model, stack)
            enhanced = enhance(maps, peak=self.inputs.peak, width=self.inputs.width)
            inside = grid.to_stack(np.asarray(nib.load(mask).dataobj, np.float32)) >= 0.5
            as_rat = np.diag([1 / size] * 3 + [1.0])
            for name, voxels in (('enhanced', enhanced), ('masks', inside)):
                write_stack(voxels, as_rat @ grid.affine, folder / f'donor-{index:02d}_{name}.nii')


def _share(folder: Path, shared: Path) -> None:
    """Copy a folder for others, who see all of it or nothing; who comes second changes nothing."""
    shared.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix='.donors-', dir=shared.parent))
    try:
        shutil.copytree(folder, partial, dirs_exist_ok=True)
        os.rename(partial, shared)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
        if not shared.is_dir():
            raise


class _ExplainInputSpec(_SaliencySpec, GridSpec):
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
        maps, _ = _look(self.inputs, _model(self.inputs), stack, self._weights(grid, image))
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


class _RefineInputSpec(_NetworkInputSpec):
    in_file = File(exists=True, mandatory=True, desc='stack of whole-head slices, (H, W, N)')
    probabilities = File(exists=True, mandatory=True, desc='first glance, (H, W, N, 4)')
    enhanced = File(exists=True, mandatory=True, desc='enhanced saliency, (H, W, N)')
    placed = File(exists=True, mandatory=True, desc='placed mask, (H, W, N)')


class _RefineOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc='probability of brain, (H, W, N)')


class Refine(SimpleInterface):
    """Say anew which pixels are brain, from all that was found, neighbouring slices included."""

    input_spec = _RefineInputSpec
    output_spec = _RefineOutputSpec

    def _run_interface(self, runtime):
        from secondglance.models.refinement import refine
        from secondglance.models.weights import REFINEMENT

        stack, affine = read_stack(self.inputs.in_file)
        first, _ = read_stack(self.inputs.probabilities)
        model = _model(self.inputs, REFINEMENT)
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        # Slices lie where those of a rat would whose pixels are the refinement's
        positions = np.arange(len(stack)) * spacing[2] * model.spacing / spacing[0]
        probability = refine(
            model,
            stack,
            1 - first[:, 0],
            read_stack(self.inputs.enhanced)[0],
            read_stack(self.inputs.placed)[0],
            positions,
            _device(self.inputs.device),
        )
        path = in_cwd(self.inputs.in_file, runtime, '_refined')
        self._results['out_file'] = write_stack(probability, affine, path)
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
