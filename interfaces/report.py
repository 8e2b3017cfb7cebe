"""The interface that gathers a scan's results for its report."""

import json
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import nibabel as nib
import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    InputMultiObject,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)
from scipy import ndimage

from secondglance import __version__
from secondglance.files.geometry import grid_of
from secondglance.files.stacks import read_stack
from secondglance.files.tables import columns_of, read_tsv
from secondglance.imaging.grids import ANTERIOR, holds_signal
from secondglance.imaging.mask.methods import METHODS
from secondglance.imaging.mask.quality import GOOD_DICE
from secondglance.imaging.mask.selection import DOUBTFUL
from secondglance.imaging.pose import Pose
from secondglance.imaging.species import AUTO, HEAD_RADIUS_MM
from secondglance.reports.verdict import end_shares, probably_wrong, ranges

LOW_CONFIDENCE = 0.5
"""Mean confidence of the placement below which a scan is flagged."""

SECOND_BRAIN = 0.35
"""Share of the largest piece of brain from which on another piece is another animal's."""

LEAST_BRAIN_MM3 = 200.0
"""In the size of a rat; smaller pieces are not counted."""

SLICE_NAMES = ('sagittal', 'coronal', 'horizontal')
"""Slices across each canonical axis."""

BRAIN_MM3 = (1000.0, 2800.0)
"""Brains that are usual in scans of rats, mm³; parts beyond a field of view make them small."""

REVERSED_SLICES = (
    'The slices seem to run the other way than the header says: are front and back where they '
    'should be?'
)

TURNED_HEAD = (
    'The head lies turned by {} degrees from what the header says, and is shown upright: are its '
    'axes right?'
)

NOT_CORONAL = (
    'By the header, slices are {}: the networks are trained on coronal slices. Are the axes '
    'right? If the scan has other slices, choose with --slice-axis, or check the mask with care.'
)

TWO_BRAINS = (
    'There seem to be {} brains in the field of view, the largest of {:.0f} mm³ and {:.0f} mm³: '
    'crop the image to one animal.'
)

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


class Report(SimpleInterface):
    """Write the visual report of a scan."""

    input_spec = _ReportInputSpec
    output_spec = _ReportOutputSpec

    def _run_interface(self, runtime):
        from secondglance.imaging.glance_changes import compare_glances
        from secondglance.reports.data import ReportData
        from secondglance.reports.methods import image_caption, methods_text, volumes_of
        from secondglance.reports.render import render_report
        from secondglance.reports.verdict import level, result_warnings

        settings = dict(self.inputs.settings)
        stack, affine = read_stack(self.inputs.stack)
        mask = read_stack(self.inputs.mask_stack)[0] >= 0.5
        first, _ = read_stack(self.inputs.first_probabilities_stack)
        second, _ = read_stack(self.inputs.probabilities_stack)
        labels = np.where(mask, read_stack(self.inputs.labels_stack)[0], 0).astype(int)
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        voxel = float(abs(np.linalg.det(affine[:3, :3])))
        placement = read_tsv(self.inputs.placement)
        confounds = read_tsv(self.inputs.confounds)
        volume_rows = read_tsv(self.inputs.volumes)
        engine = json.loads(Path(self.inputs.engine).read_text())
        donor = json.loads(Path(self.inputs.donor).read_text())
        confidence = json.loads(Path(self.inputs.confidence).read_text())
        settings['mask_taken'] = confidence['Method']
        volumes = volumes_of(self.inputs.suffix)
        donor_name = Path(settings['donors'][donor['donor']]).parent.name
        pose = Pose(**self.inputs.pose)
        turned = 90 * pose.quarter_turns
        species = pose.species
        data = ReportData(
            title=self.inputs.scan_name,
            source=self.inputs.source,
            image=stack,
            saliency=read_stack(self.inputs.saliency_stack)[0],
            enhanced=read_stack(self.inputs.enhanced_stack)[0],
            mask=mask,
            placed=read_stack(self.inputs.placed_stack)[0] >= 0.5,
            kernels=read_stack(self.inputs.kernel_stack)[0],
            first_labels=first.argmax(1),
            labels=labels,
            aspect=float(spacing[1] / spacing[0]),
            spacing=(float(spacing[0]), float(spacing[1])),
            edges=edge_letters(affine) if not turned else ('L', 'R', 'D', 'V'),
            probabilities=second,
            image_name='Image' if engine['n_b0'] == 1 else f'Mean of {engine["n_b0"]} {volumes}',
            **self._regions(pose),
            compared=self._before_and_after(pose, engine),
            summary={
                'Species': species + (', as it looks' if settings['species'] == AUTO else ''),
                'Motion correction': f'{engine["engine"]} {engine["engine_version"]}'.strip(),
                'b0 volumes' if volumes == 'b0 volumes' else 'Volumes': str(engine['n_b0']),
                'Slices': f'{len(stack)}, {spacing[2]:.3g} mm apart, at {spacing[0]:.3g} mm'
                + (f', turned by {turned}°' if turned else '')
                + _without_signal(stack),
                'Donor': f'{donor_name} (of {len(donor["scores"])}; '
                f'correlation {max(donor["scores"]):.2f})',
                'Mask method': settings['mask_taken'],
                'Brain': f'{confidence["BrainVolume"]:.0f} mm³; Dice at least {GOOD_DICE} with '
                f'probability {confidence["Confidence"]:.2f}',
                'Doubtful slices': _counted(probably_wrong(placement, mask), len(placement)),
                'Replaced shifts': _replaced(placement, confidence['Method']),
                'Brain in end slices': '{:.0%} and {:.0%} of the largest area'.format(
                    *end_shares(mask)
                ),
                'Saliency': f'{settings["saliency"]}, target {settings["target"]}',
                'Weights': f'{Path(settings["weights"]).name} {settings["weights_checksum"][:12]}',
                'Refinement': f'{Path(settings["refinement"]).name} '
                f'{settings["refinement_checksum"][:12]}',
                'Device': settings['device'],
                'Version': f'secondglance {__version__}',
            },
            placement=placement,
            volumes=volume_rows,
            glances=compare_glances(first, second, labels, mask, voxel),
            explained=self._explained(),
            **self._against_reference(),
            confounds=columns_of(confounds),
            lognormal=json.loads(Path(self.inputs.lognormal).read_text()),
            settings=settings,
            versions={'secondglance': __version__, **_versions()},
            image_caption=image_caption(volumes, engine),
            mask_caption=METHODS[settings['mask_taken']].caption,
            methods=methods_text(__version__, engine, settings, volumes),
            warnings=[
                *self.inputs.known,
                *(self.inputs.notes if isdefined(self.inputs.notes) else []),
                *([TURNED_HEAD.format(turned)] if turned and settings['turn'] == 'auto' else []),
                *slice_warnings(affine),
                *brain_warnings(stack, first[:, 0] < 0.5, voxel, pose.relative_size),
                *([REVERSED_SLICES] if donor['scale'] < 0 else []),
                *placement_warnings(placement, confidence, pose.relative_size),
                *result_warnings(
                    image=stack,
                    mask=mask,
                    placement=placement,
                    confounds=confounds,
                    volumes=volume_rows,
                    pixel_mm=float(spacing[0]),
                    relative_size=pose.relative_size,
                ),
            ],
        )
        data = replace(
            data,
            verdict=level(data.warnings, confidence['Confidence'], confidence['BrainVolume']),
        )
        page = Path(runtime.cwd) / f'{self.inputs.scan_name}.html'
        figures = Path(runtime.cwd) / 'figures'
        render_report(data, page, figures)
        self._results.update(out_file=str(page), figures=str(figures), warnings=data.warnings)
        return runtime

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


def moved_most(rows: list[dict], radius: float) -> tuple[int, int, float] | None:
    """Find the volume that the motion correction moved most.

    Parameters
    ----------
    rows : list of dict
        Motion, a row a volume; volumes that were left out have none.
    radius : float
        Of the head, mm: what a rotation is counted at.

    Returns
    -------
    (int, int, float) or None
        Its place among the corrected volumes, its place in the scan, and how far it was moved,
        mm; None where nothing moved.

    Examples
    --------
    >>> still = dict.fromkeys(('trans_x', 'trans_y', 'trans_z', 'rot_x', 'rot_y', 'rot_z'), 0.0)
    >>> moved_most([{'volume': 4, **still}, {'volume': 7, **still, 'rot_x': 0.02}], 10.0)
    (1, 7, 0.2)
    >>> moved_most([{'volume': 4, **still}], 10.0)
    """
    kept = [row for row in rows if isinstance(row['trans_x'], int | float)]
    if not kept:
        return None
    shifts = np.array([[row[f'trans_{a}'] for a in 'xyz'] for row in kept], float)
    turns = np.array([[row[f'rot_{a}'] for a in 'xyz'] for row in kept], float)
    moved = np.linalg.norm(shifts, axis=1) + radius * np.linalg.norm(turns, axis=1)
    place = int(np.nan_to_num(moved).argmax())
    if not moved[place] > 0:
        return None
    return place, int(kept[place]['volume']), float(moved[place])


def edge_letters(affine: np.ndarray) -> tuple[str, str, str, str]:
    """Name what lies left, right, up and down in a slice, by the header.

    Parameters
    ----------
    affine : (4, 4) array
        Of a stack (H, W, N): H runs to the right of the picture, W up.

    Examples
    --------
    >>> coronal = np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    >>> edge_letters(coronal)
    ('L', 'R', 'D', 'V')
    """
    pairs = (('L', 'R'), ('P', 'A'), ('V', 'D'))
    ends = []
    for column in affine[:3, :2].T:
        axis = int(np.abs(column).argmax())
        ends.append(pairs[axis] if column[axis] > 0 else pairs[axis][::-1])
    (left, right), (down, up) = ends
    return left, right, up, down


def slice_warnings(affine: np.ndarray) -> list[str]:
    """Say where slices are not coronal by the header.

    Parameters
    ----------
    affine : (4, 4) array
        Of a stack (H, W, N).

    Examples
    --------
    >>> slice_warnings(np.diag([0.3, 0.3, 1, 1]))[0][:34]
    'By the header, slices are horizont'
    """
    across = int(np.abs(affine[:3, 2]).argmax())
    return [] if across == ANTERIOR else [NOT_CORONAL.format(SLICE_NAMES[across])]


def brain_warnings(
    images: np.ndarray, brain: np.ndarray, voxel: float, relative_size: float = 1.0
) -> list[str]:
    """Say where the first glance sees more than one brain.

    Parameters
    ----------
    images : (N, H, W) array
        The head.
    brain : (N, H, W) bool array
        What the first glance takes for brain.
    voxel : float
        Volume of a voxel, mm³.
    relative_size : float
        Of the species, beside a rat's.

    Returns
    -------
    list of str
    """
    # Lost slices do not cut a brain in two
    labels, count = ndimage.label(brain[holds_signal(images)])
    volumes = np.sort(np.bincount(labels.ravel(), minlength=count + 1)[1:] * voxel)[::-1]
    least = max(LEAST_BRAIN_MM3 * relative_size**3, SECOND_BRAIN * volumes[:1].sum())
    large = volumes[volumes > least]
    if len(large) < 2:
        return []
    return [TWO_BRAINS.format(len(large), *large[:2])]


def placement_warnings(
    rows: list[dict], confidence: dict, relative_size: float = 1.0
) -> list[str]:
    """Warn of what may be wrong with a brain mask.

    Parameters
    ----------
    rows : list of dict
        A row a slice, with ``donor_slice``, ``confidence`` and ``replaced``.
    confidence : dict
        Of the whole mask: ``Method`` and ``MethodAskedFor``, ``Confidence``, ``BrainVolume``.
    relative_size : float
        Of the species, beside a rat's.

    Returns
    -------
    list of str
    """
    volume = confidence['BrainVolume'] / relative_size**3
    if volume == 0:
        return ['No brain was found: the mask is empty.']
    warnings = []
    if confidence['MethodAskedFor'] == 'auto' and confidence['Method'] != 'network':
        warnings.append(
            f'The mask is that of {confidence["Method"]}: that of the network is doubtful.'
        )
    if confidence['Confidence'] < DOUBTFUL:
        warnings.append(
            f'The mask is doubtful: its Dice is at least {GOOD_DICE} with a probability of '
            f'{confidence["Confidence"]:.2f} only.'
        )
    if not BRAIN_MM3[0] < volume < BRAIN_MM3[1]:
        warnings.append(
            f'A brain of {confidence["BrainVolume"]:.0f} mm³ is unusual for the species: is '
            '--species right, and does the field of view hold the whole brain?'
        )
    matched = [row for row in rows if row['donor_slice'] >= 0]
    if _is_placed(confidence['Method']):
        if not matched:
            return ['No slice of any donor matched: the mask is empty.']
        trust = float(np.mean([row['confidence'] for row in matched]))
        if trust < LOW_CONFIDENCE:
            warnings.append(f'The shifts of the slices disagree (mean confidence {trust:.2f}).')
        beyond = len(rows) - len(matched)
        if beyond:
            warnings.append(f'{beyond} slices lie beyond the donor and have no mask.')
        replaced = [row['slice'] for row in matched if row['replaced']]
        if replaced:
            warnings.append(
                f'{len(replaced)} of {len(matched)} slices had an outlier shift of the donor mask '
                f'that was replaced: {ranges(replaced)}.'
            )
    return warnings


def _without_signal(stack: np.ndarray) -> str:
    """Slices that hold nothing, where there are any."""
    lost = np.flatnonzero(~holds_signal(stack))
    return f', without signal: {", ".join(map(str, lost))}' if len(lost) else ''


def _counted(found: list[int], n: int) -> str:
    """Count slices and name them.

    Examples
    --------
    >>> _counted([], 9), _counted([3], 9), _counted([3, 4, 5], 9)
    ('none of 9', '1 of 9: slice 3', '3 of 9: slices 3–5')
    """
    if not found:
        return f'none of {n}'
    return f'{len(found)} of {n}: slice{"s" * (len(found) > 1)} {ranges(found)}'


def _is_placed(method: str) -> bool:
    """Whether the brain mask is the donor's, so that its shifts matter."""
    return METHODS[method].evidence == 'placed'


def _replaced(rows: list[dict], method: str) -> str:
    """Slices with an outlier shift of the donor mask, and whether the mask depends on it.

    Examples
    --------
    >>> rows = [{'slice': 0, 'replaced': True}, {'slice': 1, 'replaced': False}]
    >>> _replaced(rows, 'correlation'), _replaced(rows[1:], 'network')
    ('1 of 2: slice 0', 'none of 1')
    >>> _replaced(rows, 'network')
    '1 of 2: slice 0; the mask is not the placed one, and does not depend on them'
    """
    found = [int(row['slice']) for row in rows if row['replaced']]
    told = _counted(found, len(rows))
    if found and not _is_placed(method):
        told += '; the mask is not the placed one, and does not depend on them'
    return told


def _versions() -> dict[str, str]:
    found = {}
    for name in VERSIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = 'not installed'
    return found
