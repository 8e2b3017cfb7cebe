"""Second glance: the tissues inside the brain mask."""

from pathlib import Path

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline.engine import MapNode, Node, Workflow

from secondglance.imaging.pose import Pose
from secondglance.interfaces.stacks import ToSlabs
from secondglance.interfaces.tissues import Labels, Segment
from secondglance.models.weights import default_weights, weights_spacing
from secondglance.pipelines.settings import LOCAL, Execution


def init_tissues_wf(
    *,
    weights: str | Path | None = None,
    execution: Execution = LOCAL,
    name: str = 'tissues_wf',
) -> Workflow:
    """Segment the tissues of a brain inside its mask.

    ::

        in_file, brain_mask → slabs → [second_glance] → labels

    Parameters
    ----------
    weights : path, optional
        Of the network; by default those that ship.
    execution : Execution
    name : str

    Inputs
    ------
    in_file
        3-D volume of a whole head.
    brain_mask
        Mask of the brain on the same grid.
    pose
        Species, spacing in mm, slice axis and quarter turns of the stack; by default an upright
        rat's.

    Outputs
    -------
    dseg
        Labels 0 background, 1 WM, 2 GM, 3 CSF on the grid of `in_file`.
    probsegs
        Fractions of WM, GM and CSF, three files on the grid of `in_file`.
    volumes
        Volume of each tissue, mm³ (.tsv).
    probabilities_stack
        Class probabilities as a stack at the network's spacing, for the report.
    """
    workflow = Workflow(name=name)
    weights = str(weights or default_weights())
    inputnode = Node(IdentityInterface(['in_file', 'brain_mask', 'pose']), name='inputnode')
    inputnode.inputs.pose = Pose('rat', weights_spacing(weights)).to_plain()
    outputnode = Node(
        IdentityInterface(['dseg', 'probsegs', 'volumes', 'probabilities_stack']),
        name='outputnode',
    )
    # Background set to zero, as in the paper
    slabs = Node(ToSlabs(**execution.slabs), name='slabs')
    second_glance = MapNode(
        Segment(weights=weights, **execution.network),
        iterfield=['in_file'],
        n_procs=execution.threads,
        mem_gb=1.0,
        name='second_glance',
    )
    labels = Node(Labels(), name='labels')

    workflow.connect(
        [
            (
                inputnode,
                slabs,
                [('in_file', 'in_file'), ('brain_mask', 'mask_file'), ('pose', 'pose')],
            ),
            (slabs, second_glance, [('slabs', 'in_file')]),
            (second_glance, labels, [('out_file', 'probabilities')]),
            (inputnode, labels, [('brain_mask', 'mask_file'), ('pose', 'pose')]),
            (
                labels,
                outputnode,
                [(f, f) for f in ('dseg', 'probsegs', 'volumes', 'probabilities_stack')],
            ),
        ]
    )
    return workflow
