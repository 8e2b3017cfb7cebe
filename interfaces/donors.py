"""Interface that computes the saliency of the donors."""

import contextlib
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from nipype.interfaces.base import (
    Bunch,
    File,
    InputMultiObject,
    OutputMultiObject,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from secondglance import __version__
from secondglance.files.digests import digest_once, is_intact, write_digests
from secondglance.files.stacks import write_stack
from secondglance.interfaces.network import (
    EnhanceSpec,
    SaliencySpec,
    device_of,
    load_model,
    options_of,
)
from secondglance.models.weights import read_header, weights_spacing


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

    def _run_interface(self, runtime: Bunch) -> Bunch:
        self._results.update(enhanced=[], masks=[])
        shared = self._shared()
        folder = Path(runtime.cwd, 'donors')
        if shared is None or not _take(shared, folder):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            if self._compute(folder) and shared is not None:
                write_digests(folder)
                _share(folder, shared)
        for index in range(len(self.inputs.images)):
            for name in ('enhanced', 'masks'):
                self._results[name].append(str(folder / f'donor-{index:02d}_{name}.nii'))
        return runtime

    def _shared(self) -> Path | None:
        """Folder of what the same network made of the same donors, whoever computed it."""
        if not isdefined(self.inputs.cache_dir):
            return None
        digest = hashlib.sha256(__version__.encode())
        for path in (self.inputs.weights, *self.inputs.images, *self.inputs.masks):
            digest.update(bytes.fromhex(digest_once(Path(path))))
        names = ('method', 'target', 'smooth', 'peak', 'width')
        digest.update(repr([getattr(self.inputs, name) for name in names]).encode())
        return Path(self.inputs.cache_dir, digest.hexdigest()[:24])

    def _compute(self, folder: Path) -> bool:
        """Write all donors, and tell whether any had to be computed: those that ship are read."""
        from secondglance.models.donors import compute_donor, shipped_donor

        weights, options = self.inputs.weights, options_of(self.inputs)
        made_with = read_header(weights).get('checksum', ''), weights_spacing(weights)
        pairs = zip(self.inputs.images, self.inputs.masks, strict=True)
        computed = False
        for index, files in enumerate(pairs):
            image, mask = map(Path, files)
            found = shipped_donor(*made_with, image, mask, options)
            if found is None:
                model, device = load_model(self.inputs), device_of(self.inputs)
                found = compute_donor(model, image, mask, options, device)
                computed = True
            stacks = {'enhanced': found.donor.enhanced, 'masks': found.donor.mask}
            for name, voxels in stacks.items():
                write_stack(voxels, found.affine, folder / f'donor-{index:02d}_{name}.nii')
        return computed


def _take(shared: Path, folder: Path) -> bool:
    """Copy what others shared, and tell whether the copy is as it was written."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        shutil.copytree(shared, folder)
    except (OSError, shutil.Error):
        return False
    return is_intact(folder)


def _share(folder: Path, shared: Path) -> None:
    """Copy a folder for others, who see all of it or nothing; what is intact is left alone."""
    if shared.is_dir() and not is_intact(shared):
        with contextlib.suppress(OSError):
            shared.rename(tempfile.mkdtemp(prefix='.broken-', dir=shared.parent))
    shared.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix='.donors-', dir=shared.parent))
    try:
        shutil.copytree(folder, partial, dirs_exist_ok=True)
        os.rename(partial, shared)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
        if not shared.is_dir():
            raise
