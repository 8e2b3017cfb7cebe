"""From one raw scan to tissue maps: the whole graph."""

from pathlib import Path

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline.engine import Node, Workflow

from secondglance.files.bids import Scan
from secondglance.pipelines.brain import init_brain_wf
from secondglance.pipelines.explain import init_explain_wf
from secondglance.pipelines.outputs import explained_names, init_outputs_wf
from secondglance.pipelines.preproc import init_preproc_wf
from secondglance.pipelines.settings import Settings
from secondglance.pipelines.tissues import init_tissues_wf


def init_subject_wf(
    *,
    scan: Scan,
    output_dir: str | Path,
    settings: Settings,
    cache_dir: str | Path | None = None,
    name: str | None = None,
) -> Workflow:
    """Take one raw scan to tissue maps, by looking twice.

    ::

        inputnode → preproc_wf → brain_wf → tissues_wf → outputs_wf
                               → explain_wf (when maps are asked for) ↗

    Parameters
    ----------
    scan : Scan
        The image, as :func:`secondglance.files.bids.find_scans` gives it.
    output_dir : path
        Root of the derivatives.
    settings : Settings
    cache_dir : path, optional
        Where subjects share what they have in common: the saliency of the donors.
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
    workflow = Workflow(name=name or 'secondglance_' + scan.name.replace('-', '_'))
    gpu = settings.device.startswith('cuda')
    n_slabs = 1 if gpu else settings.nprocs
    network = {
        'weights': settings.weights,
        'slice_axis': settings.slice_axis,
        'device': settings.device,
        'use_gpu': gpu,
        'n_slabs': n_slabs,
        'slices_per_job': settings.slices_per_job,
        'num_threads': settings.threads,
    }

    inputnode = Node(IdentityInterface(['in_file', 'bval_file']), name='inputnode')
    inputnode.inputs.in_file = str(scan.path)
    if scan.bval is not None:
        inputnode.inputs.bval_file = str(scan.bval)
    outputnode = Node(
        IdentityInterface(['report', 'dseg', 'brain_mask', 'probsegs']), name='outputnode'
    )
    preproc_wf = init_preproc_wf(
        motion=settings.motion,
        b0_threshold=settings.b0_threshold,
        all_b0=settings.all_b0,
        n_procs=settings.nprocs * settings.threads,
    )
    brain_wf = init_brain_wf(
        refinement=settings.refinement,
        donors=list(settings.donors),
        saliency=settings.saliency,
        target=settings.target,
        smooth=settings.smooth,
        peak=settings.enhance_peak,
        width=settings.enhance_width,
        mask_method=settings.mask_method,
        species=settings.species,
        turn=settings.turn,
        cache_dir=cache_dir,
        **network,
    )
    tissues_wf = init_tissues_wf(**network)
    outputs_wf = init_outputs_wf(
        scan=scan,
        output_dir=output_dir,
        settings=settings.resolved(),
        reference=settings.reference,
    )

    def same(*names):
        return [(f'outputnode.{n}', f'inputnode.{n}') for n in names]

    if names := explained_names(settings.resolved()):
        slabs = ('n_slabs', 'slices_per_job')
        explain_wf = init_explain_wf(
            targets=tuple(name.removesuffix('region') for name in names),
            region=settings.explain_region,
            saliency=settings.saliency,
            smooth=settings.smooth,
            **{key: value for key, value in network.items() if key not in slabs},
        )
        workflow.connect(
            [
                (preproc_wf, explain_wf, [('outputnode.b0_mean', 'inputnode.in_file')]),
                (brain_wf, explain_wf, same('spacing', 'quarter_turns')),
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

    workflow.connect(
        [
            (
                inputnode,
                preproc_wf,
                [('in_file', 'inputnode.in_file'), ('bval_file', 'inputnode.bval_file')],
            ),
            (preproc_wf, brain_wf, [('outputnode.b0_mean', 'inputnode.in_file')]),
            (preproc_wf, tissues_wf, [('outputnode.b0_mean', 'inputnode.in_file')]),
            (brain_wf, tissues_wf, same('brain_mask', 'spacing', 'quarter_turns')),
            (preproc_wf, outputs_wf, same('b0_mean', 'confounds', 'transforms', 'engine')),
            (
                brain_wf,
                outputs_wf,
                same(
                    *(
                        'brain_mask',
                        'saliency',
                        'enhanced',
                        'placement',
                        'donor',
                        'lognormal',
                        'lognormal_slices',
                        'first_probabilities',
                        'confidence',
                        'species',
                        'quarter_turns',
                    ),
                    *('stack', 'saliency_stack', 'enhanced_stack', 'mask_stack'),
                    'first_probabilities_stack',
                ),
            ),
            (
                tissues_wf,
                outputs_wf,
                same('dseg', 'probsegs', 'volumes', 'probabilities_stack'),
            ),
            (outputs_wf, outputnode, [('outputnode.report', 'report')]),
            (brain_wf, outputnode, [('outputnode.brain_mask', 'brain_mask')]),
            (
                tissues_wf,
                outputnode,
                [('outputnode.dseg', 'dseg'), ('outputnode.probsegs', 'probsegs')],
            ),
        ]
    )
    return workflow
