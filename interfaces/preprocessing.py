"""Interfaces of the preprocessing: b0 volumes, their motion, their mean."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from secondglance.files.geometry import (
    affine_of,
    check_geometry,
    mark_scale,
    scale_of,
    with_position,
)
from secondglance.files.gradients import read_bvals
from secondglance.files.nifti import read_volume, reading_notes
from secondglance.files.tables import read_tsv, write_tsv
from secondglance.imaging.diffusion import B0_THRESHOLD, leave_out_empty, select_b0
from secondglance.imaging.errors import InputError
from secondglance.imaging.motion import (
    estimate_motion,
    framewise_displacement,
    motion_parameters,
    resample_motion,
)
from secondglance.imaging.pose import Pose
from secondglance.imaging.species import HEAD_RADIUS_MM
from secondglance.interfaces.mcflirt import mcflirt_matrices
from secondglance.interfaces.stacks import in_cwd

PARAMETERS = ('trans_x', 'trans_y', 'trans_z', 'rot_x', 'rot_y', 'rot_z')


class _SelectB0InputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='raw scan, (X, Y, Z[, T])')
    bval_file = File(exists=True, desc='b-values, s/mm²')
    threshold = traits.Float(B0_THRESHOLD, usedefault=True, desc='largest b-value, s/mm²')
    voxel_scale = traits.Float(desc='header lengths are multiplied by it to be mm')
    all_b0 = traits.Bool(False, usedefault=True, desc='no volume is diffusion-weighted')


class _SelectB0OutputSpec(TraitedSpec):
    out_file = File(exists=True, desc='b0 volumes, (X, Y, Z, B)')
    volumes = traits.List(traits.Int(), desc='their places in the scan')
    notes = traits.List(traits.Str(), desc='what a person should know of the file')


class SelectB0(SimpleInterface):
    """Take the volumes without diffusion weighting out of a scan."""

    input_spec = _SelectB0InputSpec
    output_spec = _SelectB0OutputSpec

    def _run_interface(self, runtime):
        image, voxels = read_volume(self.inputs.in_file)
        voxels = voxels.reshape(*voxels.shape[:3], -1)
        bvals = read_bvals(self.inputs.bval_file) if isdefined(self.inputs.bval_file) else None
        try:
            chosen = select_b0(bvals, voxels.shape[3], self.inputs.threshold, self.inputs.all_b0)
            chosen, empty = leave_out_empty(voxels, chosen)
        except InputError as error:
            raise InputError(f'{self.inputs.in_file}: {error}') from error
        asked = self.inputs.voxel_scale if isdefined(self.inputs.voxel_scale) else None
        geometry = check_geometry(image, voxels[..., chosen[0]], asked)
        self._results['out_file'] = in_cwd(self.inputs.in_file, runtime, '_b0')
        path = self._results['out_file']
        _save_like(voxels[..., chosen], image, path, geometry.scale)
        self._results['volumes'] = chosen.tolist()
        self._results['notes'] = [*reading_notes(image), *geometry.notes]
        if len(empty):
            left_out = ', '.join(map(str, empty))
            self._results['notes'].append(f'Volumes {left_out} hold nothing and were left out.')
        return runtime


class _MotionInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='b0 volumes, (X, Y, Z, B)')
    volumes = traits.List(traits.Int(), mandatory=True, desc='their places in the scan')
    engine = traits.Str(desc='what corrects the motion: another engine is another result')
    num_threads = traits.Range(
        low=1, value=1, usedefault=True, nohash=True, desc='volumes at the same time'
    )


class _MotionOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc='motion-corrected volumes')
    confounds = File(exists=True, desc='motion, a row a volume (.tsv)')
    transforms = File(exists=True, desc='matrices, world mm, volume to reference (.json)')
    engine = File(exists=True, desc='what corrected the motion (.json)')


class _MotionCorrection(SimpleInterface):
    """What the engines share; each says how matrices are found."""

    input_spec = _MotionInputSpec
    output_spec = _MotionOutputSpec
    _engine = ''

    def __init__(self, **inputs):
        # Results are cached by what goes in alone: without it, engines would share theirs
        super().__init__(engine=self._engine, **inputs)

    def _estimate(self, image, volumes, runtime) -> tuple[np.ndarray, int, str]:
        """Matrices (B, 4, 4), the reference's place, and the engine's version."""
        raise NotImplementedError

    def _run_interface(self, runtime):
        image, volumes = read_volume(self.inputs.in_file)
        volumes = volumes.reshape(*volumes.shape[:3], -1)
        if volumes.shape[3] == 1:
            matrices, reference, version = np.eye(4)[None], 0, ''
        else:
            matrices, reference, version = self._estimate(image, volumes, runtime)
        corrected = resample_motion(
            volumes, affine_of(image), matrices, n_threads=self.inputs.num_threads
        )
        self._results['out_file'] = in_cwd(self.inputs.in_file, runtime, '_corrected')
        _save_like(corrected, image, self._results['out_file'])
        self._write_tables(image, matrices, reference, version, runtime)
        return runtime

    def _write_tables(self, image, matrices, reference, version, runtime):
        middle = nib.affines.apply_affine(affine_of(image), (np.array(image.shape[:3]) - 1) / 2)
        parameters = motion_parameters(matrices, middle)
        rows = [
            {'volume': volume, **dict(zip(PARAMETERS, map(float, values), strict=True))}
            for volume, values in zip(self.inputs.volumes, parameters, strict=True)
        ]
        path = in_cwd(self.inputs.in_file, runtime, '_confounds', '.tsv')
        self._results['confounds'] = write_tsv(rows, path, digits=8)
        contents = {
            'transforms': {
                'reference': int(self.inputs.volumes[reference]),
                'volumes': list(self.inputs.volumes),
                'matrices': np.asarray(matrices).tolist(),
            },
            'engine': {
                'engine': self._engine if len(matrices) > 1 else 'none: one volume',
                'engine_version': version,
                'n_b0': len(matrices),
                'b0_volumes': list(self.inputs.volumes),
                'header_scale': scale_of(image),
            },
        }
        for name, content in contents.items():
            self._results[name] = in_cwd(self.inputs.in_file, runtime, f'_{name}', '.json')
            Path(self._results[name]).write_text(json.dumps(content, indent=2) + '\n')


class SitkMotion(_MotionCorrection):
    """Correct motion with the embedded engine, SimpleITK."""

    _engine = 'SimpleITK'

    def _estimate(self, image, volumes, runtime):
        import SimpleITK as sitk

        matrices, reference = estimate_motion(
            volumes, affine_of(image), n_threads=self.inputs.num_threads
        )
        return matrices, reference, sitk.Version_VersionString()


class NoMotion(_MotionCorrection):
    """Leave volumes where they are."""

    _engine = 'none'

    def _estimate(self, image, volumes, runtime):
        return np.tile(np.eye(4), (volumes.shape[3], 1, 1)), 0, ''


class McflirtMotion(_MotionCorrection):
    """Correct motion with FSL's MCFLIRT, on a header scaled to human voxels."""

    _engine = 'FSL MCFLIRT'

    def _estimate(self, image, volumes, runtime):
        return mcflirt_matrices(volumes, affine_of(image), Path(runtime.cwd) / 'mcflirt')


ENGINES = {'fsl': McflirtMotion, 'sitk': SitkMotion, 'none': NoMotion}


class _DisplacementInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='motion, a row a volume (.tsv)')
    pose = traits.Dict(mandatory=True, desc='pose of the head: its species gives the radius')


class _DisplacementOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc='the same with framewise displacement (.tsv)')
    about = File(exists=True, desc='with which head radius (.json)')


class Displacement(SimpleInterface):
    """Tell how far a head of its size moved from volume to volume."""

    input_spec = _DisplacementInputSpec
    output_spec = _DisplacementOutputSpec

    def _run_interface(self, runtime):
        radius = HEAD_RADIUS_MM[Pose(**self.inputs.pose).species]
        rows = read_tsv(self.inputs.in_file)
        displacement = framewise_displacement(
            np.array([[row[name] for name in PARAMETERS] for row in rows]), radius
        )
        for row, value in zip(rows, displacement, strict=True):
            row['framewise_displacement'] = float(value)
        path = in_cwd(self.inputs.in_file, runtime, '_displaced', '.tsv')
        self._results['out_file'] = write_tsv(rows, path, digits=8)
        self._results['about'] = in_cwd(self.inputs.in_file, runtime, '_displaced', '.json')
        about = {'framewise_displacement': {'Units': 'mm', 'HeadRadius': radius}}
        Path(self._results['about']).write_text(json.dumps(about) + '\n')
        return runtime


class _MeanVolumeInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='series, (X, Y, Z, B)')


class _MeanVolumeOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc='mean over the volumes, float32')


class MeanVolume(SimpleInterface):
    """Average the volumes of a series."""

    input_spec = _MeanVolumeInputSpec
    output_spec = _MeanVolumeOutputSpec

    def _run_interface(self, runtime):
        image, volumes = read_volume(self.inputs.in_file)
        mean = volumes.reshape(*volumes.shape[:3], -1).mean(axis=3, dtype=np.float64)
        self._results['out_file'] = in_cwd(self.inputs.in_file, runtime, '_mean')
        _save_like(mean, image, self._results['out_file'])
        return runtime


def _save_like(voxels: np.ndarray, image, path: str, scale: float | None = None) -> None:
    """Write float32 voxels on the grid, and with the position and units, of an image.

    By how much its lengths are too large goes with it, so that it is estimated only once.
    """
    out = with_position(np.asarray(voxels, np.float32), image)
    mark_scale(out.header, scale_of(image) if scale is None else scale)
    nib.save(out, path)
