"""Interfaces of the brain mask: refinement and selection."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
from nipype.interfaces.base import Bunch, File, SimpleInterface, TraitedSpec, traits

from secondglance.files.nifti_header import affine_of
from secondglance.files.stacks import read_stack, write_like, write_stack
from secondglance.files.tables import read_tsv, write_tsv
from secondglance.imaging.grids import voxel_volume
from secondglance.imaging.mask.cleaning import agreement
from secondglance.imaging.mask.quality import GOOD_DICE, MaskEvidence
from secondglance.imaging.mask.selection import select_mask
from secondglance.imaging.pose import Pose
from secondglance.interfaces.network import NetworkSpec, device_of, load_model
from secondglance.interfaces.stacks import PoseSpec, in_cwd, read_head_stack
from secondglance.models.choices import MASK_METHODS
from secondglance.models.weights import REFINEMENT, read_calibration


class _RefineInputSpec(NetworkSpec, PoseSpec):
    stack = File(exists=True, mandatory=True, desc='whole-head slices, (H, W, N)')
    probabilities_stack = File(exists=True, mandatory=True, desc='first glance, (H, W, N, 4)')
    enhanced_stack = File(exists=True, mandatory=True, desc='enhanced saliency, (H, W, N)')
    placed_stack = File(exists=True, mandatory=True, desc='placed mask, (H, W, N)')


class _RefineOutputSpec(TraitedSpec):
    refined_stack = File(exists=True, desc='probability of brain, (H, W, N)')


class Refine(SimpleInterface):
    """Refine the brain probability with a network that takes neighbouring slices."""

    input_spec = _RefineInputSpec
    output_spec = _RefineOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        from secondglance.models.brain_refinement import refine
        from secondglance.models.segment import brain_probability

        head, affine = read_head_stack(self.inputs.stack, Pose(**self.inputs.pose).species)
        first, _ = read_stack(self.inputs.probabilities_stack)
        probability = refine(
            load_model(self.inputs, REFINEMENT),
            head.images,
            brain_probability(first, head.images),
            read_stack(self.inputs.enhanced_stack)[0],
            read_stack(self.inputs.placed_stack)[0],
            head.positions,
            device_of(self.inputs),
        )
        path = in_cwd(self.inputs.stack, runtime, '_refined')
        self._results['refined_stack'] = write_stack(probability, affine, path)
        return runtime


class _SelectMaskInputSpec(PoseSpec):
    stack = File(exists=True, mandatory=True, desc='whole-head slices, (H, W, N)')
    probabilities_stack = File(exists=True, mandatory=True, desc='first glance, (H, W, N, 4)')
    refined_stack = File(exists=True, mandatory=True, desc='probability of brain, (H, W, N)')
    placed_stack = File(exists=True, mandatory=True, desc='placed mask, (H, W, N)')
    placement = File(exists=True, mandatory=True, desc='a row a slice (.tsv)')
    refinement = File(exists=True, mandatory=True, desc='its weights, for the calibration')
    method = traits.Enum(*MASK_METHODS, usedefault=True, desc='how the mask is made')
    like = File(exists=True, mandatory=True, desc='volume with the grid of the mask')


class _SelectMaskOutputSpec(TraitedSpec):
    brain_mask = File(exists=True, desc='mask on the grid of `like`')
    mask_stack = File(exists=True, desc='mask, soft at its outline, (H, W, N)')
    placement = File(exists=True, desc='the rows, with the probability of a good mask (.tsv)')
    confidence = File(exists=True, desc='method and probability of a good mask (.json)')


class SelectMask(SimpleInterface):
    """Select the brain mask, and report the probability that it is good."""

    input_spec = _SelectMaskInputSpec
    output_spec = _SelectMaskOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        from secondglance.models.segment import brain_probability

        pose, path = Pose(**self.inputs.pose), self.inputs.placed_stack
        head, affine = read_head_stack(path, pose.species)
        placed = head.images >= 0.5
        first, _ = read_stack(self.inputs.probabilities_stack)
        rows = read_tsv(self.inputs.placement)
        evidence = MaskEvidence(
            first=brain_probability(first, read_stack(self.inputs.stack)[0]),
            refined=read_stack(self.inputs.refined_stack)[0],
            placed=placed,
            peaks=np.array([row['peak'] for row in rows]),
            voxel_mm3=head.spacing**2 * head.thickness,
        )
        calibration = read_calibration(self.inputs.refinement)
        taken = select_mask(
            self.inputs.method, evidence, head.spacing, head.thickness, calibration
        )
        self._results['mask_stack'] = write_stack(
            taken.mask, affine, in_cwd(path, runtime, '_brain')
        )
        alike = agreement(taken.mask >= 0.5, placed)
        for row, agreed, probability in zip(rows, alike, taken.slice_confidence, strict=True):
            row |= {'agreement': agreed, 'probability': probability}
        self._results['placement'] = write_tsv(rows, in_cwd(path, runtime, '_agreed', '.tsv'))

        like = nib.load(self.inputs.like)
        mask = self.inputs.grid(self.inputs.like).to_native(taken.mask) >= 0.5
        self._results['brain_mask'] = write_like(
            mask.astype(np.uint8), like, in_cwd(self.inputs.like, runtime, '_brain_mask')
        )
        self._results['confidence'] = in_cwd(path, runtime, '_confidence', '.json')
        Path(self._results['confidence']).write_text(
            json.dumps(
                {
                    'Method': taken.method,
                    'MethodAskedFor': self.inputs.method,
                    'Confidence': taken.confidence,
                    'ConfidenceMeaning': f'probability of a Dice of at least {GOOD_DICE}',
                    'ConfidenceOfMethods': taken.candidates,
                    'Species': pose.species,
                    'BrainVolume': float(mask.sum()) * voxel_volume(affine_of(like)),
                }
            )
        )
        return runtime
