"""From one raw scan to tissue maps: the whole graph."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline.engine import Node, Workflow

from secondglance import __version__
from secondglance.imaging.species import AUTO
from secondglance.interfaces.bids import Scan
from secondglance.models.choices import TURNS
from secondglance.models.weights import REFINEMENT, default_refinement, read_header
from secondglance.pipelines.explain import init_explain_wf
from secondglance.pipelines.glance import init_glance_wf
from secondglance.pipelines.outputs import explained_names, init_outputs_wf
from secondglance.pipelines.preproc import init_preproc_wf
from secondglance.pipelines.segment import init_segment_wf


@dataclass(frozen=True)
class Settings:
    """What may be chosen for a run; each is explained at the command line.

    Attributes
    ----------
    weights : Path
    donors : tuple of (image, mask)
    motion : {'auto', 'fsl', 'sitk', 'none'}
    b0_threshold : float
        s/mm².
    nprocs, threads : int
        Processes, and the threads of each: how fast, never what.
    """

    weights: Path
    donors: tuple[tuple[Path, Path], ...]
    refinement: Path = field(default_factory=default_refinement)
    motion: str = 'auto'
    b0_threshold: float = 50.0
    all_b0: bool = False
    species: str = AUTO
    slice_axis: str = 'auto'
    turn: str = TURNS[0]
    mask_method: str = 'network'
    saliency: str = 'guided'
    target: str = 'brain'
    smooth: int = 0
    enhance_peak: float = 2.0
    enhance_width: float = 0.5
    explain: tuple[str, ...] = ()
    explain_region: Path | tuple[int, int, int] | None = None
    device: str = 'cpu'
    slices_per_job: int = 0
    nprocs: int = 1
    threads: int = 1
    reference: Path | None = field(default=None)

    def resolved(self) -> dict:
        """Return the settings as plain values, with what they resolve to."""
        plain = {
            key: str(value) if isinstance(value, Path) else value
            for key, value in asdict(self).items()
        }
        if isinstance(self.explain_region, tuple):
            plain['explain_region'] = ','.join(map(str, self.explain_region))
        plain['donors'] = [str(image) for image, _ in self.donors]
        # These change how fast, never what
        for key in ('nprocs', 'threads', 'slices_per_job'):
            del plain[key]
        return {
            'version': __version__,
            **plain,
            'weights_checksum': read_header(self.weights)['checksum'],
            'refinement_checksum': read_header(self.refinement, REFINEMENT)['checksum'],
        }


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

        inputnode → preproc_wf → glance_wf → segment_wf → outputs_wf
                               → explain_wf (when maps are asked for) ↗

    Parameters
    ----------
    scan : Scan
        The image, as :func:`secondglance.interfaces.bids.find_scans` gives it.
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
    glance_wf = init_glance_wf(
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
    segment_wf = init_segment_wf(**network)
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
                (glance_wf, explain_wf, same('spacing', 'quarter_turns')),
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
            (preproc_wf, glance_wf, [('outputnode.b0_mean', 'inputnode.in_file')]),
            (preproc_wf, segment_wf, [('outputnode.b0_mean', 'inputnode.in_file')]),
            (glance_wf, segment_wf, same('brain_mask', 'spacing', 'quarter_turns')),
            (preproc_wf, outputs_wf, same('b0_mean', 'confounds', 'transforms', 'engine')),
            (
                glance_wf,
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
                segment_wf,
                outputs_wf,
                same('dseg', 'probsegs', 'volumes', 'probabilities_stack'),
            ),
            (outputs_wf, outputnode, [('outputnode.report', 'report')]),
            (glance_wf, outputnode, [('outputnode.brain_mask', 'brain_mask')]),
            (
                segment_wf,
                outputnode,
                [('outputnode.dseg', 'dseg'), ('outputnode.probsegs', 'probsegs')],
            ),
        ]
    )
    return workflow
