"""``secondglance evaluate`` on simulated animals and on a labelled data set."""

import argparse
import json
import re
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch

import secondglance
from secondglance.commands import evaluate
from secondglance.data import atlas_path, donor_paths
from secondglance.files.digests import digest_of_voxels
from secondglance.files.labels import file_labels
from secondglance.imaging.errors import InputError
from secondglance.imaging.labels import TISSUES
from secondglance.imaging.metrics import dice as dice_of
from secondglance.models.unet import UNet
from secondglance.models.weights import (
    SECOND_GLANCE,
    default_refinement,
    default_second_glance,
    default_weights,
    load_weights,
    save_weights,
)
from secondglance.reports.scores import summary_of
from secondglance.simulation.animal import cut_slices, draw_animal
from secondglance.simulation.atlas import read_atlas
from secondglance.simulation.head_slices import render_as


def parsed(*call):
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    return parser.parse_args([str(part) for part in call])


def run(*call):
    return evaluate.main(parsed(*call))


@pytest.fixture
def data_set(tmp_path):
    """A labelled head of a simulated animal, on a flipped grid with an oblique affine."""
    rng = np.random.default_rng(0)
    animal = draw_animal(read_atlas(atlas_path()), rng, 0.3, 80)
    low, high = animal.extent_mm
    centres = np.arange(low + 1, high - 1, 1.0)
    maps = cut_slices(animal, centres, np.full(len(centres), 1.0))
    images, labels = render_as(maps, rng, 0.3, snr=30.0, bias=0.1)
    turn = np.deg2rad(5.0)
    rotation = np.eye(4)
    rotation[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    affine = rotation @ np.diag([-0.3, 1.0, 0.3, 1.0])
    reference = tmp_path / 'bids' / 'derivatives' / 'reference' / 'sub-01' / 'anat'
    anat = tmp_path / 'bids' / 'sub-01' / 'anat'
    for folder, name, values in (
        (anat, 'sub-01_T2w', images),
        (reference, 'sub-01_dseg', torch.as_tensor(file_labels(labels.numpy()))),
    ):
        folder.mkdir(parents=True)
        # (N, 1, H, W) → right to left, towards anterior, towards superior.
        volume = torch.movedim(values[:, 0].float(), 0, 1).flip(0).numpy()
        nib.save(nib.Nifti1Image(volume, affine), folder / f'{name}.nii.gz')
    return tmp_path / 'bids'


@pytest.mark.slow
def test_shipped_weights_on_animals_never_seen(tmp_path, capsys):
    assert run('--animals', 2, '--output', tmp_path / 'out') == 0
    table = pd.read_csv(tmp_path / 'out' / 'summary.tsv', sep='\t')
    mean = table.set_index(['condition', 'label'])['dsc_mean']
    assert (table['n_animals'] == 2).all()
    assert mean['true mask', 'GM'] > 0.8
    assert mean['true mask', 'brain'] > mean['imperfect mask', 'brain'] - 1e-9
    assert 'true mask      GM     Dice 0.' in capsys.readouterr().out
    assert 'true mask' in (tmp_path / 'out' / 'scores.html').read_text()


@pytest.mark.slow
def test_labelled_data_set_of_any_orientation(data_set, tmp_path):
    assert run('--bids-dir', data_set, '--output', tmp_path / 'out') == 0
    rows = pd.read_csv(tmp_path / 'out' / 'scores.tsv', sep='\t')
    dice = rows.set_index(['condition', 'label'])['dsc']
    assert set(rows['condition']) >= {'no mask', 'correlation', 'by hand'}
    assert dice['by hand', 'brain'] > 0.98
    assert dice['by hand', 'GM'] > 0.75
    assert dice['correlation', 'brain'] > 0.6
    assert (rows['hd95_mm'] >= 0).all()
    assert 'pixels wrong' in (tmp_path / 'out' / 'scores.html').read_text()

    # What is scored is what a user gets
    error = rows.set_index(['condition', 'label'])['volume_error']
    got = secondglance.segment(data_set / 'sub-01/anat/sub-01_T2w.nii.gz', mask_method='network')
    labels = np.asarray(got.tissues.dataobj)
    reference = nib.load(data_set / 'derivatives/reference/sub-01/anat/sub-01_dseg.nii.gz')
    drawn = np.asarray(reference.dataobj)
    for value, name in enumerate(('GM', 'WM', 'CSF'), start=1):
        scored = dice['network', name]
        assert scored == pytest.approx(dice_of(labels == value, drawn == value), abs=1e-6)
        ratio = (labels == value).sum() / (drawn == value).sum()
        assert error['network', name] == pytest.approx(ratio - 1, abs=1e-6)
    used = pd.read_csv(tmp_path / 'out' / 'summary.tsv', sep='\t')
    assert set(used['second_weights']) == {
        load_weights(default_second_glance(), form=SECOND_GLANCE).checksum
    }


@pytest.mark.slow
def test_a_rat_as_small_as_a_mouse_and_on_its_back_is_judged_alike(data_set, tmp_path):
    # The network of the second glance is told the species; the first's on the masked head is not
    kind = '--second-glance', 'masked'
    assert run('--bids-dir', data_set, *kind, '--output', tmp_path / 'rat') == 0
    for path in data_set.rglob('*.nii.gz'):
        image = nib.load(path)
        reverse = np.diag([-1.0, 1.0, -1.0, 1.0])
        reverse[[0, 2], 3] = np.array(image.shape)[[0, 2]] - 1
        # Turned about the world's origin, which pixels are counted from, and 0.65 as large
        small = np.diag([-0.65, 0.65, -0.65, 1.0]) @ image.affine @ reverse
        nib.save(nib.Nifti1Image(image.get_fdata()[::-1, :, ::-1], small), path)
    call = ('--bids-dir', data_set, *kind, '--species', 'mouse')
    assert run(*call, '--output', tmp_path / 'mouse') == 0
    rat, mouse = (
        pd.read_csv(tmp_path / name / 'scores.tsv', sep='\t') for name in ('rat', 'mouse')
    )
    np.testing.assert_allclose(mouse['dsc'], rat['dsc'], atol=2e-3)
    np.testing.assert_allclose(mouse['hd95_mm'], 0.65 * rat['hd95_mm'], atol=0.05)


@pytest.mark.slow
def test_brain_masks_alone_judge_the_brain_alone(data_set, tmp_path):
    path = data_set / 'derivatives/reference/sub-01/anat/sub-01_dseg.nii.gz'
    labels = nib.load(path)
    mask = nib.Nifti1Image((labels.get_fdata() > 0).astype('u1'), labels.affine)
    nib.save(mask, path.with_name('sub-01_desc-brain_mask.nii.gz'))
    path.unlink()
    assert run('--bids-dir', data_set, '--output', tmp_path / 'out') == 0
    rows = pd.read_csv(tmp_path / 'out' / 'scores.tsv', sep='\t')
    assert set(rows['label']) == {'brain'}
    assert 'by hand' not in set(rows['condition'])


def _as_donor(data_set, folder):
    """Make a donor of the animal of a data set."""
    folder.mkdir(parents=True)
    shutil.copy(data_set / 'sub-01/anat/sub-01_T2w.nii.gz', folder / 'image.nii.gz')
    labels = nib.load(data_set / 'derivatives/reference/sub-01/anat/sub-01_dseg.nii.gz')
    mask = nib.Nifti1Image((labels.get_fdata() > 0).astype('u1'), labels.affine)
    nib.save(mask, folder / 'brain_mask.nii.gz')
    return folder


@pytest.mark.slow
@pytest.mark.parametrize('name', ['rat-01', 'sub-01/anat'])
def test_an_animal_is_never_its_own_donor(data_set, tmp_path, name):
    own = _as_donor(data_set, tmp_path / 'donors' / name)
    with pytest.raises(InputError, match='no donor'):
        run('--bids-dir', data_set, '--donor', own)


@pytest.mark.slow
def test_an_own_donor_beside_another_changes_nothing(data_set, tmp_path):
    own, other = _as_donor(data_set, tmp_path / 'rat-01'), donor_paths()[0]
    for out, donors in (('both', (own, other)), ('one', (other,))):
        run('--bids-dir', data_set, '--output', tmp_path / out, '--donor', *donors)
    both, one = (pd.read_csv(tmp_path / n / 'scores.tsv', sep='\t') for n in ('both', 'one'))
    pd.testing.assert_frame_equal(both, one)


@pytest.mark.slow
def test_animals_that_weights_or_refinement_were_trained_on_are_left_out(
    data_set, tmp_path, capsys
):
    for option, original in (
        ('--weights', default_weights()),
        ('--refinement', default_refinement()),
        ('--second-weights', default_second_glance()),
    ):
        mine = tmp_path / f'mine{option}.safetensors'
        shutil.copy(original, mine)
        mine.with_suffix('.json').write_text(json.dumps({'scans': {'names': ['sub-01_T2w']}}))
        call = ('--bids-dir', data_set, option, mine)
        with pytest.raises(InputError, match='trained on every animal'):
            run(*call)
        assert 'Left out' in capsys.readouterr().out
    call += ('--donor', donor_paths()[0], '--output', tmp_path / 'all', '--include-trained')
    assert run(*call) == 0
    assert 'trained on sub-01' in capsys.readouterr().out
    assert pd.read_csv(tmp_path / 'all/scores.tsv', sep='\t')['trained_on'].all()


@pytest.mark.slow
def test_a_renamed_copy_of_a_scan_that_weights_were_trained_on_is_left_out(
    data_set, tmp_path, capsys
):
    (image,) = data_set.glob('sub-01/anat/*_T2w.nii*')
    copy = nib.load(image)
    digest = digest_of_voxels(np.asarray(copy.dataobj)[::-1])
    for original in (default_weights(), default_refinement(), default_second_glance()):
        mine = tmp_path / original.name
        shutil.copy(original, mine)
        card = {'scans': {'names': ['sub-99_bold'], 'digests': [digest]}}
        mine.with_suffix('.json').write_text(json.dumps(card))
    with pytest.raises(InputError, match='trained on every animal'):
        run('--bids-dir', data_set, '--weights', tmp_path / default_weights().name)
    assert 'Left out' in capsys.readouterr().out


def test_nothing_is_assumed_of_animals_that_are_not_described():
    args = parsed()
    assert (args.species, args.device, args.suffix) == ('auto', 'auto', 'T2w')
    assert (args.animals, args.seed, args.include_trained) == (6, 0, False)


def test_animals_are_those_of_the_atlas_the_seed_and_the_spacing(tmp_path, monkeypatch, capsys):
    drawn = []

    def draw(atlas, rng, spacing):
        drawn.append((atlas, spacing, rng.random()))
        return atlas

    of = 'secondglance.simulation'
    monkeypatch.setattr(f'{of}.atlas.read_atlas', Path)
    monkeypatch.setattr(f'{of}.animal.draw_animal', draw)
    training = 'secondglance.models.training.evaluation'
    monkeypatch.setattr(f'{training}.evaluation_slices', lambda *_, **how: (None, None))
    monkeypatch.setattr(f'{training}.score', lambda *_: (0.1, 0.2, 0.3, 0.4))
    weights = tmp_path / 'own.safetensors'
    save_weights(UNet((2, 4)), weights, {'spacing': '0.2'})
    run('--weights', weights, '--animals', 2, '--seed', 3)
    said = capsys.readouterr().out
    for label, dice in zip((*TISSUES, 'brain'), ('0.100', '0.200', '0.300', '0.400'), strict=True):
        assert re.search(rf' {label} +Dice {dice} .*2 animals', said)
    run('--weights', weights, '--animals', 1, '--atlas', tmp_path)
    assert [one[:2] for one in drawn] == [*[(atlas_path(), 0.2)] * 2, (tmp_path, 0.2)]
    assert len({number for *_, number in drawn}) == 3


def test_an_empty_brain_counts_as_failed():
    row = {'animal': 'a', 'scan': 's', 'condition': 'x', 'label': 'brain'}
    [line] = summary_of([{**row, 'dsc': 0.0}, {**row, 'scan': 't', 'dsc': np.nan}])
    assert line['n_failed'] == 2


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (('--bids-dir', 'a', '--atlas', 'c'), 'not both'),
        (('--bids-dir', 'nowhere'), 'nowhere'),
        (('--animals', 0), 'at least 1'),
        (('--weights', 'none.safetensors'), r'none\.safetensors'),
    ],
)
def test_wrong_calls_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        run(*call)
