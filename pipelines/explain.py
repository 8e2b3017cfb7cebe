"""What in a head speaks for each tissue: maps for those who want to understand a network."""

from pathlib import Path

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline.engine import MapNode, Node, Workflow

from secondglance.interfaces.saliency import Explain
from secondglance.models.weights import weights_spacing


def init_explain_wf(
    *,
    weights: str | Path,
    targets: tuple[str, ...] = ('WM', 'GM', 'CSF'),
    region: str | Path | tuple[int, int, int] | None = None,
    saliency: str = 'guided',
    smooth: int = 0,
    slice_axis: str = 'auto',
    device: str = 'auto',
    use_gpu: bool = False,
    num_threads: int = 1,
    name: str = 'explain_wf',
) -> Workflow:
    """Map what in a whole head speaks for some classes.

    ::

        in_file → [explain]

    Parameters
    ----------
    weights : path
        Of the network.
    targets : tuple of {'brain', 'WM', 'GM', 'CSF'}
        A map each.
    region : path, or voxel (i, j, k), optional
        Mask on the grid of the image, or one of its voxels: only the logits there are followed
        back. By default all are.
    saliency : str
        One of `secondglance.models.choices.SALIENCY_METHODS`.
    smooth : int
        Noisy copies whose maps are averaged; 0 for none.
    slice_axis : {'auto', 'i', 'j', 'k'}
        Voxel axis along which slices lie.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    use_gpu : bool
        Whether network nodes count against the GPU processes of the plugin.
    num_threads : int
        CPU threads of a node that runs the network.
    name : str

    Inputs
    ------
    in_file
        3-D volume of a whole head.
    spacing
        Of the pixels with which it is looked at, mm; the network's own where not given.
    quarter_turns
        By which slices are turned in plane, so that the head is upright; 0 where not given.

    Outputs
    -------
    maps
        Signed saliency of each target on the grid of `in_file`.
    stacks
        The same as stacks of slices at the network's spacing, for the report.
    """
    workflow = Workflow(name=name)
    inputnode = Node(IdentityInterface(['in_file', 'spacing', 'quarter_turns']), name='inputnode')
    inputnode.inputs.spacing = weights_spacing(weights)
    inputnode.inputs.quarter_turns = 0
    outputnode = Node(IdentityInterface(['maps', 'stacks']), name='outputnode')
    explain = MapNode(
        Explain(
            weights=str(weights),
            method=saliency,
            smooth=smooth,
            slice_axis=slice_axis,
            device=device,
            use_gpu=use_gpu,
            num_threads=num_threads,
        ),
        iterfield=['target'],
        n_procs=num_threads,
        mem_gb=1.0,
        name='explain',
    )
    explain.inputs.target = list(targets)
    if isinstance(region, tuple):
        explain.inputs.voxel = list(region)
    elif region is not None:
        explain.inputs.region = str(region)
    workflow.connect(
        [
            (
                inputnode,
                explain,
                [(n, n) for n in ('in_file', 'spacing', 'quarter_turns')],
            ),
            (explain, outputnode, [('out_file', 'maps'), ('stack_file', 'stacks')]),
        ]
    )
    return workflow
