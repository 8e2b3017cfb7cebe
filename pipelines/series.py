"""What a lab analyses next: the corrected series, and the image of the brain alone."""

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline.engine import Node, Workflow

from secondglance.imaging.diffusion import B0_THRESHOLD
from secondglance.interfaces.series import BrainImage, CorrectSeries
from secondglance.pipelines.edges import same

SERIES_FIELDS = ('series', 'series_bval', 'series_bvec', 'series_about', 'brain_image')


def init_series_wf(
    *,
    estimate: bool = True,
    b0_threshold: float = B0_THRESHOLD,
    n_procs: int = 1,
    name: str = 'series_wf',
) -> Workflow:
    """Correct a whole series for motion, and free the brain of its coil field.

    ::

        in_file, bval_file, bvec_file, transforms, b0_mean → correct_series
        b0_mean, brain_mask → brain_image

    Parameters
    ----------
    estimate : bool
        Whether the motion of diffusion-weighted volumes is estimated; else they have that of the
        b0 volume nearest in time.
    b0_threshold : float
        Largest b-value of a b0 volume, s/mm².
    n_procs : int
        Volumes that are registered at the same time.
    name : str

    Inputs
    ------
    in_file, bval_file, bvec_file
        Raw scan and its gradients.
    transforms, b0_mean
        Of :func:`secondglance.pipelines.init_preproc_wf`.
    brain_mask
        Of :func:`secondglance.pipelines.init_brain_wf`.

    Outputs
    -------
    series, series_bval, series_bvec
        Every volume on the reference; directions are turned with the volumes.
    series_about
        Matrices in world mm, volume to reference (.json).
    brain_image
        Mean inside the brain mask, without coil field.
    """
    workflow = Workflow(name=name)
    inputnode = Node(
        IdentityInterface(
            ['in_file', 'bval_file', 'bvec_file', 'transforms', 'b0_mean', 'brain_mask']
        ),
        name='inputnode',
    )
    outputnode = Node(IdentityInterface(list(SERIES_FIELDS)), name='outputnode')
    correct_series = Node(
        CorrectSeries(estimate=estimate, threshold=b0_threshold, num_threads=n_procs),
        n_procs=n_procs,
        mem_gb=1.0,
        name='correct_series',
    )
    brain_image = Node(BrainImage(), mem_gb=1.0, name='brain_image')
    workflow.connect(
        [
            (
                inputnode,
                correct_series,
                [
                    *same('in_file', 'bval_file', 'bvec_file', 'transforms'),
                    ('b0_mean', 'mean_file'),
                ],
            ),
            (inputnode, brain_image, [('b0_mean', 'in_file'), ('brain_mask', 'mask_file')]),
            (
                correct_series,
                outputnode,
                [
                    ('out_file', 'series'),
                    ('bval_file', 'series_bval'),
                    ('bvec_file', 'series_bvec'),
                    ('about', 'series_about'),
                ],
            ),
            (brain_image, outputnode, [('out_file', 'brain_image')]),
        ]
    )
    return workflow
