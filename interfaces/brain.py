"""Interfaces of the brain mask: refinement and selection."""

import json
from pathlib import Path

import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from secondglance.files.stacks import read_stack, write_stack
from secondglance.imaging.mask.cleaning import agreement
from secondglance.imaging.mask.quality import GOOD_DICE, Opinions
from secondglance.imaging.mask.selection import decide
from secondglance.imaging.species import BRAIN_SIZE
from secondglance.interfaces.network import NetworkSpec, load_model, resolve_device
from secondglance.interfaces.stacks import in_cwd
from secondglance.models.choices import MASK_METHODS
from secondglance.models.weights import read_calibration


class _RefineInputSpec(NetworkSpec):
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
        from secondglance.models.brain_refinement import refine
        from secondglance.models.weights import REFINEMENT

        stack, affine = read_stack(self.inputs.in_file)
        first, _ = read_stack(self.inputs.probabilities)
        model = load_model(self.inputs, REFINEMENT)
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
            resolve_device(self.inputs.device),
        )
        path = in_cwd(self.inputs.in_file, runtime, '_refined')
        self._results['out_file'] = write_stack(probability, affine, path)
        return runtime


class _BrainMaskInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='first glance, (H, W, N, 4)')
    refined = File(exists=True, mandatory=True, desc='probability of brain, (H, W, N)')
    placed = File(exists=True, mandatory=True, desc='placed mask, (H, W, N)')
    placement = File(exists=True, mandatory=True, desc='a row a slice (.tsv)')
    refinement = File(exists=True, mandatory=True, desc='its weights, for the calibration')
    species = traits.Enum(*BRAIN_SIZE, usedefault=True, desc='whose brain')
    method = traits.Enum(*MASK_METHODS, usedefault=True, desc='whose mask is taken')


class _BrainMaskOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc='mask, soft at its outline, (H, W, N)')
    placement = File(exists=True, desc='the rows, with how far each slice is to be trusted (.tsv)')
    confidence = File(exists=True, desc='how far the whole mask is to be trusted (.json)')


class BrainMask(SimpleInterface):
    """Take a method's mask, or what stands in for it; say how far it is to be trusted."""

    input_spec = _BrainMaskInputSpec
    output_spec = _BrainMaskOutputSpec

    def _run_interface(self, runtime):
        import pandas as pd

        first, affine = read_stack(self.inputs.in_file)
        placed = read_stack(self.inputs.placed)[0] >= 0.5
        table = pd.read_csv(self.inputs.placement, sep='\t')
        spacing = np.linalg.norm(affine[:3, :3], axis=0) / BRAIN_SIZE[self.inputs.species]
        opinions = Opinions(
            first=1 - first[:, 0],
            refined=read_stack(self.inputs.refined)[0],
            placed=placed,
            peaks=table['peak'].to_numpy(),
            voxel_mm3=float(np.prod(spacing)),
        )
        calibration = read_calibration(self.inputs.refinement)
        taken = decide(
            self.inputs.method, opinions, float(spacing[0]), float(spacing[2]), calibration
        )
        path = in_cwd(self.inputs.placed, runtime, '_brain')
        self._results['out_file'] = write_stack(taken.mask, affine, path)
        table['agreement'] = agreement(taken.mask >= 0.5, placed)
        table['probability'] = taken.slice_confidence
        self._results['placement'] = in_cwd(self.inputs.placed, runtime, '_agreed', '.tsv')
        table.to_csv(self._results['placement'], sep='\t', index=False, float_format='%.6g')
        voxel = float(np.prod(np.linalg.norm(affine[:3, :3], axis=0)))
        self._results['confidence'] = in_cwd(self.inputs.placed, runtime, '_confidence', '.json')
        Path(self._results['confidence']).write_text(
            json.dumps(
                {
                    'Method': taken.method,
                    'MethodAskedFor': self.inputs.method,
                    'Confidence': taken.confidence,
                    'ConfidenceMeaning': f'probability of a Dice of at least {GOOD_DICE}',
                    'ConfidenceOfMethods': taken.candidates,
                    'Species': self.inputs.species,
                    'BrainVolume': voxel * float((taken.mask >= 0.5).sum()),
                }
            )
        )
        return runtime
