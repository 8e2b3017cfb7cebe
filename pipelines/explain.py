"""Saliency maps of single classes."""

from pathlib import Path

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline.engine import MapNode, Node, Workflow

from secondglance.imaging.pose import Pose
from secondglance.interfaces.saliency import Explain
from secondglance.models.choices import AS_PUBLISHED, SaliencyOptions
from secondglance.models.weights import default_weights, weights_spacing
from secondglance.pipelines.settings import LOCAL, Execution, absolute


def init_explain_wf(
    *,
    weights: str | Path | None = None,
    targets: tuple[str, ...] = ('WM', 'GM', 'CSF'),
    region: str | Path | tuple[int, int, int] | None = None,
    saliency: SaliencyOptions = AS_PUBLISHED,
    execution: Execution = LOCAL,
    name: str = 'explain_wf',
) -> Workflow:
    """Map the saliency of some classes in a whole head.

    ::

        in_file → [explain]

    Parameters
    ----------
    weights : path, optional
        Of the network; by default those that ship.
    targets : tuple of {'brain', 'WM', 'GM', 'CSF'}
        A map each.
    region : path, or voxel (i, j, k), optional
        Mask on the grid of the image, or one of its voxels: only logits there are explained. By
        default all are.
    saliency : SaliencyOptions
        Its target is not used.
    execution : Execution
    name : str

    Inputs
    ------
    in_file
        3-D volume of a whole head.
    pose
        Species, spacing in mm, slice axis and quarter turns of the stack; by default an upright
        rat's.

    Outputs
    -------
    maps
        Signed saliency of each target on the grid of `in_file`.
    stacks
        The same as stacks of slices at the network's spacing, for the report.
    """
    workflow = Workflow(name=name)
    weights = str(absolute(weights or default_weights()))
    inputnode = Node(IdentityInterface(['in_file', 'pose']), name='inputnode')
    inputnode.inputs.pose = Pose('rat', weights_spacing(weights)).to_plain()
    outputnode = Node(IdentityInterface(['maps', 'stacks']), name='outputnode')
    explain = MapNode(
        Explain(
            weights=weights,
            method=saliency.method,
            smooth=saliency.copies,
            **execution.network,
        ),
        iterfield=['target'],
        n_procs=execution.threads,
        mem_gb=1.0,
        name='explain',
    )
    explain.inputs.target = list(targets)
    if isinstance(region, tuple):
        explain.inputs.voxel = list(region)
    elif region is not None:
        explain.inputs.region = str(absolute(region))
    workflow.connect(
        [
            (inputnode, explain, [('in_file', 'in_file'), ('pose', 'pose')]),
            (explain, outputnode, [('out_file', 'maps'), ('stack_file', 'stacks')]),
        ]
    )
    return workflow
