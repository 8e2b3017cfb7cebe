"""Interface that estimates species and orientation."""

import numpy as np
from nipype.interfaces.base import (
    File,
    SimpleInterface,
    TraitedSpec,
    traits,
)

from secondglance.files.geometry import grid_of
from secondglance.imaging.species import AUTO, BRAIN_SIZE
from secondglance.interfaces.network import NetworkSpec, load_model, resolve_device
from secondglance.models.choices import TURNS
from secondglance.models.weights import weights_spacing


class _OrientInputSpec(NetworkSpec):
    in_file = File(exists=True, mandatory=True, desc='3-D volume of a whole head')
    slice_axis = traits.Enum(
        'auto', 'i', 'j', 'k', usedefault=True, desc='voxel axis along which slices lie'
    )
    species = traits.Enum(AUTO, *BRAIN_SIZE, usedefault=True, desc='whose head, where known')
    turn = traits.Enum(
        *TURNS, usedefault=True, desc='degrees by which slices are turned, where known'
    )


class _OrientOutputSpec(TraitedSpec):
    species = traits.Enum(*BRAIN_SIZE, desc='whose head it is')
    spacing = traits.Float(desc='of pixels with which it looks as large as a rat, mm')
    quarter_turns = traits.Int(desc='by which slices are turned in plane to be upright')


class Orient(SimpleInterface):
    """Find whose head it is, and which way up it lies, whatever its header says."""

    input_spec = _OrientInputSpec
    output_spec = _OrientOutputSpec

    def _run_interface(self, runtime):
        turn, species = self.inputs.turn, self.inputs.species
        turns = None if turn == TURNS[0] else int(turn) // 90
        if turns is None or species == AUTO:
            species, turns = self._find(turns)
        self._results.update(
            species=species,
            quarter_turns=turns,
            spacing=weights_spacing(self.inputs.weights) * BRAIN_SIZE[species],
        )
        return runtime

    def _find(self, turns: int | None) -> tuple[str, int]:
        import nibabel as nib

        from secondglance.models.pose import find_pose

        path = self.inputs.in_file
        voxels = np.asarray(nib.load(path).dataobj, np.float32)
        pose = find_pose(
            load_model(self.inputs),
            lambda spacing: grid_of(path, spacing, self.inputs.slice_axis).to_stack(voxels),
            species=self.inputs.species,
            quarter_turns=turns,
            device=resolve_device(self.inputs.device),
        )
        return pose.species, pose.quarter_turns
