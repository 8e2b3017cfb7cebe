"""From one raw scan to tissue maps: the whole graph."""

from collections.abc import Sequence
from pathlib import Path

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline.engine import Node, Workflow

from secondglance.files.bids import Scan
from secondglance.pipelines.brain import BRAIN_FIELDS, init_brain_wf
from secondglance.pipelines.edges import between
from secondglance.pipelines.explain import init_explain_wf
from secondglance.pipelines.outputs import init_outputs_wf, second_fields
from secondglance.pipelines.preproc import PREPROC_FIELDS, init_preproc_wf
from secondglance.pipelines.series import SERIES_FIELDS, init_series_wf
from secondglance.pipelines.settings import LOCAL, Execution, Method
from secondglance.pipelines.tissues import TISSUE_FIELDS, init_tissues_wf


def init_subject_wf(
    *,
    scan: Scan,
    output_dir: str | Path,
    method: Method | None = None,
    execution: Execution = LOCAL,
    reference: str | Path | None = None,
    cache_dir: str | Path | None = None,
    notes: Sequence[str] = (),
    name: str | None = None,
) -> Workflow:
    """Take one raw scan to tissue maps.

    ::

        inputnode → preproc_wf → brain_wf → tissues_wf → outputs_wf
                               → explain_wf (when maps are asked for) ↗
                               → series_wf (when the series is asked for) ↗

    Parameters
    ----------
    scan : Scan
        The image, as :func:`secondglance.files.bids.find_scans` gives it.
    output_dir : path
        Root of the derivatives; a relative one is of the folder where the graph is built.
    method : Method, optional
        By default what ships.
    execution : Execution
    reference : path, optional
        Reference segmentation or brain mask of this scan.
    cache_dir : path, optional
        Where subjects share what they have in common: the saliency of the donors.
    notes : sequence of str
        What is known of the scan before it is run; warnings of its report.
    name : str, optional
        Name of the workflow, by default after the scan.

    Inputs
    ------
    in_file, bval_file
        Already set from `scan`.

    Outputs
    -------
    report, dseg, brain_mask, probsegs
    """
    method = method or Method()
    workflow = Workflow(name=name or workflow_name(scan))
    inputnode = Node(IdentityInterface(['in_file', 'bval_file']), name='inputnode')
    inputnode.inputs.in_file = str(scan.path)
    if scan.bval is not None:
        inputnode.inputs.bval_file = str(scan.bval)
    outputnode = Node(
        IdentityInterface(['report', 'dseg', 'brain_mask', 'probsegs']), name='outputnode'
    )
    preproc_wf = init_preproc_wf(
        motion=method.motion,
        voxel_scale=method.voxel_scale,
        b0_threshold=method.b0_threshold,
        all_b0=method.all_b0,
        weights=method.weights,
        species=method.species,
        turn=method.turn,
        slice_axis=method.slice_axis,
        device=execution.device,
        n_procs=execution.nprocs * execution.threads,
    )
    brain_wf = init_brain_wf(
        weights=method.weights,
        refinement=method.refinement,
        donors=method.donors,
        species=method.species,
        slice_axis=method.slice_axis,
        turn=method.turn,
        saliency=method.saliency,
        mask_method=method.mask_method,
        execution=execution,
        cache_dir=cache_dir,
    )
    tissues_wf = init_tissues_wf(
        weights=method.weights,
        second_glance=method.second_glance,
        second_weights=method.second_weights,
        atlases=method.atlases,
        execution=execution,
    )
    outputs_wf = init_outputs_wf(
        scan=scan,
        output_dir=output_dir,
        method=method,
        device=execution.device,
        reference=reference,
        notes=notes,
    )

    workflow.connect(
        [
            (
                inputnode,
                preproc_wf,
                [('in_file', 'inputnode.in_file'), ('bval_file', 'inputnode.bval_file')],
            ),
            (
                preproc_wf,
                brain_wf,
                [('outputnode.b0_mean', 'inputnode.in_file'), *between('estimated_pose')],
            ),
            (preproc_wf, tissues_wf, [('outputnode.b0_mean', 'inputnode.in_file')]),
            (
                brain_wf,
                tissues_wf,
                between('brain_mask', 'pose', 'first_probabilities_stack'),
            ),
            (preproc_wf, outputs_wf, between(*PREPROC_FIELDS)),
            (brain_wf, outputs_wf, between(*BRAIN_FIELDS)),
            (tissues_wf, outputs_wf, between(*TISSUE_FIELDS, *second_fields(method))),
            (outputs_wf, outputnode, [('outputnode.report', 'report')]),
            (brain_wf, outputnode, [('outputnode.brain_mask', 'brain_mask')]),
            (
                tissues_wf,
                outputnode,
                [('outputnode.dseg', 'dseg'), ('outputnode.probsegs', 'probsegs')],
            ),
        ]
    )
    if method.save_preproc:
        series_wf = _series_wf(scan, method, execution)
        workflow.connect(_series_edges(preproc_wf, brain_wf, series_wf, outputs_wf))
    if method.explained:
        _connect_explain_wf(workflow, preproc_wf, brain_wf, outputs_wf, method, execution)
    return workflow


def _series_edges(
    preproc_wf: Workflow, brain_wf: Workflow, series_wf: Workflow, outputs_wf: Workflow
) -> list:
    """Edges of the workflow that corrects the whole series."""
    return [
        (preproc_wf, series_wf, between('transforms', 'b0_mean')),
        (brain_wf, series_wf, between('brain_mask')),
        (series_wf, outputs_wf, between(*SERIES_FIELDS)),
    ]


def _series_wf(scan: Scan, method: Method, execution: Execution) -> Workflow:
    """Workflow that corrects the whole series, its files set."""
    series_wf = init_series_wf(
        estimate=method.motion != 'none',
        b0_threshold=method.b0_threshold,
        n_procs=execution.nprocs * execution.threads,
    )
    inputs = series_wf.get_node('inputnode').inputs
    inputs.in_file = str(scan.path)
    for name, path in (('bval_file', scan.bval), ('bvec_file', scan.bvec)):
        if path is not None:
            setattr(inputs, name, str(path))
    return series_wf


def _connect_explain_wf(
    workflow: Workflow,
    preproc_wf: Workflow,
    brain_wf: Workflow,
    outputs_wf: Workflow,
    method: Method,
    execution: Execution,
) -> None:
    """Add the saliency maps that were asked for beside the one that places the mask."""
    explain_wf = init_explain_wf(
        weights=method.weights,
        targets=tuple(name.removesuffix('region') for name in method.explained),
        region=method.explain_region,
        saliency=method.saliency,
        execution=execution,
    )
    workflow.connect(
        [
            (preproc_wf, explain_wf, [('outputnode.b0_mean', 'inputnode.in_file')]),
            (brain_wf, explain_wf, between('pose')),
            (
                explain_wf,
                outputs_wf,
                [
                    ('outputnode.maps', 'inputnode.maps'),
                    ('outputnode.stacks', 'inputnode.map_stacks'),
                ],
            ),
        ]
    )


def workflow_name(scan: Scan) -> str:
    """Name of a scan's workflow, and of its folder in the cache."""
    return 'secondglance_' + scan.name.replace('-', '_')
