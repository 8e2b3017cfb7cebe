import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nibabel.affines import apply_affine

from secondglance.files.bids import find_scans
from secondglance.imaging.motion import residual_displacement
from secondglance.pipelines import init_preproc_wf
from secondglance.pipelines.preproc import resolve_engine

OUTPUTS = {'b0_mean', 'b0_series', 'confounds', 'transforms', 'itk_transforms', 'engine', 'notes'}
OUTPUTS |= {'b0_uncorrected', 'estimated_pose'}


def ran(workflow, base_dir):
    """Run in this process; the files that the last node before `outputnode` made, by name."""
    workflow.base_dir = str(base_dir)
    graph = workflow.run(plugin='Linear')
    results = {}
    for node in graph.nodes():
        for name, value in node.result.outputs.get().items():
            results[f'{node.name}.{name}'] = value
    return results


def test_outputs_are_those_promised():
    workflow = init_preproc_wf(motion='none')
    assert set(workflow.get_node('outputnode').inputs.get()) == OUTPUTS
    assert set(workflow.get_node('inputnode').inputs.get()) == {'in_file', 'bval_file'}


@pytest.mark.parametrize('motion', ['sitk', 'none'])
def test_threads_go_to_the_stage_that_uses_them(motion):
    node = init_preproc_wf(motion=motion, n_procs=3).get_node('motion_correction')
    assert node.n_procs == 3
    assert node.inputs.num_threads == 3


def test_options_reach_their_nodes():
    workflow = init_preproc_wf(motion='none', b0_threshold=80.0, all_b0=True, device='cpu')
    assert workflow.get_node('select_b0').inputs.threshold == 80.0
    assert workflow.get_node('select_b0').inputs.all_b0
    assert workflow.get_node('motion_correction').inputs.device == 'cpu'


def test_auto_without_fsl_is_embedded(monkeypatch):
    monkeypatch.delenv('FSLDIR', raising=False)
    workflow = init_preproc_wf()
    assert resolve_engine('auto') == 'sitk'
    assert type(workflow.get_node('motion_correction').interface).__name__ == 'SitkMotion'


@pytest.mark.slow
def test_motion_of_a_simulated_rat_is_corrected(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scan = find_scans(example, '01')[0]
    workflow = init_preproc_wf(motion='sitk')
    workflow.inputs.inputnode.in_file = str(scan.path)
    workflow.inputs.inputnode.bval_file = str(scan.bval)
    found = ran(workflow, tmp_path)

    transforms = json.loads(Path(found['motion_correction.transforms']).read_text())
    bvals = np.loadtxt(scan.bval)
    assert transforms['volumes'] == np.flatnonzero(bvals <= 50).tolist()
    reference = example / 'derivatives/reference/sub-01/dwi'
    truth = json.loads((reference / 'sub-01_desc-motion_xfm.json').read_text())['matrices']
    truth = np.linalg.inv(truth[transforms['reference']]) @ np.array(truth)
    mask = nib.load(reference / 'sub-01_desc-brain_mask.nii.gz')
    brain = apply_affine(mask.affine, np.argwhere(np.asarray(mask.dataobj)))
    left = residual_displacement(transforms['matrices'], truth[transforms['volumes']], brain)
    assert left.mean() <= 0.02

    mean = nib.load(found['b0_mean.out_file'])
    assert mean.shape == nib.load(scan.path).shape[:3]
    np.testing.assert_allclose(mean.affine, nib.load(scan.path).affine, atol=1e-5)
    assert np.isfinite(mean.get_fdata()).all()
    table = pd.read_csv(found['motion_correction.confounds'], sep='\t')
    assert len(table) == len(transforms['volumes'])


def test_one_volume_needs_neither_bvals_nor_registration(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scan = find_scans(example, '02', 'sbref')[0]
    workflow = init_preproc_wf(motion='sitk')
    workflow.inputs.inputnode.in_file = str(scan.path)
    found = ran(workflow, tmp_path)
    np.testing.assert_allclose(
        nib.load(found['b0_mean.out_file']).get_fdata(),
        np.squeeze(nib.load(scan.path).get_fdata()),
        rtol=1e-6,
    )
