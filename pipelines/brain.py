"""The first glance: where the network's attention says that the brain is."""

from pathlib import Path

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline.engine import MapNode, Node, Workflow

from secondglance.imaging.species import AUTO
from secondglance.interfaces.brain import BrainMask, Refine
from secondglance.interfaces.donors import DonorSaliency
from secondglance.interfaces.placement import MatchDonor, PlaceMask, ReconcilePlacement
from secondglance.interfaces.pose import Orient
from secondglance.interfaces.saliency import Enhance, Lognormal, Saliency
from secondglance.interfaces.stacks import MergeSlabs, SplitSlabs, ToNative, ToStack
from secondglance.models.choices import TURNS
from secondglance.models.weights import default_refinement


def init_brain_wf(
    *,
    weights: str | Path,
    donors: list[tuple[Path, Path]],
    refinement: str | Path | None = None,
    species: str = AUTO,
    slice_axis: str = 'auto',
    turn: str = TURNS[0],
    saliency: str = 'guided',
    target: str = 'brain',
    smooth: int = 0,
    peak: float = 2.0,
    width: float = 0.5,
    mask_method: str = 'network',
    device: str = 'auto',
    use_gpu: bool = False,
    n_slabs: int = 1,
    slices_per_job: int = 0,
    num_threads: int = 1,
    cache_dir: str | Path | None = None,
    name: str = 'brain_wf',
) -> Workflow:
    """Find the brain in a whole head by what held a network's attention.

    ::

        in_file → orient → to_stack → slabs → [first_glance → enhance] → match → [place]
        donors  → donor_saliency ────────────────────────────────────────↗        ↓
                                                        brain ← refine ← reconcile

    Parameters
    ----------
    weights : path
        Weights of the network; their in-plane spacing lays out the slices.
    donors : list of (image, mask) paths
        Heads of other animals with their brain masks; the best correlated is taken.
    refinement : path, optional
        Weights of the network that makes one brain of all that was found; by default those that
        ship.
    species : {'auto', 'rat', 'mouse'}
        A smaller brain is seen with smaller pixels; found where not told.
    slice_axis : {'auto', 'i', 'j', 'k'}
        Voxel axis along which slices lie.
    turn : {'auto', '0', '90', '180', '270'}
        Degrees by which slices are turned so that the head is upright; found where not told.
    saliency : str
        One of `secondglance.models.choices.SALIENCY_METHODS`.
    target : {'brain', 'WM', 'GM', 'CSF'}
        Classes whose logits are summed before the gradient is taken.
    smooth : int
        Noisy copies whose maps are averaged; 0 for none.
    peak, width : float
        Of the enhancement, in standard scores.
    mask_method : {'network', 'first-glance', 'correlation', 'similarity'}
        Whose mask goes on: what the refinement makes of all, what the first glance saw as brain,
        or the donor's, moved, or also scaled and turned. Where it is doubtful and another is not,
        that stands in.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    use_gpu : bool
        Whether network nodes count against the GPU processes of the plugin.
    n_slabs, slices_per_job : int
        In how many slabs the stack is cut, or how many slices a slab has (0: by `n_slabs`).
    num_threads : int
        CPU threads of a node that runs the network.
    cache_dir : path, optional
        Where the saliency of the donors is kept for other subjects.
    name : str

    Inputs
    ------
    in_file
        3-D volume of a whole head.

    Outputs
    -------
    brain_mask
        Mask on the grid of `in_file`.
    saliency, enhanced, first_probabilities
        Signed gradient, its enhancement in [0, 1], and the first glance's class probabilities,
        on the grid of `in_file`.
    placement
        One row a slice: donor's slice, shift, peak, confidence of the shift, and the probability
        that the mask's Dice is at least 0.95 in it (.tsv).
    species
        Whose head it is.
    spacing
        Of the pixels with which it was looked at, mm.
    quarter_turns
        By which slices were turned in plane, so that the head is upright.
    donor
        Index of the donor taken, offset and scale of its slices, score (.json).
    confidence
        The mask that was taken, the probability that its Dice is at least 0.95, that of the
        others, and the brain's volume (.json).
    lognormal, lognormal_slices
        Fit of the log-normal model, slice by slice (.json), and its distances as a table (.tsv).
    stack, saliency_stack, enhanced_stack, mask_stack, first_probabilities_stack
        The same as stacks of slices at the network's spacing, for the report.
    """
    workflow = Workflow(name=name)
    refinement = refinement or default_refinement()
    grid = {'slice_axis': slice_axis}
    network = {
        'weights': str(weights),
        'device': device,
        'use_gpu': use_gpu,
        'num_threads': num_threads,
    }

    inputnode = Node(IdentityInterface(['in_file']), name='inputnode')
    outputs = ['brain_mask', 'saliency', 'enhanced', 'first_probabilities', 'placement', 'donor']
    outputs += ['species', 'spacing', 'quarter_turns']
    stacks = ['stack', 'saliency_stack', 'enhanced_stack', 'mask_stack']
    stacks += ['first_probabilities_stack']
    outputnode = Node(
        IdentityInterface([*outputs, 'confidence', 'lognormal', 'lognormal_slices', *stacks]),
        name='outputnode',
    )

    # Headers often do not say which way up a rodent lies, nor whose head it is
    orient = Node(
        Orient(**grid, species=species, turn=turn, **network),
        n_procs=num_threads,
        name='orient',
    )
    found = [(name, name) for name in ('spacing', 'quarter_turns')]
    # Resampled in plane alone: the network knows one spacing
    to_stack = Node(ToStack(**grid), name='to_stack')
    slabs = Node(SplitSlabs(n_slabs=n_slabs, slices_per_job=slices_per_job), name='slabs')
    # One forward gives the first segmentation and what the backward needs
    first_glance = MapNode(
        Saliency(method=saliency, target=target, smooth=smooth, **network),
        iterfield=['in_file'],
        n_procs=num_threads,
        mem_gb=1.0,
        name='first_glance',
    )
    enhance = MapNode(
        Enhance(peak=peak, width=width), iterfield=['in_file'], mem_gb=0.3, name='enhance'
    )
    merge_saliency = Node(MergeSlabs(), name='merge_saliency')
    merge_enhanced = Node(MergeSlabs(), name='merge_enhanced')
    merge_first = Node(MergeSlabs(), name='merge_first')
    lognormal = Node(Lognormal(), name='lognormal')

    # The donors' saliency must come from the same weights to look the same
    donor_saliency = Node(
        DonorSaliency(
            images=[str(image) for image, _ in donors],
            masks=[str(mask) for _, mask in donors],
            method=saliency,
            target=target,
            smooth=smooth,
            peak=peak,
            width=width,
            **({} if cache_dir is None else {'cache_dir': str(cache_dir)}),
            **network,
        ),
        n_procs=num_threads,
        mem_gb=1.0,
        name='donor_saliency',
    )
    # Which slice of which donor: found over the whole stack, not slab by slab
    match = Node(MatchDonor(similarity=mask_method == 'similarity'), mem_gb=0.5, name='match')
    place = MapNode(PlaceMask(), iterfield=['in_file', 'kernel_file'], mem_gb=0.3, name='place')
    kernel_slabs = Node(SplitSlabs(n_slabs=n_slabs, slices_per_job=slices_per_job), 'kernel_slabs')
    # Neighbouring slices lie beside each other: one that says otherwise is overruled
    reconcile = Node(ReconcilePlacement(), name='reconcile')
    refine = Node(
        Refine(**{**network, 'weights': str(refinement)}),
        n_procs=num_threads,
        mem_gb=1.0,
        name='refine',
    )
    brain = Node(BrainMask(method=mask_method, refinement=str(refinement)), name='brain')

    native = {}
    for field, order in (('brain_mask', 0.5), ('saliency', None), ('enhanced', None)):
        threshold = {} if order is None else {'threshold': order}
        native[field] = Node(ToNative(**grid, **threshold), name=f'native_{field}')
    native['first_probabilities'] = Node(ToNative(**grid), name='native_first_probabilities')

    workflow.connect(
        [
            (inputnode, orient, [('in_file', 'in_file')]),
            (inputnode, to_stack, [('in_file', 'in_file')]),
            (orient, to_stack, found),
            (orient, match, [('species', 'species')]),
            (orient, brain, [('species', 'species')]),
            (orient, outputnode, [*found, ('species', 'species')]),
            (to_stack, slabs, [('out_file', 'in_file')]),
            (slabs, first_glance, [('out_files', 'in_file')]),
            (first_glance, enhance, [('saliency', 'in_file')]),
            (first_glance, merge_saliency, [('saliency', 'in_files')]),
            (first_glance, merge_first, [('probabilities', 'in_files')]),
            (enhance, merge_enhanced, [('out_file', 'in_files')]),
            (merge_saliency, lognormal, [('out_file', 'in_file')]),
            (merge_enhanced, match, [('out_file', 'in_file')]),
            (donor_saliency, match, [('enhanced', 'enhanced'), ('masks', 'masks')]),
            (match, kernel_slabs, [('kernels', 'in_file')]),
            (enhance, place, [('out_file', 'in_file')]),
            (kernel_slabs, place, [('out_files', 'kernel_file')]),
            (place, reconcile, [('out_file', 'shifts')]),
            (match, reconcile, [('mask', 'in_file'), ('match', 'match')]),
            (merge_saliency, native['saliency'], [('out_file', 'in_file')]),
            (merge_enhanced, native['enhanced'], [('out_file', 'in_file')]),
            (merge_first, native['first_probabilities'], [('out_file', 'in_file')]),
            (merge_first, brain, [('out_file', 'in_file')]),
            (reconcile, brain, [('out_file', 'placed'), ('placement', 'placement')]),
            (to_stack, refine, [('out_file', 'in_file')]),
            (merge_first, refine, [('out_file', 'probabilities')]),
            (merge_enhanced, refine, [('out_file', 'enhanced')]),
            (reconcile, refine, [('out_file', 'placed')]),
            (refine, brain, [('out_file', 'refined')]),
            (brain, native['brain_mask'], [('out_file', 'in_file')]),
            (
                brain,
                outputnode,
                [
                    ('placement', 'placement'),
                    ('out_file', 'mask_stack'),
                    ('confidence', 'confidence'),
                ],
            ),
            (match, outputnode, [('match', 'donor')]),
            (lognormal, outputnode, [('out_file', 'lognormal'), ('table', 'lognormal_slices')]),
            (to_stack, outputnode, [('out_file', 'stack')]),
            (merge_saliency, outputnode, [('out_file', 'saliency_stack')]),
            (merge_enhanced, outputnode, [('out_file', 'enhanced_stack')]),
            (merge_first, outputnode, [('out_file', 'first_probabilities_stack')]),
            *[(inputnode, node, [('in_file', 'like')]) for node in native.values()],
            *[(orient, node, found) for node in native.values()],
            *[(node, outputnode, [('out_file', field)]) for field, node in native.items()],
        ]
    )
    return workflow
