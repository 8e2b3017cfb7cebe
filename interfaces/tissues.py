"""Interfaces of the second glance: class probabilities, labels."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
from nipype.interfaces.base import (
    Bunch,
    Directory,
    File,
    InputMultiObject,
    OutputMultiObject,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from secondglance.files.labels import file_labels
from secondglance.files.nifti_header import affine_of, scale_of
from secondglance.files.stacks import read_stack, write_like, write_stack
from secondglance.files.tables import write_tsv
from secondglance.imaging.errors import InputError
from secondglance.imaging.glance_pooling import pool_glances
from secondglance.imaging.grids import voxel_volume
from secondglance.imaging.labels import TISSUES
from secondglance.imaging.metrics import tissue_volumes
from secondglance.imaging.pose import Pose
from secondglance.imaging.regions import RegionAtlas
from secondglance.imaging.species import BRAIN_SIZE
from secondglance.imaging.tissues import TissueMaps, tissues_inside
from secondglance.interfaces.network import NetworkSpec, device_of, load_model
from secondglance.interfaces.stacks import PoseSpec, in_cwd, join_slabs
from secondglance.models.weights import SECOND_GLANCE

if TYPE_CHECKING:
    from secondglance.models.second_glance.volume import VolumeGlance


class _PredictInputSpec(NetworkSpec):
    in_file = File(exists=True, mandatory=True, desc='slab, (H, W, N)')


class _PredictOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc='class probabilities, (H, W, N, 4)')


class Predict(SimpleInterface):
    """Infer the class probabilities of a slab."""

    input_spec = _PredictInputSpec
    output_spec = _PredictOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        from secondglance.models.inference import predict

        stack, affine = read_stack(self.inputs.in_file)
        probabilities = predict(load_model(self.inputs), stack, device=device_of(self.inputs))
        self._results['out_file'] = write_stack(
            probabilities, affine, in_cwd(self.inputs.in_file, runtime, '_probabilities')
        )
        return runtime


class _TissuesOutputSpec(TraitedSpec):
    dseg = File(exists=True, desc='labels 0 background, 1 GM, 2 WM, 3 CSF')
    probsegs = OutputMultiObject(File(exists=True), desc='fraction of WM, GM and CSF')
    brain_share = File(exists=True, desc='part of each voxel that is brain')
    volumes = File(exists=True, desc='volume of each tissue, mm³ (.tsv)')
    probabilities_stack = File(exists=True, desc='class probabilities, (H, W, N, 4)')
    labels_stack = File(exists=True, desc='dseg as slices, in the order WM, GM, CSF, (H, W, N)')


def write_tissues(
    found: TissueMaps, like: nib.Nifti1Pair, runtime: Bunch, results: dict[str, str | list[str]]
) -> None:
    """Write what was found, and volumes, on the grid of an image; name the files in `results`."""
    path = like.get_filename()
    results['dseg'] = write_like(file_labels(found.labels), like, in_cwd(path, runtime, '_dseg'))
    results['probsegs'] = [
        write_like(found.fractions[..., index], like, in_cwd(path, runtime, f'_{tissue}'))
        for index, tissue in enumerate(TISSUES)
    ]
    results['brain_share'] = write_like(found.share, like, in_cwd(path, runtime, '_brain'))
    voxel_mm3 = voxel_volume(affine_of(like))
    results['volumes'] = write_tsv(
        tissue_volumes(found.labels, voxel_mm3, amounts=found.amounts),
        in_cwd(path, runtime, '_volumes', '.tsv'),
    )


class _LabelsInputSpec(PoseSpec):
    probabilities = InputMultiObject(
        File(exists=True), mandatory=True, desc='slabs of class probabilities, (H, W, N, 4)'
    )
    mask_file = File(exists=True, mandatory=True, desc='brain mask, (X, Y, Z)')


class Labels(SimpleInterface):
    """Decide the tissue of every voxel of the brain, and measure the tissues."""

    input_spec = _LabelsInputSpec
    output_spec = _TissuesOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        like = nib.load(self.inputs.mask_file)
        stack, affine = join_slabs(self.inputs.probabilities)
        path = in_cwd(self.inputs.mask_file, runtime, '_probabilities_stack')
        self._results['probabilities_stack'] = write_stack(stack, affine, path)
        # Decided on the native grid, where the mask is exact
        grid = self.inputs.grid(self.inputs.mask_file)
        found = tissues_inside(grid.to_native(stack), np.asarray(like.dataobj) > 0)
        write_tissues(found, like, runtime, self._results)
        path = in_cwd(self.inputs.mask_file, runtime, '_labels_stack')
        labels = grid.to_stack(found.labels, order=0)
        self._results['labels_stack'] = write_stack(labels, affine, path)
        return runtime


class _LookAgainInputSpec(NetworkSpec, PoseSpec):
    in_file = File(exists=True, mandatory=True, desc='3-D volume of a whole head')
    mask_file = File(exists=True, mandatory=True, desc='brain mask, (X, Y, Z)')
    first_probabilities_stack = InputMultiObject(
        File(exists=True),
        desc='first glance, (H, W, N, 4): counts where both glances agree, and stands alone for a '
        'mask without a place',
    )
    atlases = traits.Dict(
        traits.Str(),
        Directory(exists=True),
        usedefault=True,
        desc='species → folder of the atlas in which regions are looked up',
    )


class _LookAgainOutputSpec(_TissuesOutputSpec):
    tissues_about = File(exists=True, desc='how much the first glance counts (.json)')
    transform = File(exists=True, desc='from the scan to the atlas, ITK (.h5)')
    transform_about = File(exists=True, desc='how well the transform fits (.json)')
    regions = File(exists=True, desc='labels of the atlas, (X, Y, Z)')
    regions_table = File(exists=True, desc='what the labels are (.tsv)')
    regions_volumes = File(exists=True, desc='volume of each region, mm³ (.tsv)')


class LookAgain(SimpleInterface):
    """Segment the tissues inside the brain mask, and find the brain's place in an atlas."""

    input_spec = _LookAgainInputSpec
    output_spec = _LookAgainOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        from secondglance.files.regions import read_region_atlas
        from secondglance.models.second_glance.volume import glance_at_volume, has_place

        path, pose = self.inputs.in_file, Pose(**self.inputs.pose)
        image = nib.load(path)
        like = nib.load(self.inputs.mask_file)
        mask = np.asarray(like.dataobj) > 0
        first = self._first(mask)
        if not has_place(mask):
            if first is None:
                raise InputError(
                    'The brain mask is too small to have a place in an atlas, and no first glance '
                    'is given that could stand for the second.'
                )
            self._write(first, 1.0, like, runtime)
            return runtime
        folder = self.inputs.atlases.get(pose.species)
        atlas = read_region_atlas(folder) if folder else None
        found = glance_at_volume(
            np.asarray(image.dataobj, np.float32),
            mask,
            affine_of(image),
            pose,
            load_model(self.inputs, SECOND_GLANCE),
            atlas,
            device=device_of(self.inputs),
        )
        with ThreadPoolExecutor(1) as pool:
            aside = pool.submit(self._write_transform, found, image, atlas, pose.species, runtime)
            tissues, weight = found.tissues, 0.0
            if first is not None:
                tissues, weight = pool_glances(first, tissues, mask)
            self._write(tissues, weight, like, runtime)
            if atlas is not None and found.regions is not None:
                self._write_regions(found.regions, image, atlas, runtime)
            aside.result()
        return runtime

    def _first(self, mask: np.ndarray) -> TissueMaps | None:
        """Tissues of the first glance inside the mask; None where it is not given."""
        if not isdefined(self.inputs.first_probabilities_stack):
            return None
        stack, _ = join_slabs(self.inputs.first_probabilities_stack)
        return tissues_inside(self.inputs.grid(self.inputs.in_file).to_native(stack), mask)

    def _write(
        self, tissues: TissueMaps, weight: float, like: nib.Nifti1Pair, runtime: Bunch
    ) -> None:
        """Write the tissues on the grid of the scan, and as a stack for the report."""
        write_tissues(tissues, like, runtime, self._results)
        path = self.inputs.in_file
        self._results['tissues_about'] = in_cwd(path, runtime, '_tissues', '.json')
        with open(self._results['tissues_about'], 'w') as stream:
            json.dump({'FirstGlanceWeight': round(weight, 3)}, stream)
        grid = self.inputs.grid(path)
        background = (tissues.labels == 0)[..., None].astype(np.float32)
        classes = np.concatenate([background, tissues.fractions], axis=-1)
        stack = np.stack([grid.to_stack(classes[..., k]) for k in range(4)], axis=1)
        self._results['probabilities_stack'] = write_stack(
            stack, grid.affine, in_cwd(path, runtime, '_second_stack')
        )
        self._results['labels_stack'] = write_stack(
            grid.to_stack(tissues.labels, order=0),
            grid.affine,
            in_cwd(path, runtime, '_labels_stack'),
        )

    def _write_transform(
        self,
        found: VolumeGlance,
        image: nib.Nifti1Pair,
        atlas: RegionAtlas | None,
        species: str,
        runtime: Bunch,
    ) -> None:
        from secondglance.files.transforms import write_itk_transform

        path = self.inputs.in_file
        # Headers may hold other millimetres than the animal's
        shrink = np.diag([*[1 / scale_of(image)] * 3, 1.0])
        box = np.array(np.meshgrid(*((-0.5, n - 0.5) for n in image.shape[:3]))).reshape(3, -1)
        self._results['transform'] = write_itk_transform(
            found.stack.transform,
            in_cwd(path, runtime, '_xfm', '.h5'),
            to_points=found.to_points @ shrink,
            from_target=np.eye(4) if atlas is None else np.linalg.inv(atlas.to_rat),
            corners=nib.affines.apply_affine(image.affine, box.T),
            spacing=0.5 * scale_of(image) * BRAIN_SIZE[species],
        )
        about = {
            'Atlas': 'rat' if atlas is None else atlas.name,
            'MedianMisfitMillimetres': round(found.stack.misfit_mm, 3),
        }
        self._results['transform_about'] = in_cwd(path, runtime, '_xfm', '.json')
        with open(self._results['transform_about'], 'w') as stream:
            json.dump(about, stream)

    def _write_regions(
        self, regions: np.ndarray, image: nib.Nifti1Pair, atlas: RegionAtlas, runtime: Bunch
    ) -> None:
        from secondglance.files.regions import region_table
        from secondglance.imaging.regions import region_volumes

        path = self.inputs.in_file
        self._results['regions'] = write_like(regions, image, in_cwd(path, runtime, '_regions'))
        self._results['regions_table'] = in_cwd(path, runtime, '_regions', '.tsv')
        with open(self._results['regions_table'], 'w', encoding='utf-8') as stream:
            stream.write(region_table(atlas.regions))
        voxel = voxel_volume(affine_of(image))
        self._results['regions_volumes'] = write_tsv(
            region_volumes(regions, atlas.regions, voxel),
            in_cwd(path, runtime, '_regions_volumes', '.tsv'),
        )
