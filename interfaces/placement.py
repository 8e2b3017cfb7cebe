"""Interfaces that place another animal's brain mask by cross-correlation."""

import json
from pathlib import Path

import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiObject,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from secondglance.files.stacks import read_stack, write_stack
from secondglance.imaging.placement.correlation import (
    best_shift,
    correlate,
    place_mask,
    standardise,
)
from secondglance.imaging.placement.donors import Donor, match_donors
from secondglance.imaging.placement.shifts import reconcile
from secondglance.imaging.species import BRAIN_SIZE
from secondglance.interfaces.stacks import in_cwd


def slice_positions(affine: np.ndarray, n_slices: int) -> np.ndarray:
    """Positions of a stack's slices along their direction, mm, zero at the stack's middle."""
    thickness = np.linalg.norm(affine[:3, 2])
    return (np.arange(n_slices) - (n_slices - 1) / 2) * thickness


class _MatchDonorInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='enhanced saliency, (H, W, N)')
    enhanced = InputMultiObject(File(exists=True), mandatory=True, desc="the donors' own")
    masks = InputMultiObject(File(exists=True), mandatory=True, desc="the donors' brain masks")
    similarity = traits.Bool(
        False, usedefault=True, desc='scale and turn the mask in plane, beside moving it'
    )
    species = traits.Enum(*BRAIN_SIZE, usedefault=True, desc='whose head; donors are as rats')


class _MatchDonorOutputSpec(TraitedSpec):
    kernels = File(exists=True, desc='for each slice, its donor slice inside the mask, (H, W, N)')
    mask = File(exists=True, desc="for each slice, its donor slice's mask, not yet placed")
    match = File(exists=True, desc='donor taken, offset, scale, score and slices (.json)')


class MatchDonor(SimpleInterface):
    """Find the best correlated donor, and which of its slices goes with which."""

    input_spec = _MatchDonorInputSpec
    output_spec = _MatchDonorOutputSpec

    def _run_interface(self, runtime):
        enhanced, affine = read_stack(self.inputs.in_file)
        donors, size = [], BRAIN_SIZE[self.inputs.species]
        for saliency_file, mask_file in zip(self.inputs.enhanced, self.inputs.masks, strict=True):
            saliency, donor_affine = read_stack(saliency_file)
            positions = slice_positions(donor_affine, len(saliency)) * size
            donors.append(Donor(saliency, read_stack(mask_file)[0] >= 0.5, positions))
        positions = slice_positions(affine, len(enhanced))
        found = match_donors(enhanced, positions, donors, self.inputs.similarity)
        for name, stack in (('kernels', found.kernels), ('mask', found.mask)):
            path = in_cwd(self.inputs.in_file, runtime, f'_{name}')
            self._results[name] = write_stack(stack, affine, path)
        self._results['match'] = in_cwd(self.inputs.in_file, runtime, '_match', '.json')
        Path(self._results['match']).write_text(
            json.dumps(
                {
                    'donor': found.index,
                    'scores': found.scores,
                    'offset_mm': float(found.match.offset_mm),
                    'scale': float(found.match.scale),
                    'slices': found.match.nearest.tolist(),
                    'in_plane_scale': found.scale,
                    'degrees': found.degrees,
                }
            )
        )
        return runtime


class _PlaceMaskInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='enhanced saliency of a slab, (H, W, N)')
    kernel_file = File(exists=True, mandatory=True, desc='kernel of each slice, (h, w, N)')


class _PlaceMaskOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc='shift, peak and peak ratio of each slice (.json)')


class PlaceMask(SimpleInterface):
    """Find the shift at which saliency and kernel correlate best, slice by slice."""

    input_spec = _PlaceMaskInputSpec
    output_spec = _PlaceMaskOutputSpec

    def _run_interface(self, runtime):
        enhanced, _ = read_stack(self.inputs.in_file)
        kernels, _ = read_stack(self.inputs.kernel_file)
        shifts, peaks, ratios = best_shift(
            # Coefficients of correlation: bright patches of muscle would win otherwise
            correlate(standardise(enhanced), standardise(kernels))
        )
        self._results['out_file'] = in_cwd(self.inputs.in_file, runtime, '_shifts', '.json')
        Path(self._results['out_file']).write_text(
            json.dumps(
                {
                    'shifts': shifts.tolist(),
                    'peaks': peaks.tolist(),
                    'peak_ratios': ratios.tolist(),
                }
            )
        )
        return runtime


class _ReconcileInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='masks not yet placed, (H, W, N)')
    shifts = InputMultiObject(File(exists=True), mandatory=True, desc='of every slab, in order')
    match = File(exists=True, mandatory=True, desc='donor taken and its slices (.json)')
    tolerance = traits.Float(2.0, usedefault=True, desc='pixels off the fit: an outlier')


class _ReconcileOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc='placed mask, (H, W, N)')
    placement = File(exists=True, desc='a row a slice (.tsv)')


class ReconcilePlacement(SimpleInterface):
    """Overrule slices whose shift their neighbours contradict, and place the mask."""

    input_spec = _ReconcileInputSpec
    output_spec = _ReconcileOutputSpec

    def _run_interface(self, runtime):
        import pandas as pd

        masks, affine = read_stack(self.inputs.in_file)
        parts = [json.loads(Path(path).read_text()) for path in self.inputs.shifts]
        columns = {key: np.concatenate([p[key] for p in parts]) for key in parts[0]}
        match = json.loads(Path(self.inputs.match).read_text())
        donor_slices = np.asarray(match['slices'])
        positions = slice_positions(affine, len(masks))
        weights = np.where(donor_slices >= 0, np.maximum(columns['peaks'], 0), 0)
        shifts, replaced, confidence = reconcile(
            columns['shifts'], weights, positions, tolerance_px=self.inputs.tolerance
        )
        placed = np.stack(
            [place_mask(mask >= 0.5, shift) for mask, shift in zip(masks, shifts, strict=True)]
        )
        self._results['out_file'] = write_stack(
            placed, affine, in_cwd(self.inputs.in_file, runtime, '_placed')
        )
        spacing = np.linalg.norm(affine[:3, :2], axis=0)
        self._results['placement'] = in_cwd(self.inputs.in_file, runtime, '_placement', '.tsv')
        pd.DataFrame(
            {
                'slice': np.arange(len(masks)),
                'position_mm': positions,
                'donor': match['donor'],
                'donor_slice': donor_slices,
                'shift_x_mm': shifts[:, 0] * spacing[0],
                'shift_y_mm': shifts[:, 1] * spacing[1],
                'found_x_mm': columns['shifts'][:, 0] * spacing[0],
                'found_y_mm': columns['shifts'][:, 1] * spacing[1],
                'peak': columns['peaks'],
                'peak_ratio': columns['peak_ratios'],
                'confidence': confidence,
                'replaced': replaced,
            }
        ).to_csv(self._results['placement'], sep='\t', index=False, float_format='%.6g')
        return runtime
