"""``secondglance evaluate`` on simulated animals and on labelled scans."""

import argparse
import json

import nibabel as nib
import numpy as np
import pytest
import torch

from secondglance.commands import evaluate
from secondglance.data import atlas_path
from secondglance.imaging.errors import InputError
from secondglance.models.evaluation import evaluation_slices
from secondglance.models.synthesis import draw_animal, read_atlas


def run(*call):
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    return evaluate.main(parser.parse_args([str(part) for part in call]))


@pytest.fixture
def scan(tmp_path):
    """A labelled scan of a simulated animal, on a flipped grid with an oblique affine."""
    rng = np.random.default_rng(0)
    animal = draw_animal(read_atlas(atlas_path()), rng)
    images, labels = evaluation_slices(animal, rng)
    turn = np.deg2rad(5.0)
    affine = np.diag([-0.375, 0.75, 0.375, 1.0])
    rotation = np.eye(4)
    rotation[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    paths = tmp_path / 'image.nii.gz', tmp_path / 'labels.nii.gz'
    for path, values in zip(paths, (images, labels), strict=True):
        # (N, 1, H, W) → right to left, towards anterior, towards superior.
        volume = torch.movedim(values[:, 0].float(), 0, 1).flip(0).numpy()
        nib.save(nib.Nifti1Image(volume, rotation @ affine), path)
    return paths


def test_shipped_weights_on_animals_never_seen(tmp_path, capsys):
    output = tmp_path / 'figures.json'
    assert run('--animals', 2, '--output', output) == 0
    dice = json.loads(output.read_text(encoding='utf-8'))['dice']
    assert dice['true mask']['n_animals'] == 2
    assert dice['true mask']['GM']['mean'] > 0.8
    assert dice['true mask']['brain']['mean'] > dice['imperfect mask']['brain']['mean'] - 1e-9
    assert 'Dice, true mask, n = 2: WM 0.' in capsys.readouterr().out


def test_labelled_scan_of_any_orientation(scan, tmp_path):
    output = tmp_path / 'figures.json'
    assert run('--image', scan[0], '--reference', scan[1], '--output', output) == 0
    dice = json.loads(output.read_text(encoding='utf-8'))['dice']['reference mask']
    assert dice['brain']['mean'] > 0.95
    assert dice['GM']['mean'] > 0.75


def test_reference_of_another_shape_or_without_tissues_is_refused(scan, tmp_path):
    image, reference = scan
    labels = nib.load(reference)
    cut, mask = tmp_path / 'cut.nii.gz', tmp_path / 'mask.nii.gz'
    nib.save(labels.slicer[:, :, 1:], cut)
    nib.save(nib.Nifti1Image((labels.get_fdata() > 0).astype('u1'), labels.affine), mask)
    with pytest.raises(InputError, match='resample'):
        run('--image', image, '--reference', cut)
    with pytest.raises(InputError, match='1 WM'):
        run('--image', image, '--reference', mask)


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (('--image', 'a.nii.gz'), 'name as many'),
        (('--image', 'a', '--reference', 'b', '--atlas', 'c'), 'not both'),
        (('--animals', 0), 'at least 1'),
        (('--weights', 'none.safetensors'), r'none\.safetensors'),
    ],
)
def test_wrong_calls_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        run(*call)
