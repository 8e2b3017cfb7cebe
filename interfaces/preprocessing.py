"""Interfaces of the preprocessing: b0 volumes, their motion, their mean."""

import json
from functools import partial
from pathlib import Path
from typing import Any

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
from numpy.typing import NDArray

from secondglance.files.gradient_table import read_bvals
from secondglance.files.nifti import check_values, read_volume, reading_notes
from secondglance.files.nifti_header import (
    affine_of,
    check_geometry,
    scale_of,
    with_position,
)
from secondglance.files.tables import read_tsv, write_tsv
from secondglance.imaging.diffusion import B0_THRESHOLD, leave_out_empty, select_b0
from secondglance.imaging.errors import InputError
from secondglance.imaging.grids import slice_grid
from secondglance.imaging.motion import (
    WITHIN_VOLUME,
    estimate_motion,
    framewise_displacement,
    itk_text,
)
from secondglance.imaging.motion_correction import (
    PARAMETERS,
    CorrectedSeries,
    MotionEstimate,
    correct_motion,
    find_noise,
    motion_table,
)
from secondglance.imaging.pose import Pose
from secondglance.imaging.species import AUTO, BRAIN_SIZE, HEAD_RADIUS_MM
from secondglance.interfaces.mcflirt import mcflirt_in_region, mcflirt_on_head
from secondglance.interfaces.network import device_of, load_model
from secondglance.interfaces.stacks import in_cwd
from secondglance.models.choices import TURNS

LEFT_OUT = {
    'zeros': 'they hold nothing',
    'noise': 'they hold nothing but noise',
    'registration': 'they could not be brought to the others',
}
"""Why volumes are left out of the mean, as the column ``excluded`` names it."""


class _SelectB0InputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='raw scan, (X, Y, Z[, T])')
    bval_file = File(exists=True, desc='b-values, s/mm²')
    threshold = traits.Float(B0_THRESHOLD, usedefault=True, desc='largest b-value, s/mm²')
    voxel_scale = traits.Float(desc='header lengths are multiplied by it to be mm')
    all_b0 = traits.Bool(False, usedefault=True, desc='no volume is diffusion-weighted')


class _SelectB0OutputSpec(TraitedSpec):
    out_file = File(exists=True, desc='b0 volumes, (X, Y, Z, B)')
    volumes = traits.List(traits.Int(), desc='their places in the scan')
    empty = traits.List(traits.Int(), desc='places of volumes that hold nothing')
    notes = traits.List(traits.Str(), desc='what a person should know of the file')


class SelectB0(SimpleInterface):
    """Take the volumes without diffusion weighting out of a scan."""

    input_spec = _SelectB0InputSpec
    output_spec = _SelectB0OutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        image, voxels = read_volume(self.inputs.in_file)
        voxels = voxels.reshape(*voxels.shape[:3], -1)
        bvals = read_bvals(self.inputs.bval_file) if isdefined(self.inputs.bval_file) else None
        try:
            chosen = select_b0(bvals, voxels.shape[3], self.inputs.threshold, self.inputs.all_b0)
            chosen, empty = leave_out_empty(voxels, chosen)
        except InputError as error:
            raise InputError(f'{self.inputs.in_file}: {error}') from error
        values = check_values(self.inputs.in_file, voxels[..., chosen[0]])
        asked = self.inputs.voxel_scale if isdefined(self.inputs.voxel_scale) else None
        geometry = check_geometry(image, voxels[..., chosen[0]], asked)
        self._results['out_file'] = in_cwd(self.inputs.in_file, runtime, '_b0')
        path = self._results['out_file']
        _save_like(voxels[..., chosen], image, path, geometry.scale)
        self._results['volumes'] = chosen.tolist()
        self._results['empty'] = empty.tolist()
        self._results['notes'] = [*reading_notes(image), *values, *geometry.notes]
        return runtime


class _MotionInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='b0 volumes, (X, Y, Z, B)')
    volumes = traits.List(traits.Int(), mandatory=True, desc='their places in the scan')
    empty = traits.List(traits.Int(), desc='places of volumes that hold nothing')
    notes = traits.List(traits.Str(), usedefault=True, desc='what is known of the file already')
    engine = traits.Str(desc='what corrects the motion: another engine is another result')
    weights = File(exists=True, desc='network that finds the brain; without: the head has a say')
    species = traits.Enum(AUTO, *BRAIN_SIZE, usedefault=True, desc='species, where known')
    turn = traits.Enum(*TURNS, usedefault=True, desc='degrees by which slices are turned')
    slice_axis = traits.Enum(
        'auto', 'i', 'j', 'k', usedefault=True, desc='voxel axis along which slices lie'
    )
    device = traits.Str('auto', usedefault=True, nohash=True, desc='auto, cpu, cuda or cuda:N')
    num_threads = traits.Range(
        low=1, value=1, usedefault=True, nohash=True, desc='volumes at the same time'
    )


class _MotionOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc='motion-corrected volumes, without those left out')
    confounds = File(exists=True, desc='motion, a row a volume (.tsv)')
    transforms = File(exists=True, desc='matrices, world mm, volume to reference (.json)')
    itk_transforms = File(
        exists=True, desc='the same for ITK and ANTs, reference to volume (.txt)'
    )
    engine = File(exists=True, desc='what corrected the motion (.json)')
    pose = traits.Dict(desc='of the head, as it was estimated to find the brain; else empty')
    notes = traits.List(traits.Str(), desc='what a person should know, a sentence each')


class _MotionCorrection(SimpleInterface):
    """What the engines share; each says how matrices are found."""

    input_spec = _MotionInputSpec
    output_spec = _MotionOutputSpec
    _engine = ''
    _judges = True

    def __init__(self, **inputs: Any):
        # Results are cached by what goes in alone: without it, engines would share theirs
        super().__init__(engine=self._engine, **inputs)

    def _estimate(
        self,
        volumes: NDArray,
        start: MotionEstimate | None,
        region: NDArray | None,
        *,
        affine: NDArray,
        folder: Path,
    ) -> MotionEstimate:
        """Find the motion, as `secondglance.imaging.motion_correction.Estimate` says."""
        raise NotImplementedError

    def _run_interface(self, runtime: Bunch) -> Bunch:
        image, voxels = read_volume(self.inputs.in_file)
        voxels = voxels.reshape(*voxels.shape[:3], -1)
        affine, noise = affine_of(image), find_noise(voxels)
        self._results['pose'] = {}
        volumes = voxels[..., ~noise] if noise.any() else voxels
        by_brain = self._judges and isdefined(self.inputs.weights)
        found = correct_motion(
            volumes,
            affine,
            partial(self._estimate, affine=affine, folder=Path(runtime.cwd) / 'mcflirt'),
            partial(self._brain, affine) if by_brain else None,
            judge=self._judges,
            slice_axis=self.inputs.slice_axis,
            n_threads=self.inputs.num_threads,
        )
        self._results['out_file'] = in_cwd(self.inputs.in_file, runtime, '_corrected')
        _save_like(found.volumes[..., ~found.lost], image, self._results['out_file'])
        places = np.array(self.inputs.volumes)
        empty = self.inputs.empty if isdefined(self.inputs.empty) else []
        left_out = dict.fromkeys(empty, 'zeros') | dict.fromkeys(places[noise].tolist(), 'noise')
        kept = places[~noise].tolist()
        middle = nib.affines.apply_affine(affine, (np.array(image.shape[:3]) - 1) / 2)
        table = motion_table(found, kept, middle, left_out)
        path = in_cwd(self.inputs.in_file, runtime, '_confounds', '.tsv')
        self._results['confounds'] = write_tsv(table, path, digits=8)
        self._results['notes'] = [*self.inputs.notes, *motion_notes(table, self._pixel_mm(image))]
        self._write_matrices(image, kept, found, runtime)
        return runtime

    def _brain(self, affine: np.ndarray, corrected: np.ndarray) -> np.ndarray | None:
        """Brain and margin in the mean of the volumes; None where the network finds none."""
        from secondglance.models.brain_region import brain_region
        from secondglance.models.pose import estimate_pose

        # As `MeanVolume` makes it
        mean = corrected.mean(axis=3, dtype=np.float64).astype(np.float32)
        model, turn = load_model(self.inputs), self.inputs.turn
        device = device_of(self.inputs)
        pose = estimate_pose(
            model,
            mean,
            affine,
            species=self.inputs.species,
            quarter_turns=None if turn == TURNS[0] else int(turn) // 90,
            slice_axis=self.inputs.slice_axis,
            device=device,
        )
        self._results['pose'] = pose.to_plain()
        return brain_region(model, mean, affine, pose, device)

    def _pixel_mm(self, image: nib.Nifti1Pair) -> float:
        """Shorter side of a pixel in its slice, mm of the animal."""
        grid = slice_grid(
            image.shape[:3], affine_of(image), 1.0, slice_axis=self.inputs.slice_axis
        )
        return min(grid.voxel_size[axis] for axis in grid.in_plane)

    def _write_matrices(
        self, image: nib.Nifti1Pair, places: list[int], found: CorrectedSeries, runtime: Bunch
    ) -> None:
        motion, scale = found.motion, scale_of(image)
        by = 'head' if found.region is None else 'brain'
        head = {} if found.by_head is None else {'head_matrices': found.by_head.tolist()}
        contents = {
            'transforms': {
                'Units': 'mm',
                'Millimetres': 'of the animal: lengths of the header divided by HeaderScale',
                'HeaderScale': scale,
                'EstimatedOn': by,
                'reference': int(places[motion.reference]),
                'volumes': places,
                'matrices': motion.matrices.tolist(),
                **head,
            },
            'engine': {
                'engine': self._engine if len(places) > 1 else 'none: one volume',
                'engine_version': motion.version,
                'n_b0': len(places),
                'b0_volumes': list(self.inputs.volumes),
                'header_scale': scale,
                'pixel_mm': self._pixel_mm(image),
                'estimated_on': by,
            },
        }
        for name, content in contents.items():
            self._results[name] = in_cwd(self.inputs.in_file, runtime, f'_{name}', '.json')
            Path(self._results[name]).write_text(json.dumps(content, indent=2) + '\n')
        path = in_cwd(self.inputs.in_file, runtime, '_itk', '.txt')
        self._results['itk_transforms'] = path
        Path(path).write_text(itk_text(motion.matrices, scale))


def motion_notes(table: list[dict], pixel_mm: float) -> list[str]:
    """Tell of volumes that were left out, or moved while they were scanned.

    Parameters
    ----------
    table : list of dict
        A row a volume, of `secondglance.imaging.motion_correction.COLUMNS`.
    pixel_mm : float
        Side of a pixel of the scan, mm of the animal.

    Returns
    -------
    list of str
        A sentence each.

    Examples
    --------
    >>> table = [{'volume': 3, 'excluded': 'n/a', 'within_volume': 0.1}]
    >>> len(motion_notes(table, 0.25)), len(motion_notes(table, 0.5))
    (1, 0)
    """
    notes = []
    for reason, words in LEFT_OUT.items():
        found = [str(row['volume']) for row in table if row['excluded'] == reason]
        if found:
            notes.append(f'Left out of the mean ({words}): volumes {", ".join(found)}.')
    moved = [row for row in table if (row['within_volume'] or 0) > WITHIN_VOLUME * pixel_mm]
    if moved:
        notes.append(
            'The head moved while these volumes were scanned, so that their slices do not fit '
            f'together: {", ".join(str(row["volume"]) for row in moved)} (up to '
            f'{max(row["within_volume"] for row in moved):.2f} mm).'
        )
    return notes


class SitkMotion(_MotionCorrection):
    """Correct motion with the embedded engine, SimpleITK."""

    _engine = 'SimpleITK'

    def _estimate(
        self,
        volumes: NDArray,
        start: MotionEstimate | None,
        region: NDArray | None,
        *,
        affine: NDArray,
        folder: Path,
    ) -> MotionEstimate:
        import SimpleITK as sitk

        matrices, reference = estimate_motion(
            volumes,
            affine,
            None if start is None else start.reference,
            n_threads=self.inputs.num_threads,
            region=region,
            start=None if start is None else start.matrices,
            mean=None if start is None else start.mean,
        )
        return MotionEstimate(matrices, reference, sitk.Version_VersionString())


class NoMotion(_MotionCorrection):
    """Leave volumes where they are."""

    _engine = 'none'
    _judges = False

    def _estimate(
        self,
        volumes: NDArray,
        start: MotionEstimate | None,
        region: NDArray | None,
        *,
        affine: NDArray,
        folder: Path,
    ) -> MotionEstimate:
        return MotionEstimate(np.tile(np.eye(4), (volumes.shape[3], 1, 1)), 0)


class McflirtMotion(_MotionCorrection):
    """Correct motion with FSL's MCFLIRT, on a header scaled to human voxels."""

    _engine = 'FSL MCFLIRT'

    def _estimate(
        self,
        volumes: NDArray,
        start: MotionEstimate | None,
        region: NDArray | None,
        *,
        affine: NDArray,
        folder: Path,
    ) -> MotionEstimate:
        if start is None or region is None:
            return mcflirt_on_head(volumes, affine, folder)
        return mcflirt_in_region(volumes, affine, folder, start, region)


ENGINES = {'fsl': McflirtMotion, 'sitk': SitkMotion, 'none': NoMotion}


class _DisplacementInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='motion, a row a volume (.tsv)')
    pose = traits.Dict(mandatory=True, desc='pose of the head: its species gives the radius')


class _DisplacementOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc='the same with framewise displacement (.tsv)')
    about = File(exists=True, desc='with which head radius (.json)')


class Displacement(SimpleInterface):
    """Tell how far a head of its size moved between neighbours in time."""

    input_spec = _DisplacementInputSpec
    output_spec = _DisplacementOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        radius = HEAD_RADIUS_MM[Pose(**self.inputs.pose).species]
        rows = read_tsv(self.inputs.in_file)
        displacement = framewise_displacement(
            np.array([[row[name] for name in PARAMETERS] for row in rows], float),
            radius,
            [row['volume'] for row in rows],
        )
        for row, value in zip(rows, displacement, strict=True):
            row['framewise_displacement'] = float(value)
        path = in_cwd(self.inputs.in_file, runtime, '_displaced', '.tsv')
        self._results['out_file'] = write_tsv(rows, path, digits=8)
        self._results['about'] = in_cwd(self.inputs.in_file, runtime, '_displaced', '.json')
        about = {
            'framewise_displacement': {
                'Units': 'mm',
                'HeadRadius': radius,
                'Description': (
                    'between neighbours in time; n/a for the first volume, and after one that is '
                    'diffusion-weighted or was left out'
                ),
            }
        }
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

    def _run_interface(self, runtime: Bunch) -> Bunch:
        image, volumes = read_volume(self.inputs.in_file)
        mean = volumes.reshape(*volumes.shape[:3], -1).mean(axis=3, dtype=np.float64)
        self._results['out_file'] = in_cwd(self.inputs.in_file, runtime, '_mean')
        _save_like(mean, image, self._results['out_file'])
        return runtime


def _save_like(
    voxels: np.ndarray, image: nib.Nifti1Pair, path: str, scale: float | None = None
) -> None:
    """Write float32 voxels on the grid, and with the position and units, of an image.

    By how much its lengths are too large goes with it, so that it is estimated only once.
    """
    scale = scale_of(image) if scale is None else scale
    nib.save(with_position(np.asarray(voxels, np.float32), image, scale), path)
