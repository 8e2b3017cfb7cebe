"""First glance and brain mask."""

from collections.abc import Sequence
from pathlib import Path

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline.engine import MapNode, Node, Workflow

from secondglance.imaging.mask.methods import scales_masks
from secondglance.imaging.species import AUTO
from secondglance.interfaces.brain import Refine, SelectMask
from secondglance.interfaces.donors import DonorSaliency
from secondglance.interfaces.placement import Place
from secondglance.interfaces.pose import EstimatePose
from secondglance.interfaces.saliency import Enhance, Saliency
from secondglance.interfaces.stacks import ToSlabs
from secondglance.models.choices import AS_PUBLISHED, MASK_METHODS, TURNS, SaliencyOptions
from secondglance.models.weights import default_refinement, default_weights
from secondglance.pipelines.edges import same
from secondglance.pipelines.settings import LOCAL, Execution, absolute, default_donors

BRAIN_FIELDS = (
    *('pose', 'brain_mask', 'confidence', 'placement', 'donor'),
    *('saliency', 'enhanced', 'first_probabilities', 'lognormal', 'lognormal_slices'),
    *('stack', 'saliency_stack', 'enhanced_stack', 'mask_stack'),
    *('first_probabilities_stack', 'placed_stack', 'kernel_stack'),
)
"""Outputs of the workflow."""


def init_brain_wf(
    *,
    weights: str | Path | None = None,
    refinement: str | Path | None = None,
    donors: Sequence[tuple[str | Path, str | Path]] = (),
    species: str = AUTO,
    slice_axis: str = 'auto',
    turn: str = TURNS[0],
    saliency: SaliencyOptions = AS_PUBLISHED,
    mask_method: str = MASK_METHODS[0],
    execution: Execution = LOCAL,
    cache_dir: str | Path | None = None,
    name: str = 'brain_wf',
) -> Workflow:
    """Take the first glance at a whole head, and make its brain mask.

    ::

        in_file → pose → slabs → [first_glance] → enhance → place → refine → brain
                                  donor_saliency ─────────↗

    Parameters
    ----------
    weights, refinement : path, optional
        Of the network and of the refinement of its mask; by default those that ship.
    donors : sequence of (image, mask) paths
        Other animals' heads with brain masks; by default those that ship.
    species : {'auto', 'rat', 'mouse'}
        ``auto``: estimated from brain size.
    slice_axis : {'auto', 'i', 'j', 'k'}
        Voxel axis along which slices lie.
    turn : {'auto', '0', '90', '180', '270'}
        Degrees by which slices are turned so that the head is upright; ``auto``: estimated.
    saliency : SaliencyOptions
    mask_method : str
        One of `secondglance.models.choices.MASK_METHODS`.
    execution : Execution
    cache_dir : path, optional
        Where the saliency of the donors is kept for other subjects.
    name : str

    Inputs
    ------
    in_file
        3-D volume of a whole head.
    estimated_pose
        Pose that the motion correction estimated; by default it is estimated.

    Outputs
    -------
    pose
        Species, spacing in mm, slice axis and quarter turns of the stack.
    brain_mask
        Mask on the grid of `in_file`.
    confidence
        Method of the mask, the probability that its Dice is at least 0.95, that of the other
        methods, and the brain's volume (.json).
    placement
        A row a slice: donor's slice, shift, peak, confidence of the shift, probability that the
        mask's Dice is at least 0.95 (.tsv).
    donor
        Index of the donor taken, offset and scale of its slices, score (.json).
    saliency, enhanced, first_probabilities
        Signed gradient, its enhancement in [0, 1], and class probabilities of the first glance,
        on the grid of `in_file`.
    lognormal, lognormal_slices
        Fit of the log-normal model slice by slice (.json), and its distances (.tsv).
    stack, saliency_stack, enhanced_stack, mask_stack, first_probabilities_stack
        The same as stacks of slices at the network's spacing, for the report.
    placed_stack, kernel_stack
        The donor's mask where it was placed; the donor's kernel and mask of each slice.
    """
    workflow = Workflow(name=name)
    weights = str(absolute(weights or default_weights()))
    refinement = str(absolute(refinement or default_refinement()))
    network = {'weights': weights, **execution.network}
    resources = {'n_procs': execution.threads, 'mem_gb': 1.0}
    how = {'method': saliency.method, 'target': saliency.target, 'smooth': saliency.copies}
    constants = {'peak': saliency.peak, 'width': saliency.width}

    inputnode = Node(IdentityInterface(['in_file', 'estimated_pose']), name='inputnode')
    inputnode.inputs.estimated_pose = {}
    outputnode = Node(IdentityInterface(list(BRAIN_FIELDS)), name='outputnode')
    # Headers often give a wrong orientation, and never the species
    pose = Node(
        EstimatePose(slice_axis=slice_axis, species=species, turn=turn, **network),
        n_procs=execution.threads,
        name='pose',
    )
    # Resampled in plane alone: the network knows one spacing
    slabs = Node(ToSlabs(**execution.slabs), name='slabs')
    # One forward pass gives the probabilities and what the backward pass needs
    first_glance = MapNode(
        Saliency(**how, **network), iterfield=['in_file'], name='first_glance', **resources
    )
    enhance = Node(Enhance(**constants), mem_gb=0.3, name='enhance')
    # The donors' saliency must be computed with the same weights
    donor_saliency = Node(
        DonorSaliency(**how, **constants, **network), 'donor_saliency', **resources
    )
    pairs = list(donors or default_donors())
    donor_saliency.inputs.images = [str(absolute(image)) for image, _ in pairs]
    donor_saliency.inputs.masks = [str(absolute(mask)) for _, mask in pairs]
    if cache_dir is not None:
        donor_saliency.inputs.cache_dir = str(absolute(cache_dir))
    # Slices are matched and shifts reconciled over the whole stack
    place = Node(
        Place(similarity=scales_masks(mask_method), num_threads=execution.threads),
        n_procs=execution.threads,
        mem_gb=0.5,
        name='place',
    )
    refine = Node(Refine(**{**network, 'weights': refinement}), name='refine', **resources)
    brain = Node(SelectMask(method=mask_method, refinement=refinement), name='brain')

    workflow.connect(
        [
            (inputnode, pose, [('in_file', 'in_file'), ('estimated_pose', 'estimated')]),
            (inputnode, slabs, [('in_file', 'in_file')]),
            (inputnode, enhance, [('in_file', 'like')]),
            (inputnode, brain, [('in_file', 'like')]),
            *[(pose, node, same('pose')) for node in (slabs, enhance, place, refine, brain)],
            (slabs, first_glance, [('slabs', 'in_file')]),
            (first_glance, enhance, same('saliency', 'probabilities')),
            (enhance, place, same('enhanced_stack')),
            (donor_saliency, place, [('enhanced', 'donor_enhanced'), ('masks', 'donor_masks')]),
            *[(slabs, node, same('stack')) for node in (enhance, refine, brain)],
            (enhance, refine, same('probabilities_stack', 'enhanced_stack')),
            (place, refine, same('placed_stack')),
            (enhance, brain, same('probabilities_stack')),
            (refine, brain, same('refined_stack')),
            (place, brain, same('placed_stack', 'placement')),
            (pose, outputnode, same('pose')),
            (slabs, outputnode, same('stack')),
            (
                enhance,
                outputnode,
                [
                    *same('saliency', 'enhanced', 'lognormal', 'lognormal_slices'),
                    *same('saliency_stack', 'enhanced_stack'),
                    ('probabilities', 'first_probabilities'),
                    ('probabilities_stack', 'first_probabilities_stack'),
                ],
            ),
            (place, outputnode, same('donor', 'placed_stack', 'kernel_stack')),
            (brain, outputnode, same('brain_mask', 'mask_stack', 'placement', 'confidence')),
        ]
    )
    return workflow
