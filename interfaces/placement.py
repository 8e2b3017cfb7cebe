"""Interface that places a donor's brain mask by cross-correlation."""

import json
from pathlib import Path

import numpy as np
from nipype.interfaces.base import (
    Bunch,
    File,
    InputMultiObject,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from secondglance.files.stacks import read_stack, write_stack
from secondglance.files.tables import write_tsv
from secondglance.imaging.placement.donors import Donor, Placement, place_from_bank
from secondglance.imaging.pose import Pose
from secondglance.interfaces.stacks import PoseSpec, in_cwd, read_head_stack


class _PlaceInputSpec(PoseSpec):
    enhanced_stack = File(exists=True, mandatory=True, desc='enhanced saliency, (H, W, N)')
    donor_enhanced = InputMultiObject(
        File(exists=True), mandatory=True, desc='that of each donor, in the size of a rat'
    )
    donor_masks = InputMultiObject(File(exists=True), mandatory=True, desc='their brain masks')
    similarity = traits.Bool(
        False, usedefault=True, desc='scale and turn the mask in plane, beside moving it'
    )
    num_threads = traits.Range(
        low=1, value=1, usedefault=True, nohash=True, desc='donors at the same time'
    )


class _PlaceOutputSpec(TraitedSpec):
    placed_stack = File(exists=True, desc='placed mask, (H, W, N)')
    kernel_stack = File(exists=True, desc='kernel of each slice and its mask, (h, w, N, 2)')
    placement = File(exists=True, desc='a row a slice (.tsv)')
    donor = File(exists=True, desc='donor taken, offset, scale, score and slices (.json)')


class Place(SimpleInterface):
    """Match a donor's slices, correlate, replace outlier shifts, and place its mask."""

    input_spec = _PlaceInputSpec
    output_spec = _PlaceOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        pose, path = Pose(**self.inputs.pose), self.inputs.enhanced_stack
        head, affine = read_head_stack(path, pose.species)
        found = place_from_bank(
            head.images,
            head.positions,
            self._donors(),
            similarity=self.inputs.similarity,
            n_threads=self.inputs.num_threads,
        )
        self._results['placed_stack'] = write_stack(
            found.mask, affine, in_cwd(path, runtime, '_placed')
        )
        kernels = np.stack([found.match.kernels, found.match.mask], axis=1)
        self._results['kernel_stack'] = write_stack(
            kernels.astype(np.float32), affine, in_cwd(path, runtime, '_kernels')
        )
        size = pose.relative_size
        rows = placement_rows(found, head.positions * size, head.spacing * size)
        self._results['placement'] = write_tsv(rows, in_cwd(path, runtime, '_placement', '.tsv'))
        self._results['donor'] = in_cwd(path, runtime, '_donor', '.json')
        match = found.match
        Path(self._results['donor']).write_text(
            json.dumps(
                {
                    'donor': match.index,
                    'scores': match.scores,
                    'offset_mm': float(match.slices.offset_mm) * size,
                    'scale': float(match.slices.scale),
                    'slices': match.slices.nearest.tolist(),
                    'in_plane_scale': match.scale,
                    'degrees': match.degrees,
                }
            )
        )
        return runtime

    def _donors(self) -> list[Donor]:
        donors = []
        for enhanced, mask in zip(
            self.inputs.donor_enhanced, self.inputs.donor_masks, strict=True
        ):
            head, _ = read_head_stack(enhanced, 'rat')
            donors.append(Donor(head.images, read_stack(mask)[0] >= 0.5, head.positions))
        return donors


def placement_rows(found: Placement, positions: np.ndarray, spacing: float) -> list[dict]:
    """Table of a placement, a row a slice.

    Parameters
    ----------
    found : Placement
    positions : (N,) array
        Of the slices, mm of the animal.
    spacing : float
        In plane, mm of the animal.

    Returns
    -------
    list of dict
    """
    return [
        {
            'slice': n,
            'position_mm': positions[n],
            'donor': found.match.index,
            'donor_slice': found.donor_slice[n],
            'shift_x_mm': found.shifts[n, 0] * spacing,
            'shift_y_mm': found.shifts[n, 1] * spacing,
            'found_x_mm': found.own_shifts[n, 0] * spacing,
            'found_y_mm': found.own_shifts[n, 1] * spacing,
            'peak': found.peaks[n],
            'peak_ratio': found.ratios[n],
            'confidence': found.confidence[n],
            'replaced': bool(found.replaced[n]),
        }
        for n in range(len(positions))
    ]
