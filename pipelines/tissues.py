"""The second glance: the tissues of a brain whose background is gone."""

from pathlib import Path

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline.engine import MapNode, Node, Workflow

from secondglance.interfaces.stacks import MergeSlabs, SplitSlabs, ToNative, ToStack
from secondglance.interfaces.tissues import Labels, RemoveBackground, Segment
from secondglance.models.weights import weights_spacing


def init_tissues_wf(
    *,
    weights: str | Path,
    slice_axis: str = 'auto',
    device: str = 'auto',
    use_gpu: bool = False,
    n_slabs: int = 1,
    slices_per_job: int = 0,
    num_threads: int = 1,
    name: str = 'tissues_wf',
) -> Workflow:
    """Segment the tissues of a brain inside its mask.

    ::

        in_file    → to_stack   → slabs      → [remove_background → second_glance] → merge
        brain_mask → mask_stack → mask_slabs ↗                   → native → labels

    Parameters
    ----------
    weights : path
        Weights of the network.
    slice_axis : {'auto', 'i', 'j', 'k'}
        Voxel axis along which slices lie.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    use_gpu : bool
        Whether network nodes count against the GPU processes of the plugin.
    n_slabs, slices_per_job : int
        In how many slabs the stack is cut, or how many slices a slab has (0: by `n_slabs`).
    num_threads : int
        CPU threads of a node that runs the network.
    name : str

    Inputs
    ------
    in_file
        3-D volume of a whole head.
    brain_mask
        Mask of the brain on the same grid.
    spacing
        Of the pixels with which it is looked at, mm; the network's own where not given.
    quarter_turns
        By which slices are turned in plane, so that the head is upright; 0 where not given.

    Outputs
    -------
    dseg
        Labels 0 background, 1 WM, 2 GM, 3 CSF on the grid of `in_file`.
    probsegs
        Probabilities of WM, GM and CSF, three files on the grid of `in_file`.
    volumes
        Volume of each tissue, mm³ (.tsv).
    probabilities_stack
        Class probabilities as a stack at the network's spacing, for the report.
    """
    workflow = Workflow(name=name)
    grid = {'slice_axis': slice_axis}
    told = [(name, name) for name in ('spacing', 'quarter_turns')]
    split = {'n_slabs': n_slabs, 'slices_per_job': slices_per_job}

    inputnode = Node(
        IdentityInterface(['in_file', 'brain_mask', 'spacing', 'quarter_turns']), name='inputnode'
    )
    inputnode.inputs.spacing = weights_spacing(weights)
    inputnode.inputs.quarter_turns = 0
    outputnode = Node(
        IdentityInterface(['dseg', 'probsegs', 'volumes', 'probabilities_stack']),
        name='outputnode',
    )

    to_stack = Node(ToStack(**grid), name='to_stack')
    mask_stack = Node(ToStack(**grid), name='mask_stack')
    slabs = Node(SplitSlabs(**split), name='slabs')
    mask_slabs = Node(SplitSlabs(**split), name='mask_slabs')
    remove_background = MapNode(
        RemoveBackground(),
        iterfield=['in_file', 'mask_file'],
        mem_gb=0.3,
        name='remove_background',
    )
    second_glance = MapNode(
        Segment(weights=str(weights), device=device, use_gpu=use_gpu, num_threads=num_threads),
        iterfield=['in_file'],
        n_procs=num_threads,
        mem_gb=1.0,
        name='second_glance',
    )
    merge = Node(MergeSlabs(), name='merge')
    native = Node(ToNative(**grid), name='native')
    # Decided on the native grid, where the mask is exact
    labels = Node(Labels(), name='labels')

    workflow.connect(
        [
            (inputnode, to_stack, [('in_file', 'in_file')]),
            (inputnode, mask_stack, [('brain_mask', 'in_file')]),
            (to_stack, slabs, [('out_file', 'in_file')]),
            (mask_stack, mask_slabs, [('out_file', 'in_file')]),
            (slabs, remove_background, [('out_files', 'in_file')]),
            (mask_slabs, remove_background, [('out_files', 'mask_file')]),
            (remove_background, second_glance, [('out_file', 'in_file')]),
            (second_glance, merge, [('out_file', 'in_files')]),
            (merge, native, [('out_file', 'in_file')]),
            (inputnode, native, [('in_file', 'like')]),
            *[(inputnode, node, told) for node in (to_stack, mask_stack, native)],
            (native, labels, [('out_file', 'in_file')]),
            (inputnode, labels, [('brain_mask', 'mask_file')]),
            (merge, outputnode, [('out_file', 'probabilities_stack')]),
            (
                labels,
                outputnode,
                [('dseg', 'dseg'), ('probsegs', 'probsegs'), ('volumes', 'volumes')],
            ),
        ]
    )
    return workflow
