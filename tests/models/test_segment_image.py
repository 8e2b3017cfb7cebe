"""``secondglance.segment`` on images, beside the command line."""

import json
import os
import subprocess
import sys

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch

import secondglance
from secondglance.data import atlas_path, donor_paths, example_rat
from secondglance.files.bids import find_donor
from secondglance.imaging.errors import InputError
from secondglance.imaging.tissues import label_tissues
from secondglance.models import pose
from secondglance.models.choices import SaliencyOptions
from secondglance.models.segment import first_glance
from secondglance.models.unet import UNet
from secondglance.models.weights import load_weights, save_weights
from secondglance.simulation.animal import cut_slices, draw_animal
from secondglance.simulation.atlas import read_atlas
from secondglance.simulation.head_slices import render_as
from secondglance.workflows import main

DONORS = donor_paths()[:2]
SLICES = slice(6, 10)
"""Of the rat that ships: enough to be a brain."""


@pytest.fixture(scope='module')
def heads(tmp_path_factory):
    """Make few slices each of a rat, a rat as small as a mouse, one on its back, and a T2w."""
    folder = tmp_path_factory.mktemp('heads')
    rat = nib.load(example_rat()[0]).slicer[:, :, SLICES]
    voxels = np.asarray(rat.dataobj, np.float32)
    rng = np.random.default_rng(3)
    animal = draw_animal(read_atlas(atlas_path()), rng, 0.3, 80)
    middle = sum(animal.extent_mm) / 2
    maps = cut_slices(animal, middle + np.arange(-3.0, 4, 2), np.ones(4))
    t2w, _ = render_as(maps, rng, 0.3, contrast=(0.4, 0.6, 1.0), snr=30.0, bias=0.1)
    made = {
        'rat': (voxels, rat.affine),
        'mouse': (voxels, np.diag([0.65, 0.65, 0.65, 1]) @ rat.affine),
        'turned': (voxels[::-1, ::-1], rat.affine),
        'T2w': (torch.movedim(t2w[:, 0], 0, 1).numpy(), np.diag([0.3, 2.0, 0.3, 1.0])),
    }
    for name, (values, affine) in made.items():
        nib.save(nib.Nifti1Image(values.astype(np.float32), affine), folder / f'{name}.nii.gz')
    return folder


@pytest.fixture(scope='module')
def segmented(heads, tmp_path_factory):
    """Segment all of them by the command line, and give its folder."""
    out = tmp_path_factory.mktemp('out')
    call = ['run', '--image', *(str(path) for path in sorted(heads.iterdir()))]
    call += ['--output-dir', str(out), '--work-dir', str(out / 'work'), '--nprocs', '1']
    call += ['--donor', *map(str, DONORS), '--motion', 'none']
    assert main(call) == 0
    return out


def _of(folder, name, ending):
    found = (path for path in folder.rglob(f'*{ending}') if name in path.name)
    [path] = (p for p in found if 'work' not in p.parts and 'regions' not in p.name)
    return path


@pytest.mark.slow
@pytest.mark.parametrize('name', ['rat', 'mouse', 'turned', 'T2w'])
def test_images_and_numbers_are_those_of_the_command(heads, segmented, name):
    found = secondglance.segment(
        heads / f'{name}.nii.gz', donors=[find_donor(folder) for folder in DONORS]
    )
    told = json.loads(_of(segmented, name, 'desc-brain_mask.json').read_text())
    assert found.pose.species == told['Species']
    assert (found.pose.species == 'mouse') == (name == 'mouse')
    assert found.method == told['Method']
    assert found.confidence == pytest.approx(told['Confidence'], abs=1e-4)
    for ending, image in (
        ('desc-brain_mask.nii.gz', found.mask),
        ('_dseg.nii.gz', found.tissues),
    ):
        written = nib.load(_of(segmented, name, ending))
        np.testing.assert_array_equal(np.asarray(image.dataobj), np.asarray(written.dataobj))
        np.testing.assert_allclose(image.affine, written.affine, atol=1e-6)
        assert np.asarray(image.dataobj).sum() > 500
    for k, tissue in enumerate(('WM', 'GM', 'CSF')):
        written = nib.load(_of(segmented, name, f'label-{tissue}_probseg.nii.gz'))
        np.testing.assert_allclose(
            np.asarray(found.probabilities.dataobj)[..., k], written.get_fdata(), atol=1e-4
        )
    written = nib.load(_of(segmented, name, 'label-brain_probseg.nii.gz')).get_fdata()
    np.testing.assert_allclose(np.asarray(found.share.dataobj), written, atol=1e-4)
    table = pd.read_csv(_of(segmented, name, 'desc-tissue_volumes.tsv'), sep='\t')
    told = dict(zip(table['label'], table['volume_from_fractions_mm3'], strict=True))
    assert found.volumes == pytest.approx(told, rel=1e-3)
    written = nib.load(_of(segmented, name, 'desc-enhanced_saliency.nii.gz')).get_fdata()
    np.testing.assert_allclose(np.asarray(found.enhanced.dataobj), written, atol=1e-4)


@pytest.mark.slow
def test_regions_are_those_of_the_command_and_of_the_network_alone(heads, segmented):
    donors = [find_donor(folder) for folder in DONORS]
    usual = secondglance.segment(heads / 'rat.nii.gz', donors=donors)
    [path] = (p for p in segmented.glob('sub-rat*/**/*desc-regions_dseg.nii.gz'))
    regions = np.asarray(usual.regions.dataobj)
    np.testing.assert_array_equal(regions, np.asarray(nib.load(path).dataobj))
    assert len(np.unique(regions)) > 10
    other = secondglance.segment(heads / 'rat.nii.gz', donors=donors, second_glance='masked')
    assert other.regions is None
    mask = np.asarray(other.mask.dataobj)
    np.testing.assert_array_equal(mask, np.asarray(usual.mask.dataobj))
    np.testing.assert_array_equal(np.asarray(other.tissues.dataobj) > 0, mask > 0)
    assert (np.asarray(other.tissues.dataobj) != np.asarray(usual.tissues.dataobj)).any()


@pytest.mark.slow
def test_tissues_share_out_the_mask_of_an_image_in_memory(heads):
    image = nib.load(heads / 'rat.nii.gz')
    found = secondglance.segment(image, donors=[find_donor(DONORS[0])], species='rat', turn='0')
    mask = np.asarray(found.mask.dataobj) > 0
    np.testing.assert_array_equal(np.asarray(found.tissues.dataobj) > 0, mask)
    total = np.asarray(found.probabilities.dataobj).sum(axis=-1)
    np.testing.assert_allclose(total, mask, atol=1e-5)
    voxel = abs(np.linalg.det(image.affine[:3, :3]))
    share = np.asarray(found.share.dataobj)
    assert found.volumes['brain'] == pytest.approx(share.sum() * voxel, rel=1e-4)
    # Of a pixel at the rim a part is brain
    assert 0.9 < share.sum() / mask.sum() < 1
    again = secondglance.segment(heads / 'rat.nii.gz', donors=[find_donor(DONORS[0])])
    np.testing.assert_array_equal(np.asarray(again.mask.dataobj), np.asarray(found.mask.dataobj))


@pytest.mark.parametrize(
    ('option', 'value', 'message'),
    [
        ('species', 'vole', "'vole' is not one of auto, rat, mouse"),
        ('turn', 90, 'turn 90 is not one of'),
        ('mask_method', 'best', "'best' is not one of"),
        ('slice_axis', 'x', "'x' is not one of"),
        ('weights', 'none.safetensors', r'none\.safetensors'),
    ],
)
def test_unknown_values_are_refused(option, value, message):
    with pytest.raises(InputError, match=message):
        secondglance.segment(example_rat()[0], **{option: value})


@pytest.mark.parametrize('n_slices', [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_brain_is_found_in_a_thin_slab(n_slices):
    path, mask = example_rat()
    image = nib.load(path)
    middle = slice(image.shape[2] // 2, image.shape[2] // 2 + n_slices)
    found = np.asarray(secondglance.segment(image.slicer[:, :, middle]).mask.dataobj) > 0
    brain = np.asarray(nib.load(mask).dataobj)[:, :, middle] > 0
    assert 2 * (found & brain).sum() / (found.sum() + brain.sum()) > 0.95


@pytest.mark.parametrize(
    ('shape', 'value', 'message'),
    [
        ((40, 40, 4, 3), None, '3 volumes: give one'),
        ((40, 40, 4), np.nan, 'The image has 1 voxels that are NaN'),
        ((8, 8, 4), None, r'too small.*voxel sizes \(0\.5 × 0\.5 × 1 mm'),
    ],
)
def test_images_that_cannot_be_segmented_are_refused(rng, shape, value, message):
    voxels = rng.uniform(size=shape).astype(np.float32)
    if value is not None:
        voxels[0, 0, 0] = value
    image = nib.Nifti1Image(voxels, np.diag([0.5, 0.5, 1.0, 1.0]))
    with pytest.raises(InputError, match=message):
        secondglance.segment(image)


def test_what_is_odd_of_values_and_header_is_told_with_the_result():
    image = nib.load(example_rat()[0]).slicer[:, :, 8:9]
    voxels = np.asarray(image.dataobj, np.float32)
    voxels[0, 0] = -voxels.max()
    large = nib.Nifti1Image(voxels, np.diag([10, 10, 10, 1]) @ image.affine)
    found = secondglance.segment(
        large, species='rat', turn='0', mask_method='first-glance', second_glance='none'
    )
    told = ' '.join(found.notes)
    assert 'multiplied by 10 (human software)' in told
    assert f'{-voxels.max():g}' in told


def test_weights_that_were_written_anew_are_read_anew(tmp_path, monkeypatch):
    """In the same file, beside donors that are the same."""
    seen, real = [], pose.estimate_pose

    def asked(model, *given, **how):
        seen.append(model.checksum)
        return real(model, *given, **how)

    monkeypatch.setattr(pose, 'estimate_pose', asked)
    # What is read after the pose is found ends the call
    asks = {'species': 'rat', 'turn': '0', 'second_weights': tmp_path / 'nowhere'}
    rng = np.random.default_rng(0)
    head = nib.Nifti1Image(rng.uniform(1, 2, (40, 40, 4)), np.diag([0.5, 0.5, 1.0, 1.0]))
    brain = nib.Nifti1Image((np.indices(head.shape)[0] > 20).astype(np.uint8), head.affine)
    donor = tmp_path / 'head.nii', tmp_path / 'brain.nii'
    for path, image in zip(donor, (head, brain), strict=True):
        nib.save(image, path)
    weights = tmp_path / 'own.safetensors'
    for k in range(3):
        torch.manual_seed(k // 2)
        written = save_weights(UNet((2, 4)), weights, {'spacing': '0.5'})
        os.utime(weights, ns=(k, k))
        with pytest.raises(InputError, match='nowhere'):
            secondglance.segment(head, weights=weights, donors=[donor], **asks)
        assert seen[-1] == written
    assert len(set(seen)) == 2


@pytest.fixture
def small(tmp_path):
    """Three slices, one donor and a network of few channels: a call takes no second."""
    torch.manual_seed(4)
    net = UNet((2, 4))
    with torch.no_grad():
        net.head.weight *= 30
    weights = tmp_path / 'small.safetensors'
    save_weights(net, weights, {'spacing': '0.5'})
    paths = []
    for path in find_donor(DONORS[0]):
        paths.append(tmp_path / path.name)
        nib.save(nib.load(path).slicer[:, :, 8:11], paths[-1])
    return {
        'image': nib.load(example_rat()[0]).slicer[:, :, 8:11],
        'species': 'rat',
        'turn': '0',
        'mask_method': 'correlation',
        'second_glance': 'none',
        'weights': weights,
        'donors': [tuple(paths)],
    }


def test_saliency_is_of_the_method_asked_for_and_enhanced_is_another_image(small):
    options = SaliencyOptions(method='gradient')
    found = secondglance.segment(**small, saliency=options)
    model = load_weights(small['weights'])
    grid = found.pose.grid(found.mask.shape, small['image'].affine)
    stack = grid.to_stack(np.asarray(small['image'].dataobj, np.float32))
    expected = first_glance(model, stack, options)
    for image, maps in ((found.saliency, expected.saliency), (found.enhanced, expected.enhanced)):
        np.testing.assert_allclose(np.asarray(image.dataobj), grid.to_native(maps), atol=1e-5)
    guided = first_glance(model, stack).saliency
    assert np.abs(guided - expected.saliency).max() > 1e-2


def test_tissues_are_numbered_as_in_files(small):
    """Grey matter is 1 and white matter 2, but the other way round in a network's classes."""
    found = secondglance.segment(**small)
    inside = np.asarray(found.mask.dataobj) > 0
    classes = label_tissues(np.asarray(found.probabilities.dataobj), inside)
    assert (np.bincount(classes.ravel(), minlength=4) > 0).tolist() == [True, True, False, True]
    np.testing.assert_array_equal(
        np.asarray(found.tissues.dataobj), np.array([0, 2, 1, 3])[classes]
    )


def test_a_series_is_no_donor(small, tmp_path):
    image, mask = small['donors'][0]
    one = nib.load(image)
    nib.save(nib.Nifti1Image(np.stack([one.dataobj] * 2, -1), one.affine), tmp_path / 'series.nii')
    with pytest.raises(InputError, match=r'^Donor .*series\.nii has 2 volumes: give their mean'):
        secondglance.segment(**small | {'donors': [(tmp_path / 'series.nii', mask)]})


@pytest.mark.parametrize('option', ['weights', 'refinement', 'second_weights', 'atlas'])
def test_files_of_ones_own_are_those_that_are_read(rng, option, tmp_path):
    head = nib.Nifti1Image(rng.uniform(1, 2, (40, 40, 4)), np.diag([0.5, 0.5, 1.0, 1.0]))
    with pytest.raises(InputError, match='nowhere'):
        secondglance.segment(head, species='rat', turn='0', **{option: tmp_path / 'nowhere'})


def test_an_image_in_memory_is_named_as_such_where_it_is_refused(rng):
    """It is read through a file, of which nobody knows."""
    mask = (rng.uniform(size=(40, 40, 4)) > 0.5).astype(np.uint8)
    with pytest.raises(InputError, match=r'^The image holds nothing but the values 0 and 1'):
        secondglance.segment(nib.Nifti1Image(mask, np.diag([0.5, 0.5, 1.0, 1.0])))
    head = rng.uniform(1, 2, (40, 40, 4)).astype(np.float32)
    with pytest.raises(InputError, match=r'^The image has voxel sizes of 0\.05 × 0\.05 × 0\.1'):
        secondglance.segment(nib.Nifti1Image(head, np.diag([0.05, 0.05, 0.1, 1.0])))


def test_importing_the_package_imports_no_network_library():
    code = (
        'import sys, secondglance; print("torch" in sys.modules, "segment" in dir(secondglance))'
    )
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ['False', 'True']


@pytest.mark.parametrize(('turn', 'quarters'), [('auto', None), ('0', 0), ('270', 3)])
def test_the_pose_that_is_asked_for_is_that_of_the_call(monkeypatch, turn, quarters):
    class Enough(Exception):
        """No more is needed."""

    def asked(*_, **how):
        assert how['quarter_turns'] == quarters
        assert (how['species'], how['slice_axis']) == ('mouse', 'k')
        raise Enough

    monkeypatch.setattr('secondglance.models.pose.estimate_pose', asked)
    with pytest.raises(Enough):
        secondglance.segment(example_rat()[0], species='mouse', slice_axis='k', turn=turn)
