"""What every stage of the graph of a scan is given."""

import pytest
from nipype.interfaces.base import isdefined

from secondglance.files.bids import find_scans
from secondglance.pipelines import Method, init_subject_wf

RENAMED = {
    ('preproc_wf.outputnode.b0_mean', 'brain_wf.inputnode.in_file'),
    ('preproc_wf.outputnode.b0_mean', 'tissues_wf.inputnode.in_file'),
    ('preproc_wf.outputnode.b0_mean', 'explain_wf.inputnode.in_file'),
    ('preproc_wf.select_b0.out_file', 'preproc_wf.motion_correction.in_file'),
    ('preproc_wf.select_b0.out_file', 'preproc_wf.outputnode.b0_uncorrected'),
    ('preproc_wf.motion_correction.out_file', 'preproc_wf.b0_mean.in_file'),
    ('preproc_wf.motion_correction.out_file', 'preproc_wf.outputnode.b0_series'),
    ('preproc_wf.motion_correction.pose', 'preproc_wf.outputnode.estimated_pose'),
    ('preproc_wf.b0_mean.out_file', 'preproc_wf.outputnode.b0_mean'),
    ('brain_wf.inputnode.estimated_pose', 'brain_wf.pose.estimated'),
    ('brain_wf.inputnode.in_file', 'brain_wf.enhance.like'),
    ('brain_wf.inputnode.in_file', 'brain_wf.brain.like'),
    ('brain_wf.slabs.slabs', 'brain_wf.first_glance.in_file'),
    ('brain_wf.donor_saliency.enhanced', 'brain_wf.place.donor_enhanced'),
    ('brain_wf.donor_saliency.masks', 'brain_wf.place.donor_masks'),
    ('brain_wf.enhance.probabilities', 'brain_wf.outputnode.first_probabilities'),
    ('brain_wf.enhance.probabilities_stack', 'brain_wf.outputnode.first_probabilities_stack'),
    ('tissues_wf.inputnode.brain_mask', 'tissues_wf.look_again.mask_file'),
    ('tissues_wf.inputnode.brain_mask', 'tissues_wf.slabs.mask_file'),
    ('tissues_wf.inputnode.brain_mask', 'tissues_wf.labels.mask_file'),
    ('tissues_wf.slabs.slabs', 'tissues_wf.second.in_file'),
    ('tissues_wf.second.out_file', 'tissues_wf.labels.probabilities'),
    ('tissues_wf.inputnode.first_probabilities_stack', 'tissues_wf.labels.probabilities'),
    ('series_wf.inputnode.b0_mean', 'series_wf.correct_series.mean_file'),
    ('series_wf.inputnode.b0_mean', 'series_wf.brain_image.in_file'),
    ('series_wf.inputnode.brain_mask', 'series_wf.brain_image.mask_file'),
    ('series_wf.correct_series.out_file', 'series_wf.outputnode.series'),
    ('series_wf.correct_series.bval_file', 'series_wf.outputnode.series_bval'),
    ('series_wf.correct_series.bvec_file', 'series_wf.outputnode.series_bvec'),
    ('series_wf.correct_series.about', 'series_wf.outputnode.series_about'),
    ('series_wf.brain_image.out_file', 'series_wf.outputnode.brain_image'),
    ('explain_wf.explain.out_file', 'explain_wf.outputnode.maps'),
    ('explain_wf.explain.stack_file', 'explain_wf.outputnode.stacks'),
    ('explain_wf.outputnode.stacks', 'outputs_wf.inputnode.map_stacks'),
    ('outputs_wf.inputnode.confounds', 'outputs_wf.displacement.in_file'),
    ('outputs_wf.displacement.out_file', 'outputs_wf.report.confounds'),
    ('outputs_wf.displacement.out_file', 'outputs_wf.publish.displacement'),
    ('outputs_wf.displacement.about', 'outputs_wf.publish.displacement_about'),
    ('outputs_wf.metrics.out_file', 'outputs_wf.report.metrics'),
    ('outputs_wf.metrics.slices_file', 'outputs_wf.report.slice_metrics'),
    ('outputs_wf.metrics.out_file', 'outputs_wf.publish.metrics'),
    ('outputs_wf.metrics.slices_file', 'outputs_wf.publish.slice_metrics'),
    ('outputs_wf.report.out_file', 'outputs_wf.publish.report'),
    ('outputs_wf.report.figures', 'outputs_wf.publish.report_figures'),
    ('outputs_wf.inputnode.probsegs[0]', 'outputs_wf.publish.probseg_WM'),
    ('outputs_wf.inputnode.probsegs[1]', 'outputs_wf.publish.probseg_GM'),
    ('outputs_wf.inputnode.probsegs[2]', 'outputs_wf.publish.probseg_CSF'),
    ('outputs_wf.inputnode.maps[0]', 'outputs_wf.publish.explained_GM'),
    ('outputs_wf.inputnode.maps[1]', 'outputs_wf.publish.explained_WM'),
}
"""What is handed on under another name; all else keeps its own."""

NOT_GIVEN = {
    'preproc_wf.select_b0.voxel_scale',
    'brain_wf.slabs.mask_file',
    'brain_wf.donor_saliency.cache_dir',
    'explain_wf.explain.region',
    'explain_wf.explain.voxel',
}
"""Inputs that nothing is given for by default, though all results are asked for."""

ALL = (
    {'save_preproc': True, 'explain': ('GM', 'WM')},
    {'second_glance': 'masked'},
    {'second_glance': 'none'},
)


@pytest.fixture
def graph(example, tmp_path):
    """Return a function that makes the flat graph of a scan with a reference."""
    truth = example / 'derivatives/reference/sub-01/dwi/sub-01_dseg.nii.gz'

    def _graph(**options):
        return init_subject_wf(
            scan=find_scans(example, '01')[0],
            output_dir=tmp_path,
            reference=truth,
            method=Method(**options),
        )._create_flat_graph()

    return _graph


def name(node):
    return node.fullname.partition('.')[2]


def edges(graph):
    """Ends of every wire, as node and field."""
    for source, target, data in graph.edges(data=True):
        for taken, given in data['connect']:
            if isinstance(taken, tuple):
                taken, _, (index,) = taken
                taken = f'{taken}[{index}]'
            yield f'{name(source)}.{taken}', f'{name(target)}.{given}'


@pytest.mark.parametrize('options', ALL)
def test_what_a_stage_gives_is_handed_on_under_its_name_or_one_that_is_known(graph, options):
    found = {
        (source, target)
        for source, target in edges(graph(**options))
        if source.rpartition('.')[2] != target.rpartition('.')[2]
    }
    assert found - RENAMED == set()


def test_every_known_change_of_a_name_is_made_somewhere(graph):
    found = {edge for options in ALL for edge in edges(graph(**options))}
    assert found >= RENAMED


def test_where_all_is_asked_for_no_input_is_left_empty(graph):
    whole = graph(save_preproc=True, explain=('GM', 'WM'))
    given = {target for _, target in edges(whole)}
    empty = {
        f'{name(node)}.{field}'
        for node in whole.nodes()
        for field in node.inputs.copyable_trait_names()
        if not isdefined(getattr(node.inputs, field)) and not node.inputs.trait(field).usedefault
    }
    assert empty - given == NOT_GIVEN


@pytest.mark.parametrize(
    ('kind', 'masked'),
    [
        ('network', {'look_again.mask_file'}),
        ('masked', {'slabs.mask_file', 'labels.mask_file'}),
        ('none', {'labels.mask_file'}),
    ],
)
def test_the_brain_mask_reaches_every_kind_of_second_glance(graph, kind, masked):
    wires = edges(graph(second_glance=kind))
    found = {t for s, t in wires if s == 'tissues_wf.inputnode.brain_mask'}
    assert found == {f'tissues_wf.{target}' for target in masked}
