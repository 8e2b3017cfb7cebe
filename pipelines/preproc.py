"""From a raw scan to the mean of its motion-corrected b0 volumes."""

from pathlib import Path

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline.engine import Node, Workflow

from secondglance.imaging.diffusion import B0_THRESHOLD
from secondglance.imaging.species import AUTO
from secondglance.interfaces.mcflirt import resolve_engine
from secondglance.interfaces.preprocessing import ENGINES, MeanVolume, SelectB0
from secondglance.models.choices import TURNS
from secondglance.models.weights import default_weights
from secondglance.pipelines.edges import same
from secondglance.pipelines.settings import absolute

PREPROC_FIELDS = (
    *('b0_mean', 'b0_series', 'b0_uncorrected', 'confounds', 'transforms', 'itk_transforms'),
    *('engine', 'notes'),
)
"""Outputs of the workflow that are results."""


def init_preproc_wf(
    *,
    motion: str = 'auto',
    voxel_scale: float | None = None,
    b0_threshold: float = B0_THRESHOLD,
    all_b0: bool = False,
    weights: str | Path | None = None,
    species: str = AUTO,
    turn: str = TURNS[0],
    slice_axis: str = 'auto',
    device: str = 'cpu',
    n_procs: int = 1,
    name: str = 'preproc_wf',
) -> Workflow:
    """Bring a scan's b0 volumes together and average them.

    ::

        in_file, bval_file → select_b0 → motion_correction → b0_mean

    Motion is estimated on the head, and then on the brain that the network finds in the mean:
    muscles move by themselves.

    Parameters
    ----------
    motion : {'auto', 'fsl', 'sitk', 'none'}
        Engine of the motion correction; ``auto`` takes FSL where ``FSLDIR`` has it.
    voxel_scale : float, optional
        What the lengths of the header are multiplied by to be mm; by default estimated.
    b0_threshold : float
        Largest b-value of a b0 volume, s/mm².
    all_b0 : bool
        Whether no volume is diffusion-weighted, as in an EPI time series.
    weights : path, optional
        Network of the first glance; by default the one that ships.
    species : {'auto', 'rat', 'mouse'}
    turn : {'auto', '0', '90', '180', '270'}
    slice_axis : {'auto', 'i', 'j', 'k'}
        As of :func:`secondglance.pipelines.init_brain_wf`.
    device : str
        On which the network runs.
    n_procs : int
        Volumes that are registered, or whose slices are compared, at the same time.
    name : str

    Inputs
    ------
    in_file
        Raw scan, 3-D or 4-D.
    bval_file
        Its b-values; needed if there are several volumes, unless `all_b0`.

    Outputs
    -------
    b0_mean, b0_series
        Mean of the corrected b0 volumes, and they themselves.
    b0_uncorrected
        All b0 volumes before the correction, for the report.
    confounds
        Motion (.tsv); `secondglance.interfaces.preprocessing.Displacement` adds how far a head
        of its size moved from volume to volume.
    transforms
        Matrices in world mm, volume to reference, of brain and head (.json).
    itk_transforms
        Those of the brain for ITK and ANTs, one a volume (.txt).
    engine
        Which engine ran, on which volumes (.json).
    notes
        What a person should know of the file, a sentence each.
    estimated_pose
        Pose of the head, where it was estimated to find the brain; else empty.
    """
    workflow = Workflow(name=name)
    inputnode = Node(IdentityInterface(['in_file', 'bval_file']), name='inputnode')
    outputnode = Node(IdentityInterface([*PREPROC_FIELDS, 'estimated_pose']), name='outputnode')
    select_b0 = Node(SelectB0(threshold=b0_threshold, all_b0=all_b0), name='select_b0')
    if voxel_scale is not None:
        select_b0.inputs.voxel_scale = voxel_scale
    # MCFLIRT has one thread; what follows it, and the embedded engine, as many as they are given
    motion_correction = Node(
        ENGINES[resolve_engine(motion)](
            weights=str(absolute(weights or default_weights())),
            species=species,
            turn=turn,
            slice_axis=slice_axis,
            device=device,
            num_threads=n_procs,
        ),
        n_procs=n_procs,
        mem_gb=1.0,
        name='motion_correction',
    )
    b0_mean = Node(MeanVolume(), name='b0_mean')
    workflow.connect(
        [
            (inputnode, select_b0, [('in_file', 'in_file'), ('bval_file', 'bval_file')]),
            (
                select_b0,
                motion_correction,
                [('out_file', 'in_file'), *same('volumes', 'empty', 'notes')],
            ),
            (motion_correction, b0_mean, [('out_file', 'in_file')]),
            (b0_mean, outputnode, [('out_file', 'b0_mean')]),
            (select_b0, outputnode, [('out_file', 'b0_uncorrected')]),
            (
                motion_correction,
                outputnode,
                [
                    ('out_file', 'b0_series'),
                    *same('confounds', 'transforms', 'itk_transforms', 'engine', 'notes'),
                    ('pose', 'estimated_pose'),
                ],
            ),
        ]
    )
    return workflow
