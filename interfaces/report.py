"""The interface that gathers a scan's results for its report."""

import json
from importlib import metadata
from pathlib import Path

import nibabel as nib
import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    Bunch,
    File,
    InputMultiObject,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from secondglance import __version__
from secondglance.files.nifti_header import grid_of
from secondglance.files.stacks import read_stack
from secondglance.files.tables import columns_of, read_tsv
from secondglance.imaging.mask.methods import METHODS
from secondglance.imaging.motion import moved_most
from secondglance.imaging.pose import Pose
from secondglance.imaging.species import HEAD_RADIUS_MM
from secondglance.reports.data import ReportData, RunRecord, geometry_of

VERSIONS = ('nipype', 'torch', 'SimpleITK', 'nibabel', 'numpy', 'scipy', 'fslpy')


class _ReportInputSpec(BaseInterfaceInputSpec):
    scan_name = traits.Str(mandatory=True, desc='name of the page')
    suffix = traits.Str('dwi', usedefault=True, desc='BIDS suffix, such as T2w')
    source = traits.Str(mandatory=True, desc='path of the scan, as text')
    settings = traits.Dict(mandatory=True, desc='resolved settings')
    notes = traits.List(traits.Str(), desc='what a person should know of the file')
    known = traits.List(traits.Str(), usedefault=True, desc='the same, known before the run')
    stack = File(exists=True, mandatory=True, desc='head, (H, W, N)')
    saliency_stack = File(exists=True, mandatory=True, desc='signed gradient, (H, W, N)')
    enhanced_stack = File(exists=True, mandatory=True, desc='enhanced saliency, (H, W, N)')
    mask_stack = File(exists=True, mandatory=True, desc='brain mask, (H, W, N)')
    placed_stack = File(exists=True, mandatory=True, desc='placed mask of the donor, (H, W, N)')
    kernel_stack = File(exists=True, mandatory=True, desc='kernels and masks, (h, w, N, 2)')
    first_probabilities_stack = File(exists=True, mandatory=True, desc='first, (H, W, N, 4)')
    probabilities_stack = File(exists=True, mandatory=True, desc='second, (H, W, N, 4)')
    labels_stack = File(exists=True, mandatory=True, desc='tissues, 1 WM 2 GM 3 CSF, (H, W, N)')
    confounds = File(exists=True, mandatory=True, desc='motion (.tsv)')
    transforms = File(exists=True, mandatory=True, desc='matrices (.json)')
    engine = File(exists=True, mandatory=True, desc='what corrected the motion (.json)')
    placement = File(exists=True, mandatory=True, desc='a row a slice (.tsv)')
    donor = File(exists=True, mandatory=True, desc='donor taken (.json)')
    pose = traits.Dict(mandatory=True, desc='species and orientation of the head')
    lognormal = File(exists=True, mandatory=True, desc='fit of every slice (.json)')
    confidence = File(exists=True, mandatory=True, desc='how far to trust the mask (.json)')
    volumes = File(exists=True, mandatory=True, desc='tissue volumes (.tsv)')
    regions = File(exists=True, desc='labels of the atlas on the grid of the scan')
    regions_table = File(exists=True, desc='names of the labels (.tsv)')
    b0_series = File(exists=True, desc='volumes after motion correction, (X, Y, Z, B)')
    b0_uncorrected = File(exists=True, desc='volumes before it, as many or more')
    metrics = File(exists=True, desc='against the reference (.tsv)')
    slice_metrics = File(exists=True, desc='the same of every slice (.tsv)')
    reference_stack = File(exists=True, desc='labels of the reference, (H, W, N)')
    map_stacks = InputMultiObject(File(exists=True), desc='further saliency, (H, W, N) each')
    map_names = traits.List(traits.Str(), desc='their names')


class _ReportOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc='the page')
    figures = traits.Directory(exists=True, desc='its figures')
    warnings = traits.List(traits.Str(), desc='warnings, a sentence each')
    citation_md = File(exists=True, desc='methods paragraph and references')
    citation_bib = File(exists=True, desc='the references as BibTeX')


class Report(SimpleInterface):
    """Write the visual report of a scan."""

    input_spec = _ReportInputSpec
    output_spec = _ReportOutputSpec

    def _run_interface(self, runtime: Bunch) -> Bunch:
        from secondglance.reports.render import render_report
        from secondglance.reports.verdict import level, scan_warnings

        record = self._record()
        stack, affine = read_stack(self.inputs.stack)
        mask = read_stack(self.inputs.mask_stack)[0] >= 0.5
        first, _ = read_stack(self.inputs.first_probabilities_stack)
        known = [*self.inputs.known, *(self.inputs.notes if isdefined(self.inputs.notes) else [])]
        warnings = [*known, *scan_warnings(stack, mask, first[:, 0] < 0.5, affine, record)]
        data = ReportData(
            title=self.inputs.scan_name,
            source=self.inputs.source,
            image=stack,
            mask=mask,
            **geometry_of(affine, record.pose),
            **self._stacks(),
            **self._glances(first, mask),
            **self._regions(record.pose),
            **self._texts(record, stack, mask, affine),
            **self._against_reference(),
            compared=self._before_and_after(record.pose, record.engine),
            explained=self._explained(),
            placement=record.placement,
            volumes=record.volumes,
            confounds=columns_of(record.confounds),
            lognormal=_read_json(self.inputs.lognormal),
            settings=record.settings,
            versions={'secondglance': __version__, **_versions()},
            warnings=warnings,
            verdict=level(
                warnings, record.confidence['Confidence'], record.confidence['BrainVolume']
            ),
        )
        page = Path(runtime.cwd) / f'{self.inputs.scan_name}.html'
        figures = Path(runtime.cwd) / 'figures'
        render_report(data, page, figures)
        self._write_citations(data, runtime)
        self._results.update(out_file=str(page), figures=str(figures), warnings=data.warnings)
        return runtime

    def _write_citations(self, data: ReportData, runtime: Bunch) -> None:
        """Write the methods paragraph, and its references as BibTeX, beside the page."""
        from secondglance.reports.citations import bibtex, citation_text

        for name, text in (
            ('citation_md', citation_text(data.methods)),
            ('citation_bib', bibtex(data.methods, __version__)),
        ):
            path = Path(runtime.cwd) / f'CITATION.{name.rpartition("_")[2]}'
            path.write_text(text, encoding='utf-8')
            self._results[name] = str(path)

    def _record(self) -> RunRecord:
        """What the stages wrote down beside their images."""
        confidence = _read_json(self.inputs.confidence)
        return RunRecord(
            settings={**self.inputs.settings, 'mask_taken': confidence['Method']},
            pose=Pose(**self.inputs.pose),
            engine=_read_json(self.inputs.engine),
            donor=_read_json(self.inputs.donor),
            confidence=confidence,
            placement=read_tsv(self.inputs.placement),
            confounds=read_tsv(self.inputs.confounds),
            volumes=read_tsv(self.inputs.volumes),
        )

    def _stacks(self) -> dict:
        """Saliency, and the donor's mask where it was placed."""
        return {
            'saliency': read_stack(self.inputs.saliency_stack)[0],
            'enhanced': read_stack(self.inputs.enhanced_stack)[0],
            'placed': read_stack(self.inputs.placed_stack)[0] >= 0.5,
            'kernels': read_stack(self.inputs.kernel_stack)[0],
        }

    def _glances(self, first: np.ndarray, mask: np.ndarray) -> dict:
        """Tissues of both glances, and what the second changed."""
        from secondglance.imaging.glance_changes import compare_glances

        second, _ = read_stack(self.inputs.probabilities_stack)
        labels = np.where(mask, read_stack(self.inputs.labels_stack)[0], 0).astype(int)
        return {
            'first_labels': first.argmax(1),
            'labels': labels,
            'probabilities': second,
            'glances': compare_glances(first, second, labels, mask),
        }

    def _texts(
        self, record: RunRecord, stack: np.ndarray, mask: np.ndarray, affine: np.ndarray
    ) -> dict:
        """Table of the run, captions, and the paragraph of methods."""
        from secondglance.reports.methods_text import image_caption, methods_text, volumes_of
        from secondglance.reports.summary import image_name, summary_table

        volumes = volumes_of(self.inputs.suffix)
        return {
            'image_name': image_name(record.engine, volumes),
            'summary': summary_table(record, stack, mask, affine, volumes),
            'image_caption': image_caption(volumes, record.engine),
            'mask_caption': METHODS[record.settings['mask_taken']].caption,
            'methods': methods_text(__version__, record.engine, record.settings, volumes),
        }

    def _regions(self, pose: Pose) -> dict:
        """Regions as a stack, and their names; nothing where none were looked up."""
        if not isdefined(self.inputs.regions):
            return {}
        labels = np.asarray(nib.load(self.inputs.regions).dataobj, np.float32)
        stack = grid_of(self.inputs.regions, pose).to_stack(labels, order=0)
        names = {int(row['index']): row['name'] for row in read_tsv(self.inputs.regions_table)}
        return {'regions': np.rint(stack).astype(int), 'region_names': names}

    def _against_reference(self) -> dict:
        """Scores, and the reference as a stack; nothing where there is none."""
        if not isdefined(self.inputs.metrics):
            return {}
        return {
            'metrics': read_tsv(self.inputs.metrics),
            'slice_scores': read_tsv(self.inputs.slice_metrics),
            'reference': np.rint(read_stack(self.inputs.reference_stack)[0]).astype(int),
        }

    def _before_and_after(self, pose: Pose, engine: dict) -> dict[str, np.ndarray]:
        """Show the volume that was moved most, before and after its correction."""
        if not isdefined(self.inputs.b0_series) or engine['engine'].startswith('none'):
            return {}
        rows = read_tsv(self.inputs.confounds)
        found = moved_most(rows, HEAD_RADIUS_MM[pose.species])
        if found is None:
            return {}
        place, volume, moved = found
        places = {
            'before': (self.inputs.b0_uncorrected, engine['b0_volumes'].index(volume)),
            'after': (self.inputs.b0_series, place),
        }
        shown = {}
        for when, (path, index) in places.items():
            voxels = np.asarray(nib.load(path).dataobj[..., index], np.float32)
            name = f'Volume {volume} {when} its correction by {moved:.2f} mm'
            shown[name] = grid_of(path, pose).to_stack(voxels)
        return shown

    def _explained(self) -> dict[str, np.ndarray]:
        if not isdefined(self.inputs.map_stacks):
            return {}
        return {
            name: read_stack(path)[0]
            for name, path in zip(self.inputs.map_names, self.inputs.map_stacks, strict=True)
        }


def _read_json(path: str) -> dict:
    return json.loads(Path(path).read_text())


def _versions() -> dict[str, str]:
    found = {}
    for name in VERSIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = 'not installed'
    return found
