"""Interfaces of what a lab analyses next: the corrected series, and the brain alone."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    Bunch,
    File,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from secondglance.files.gradient_table import read_bvals, read_bvecs
from secondglance.files.nifti import read_volume
from secondglance.files.nifti_header import affine_of, scale_of, with_position
from secondglance.files.stacks import write_like
from secondglance.imaging.diffusion import B0_THRESHOLD, rotate_bvecs
from secondglance.imaging.motion import resample_motion
from secondglance.imaging.series_motion import series_motion, shells
from secondglance.interfaces.stacks import in_cwd


class _CorrectSeriesInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='raw scan, (X, Y, Z[, T])')
    bval_file = File(exists=True, desc='b-values, s/mm²')
    bvec_file = File(exists=True, desc='gradient directions')
    threshold = traits.Float(B0_THRESHOLD, usedefault=True, desc='largest b-value of a b0 volume')
    transforms = File(exists=True, mandatory=True, desc='motion of the b0 volumes (.json)')
    mean_file = File(exists=True, mandatory=True, desc='mean of the corrected b0 volumes')
    estimate = traits.Bool(
        True, usedefault=True, desc='estimate the motion of diffusion-weighted volumes'
    )
    num_threads = traits.Range(
        low=1, value=1, usedefault=True, nohash=True, desc='volumes at the same time'
    )


class _CorrectSeriesOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc='series, every volume on the reference')
    bval_file = File(exists=True, desc='its b-values')
    bvec_file = File(exists=True, desc='its gradient directions, turned with the volumes')
    about = File(exists=True, desc='matrices, world mm, volume to reference (.json)')


class CorrectSeries(SimpleInterface):
    """Bring every volume of a series to the reference, and turn its gradient directions."""

    input_spec = _CorrectSeriesInputSpec
    output_spec = _CorrectSeriesOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        image, voxels = read_volume(self.inputs.in_file)
        voxels = voxels.reshape(*voxels.shape[:3], -1)
        n_volumes = voxels.shape[3]
        mean = nib.load(self.inputs.mean_file)
        affine = affine_of(mean)
        told = json.loads(Path(self.inputs.transforms).read_text())
        bvals = read_bvals(self.inputs.bval_file) if isdefined(self.inputs.bval_file) else None
        weighted = []
        if self.inputs.estimate and bvals is not None:
            weighted = shells(bvals, bvals > self.inputs.threshold)
        threads = self.inputs.num_threads
        matrices = series_motion(
            voxels,
            affine,
            weighted,
            told['volumes'],
            told['matrices'],
            np.asarray(mean.dataobj, np.float32),
            n_threads=threads,
        )
        series = resample_motion(voxels, affine, matrices, threads)
        corrected = with_position(series, image, scale_of(mean))
        if len(image.shape) > 3:
            corrected.header['pixdim'][4] = image.header['pixdim'][4]
        path = self._results['out_file'] = in_cwd(self.inputs.in_file, runtime, '_preproc')
        nib.save(corrected, path)
        if bvals is not None:
            self._results['bval_file'] = in_cwd(self.inputs.in_file, runtime, '_preproc', '.bval')
            np.savetxt(self._results['bval_file'], bvals[None], fmt='%g')
        if isdefined(self.inputs.bvec_file):
            bvecs = read_bvecs(self.inputs.bvec_file, n_volumes)
            self._results['bvec_file'] = in_cwd(self.inputs.in_file, runtime, '_preproc', '.bvec')
            turned = rotate_bvecs(bvecs, matrices, affine)
            np.savetxt(self._results['bvec_file'], turned, fmt='%.8f')
        self._results['about'] = in_cwd(self.inputs.in_file, runtime, '_preproc', '.json')
        about = {
            'Millimetres': 'of the animal: lengths of the header divided by HeaderScale',
            'HeaderScale': scale_of(mean),
            'MotionMatrices': matrices.round(9).tolist(),
        }
        Path(self._results['about']).write_text(json.dumps(about) + '\n')
        return runtime


class _BrainImageInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='3-D volume of a head')
    mask_file = File(exists=True, mandatory=True, desc='brain mask, (X, Y, Z)')


class _BrainImageOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc='brain without coil field, 0 outside')


class BrainImage(SimpleInterface):
    """Free the brain of its coil field, and leave out all else."""

    input_spec = _BrainImageInputSpec
    output_spec = _BrainImageOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        from secondglance.imaging.coil_field import remove_field

        image, mask = nib.load(self.inputs.in_file), nib.load(self.inputs.mask_file)
        brain = remove_field(
            np.asarray(image.dataobj, np.float32),
            np.asarray(mask.dataobj) > 0,
            nib.affines.voxel_sizes(affine_of(image)),
        )
        self._results['out_file'] = write_like(
            brain, image, in_cwd(self.inputs.in_file, runtime, '_brain')
        )
        return runtime
