from itertools import product

import pytest
from nipype.pipeline.engine import MapNode

from secondglance.files.bids import find_scans
from secondglance.pipelines import (
    Execution,
    Method,
    SaliencyOptions,
    init_brain_wf,
    init_preproc_wf,
    init_subject_wf,
    init_tissues_wf,
)


@pytest.mark.parametrize(('motion', 'node'), [('sitk', 'SitkMotion'), ('none', 'NoMotion')])
def test_engine_is_the_one_asked_for(motion, node):
    workflow = init_preproc_wf(motion=motion)
    assert type(workflow.get_node('motion_correction').interface).__name__ == node


@pytest.mark.parametrize(
    ('saliency', 'target', 'axis'),
    list(product(['guided', 'gradient'], ['brain', 'CSF'], ['auto', 'j'])),
)
def test_options_reach_their_nodes(saliency, target, axis):
    workflow = init_brain_wf(saliency=SaliencyOptions(saliency, target), slice_axis=axis)
    for name in ('first_glance', 'donor_saliency'):
        inputs = workflow.get_node(name).inputs
        assert (inputs.method, inputs.target) == (saliency, target)
    assert workflow.get_node('pose').inputs.slice_axis == axis


def test_network_stages_run_over_slabs():
    execution = Execution(nprocs=3)
    brain, tissues = (
        init_brain_wf(execution=execution),
        init_tissues_wf(second_glance='masked', execution=execution),
    )
    for workflow, name in ((brain, 'first_glance'), (tissues, 'second')):
        assert isinstance(workflow.get_node(name), MapNode)
        assert workflow.get_node('slabs').inputs.n_slabs == 3


def test_the_graph_of_a_scan_has_no_more_than_27_nodes(example, tmp_path):
    workflow = init_subject_wf(scan=find_scans(example, '01')[0], output_dir=tmp_path)
    assert len(workflow.list_node_names()) <= 27


def test_gpu_nodes_are_counted_and_take_one_slab(example, tmp_path):
    workflow = init_subject_wf(
        scan=find_scans(example, '01')[0],
        output_dir=tmp_path,
        execution=Execution(device='cuda', nprocs=4),
    )
    assert workflow.get_node('brain_wf.first_glance').is_gpu_node()
    assert workflow.get_node('tissues_wf.look_again').is_gpu_node()
    assert workflow.get_node('brain_wf.slabs').inputs.n_slabs == 1


def test_subject_graph_is_one_graph_without_cycles(example, tmp_path):
    import networkx as nx

    workflow = init_subject_wf(scan=find_scans(example, '01')[0], output_dir=tmp_path)
    workflow.base_dir = str(tmp_path)
    graph = workflow._create_flat_graph()
    assert nx.is_directed_acyclic_graph(graph)
    assert nx.is_weakly_connected(graph)


@pytest.mark.parametrize('there', [False, True])
def test_metrics_are_there_only_with_a_reference(example, tmp_path, there):
    truth = example / 'derivatives/reference/sub-01/dwi/sub-01_dseg.nii.gz'
    workflow = init_subject_wf(
        scan=find_scans(example, '01')[0],
        output_dir=tmp_path,
        reference=truth if there else None,
    )
    assert (workflow.get_node('outputs_wf.metrics') is not None) == there


def test_weights_checksum_is_in_the_settings():
    plain = Method().resolved()
    assert len(plain['weights_checksum']) == 64
    assert 'nprocs' not in plain


def test_slurm_is_asked_for_what_each_node_needs_and_the_users_word_comes_last():
    from secondglance.pipelines.execution.nipype_engine import ask_slurm

    workflow = init_brain_wf(execution=Execution(threads=3))
    ask_slurm(workflow, '--mem=9G')
    asked = workflow.get_node('first_glance').plugin_args
    assert asked == {'sbatch_args': '--cpus-per-task=3 --mem=1024M --mem=9G', 'overwrite': True}
    assert workflow.get_node('slabs').plugin_args['sbatch_args'].startswith('--cpus-per-task=1 ')


def test_cores_are_those_that_slurm_gave(monkeypatch):
    from secondglance.pipelines.execution.processes import available_cores

    monkeypatch.setenv('SLURM_CPUS_PER_TASK', '7')
    assert available_cores() == 7
    monkeypatch.delenv('SLURM_CPUS_PER_TASK')
    assert available_cores() >= 1


def test_the_series_is_corrected_only_where_it_is_asked_for(example, tmp_path):
    scan = find_scans(example, '01')[0]
    plain = init_subject_wf(scan=scan, output_dir=tmp_path)
    assert plain.get_node('series_wf') is None
    asked = init_subject_wf(scan=scan, output_dir=tmp_path, method=Method(save_preproc=True))
    inputs = asked.get_node('series_wf.inputnode').inputs
    assert inputs.bvec_file == str(example / 'sub-01/dwi/sub-01_dwi.bvec')
    published = asked.get_node('outputs_wf.publish').inputs
    for field in ('series', 'series_bval', 'series_bvec', 'series_about', 'brain_image'):
        assert field in published.copyable_trait_names()
    unasked = plain.get_node('outputs_wf.publish').inputs.copyable_trait_names()
    assert 'series' not in unasked
    assert published.sidecars['desc-preproc_dwi.json']['EchoTime'] == 0.03
    assert published.sidecars['desc-brain_dwi.json']['SkullStripped'] is True


def test_without_motion_correction_no_motion_is_estimated(example, tmp_path):
    scan = find_scans(example, '01')[0]
    method = Method(save_preproc=True, motion='none')
    asked = init_subject_wf(scan=scan, output_dir=tmp_path, method=method)
    assert asked.get_node('series_wf.correct_series').inputs.estimate is False
