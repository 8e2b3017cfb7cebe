"""Maps of single classes, regions and voxels lie where they should and say what they are."""

import json

import nibabel as nib
import numpy as np
import pytest

from secondglance.data import example_rat
from secondglance.files.bids import find_scans
from secondglance.imaging.errors import InputError
from secondglance.imaging.pose import Pose
from secondglance.interfaces.saliency import Explain
from secondglance.models.saliency.attribution import saliency_stack
from secondglance.models.weights import default_weights, load_weights
from secondglance.pipelines import Method, init_explain_wf
from secondglance.pipelines.execution.checks import check_scan
from secondglance.workflows import main


@pytest.fixture
def head(rng, oblique, save):
    """Return a small head, oblique, of odd size, at twice the network's resolution."""
    voxels = rng.gamma(2.0, 30.0, (51, 43, 3)).astype(np.float32)
    return save(voxels, oblique @ np.diag([0.6, 0.5, 1, 1]), 'head.nii.gz')


def explain(head, folder, monkeypatch, **inputs):
    monkeypatch.chdir(folder)
    pose = Pose('rat', load_weights(default_weights()).spacing).to_plain()
    return Explain(
        in_file=str(head), weights=str(default_weights()), pose=pose, **inputs
    ).run().outputs  # fmt: skip


def test_map_lies_on_the_grid_of_the_head(head, tmp_path, monkeypatch):
    found = nib.load(explain(head, tmp_path, monkeypatch, target='GM').out_file)
    assert found.shape == nib.load(head).shape
    np.testing.assert_allclose(found.affine, nib.load(head).affine)
    assert np.abs(found.get_fdata()).max() > 0


@pytest.mark.parametrize('method', ['guided', 'gradient'])
def test_voxel_is_explained_by_what_lies_about_it(method, tmp_path, monkeypatch):
    rat, _ = example_rat()
    few = tmp_path / 'few.nii.gz'
    nib.save(nib.load(rat).slicer[:, :, 8:11], few)
    voxel = [32, 39, 1]
    asked = {'target': 'brain', 'voxel': voxel, 'method': method}
    found = nib.load(explain(few, tmp_path, monkeypatch, **asked).out_file)
    magnitude = np.abs(found.get_fdata())
    # Slices do not see each other
    assert not magnitude[..., [0, 2]].any()
    assert magnitude[..., 1].any()
    size = nib.affines.voxel_sizes(found.affine)[:2]
    where = np.stack(np.meshgrid(*map(np.arange, magnitude.shape[:2]), indexing='ij'), -1)
    away = np.linalg.norm((where - voxel[:2]) * size, axis=-1)
    weight = magnitude[..., 1] / magnitude[..., 1].sum()
    assert (weight * away).sum() < 0.7 * away.mean()


def test_region_of_all_counts_the_logits_of_the_field_of_view(head, tmp_path, monkeypatch, save):
    image = nib.load(head)
    everywhere = save(np.ones(image.shape, np.uint8), image.affine, 'everywhere.nii.gz')
    found = explain(head, tmp_path, monkeypatch, target='WM', region=str(everywhere))
    model = load_weights(default_weights())
    grid = Pose('rat', model.spacing).grid(image.shape, image.affine)
    stack, inside = (grid.to_stack(v) for v in (image.get_fdata(), np.ones(image.shape)))
    maps, _ = saliency_stack(model, stack, 'WM', region=inside)
    expected = grid.to_native(maps)
    difference = np.abs(nib.load(found.out_file).get_fdata() - expected)
    assert difference.max() < 1e-4 * np.abs(expected).max()


def test_workflow_gives_a_map_a_target(head, tmp_path):
    workflow = init_explain_wf(weights=default_weights(), targets=('WM', 'CSF'))
    workflow.base_dir = str(tmp_path)
    workflow.inputs.inputnode.in_file = str(head)
    (node,) = [n for n in workflow.run(plugin='Linear').nodes() if n.name == 'explain']
    maps = [nib.load(path).get_fdata() for path in node.result.outputs.out_file]
    assert len(maps) == 2
    assert not np.allclose(*maps)
    model = load_weights(default_weights())
    stack = np.moveaxis(nib.load(node.result.outputs.stack_file[0]).get_fdata(), 2, 0)
    assert stack.shape[0] == 3
    assert saliency_stack(model, stack, 'WM')[0].shape == stack.shape


@pytest.mark.slow
def test_derivatives_are_named_by_class_and_say_how_they_were_made(example, tmp_path):
    common = ['run', '--subject', '02', '--bids-dir', str(example), '--nprocs', '1']
    common += ['--work-dir', str(tmp_path / 'work'), '--motion', 'none']
    out = tmp_path / 'out'
    arguments = ['--explain', 'WM', 'brain', '--explain-region', '32,30,10', '--smooth', '2']
    assert main([*common, '--output-dir', str(out), *arguments]) == 0
    stem = 'sub-02/func/sub-02_task-rest_space-sbref'
    told = json.loads((out / f'{stem}_desc-WMregion_saliency.json').read_text())
    assert told['Target'] == 'WM'
    assert told['Region'] == '32,30,10'
    assert told['Method'] == 'guided'
    assert told['SmoothingCopies'] == 2
    assert len(told['WeightsChecksum']) == 64
    maps = nib.load(out / f'{stem}_desc-brainregion_saliency.nii.gz').get_fdata()
    inside = np.abs(maps).sum(axis=(0, 1)) > 0
    assert inside[10]
    assert inside.sum() == 1
    page = (out / 'sub-02_task-rest_sbref.html').read_text()
    assert 'Signed saliency of WMregion' in page
    assert 'averaged over 2 noisy copies' in page


def test_region_on_another_grid_and_voxel_outside_are_refused(example, save):
    scan = find_scans(example, '02', 'sbref')[0]
    other = save(np.eye(5, dtype=np.uint8)[None], name='region.nii.gz')
    for region, says in ((other, 'another grid'), ((500, 0, 0), 'outside')):
        settings = Method(explain_region=region)
        with pytest.raises(InputError, match=says):
            check_scan(scan, settings)


def test_the_voxel_that_was_asked_for_is_the_one_that_is_weighted(head):
    image = nib.load(head)
    grid = Pose('rat', 0.3).grid(image.shape, image.affine)
    voxel = [40, 11, 2]
    weights = Explain(voxel=voxel)._weights(grid, image)
    [[n, h, w]] = np.argwhere(weights)
    assert weights[n, h, w] == 1
    found = nib.affines.apply_affine(grid.affine, [h, w, n])
    expected = nib.affines.apply_affine(image.affine, voxel)
    assert np.linalg.norm(found - expected) <= 0.3 * np.sqrt(0.5) + 1e-6


def test_noisy_copies_are_those_that_were_asked_for(head, tmp_path, monkeypatch):
    maps = [
        nib.load(explain(head, tmp_path, monkeypatch, target='GM', smooth=n).out_file).get_fdata()
        for n in (0, 2)
    ]
    assert np.abs(maps[0] - maps[1]).max() > 1e-3 * np.abs(maps[0]).max()
