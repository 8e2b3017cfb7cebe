"""Interface that estimates species and orientation."""

import nibabel as nib
import numpy as np
from nipype.interfaces.base import Bunch, File, SimpleInterface, TraitedSpec, traits

from secondglance.files.nifti_header import affine_of
from secondglance.imaging.pose import Pose
from secondglance.imaging.species import AUTO, BRAIN_SIZE
from secondglance.interfaces.network import NetworkSpec, device_of, load_model
from secondglance.models.choices import TURNS
from secondglance.models.weights import weights_spacing


class _EstimatePoseInputSpec(NetworkSpec):
    in_file = File(exists=True, mandatory=True, desc='3-D volume of a whole head')
    slice_axis = traits.Enum(
        'auto', 'i', 'j', 'k', usedefault=True, desc='voxel axis along which slices lie'
    )
    species = traits.Enum(AUTO, *BRAIN_SIZE, usedefault=True, desc='species, where known')
    turn = traits.Enum(
        *TURNS, usedefault=True, desc='degrees by which slices are turned, where known'
    )
    estimated = traits.Dict(
        usedefault=True, desc='pose that the motion correction estimated; empty: there is none'
    )


class _EstimatePoseOutputSpec(TraitedSpec):
    pose = traits.Dict(desc='species, spacing in mm, slice axis and quarter turns of the stack')


class EstimatePose(SimpleInterface):
    """Estimate the species of a head, and which way up it lies."""

    input_spec = _EstimatePoseInputSpec
    output_spec = _EstimatePoseOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        turn, species = self.inputs.turn, self.inputs.species
        if self.inputs.estimated:
            self._results['pose'] = self.inputs.estimated
            return runtime
        turns = None if turn == TURNS[0] else int(turn) // 90
        if turns is not None and species != AUTO:
            spacing = weights_spacing(self.inputs.weights) * BRAIN_SIZE[species]
            pose = Pose(species, spacing, self.inputs.slice_axis, turns)
        else:
            from secondglance.models.pose import estimate_pose

            image = nib.load(self.inputs.in_file)
            pose = estimate_pose(
                load_model(self.inputs),
                np.asarray(image.dataobj, np.float32),
                affine_of(image),
                species=species,
                quarter_turns=turns,
                slice_axis=self.inputs.slice_axis,
                device=device_of(self.inputs),
            )
        self._results['pose'] = pose.to_plain()
        return runtime
