"""Second glance: the tissues inside the brain mask, and the regions."""

from collections.abc import Mapping
from pathlib import Path

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline.engine import MapNode, Node, Workflow

from secondglance.imaging.pose import Pose
from secondglance.interfaces.stacks import ToSlabs
from secondglance.interfaces.tissues import Labels, LookAgain, Predict
from secondglance.models.choices import SECOND_GLANCES
from secondglance.models.weights import default_second_glance, default_weights, weights_spacing
from secondglance.pipelines.edges import same
from secondglance.pipelines.settings import LOCAL, Execution, absolute, default_atlases

TISSUE_FIELDS = (
    *('dseg', 'probsegs', 'brain_share', 'volumes', 'probabilities_stack', 'labels_stack'),
)
NETWORK_FIELDS = ('tissues_about', 'transform', 'transform_about')
REGION_FIELDS = ('regions', 'regions_table', 'regions_volumes')


def init_tissues_wf(
    *,
    weights: str | Path | None = None,
    second_glance: str = SECOND_GLANCES[0],
    second_weights: str | Path | None = None,
    atlases: Mapping[str, str | Path] | None = None,
    execution: Execution = LOCAL,
    name: str = 'tissues_wf',
) -> Workflow:
    """Segment the tissues of a brain inside its mask.

    ::

        network   in_file, brain_mask, pose, first_probabilities_stack → look_again
        masked    in_file, brain_mask → slabs → [second_glance] → labels
        none      first_probabilities_stack → labels

    Parameters
    ----------
    weights : path, optional
        Of the network of the first glance; by default those that ship.
    second_glance : {'network', 'masked', 'none'}
        A second network; the network of the first glance on the masked image, as in the paper; or
        the tissues of the first glance inside the mask.
    second_weights : path, optional
        Of the network of its own; by default those that ship.
    atlases : mapping of str to path, optional
        Species → folder of the atlas in which ``network`` looks up regions; by default those that
        ship, and with an empty mapping none.
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
    first_probabilities_stack
        Class probabilities of the first glance as a stack; ``none`` needs them, and ``network``
        lets them count where both glances agree.

    Outputs
    -------
    dseg
        Labels 0 background, 1 GM, 2 WM, 3 CSF on the grid of `in_file`.
    probsegs
        Fractions of WM, GM and CSF, three files on the grid of `in_file`.
    brain_share
        Part of each voxel that is brain; by ``network`` below one at the rim of the mask, above
        zero beside it.
    volumes
        Volume of each tissue, mm³ (.tsv).
    probabilities_stack
        Class probabilities as a stack at the first glance's spacing, for the report.
    labels_stack
        The labels of `dseg` as a stack, in the order WM, GM, CSF; for the report.
    tissues_about
        How much the first glance counts (.json); of ``network``.
    transform, transform_about
        From the scan to the atlas (ITK, .h5), and how well it fits (.json); of ``network``.
    regions, regions_table, regions_volumes
        Labels of the atlas, their names, and their volumes; of ``network`` with an atlas.
    """
    workflow = Workflow(name=name)
    weights = str(absolute(weights or default_weights()))
    atlases = default_atlases() if atlases is None else atlases
    inputs = ['in_file', 'brain_mask', 'pose', 'first_probabilities_stack']
    inputnode = Node(IdentityInterface(inputs), name='inputnode')
    inputnode.inputs.pose = Pose('rat', weights_spacing(weights)).to_plain()
    outputnode = Node(
        IdentityInterface([*TISSUE_FIELDS, *NETWORK_FIELDS, *REGION_FIELDS]), name='outputnode'
    )
    if second_glance == 'network':
        look_again = Node(
            LookAgain(
                weights=str(absolute(second_weights or default_second_glance())),
                atlases={species: str(absolute(folder)) for species, folder in atlases.items()},
                **execution.network,
            ),
            n_procs=execution.threads,
            mem_gb=1.5,
            name='look_again',
        )
        found = [*TISSUE_FIELDS, *NETWORK_FIELDS, *(REGION_FIELDS if atlases else ())]
        given = same('in_file', 'pose', 'first_probabilities_stack')
        given += [('brain_mask', 'mask_file')]
        workflow.connect(
            [
                (inputnode, look_again, given),
                (look_again, outputnode, same(*found)),
            ]
        )
        return workflow

    labels = Node(Labels(), name='labels')
    workflow.connect(
        [
            (inputnode, labels, [('brain_mask', 'mask_file'), ('pose', 'pose')]),
            (labels, outputnode, same(*TISSUE_FIELDS)),
        ]
    )
    if second_glance == 'none':
        workflow.connect(inputnode, 'first_probabilities_stack', labels, 'probabilities')
        return workflow
    # Background set to zero, as in the paper
    slabs = Node(ToSlabs(**execution.slabs), name='slabs')
    second = MapNode(
        Predict(weights=weights, **execution.network),
        iterfield=['in_file'],
        n_procs=execution.threads,
        mem_gb=1.0,
        name='second',
    )
    workflow.connect(
        [
            (
                inputnode,
                slabs,
                [('in_file', 'in_file'), ('brain_mask', 'mask_file'), ('pose', 'pose')],
            ),
            (slabs, second, [('slabs', 'in_file')]),
            (second, labels, [('out_file', 'probabilities')]),
        ]
    )
    return workflow
