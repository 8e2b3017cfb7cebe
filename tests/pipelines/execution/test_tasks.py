"""Pydra's tasks give what the Nipype graph gives."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from secondglance.data import donor_paths
from secondglance.files.bids import find_donor
from secondglance.imaging.errors import InputError
from secondglance.models.weights import default_weights
from secondglance.pipelines import init_brain_wf
from secondglance.pipelines.execution.cohort import load_pydra
from secondglance.pipelines.execution.tasks import STAGES, stage


@pytest.mark.slow
def test_stages_in_pydra_are_those_of_the_graph(tmp_path):
    head = donor_paths()[0] / 'image.nii.gz'
    donors = [find_donor(donor_paths()[1])]
    graph = init_brain_wf(donors=donors)
    graph.base_dir = str(tmp_path / 'nipype')
    graph.inputs.inputnode.in_file = str(head)
    nodes = {node.name: node.result for node in graph.run(plugin='Linear').nodes()}

    pydra = load_pydra()
    network = {'weights': str(default_weights())}
    flow = pydra.Workflow(
        name='mine', input_spec=['head'], head=str(head), cache_dir=tmp_path / 'pydra'
    )
    flow.add(stage('pose', in_file=flow.lzin.head, **network))
    flow.add(stage('slabs', in_file=flow.lzin.head, pose=flow.pose.lzout.pose))
    flow.add(stage('first_glance', in_file=flow.slabs.lzout.stack, **network))
    flow.add(
        stage(
            'enhance',
            saliency=flow.first_glance.lzout.saliency,
            probabilities=flow.first_glance.lzout.probabilities,
            stack=flow.slabs.lzout.stack,
            like=flow.lzin.head,
            pose=flow.pose.lzout.pose,
        )
    )
    flow.add(
        stage(
            'donor_saliency',
            images=[str(donors[0][0])],
            masks=[str(donors[0][1])],
            **network,
        )
    )
    flow.add(
        stage(
            'place',
            enhanced_stack=flow.enhance.lzout.enhanced_stack,
            donor_enhanced=flow.donor_saliency.lzout.enhanced,
            donor_masks=flow.donor_saliency.lzout.masks,
            pose=flow.pose.lzout.pose,
        )
    )
    flow.set_output(
        [
            ('enhanced', flow.enhance.lzout.enhanced_stack),
            ('mask', flow.place.lzout.placed_stack),
            ('placement', flow.place.lzout.placement),
        ]
    )
    with pydra.Submitter(plugin='serial') as submitter:
        submitter(flow)
    found = flow.result().output

    def voxels(path):
        return nib.load(path).get_fdata()

    assert voxels(found.enhanced).any()
    np.testing.assert_array_equal(
        voxels(found.enhanced), voxels(nodes['enhance'].outputs.enhanced_stack)
    )
    placed = nodes['place'].outputs
    np.testing.assert_array_equal(voxels(found.mask), voxels(placed.placed_stack))
    assert Path(found.placement).read_text() == Path(placed.placement).read_text()


def test_unknown_stage_and_input_are_named():
    with pytest.raises(InputError, match="'third_glance' is not one of"):
        stage('third_glance')
    with pytest.raises(InputError, match='no input colour'):
        stage('enhance', colour='red')


@pytest.mark.parametrize('name', STAGES)
def test_every_stage_can_be_made(name):
    known = STAGES[name].input_spec().copyable_trait_names()
    assert stage(name).name == name
    assert known
