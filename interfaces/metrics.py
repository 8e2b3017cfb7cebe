"""Interface that compares a segmentation with a reference."""

from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
from nipype.interfaces.base import (
    Bunch,
    File,
    SimpleInterface,
    TraitedSpec,
    isdefined,
)

from secondglance.files.labels import class_labels, read_reference
from secondglance.files.nifti_header import affine_of, grid_of
from secondglance.files.stacks import write_stack
from secondglance.files.tables import write_tsv
from secondglance.imaging.labels import CLASSES
from secondglance.imaging.metrics import (
    dice,
    per_slice_metrics,
    segmentation_metrics,
)
from secondglance.imaging.pose import Pose
from secondglance.interfaces.stacks import PoseSpec, in_cwd


class _MetricsInputSpec(PoseSpec):
    dseg = File(exists=True, mandatory=True, desc='labels found')
    brain_mask = File(exists=True, mandatory=True, desc='brain mask found')
    reference = File(exists=True, mandatory=True, desc='reference labels, or a brain mask')
    label_table = File(exists=True, desc='what the labels of the reference are (.tsv)')
    first_probabilities = File(
        exists=True, desc='the first glance, (X, Y, Z, 4): scored beside the second'
    )


class _MetricsOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc='metrics of the volume, a row a class (.tsv)')
    slices_file = File(exists=True, desc='metrics of every slice, posterior first (.tsv)')
    reference_stack = File(exists=True, desc='labels of the reference as a stack, (H, W, N)')


class Metrics(SimpleInterface):
    """Compare a segmentation with a reference, for every class and the brain."""

    input_spec = _MetricsInputSpec
    output_spec = _MetricsOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        found = nib.load(self.inputs.dseg)
        labels = class_labels(found.dataobj)
        mask = np.asarray(nib.load(self.inputs.brain_mask).dataobj) > 0
        table = Path(self.inputs.label_table) if isdefined(self.inputs.label_table) else None
        read = read_reference(Path(self.inputs.reference), table)
        reference = read.labels
        voxel_size = nib.affines.voxel_sizes(affine_of(found))
        grid = grid_of(self.inputs.dseg, Pose(**self.inputs.pose))
        self._results['reference_stack'] = write_stack(
            grid.to_stack(reference.astype(np.float32), order=0),
            grid.affine,
            in_cwd(self.inputs.dseg, runtime, '_reference'),
        )
        tables = []
        by_slice = partial(per_slice_metrics, axis=grid.slice_axis, backwards=grid.flips[0])
        for function in (segmentation_metrics, by_slice):
            # The brain is judged by the mask, the tissues by the labels
            brain = mask.astype(int), (reference > 0).astype(int)
            rows = function(*brain, voxel_size, labels=CLASSES[:1])
            if read.tissues:
                rows += [
                    row
                    for row in function(labels, reference, voxel_size)
                    if row['label'] in CLASSES
                ]
            tables.append(rows)
        if isdefined(self.inputs.first_probabilities):
            self._add_first(tables[0], reference)
        for key, rows, suffix in zip(
            ('out_file', 'slices_file'), tables, ('_metrics', '_slices'), strict=True
        ):
            self._results[key] = write_tsv(rows, in_cwd(self.inputs.dseg, runtime, suffix, '.tsv'))
        return runtime

    def _add_first(self, rows: list[dict], reference: np.ndarray) -> None:
        """Put the Dice of the first glance beside that of the second."""
        first = np.asarray(nib.load(self.inputs.first_probabilities).dataobj)
        labels = first.argmax(-1)
        for row in rows:
            if row['label'] == 'brain':
                # As a mask is made of it: more likely tissue than not
                found, true = first[..., 0] < 0.5, reference > 0
            else:
                value = CLASSES.index(row['label'])
                found, true = labels == value, reference == value
            row['dsc_first_glance'] = dice(found, true)
