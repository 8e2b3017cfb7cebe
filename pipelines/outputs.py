"""What a user gets: BIDS derivatives, the report, and metrics where there is a reference."""

from collections.abc import Sequence
from pathlib import Path

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline.engine import Node, Workflow

from secondglance.files.bids import Scan
from secondglance.files.labels import find_label_table, labels_table
from secondglance.imaging.labels import TISSUES
from secondglance.interfaces.derivatives import Publish
from secondglance.interfaces.metrics import Metrics
from secondglance.interfaces.preprocessing import Displacement
from secondglance.interfaces.report import Report
from secondglance.pipelines.edges import same
from secondglance.pipelines.settings import Method, absolute
from secondglance.pipelines.sidecars import (
    RAW,
    TO_ATLAS,
    mean_ending,
    motion_ending,
    series_endings,
    sidecars,
)
from secondglance.pipelines.tissues import NETWORK_FIELDS, REGION_FIELDS

SECOND_ENDINGS = {
    'tissues_about': 'dseg.json',
    'transform': f'{TO_ATLAS}.h5',
    'transform_about': f'{TO_ATLAS}.json',
    'regions': 'desc-regions_dseg.nii.gz',
    'regions_table': 'desc-regions_dseg.tsv',
    'regions_volumes': 'desc-regions_volumes.tsv',
}
"""What a second glance of its own network leaves beside the tissues."""


REPORTED = (
    *('notes', 'engine', 'donor', 'pose', 'lognormal', 'stack', 'saliency_stack'),
    *('enhanced_stack', 'mask_stack', 'first_probabilities_stack', 'probabilities_stack'),
    *('labels_stack', 'b0_series', 'b0_uncorrected', 'placed_stack', 'kernel_stack'),
    *('placement', 'volumes', 'transforms', 'confidence'),
)
"""Inputs of the workflow that the report shows."""

PUBLISHED = (
    *('b0_mean', 'transforms', 'itk_transforms', 'brain_mask', 'confidence', 'dseg'),
    *('brain_share', 'saliency', 'enhanced', 'lognormal_slices', 'placement', 'volumes', 'engine'),
)
"""Inputs of the workflow that are written to the output folder as they are."""

HANDED_ON = ('probsegs', 'first_probabilities', 'maps', 'map_stacks', 'confounds')
"""Inputs of the workflow that are taken apart or completed first."""


def init_outputs_wf(
    *,
    scan: Scan,
    output_dir: str | Path,
    method: Method | None = None,
    device: str = 'cpu',
    reference: str | Path | None = None,
    notes: Sequence[str] = (),
    name: str = 'outputs_wf',
) -> Workflow:
    """Write the results to the output folder, all or none.

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
    method : Method, optional
        Written as TOML and shown in the report; by default what ships.
    device : str
        On which the networks run.
    reference : path, optional
        Reference segmentation, or brain mask, on the grid of the image.
    notes : sequence of str
        What is known of the scan before it is run; warnings of the report.
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
    method = method or Method()
    settings = {**method.resolved(), 'device': device}
    second = second_fields(method)
    series = list(series_endings(scan.suffix)) if method.save_preproc else []
    fields = dict.fromkeys([*REPORTED, *PUBLISHED, *second, *series, *HANDED_ON])
    inputnode = Node(IdentityInterface(list(fields)), name='inputnode')
    outputnode = Node(IdentityInterface(['report', 'out_files']), name='outputnode')

    # Only now is it known how large the head is that moved
    displacement = Node(Displacement(), name='displacement')
    report = Node(
        Report(
            scan_name=scan.name,
            suffix=scan.suffix,
            source=str(scan.path),
            settings=settings,
            known=list(notes),
        ),
        mem_gb=1.0,
        name='report',
    )
    publish = Node(
        Publish(
            result_endings(method, scan.suffix),
            output_dir=str(absolute(output_dir)),
            folder=str(scan.folder),
            stem=scan.stem,
            suffix=scan.suffix,
            sidecars=sidecars(scan, settings, method.explained),
            dataset_links={RAW: str(scan.data_set)} if scan.data_set else {},
            texts=_texts(scan, method, settings),
        ),
        name='publish',
    )
    regions = [field for field in ('regions', 'regions_table') if field in second]
    edges: list = [
        (inputnode, report, same(*REPORTED, *regions)),
        (inputnode, displacement, [('confounds', 'in_file'), ('pose', 'pose')]),
        (displacement, report, [('out_file', 'confounds')]),
        (displacement, publish, [('out_file', 'displacement'), ('about', 'displacement_about')]),
        (inputnode, publish, same(*PUBLISHED, *second, *series)),
        (report, publish, [('out_file', 'report'), ('figures', 'report_figures')]),
        (report, publish, same('citation_md', 'citation_bib')),
        (publish, outputnode, same('report', 'out_files')),
    ]
    for index, tissue in enumerate(TISSUES):
        edges.append(
            (inputnode, publish, [(('probsegs', _item, index), f'probseg_{tissue}')]),
        )
    for index, explained in enumerate(method.explained):
        edges.append((inputnode, publish, [(('maps', _item, index), f'explained_{explained}')]))
    if method.explained:
        report.inputs.map_names = method.explained
        edges.append((inputnode, report, same('map_stacks')))
    if reference is not None:
        metrics = Node(Metrics(**_reference(absolute(reference))), name='metrics')
        scores = [('out_file', 'metrics'), ('slices_file', 'slice_metrics')]
        edges += [
            (inputnode, metrics, same('dseg', 'brain_mask', 'first_probabilities', 'pose')),
            (metrics, report, [*scores, *same('reference_stack')]),
            (metrics, publish, scores),
        ]
    workflow.connect(edges)
    return workflow


def second_fields(method: Method) -> list[str]:
    """Name what the second glance leaves beside the tissues.

    Examples
    --------
    >>> second_fields(Method(regions=False))
    ['tissues_about', 'transform', 'transform_about']
    >>> second_fields(Method(second_glance='masked'))
    []
    """
    if method.second_glance != 'network':
        return []
    return [*NETWORK_FIELDS, *(REGION_FIELDS if method.regions else ())]


def _reference(path: Path) -> dict[str, str]:
    """Inputs of the metrics: the reference, and the table of its labels where there is one."""
    table = find_label_table(path)
    return {'reference': str(path), **({'label_table': str(table)} if table else {})}


def _texts(scan: Scan, method: Method, settings: dict) -> dict[str, str]:
    """Files with content that is known before anything runs: name below the root, and text."""
    begin = scan.folder / scan.stem
    texts = {
        f'{begin}_dseg.tsv': labels_table(),
        f'logs/{scan.stem}_{scan.suffix}.toml': _toml(settings),
    }
    if scan.suffix == 'dwi':
        # BIDS wants a gradient table of every image called dwi
        for one in ('b0mean', 'brain') if method.save_preproc else ('b0mean',):
            texts[f'{begin}_desc-{one}_dwi.bval'] = '0\n'
            texts[f'{begin}_desc-{one}_dwi.bvec'] = '0\n0\n0\n'
    return texts


def _item(items: list[str], index: int) -> str:
    return items[index]


def _toml(settings: dict) -> str:
    """Settings as TOML; what is not set is left out, as TOML has no null."""
    import tomli_w

    plain = {
        key: [str(item) for item in value] if isinstance(value, list | tuple) else value
        for key, value in settings.items()
        if value is not None
    }
    return tomli_w.dumps(plain)


def result_endings(method: Method, suffix: str) -> dict[str, str]:
    """Endings of the names of all results, by field of `Publish`."""
    return {
        'b0_mean': f'{mean_ending(suffix)}.nii.gz',
        'displacement': 'desc-confounds_timeseries.tsv',
        'displacement_about': 'desc-confounds_timeseries.json',
        'transforms': f'{motion_ending(suffix)}.json',
        'itk_transforms': f'{motion_ending(suffix)}.txt',
        'brain_mask': 'desc-brain_mask.nii.gz',
        'confidence': 'desc-brain_mask.json',
        'dseg': 'dseg.nii.gz',
        **{f'probseg_{tissue}': f'label-{tissue}_probseg.nii.gz' for tissue in TISSUES},
        'brain_share': 'label-brain_probseg.nii.gz',
        'saliency': f'desc-{method.saliency.target}_saliency.nii.gz',
        'enhanced': 'desc-enhanced_saliency.nii.gz',
        'lognormal_slices': 'desc-lognormal_slices.tsv',
        **{f'explained_{name}': f'desc-{name}_saliency.nii.gz' for name in method.explained},
        'placement': 'desc-placement_slices.tsv',
        'volumes': 'desc-tissue_volumes.tsv',
        **{field: SECOND_ENDINGS[field].format(suffix=suffix) for field in second_fields(method)},
        **(series_endings(suffix) if method.save_preproc else {}),
        'metrics': 'desc-metrics_scores.tsv',
        'slice_metrics': 'desc-metrics_slices.tsv',
    }
