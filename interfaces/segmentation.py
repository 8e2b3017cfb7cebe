"""Interfaces that turn probabilities into labels, and labels into figures."""

import nibabel as nib
import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    OutputMultiObject,
    SimpleInterface,
    TraitedSpec,
    isdefined,
)

from secondglance.imaging.labels import CLASSES, TISSUES
from secondglance.imaging.metrics import (
    dice,
    per_slice_metrics,
    segmentation_metrics,
    tissue_volumes,
)
from secondglance.interfaces.stacks import affine_of, in_cwd


def _write_tsv(rows: list[dict], path: str) -> str:
    import pandas as pd

    pd.DataFrame(rows).to_csv(path, sep='\t', index=False, na_rep='n/a', float_format='%.6g')
    return path


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
        self._results['volumes'] = _write_tsv(
            tissue_volumes(dseg, voxel_volume),
            in_cwd(self.inputs.in_file, runtime, '_volumes', '.tsv'),
        )
        return runtime


class _MetricsInputSpec(BaseInterfaceInputSpec):
    dseg = File(exists=True, mandatory=True, desc='labels found')
    brain_mask = File(exists=True, mandatory=True, desc='brain mask found')
    reference = File(exists=True, mandatory=True, desc='reference labels, or a brain mask')
    first_probabilities = File(
        exists=True, desc='the first glance, (X, Y, Z, 4): scored beside the second'
    )


class _MetricsOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc='metrics of the volume, a row a class (.tsv)')
    slices_file = File(exists=True, desc='metrics of every slice (.tsv)')


class Metrics(SimpleInterface):
    """Compare a segmentation with a reference, for every class and the brain."""

    input_spec = _MetricsInputSpec
    output_spec = _MetricsOutputSpec

    def _run_interface(self, runtime):
        from secondglance.imaging.slices import slice_grid

        found = nib.load(self.inputs.dseg)
        labels = np.asarray(found.dataobj).astype(np.uint8)
        mask = np.asarray(nib.load(self.inputs.brain_mask).dataobj) > 0
        reference = np.rint(np.asarray(nib.load(self.inputs.reference).dataobj)).astype(int)
        voxel_size = nib.affines.voxel_sizes(affine_of(found))
        axis = slice_grid(found.shape, found.affine, float(min(voxel_size))).slice_axis
        # A reference of zeros and ones is a brain mask: it says nothing of tissues
        only_brain = reference.max() <= 1
        tables = []
        for function, options in (
            (segmentation_metrics, {}),
            (per_slice_metrics, {'axis': axis}),
        ):
            # The brain is judged by the mask, the tissues by the labels
            rows = function(mask.astype(int), (reference > 0).astype(int), voxel_size, **options)
            rows = [row for row in rows if row['label'] == 'brain']
            if not only_brain:
                rows += [
                    row
                    for row in function(labels, reference, voxel_size, **options)
                    if row['label'] in CLASSES
                ]
            tables.append(rows)
        if isdefined(self.inputs.first_probabilities):
            self._add_first(tables[0], reference)
        for key, rows, suffix in zip(
            ('out_file', 'slices_file'), tables, ('_metrics', '_slices'), strict=True
        ):
            self._results[key] = _write_tsv(
                rows, in_cwd(self.inputs.dseg, runtime, suffix, '.tsv')
            )
        return runtime

    def _add_first(self, rows, reference):
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
