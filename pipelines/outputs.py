"""What a user gets: BIDS derivatives, the report, and metrics where there is a reference."""

from pathlib import Path

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline.engine import Node, Workflow

from secondglance.files.bids import Scan
from secondglance.files.labels import LABELS, find_label_table, labels_table
from secondglance.imaging.labels import TISSUES
from secondglance.interfaces.derivatives import Publish
from secondglance.interfaces.metrics import Metrics
from secondglance.interfaces.preprocessing import LEFT_OUT, Displacement
from secondglance.interfaces.report import Report
from secondglance.pipelines.settings import Method
from secondglance.pipelines.tissues import REGION_FIELDS, TRANSFORM_FIELDS

SECOND_ENDINGS = {
    'transform': 'from-scan_to-atlas_xfm.h5',
    'transform_about': 'from-scan_to-atlas_xfm.json',
    'regions': 'desc-regions_dseg.nii.gz',
    'regions_table': 'desc-regions_dseg.tsv',
    'regions_volumes': 'desc-regions_volumes.tsv',
}
"""What a second glance of its own network leaves beside the tissues."""


def init_outputs_wf(
    *,
    scan: Scan,
    output_dir: str | Path,
    method: Method,
    device: str = 'cpu',
    reference: str | Path | None = None,
    name: str = 'outputs_wf',
) -> Workflow:
    """Write what was found below the output folder, whole or not at all.

    ::

        confounds, pose → displacement → report → publish
        everything                        ↗
        dseg, brain_mask, reference → metrics ↗

    Parameters
    ----------
    scan : Scan
        The image that was segmented: its entities name the files.
    output_dir : path
        Root of the derivatives.
    method : Method
        Written as TOML and shown in the report.
    device : str
        On which the networks run.
    reference : path, optional
        Reference segmentation, or brain mask, on the grid of the image.
    name : str

    Inputs
    ------
    Outputs of `preproc_wf`, `brain_wf` and `tissues_wf`, under their own names.

    Outputs
    -------
    report
        Path of the HTML report.
    out_files
        Everything that was written.
    """
    workflow = Workflow(name=name)
    suffix = scan.suffix
    explained = method.explained
    second = second_fields(method)
    settings = {**method.resolved(), 'device': device}
    endings = {
        'b0_mean': f'desc-b0mean_{suffix}.nii.gz',
        'displacement': 'desc-confounds_timeseries.tsv',
        'displacement_about': 'desc-confounds_timeseries.json',
        'transforms': 'desc-hmc_xfm.json',
        'itk_transforms': f'from-orig_to-{suffix}ref_mode-image_desc-hmc_xfm.txt',
        'brain_mask': 'desc-brain_mask.nii.gz',
        'confidence': 'desc-brain_mask.json',
        'dseg': 'dseg.nii.gz',
        **{f'probseg_{tissue}': f'label-{tissue}_probseg.nii.gz' for tissue in TISSUES},
        'saliency': f'desc-{settings["target"]}_saliency.nii.gz',
        'enhanced': 'desc-enhanced_saliency.nii.gz',
        'lognormal_slices': 'desc-lognormal_slices.tsv',
        **{f'explained_{name}': f'desc-{name}_saliency.nii.gz' for name in explained},
        'placement': 'desc-placement_slices.tsv',
        'volumes': 'desc-tissue_volumes.tsv',
        **{field: SECOND_ENDINGS[field] for field in second},
        'metrics': 'desc-metrics_scores.tsv',
        'slice_metrics': 'desc-metrics_slices.tsv',
    }
    computed = ['b0_mean', 'transforms', 'itk_transforms', 'brain_mask', 'confidence', 'dseg']
    computed += ['saliency', 'enhanced', 'lognormal_slices', 'placement', 'volumes', *second]
    for_report = ['notes', 'engine', 'donor', 'pose', 'lognormal', 'stack', 'saliency_stack']
    for_report += ['enhanced_stack', 'mask_stack', 'first_probabilities_stack']
    for_report += ['probabilities_stack', 'b0_series', 'b0_uncorrected']
    others = ['probsegs', 'first_probabilities', 'maps', 'map_stacks', 'confounds']
    inputnode = Node(IdentityInterface([*computed, *for_report, *others]), name='inputnode')
    outputnode = Node(IdentityInterface(['report', 'out_files']), name='outputnode')

    # Only now is it known how large the head is that moved
    displacement = Node(Displacement(), name='displacement')
    report = Node(
        Report(scan_name=scan.name, suffix=suffix, source=str(scan.path), settings=settings),
        mem_gb=1.0,
        name='report',
    )
    publish = Node(
        Publish(
            endings,
            output_dir=str(output_dir),
            folder=str(scan.folder),
            stem=scan.stem,
            suffix=suffix,
            sidecars=_sidecars(scan, settings, explained),
            texts={
                str(scan.folder / f'{scan.stem}_dseg.tsv'): labels_table(),
                f'logs/{scan.stem}_{suffix}.toml': _toml(settings),
            },
        ),
        name='publish',
    )
    edges: list = [
        (
            inputnode,
            report,
            [
                (field, field)
                for field in [
                    *for_report,
                    *('placement', 'volumes', 'transforms', 'confidence'),
                    *(field for field in ('regions', 'regions_table') if field in second),
                ]
            ],
        ),
        (inputnode, displacement, [('confounds', 'in_file'), ('pose', 'pose')]),
        (displacement, report, [('out_file', 'confounds')]),
        (displacement, publish, [('out_file', 'displacement'), ('about', 'displacement_about')]),
        (inputnode, publish, [(field, field) for field in [*computed, 'engine']]),
        (report, publish, [('out_file', 'report'), ('figures', 'report_figures')]),
        (publish, outputnode, [('report', 'report'), ('out_files', 'out_files')]),
    ]
    for index, tissue in enumerate(TISSUES):
        edges.append(
            (inputnode, publish, [(('probsegs', _item, index), f'probseg_{tissue}')]),
        )
    for index, name in enumerate(explained):
        edges.append((inputnode, publish, [(('maps', _item, index), f'explained_{name}')]))
    if explained:
        report.inputs.map_names = explained
        edges.append((inputnode, report, [('map_stacks', 'map_stacks')]))
    if reference is not None:
        metrics = Node(Metrics(reference=str(reference)), name='metrics')
        if table := find_label_table(Path(reference)):
            metrics.inputs.label_table = str(table)
        edges += [
            (
                inputnode,
                metrics,
                [
                    ('dseg', 'dseg'),
                    ('brain_mask', 'brain_mask'),
                    ('first_probabilities', 'first_probabilities'),
                ],
            ),
            (metrics, report, [('out_file', 'metrics')]),
            (metrics, publish, [('out_file', 'metrics'), ('slices_file', 'slice_metrics')]),
        ]
    workflow.connect(edges)
    return workflow


def second_fields(method: Method) -> list[str]:
    """Name what the second glance leaves beside the tissues.

    Examples
    --------
    >>> second_fields(Method(regions=False))
    ['transform', 'transform_about']
    >>> second_fields(Method(second_glance='masked'))
    []
    """
    if method.second_glance != 'network':
        return []
    return [*TRANSFORM_FIELDS, *(REGION_FIELDS if method.regions else ())]


def _item(items, index):
    return items[index]


def _sidecars(scan: Scan, settings: dict, names: list[str]) -> dict[str, dict]:
    sources = {'Sources': [_source(scan)]}
    second = {}
    if settings['second_glance'] == 'network':
        second['from-scan_to-atlas_xfm.json'] = {
            **sources,
            'Description': 'ITK transform of points of the scan to the atlas; '
            'antsApplyTransforms brings maps of the atlas to the scan with it',
        }
        if settings['regions']:
            second['desc-regions_dseg.json'] = {**sources, 'Atlas': settings['atlas'] or 'shipped'}
    saliency = {
        **sources,
        'Method': settings['saliency'],
        'Target': settings['target'],
        'SmoothingCopies': settings['smooth'],
        'WeightsChecksum': settings['weights_checksum'],
    }
    explained = {}
    for name in names:
        told = {**saliency, 'Target': name.removesuffix('region')}
        if settings['explain_region'] is not None:
            told['Region'] = settings['explain_region']
        told['Description'] = 'attribution of summed logits'
        explained[f'desc-{name}_saliency.json'] = told
    return {
        'desc-brain_mask.json': {
            **sources,
            'Type': 'Brain',
            'RefinementChecksum': settings['refinement_checksum'],
        },
        'dseg.json': {
            **sources,
            'WeightsChecksum': settings['weights_checksum'],
            'SecondGlance': settings['second_glance'],
            'SecondWeightsChecksum': settings['second_checksum'],
            'LabelMap': {label.abbreviation: label.index for label in LABELS},
        },
        f'desc-{settings["target"]}_saliency.json': {
            **saliency,
            'Description': 'attribution of summed logits',
        },
        **explained,
        **second,
        'desc-enhanced_saliency.json': {
            **saliency,
            'Description': 'enhanced magnitude, 0 to 1',
            'Peak': settings['enhance_peak'],
            'Width': settings['enhance_width'],
        },
        'desc-confounds_timeseries.json': {
            **{f'trans_{a}': {'Units': 'mm'} for a in 'xyz'},
            **{f'rot_{a}': {'Units': 'rad'} for a in 'xyz'},
            'head_against_brain': {
                'Units': 'mm',
                'Description': 'distance in the brain between motion estimated on head and brain',
            },
            'within_volume': {
                'Units': 'mm',
                'Description': 'distance between parts of the slices of the volume',
            },
            'excluded': {
                'Description': 'why the volume is not in the mean',
                'Levels': LEFT_OUT,
            },
        },
    }


def _source(scan: Scan) -> str:
    """Name of the image: within its data set, or alone where it lies in none."""
    within = scan.folder / scan.path.name
    in_data_set = scan.path.parts[-len(within.parts) :] == within.parts
    return f'bids:raw:{within}' if in_data_set else scan.path.name


def _toml(settings: dict) -> str:
    """Settings as TOML; what is not set is left out, as TOML has no null."""
    import tomli_w

    plain = {
        key: [str(item) for item in value] if isinstance(value, list | tuple) else value
        for key, value in settings.items()
        if value is not None
    }
    return tomli_w.dumps(plain)
