"""Interface that computes the saliency of the donors."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from nipype.interfaces.base import (
    File,
    InputMultiObject,
    OutputMultiObject,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from secondglance import __version__
from secondglance.files.geometry import grid_of, species_of_mask
from secondglance.files.stacks import write_stack
from secondglance.imaging.enhancement import enhance
from secondglance.imaging.species import BRAIN_SIZE
from secondglance.interfaces.network import (
    EnhanceSpec,
    SaliencySpec,
    attribute,
    load_model,
    resolve_device,
)
from secondglance.interfaces.stacks import in_cwd


class _DonorSaliencyInputSpec(SaliencySpec, EnhanceSpec):
    images = InputMultiObject(File(exists=True), mandatory=True, desc='heads of the donors')
    masks = InputMultiObject(File(exists=True), mandatory=True, desc='their brain masks')
    cache_dir = traits.Directory(
        nohash=True, desc='where other subjects find what was computed for this one'
    )


class _DonorSaliencyOutputSpec(TraitedSpec):
    enhanced = OutputMultiObject(
        File(exists=True), desc='enhanced saliency of each donor, in the size of a rat'
    )
    masks = OutputMultiObject(File(exists=True), desc='brain mask of each, on the same grid')


class DonorSaliency(SimpleInterface):
    """Compute the donors' own enhanced saliency under the current weights, once."""

    input_spec = _DonorSaliencyInputSpec
    output_spec = _DonorSaliencyOutputSpec

    def _run_interface(self, runtime):
        self._results.update(enhanced=[], masks=[])
        shared = self._shared()
        if shared is None or not shared.is_dir():
            folder = Path(runtime.cwd, 'donors')
            folder.mkdir(exist_ok=True)
            self._compute(folder)
            if shared is not None:
                _share(folder, shared)
        for index in range(len(self.inputs.images)):
            for name in ('enhanced', 'masks'):
                found = Path(shared or folder, f'donor-{index:02d}_{name}.nii')
                path = in_cwd(found, runtime, '')
                shutil.copyfile(found, path)
                self._results[name].append(path)
        return runtime

    def _shared(self) -> Path | None:
        """Folder of what the same network made of the same donors, whoever computed it."""
        if not isdefined(self.inputs.cache_dir):
            return None
        digest = hashlib.sha256(__version__.encode())
        for path in (self.inputs.weights, *self.inputs.images, *self.inputs.masks):
            with open(path, 'rb') as stream:
                digest.update(hashlib.file_digest(stream, 'sha256').digest())
        names = ('method', 'target', 'smooth', 'peak', 'width')
        digest.update(repr([getattr(self.inputs, name) for name in names]).encode())
        return Path(self.inputs.cache_dir, digest.hexdigest()[:24])

    def _compute(self, folder: Path) -> None:
        import nibabel as nib

        from secondglance.data import donor_paths
        from secondglance.models.pose import quarter_turns

        model, bank = load_model(self.inputs), donor_paths()
        for index, (image, mask) in enumerate(
            zip(self.inputs.images, self.inputs.masks, strict=True)
        ):
            size = BRAIN_SIZE[species_of_mask(mask)]
            grid = grid_of(image, model.spacing * size, 'auto')
            head = np.asarray(nib.load(image).dataobj, np.float32)
            stack = grid.to_stack(head)
            # Those that ship lie upright
            if Path(image).parent not in bank:
                turns = quarter_turns(model, stack, resolve_device(self.inputs.device))
                grid = grid_of(image, model.spacing * size, 'auto', turns)
                stack = grid.to_stack(head)
            maps, _ = attribute(self.inputs, model, stack)
            enhanced = enhance(maps, peak=self.inputs.peak, width=self.inputs.width)
            inside = grid.to_stack(np.asarray(nib.load(mask).dataobj, np.float32)) >= 0.5
            as_rat = np.diag([1 / size] * 3 + [1.0])
            for name, voxels in (('enhanced', enhanced), ('masks', inside)):
                write_stack(voxels, as_rat @ grid.affine, folder / f'donor-{index:02d}_{name}.nii')


def _share(folder: Path, shared: Path) -> None:
    """Copy a folder for others, who see all of it or nothing; who comes second changes nothing."""
    shared.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix='.donors-', dir=shared.parent))
    try:
        shutil.copytree(folder, partial, dirs_exist_ok=True)
        os.rename(partial, shared)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
        if not shared.is_dir():
            raise
