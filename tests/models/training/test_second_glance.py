"""Training of the second glance: what it learns from, that it learns, and what it leaves."""

import dataclasses
import json
import re

import nibabel as nib
import numpy as np
import pytest
import torch

from secondglance.files.digests import digest_of_voxels
from secondglance.files.labelled import find_labelled
from secondglance.files.labels import file_labels
from secondglance.models.second_glance.channels import ACROSS, CHANNELS, FROM_BACK, N_IMAGES
from secondglance.models.training.placed_scans import PlacedScan, read_placed_scans
from secondglance.models.training.recipes import RECIPES
from secondglance.models.training.second_glance_samples import (
    FRAME,
    lay_out,
    load_samples,
    redraw_placed,
    save_samples,
    vary_samples,
)
from secondglance.models.weights import SECOND_GLANCE, load_weights
from secondglance.simulation.placed_stack import PlacedStack, draw_placed

N_CHANNELS = len(CHANNELS)

# Fractions (3), weight of the tissues, coordinates (3), weight of the place, share of brain
N_TARGETS = 9


@pytest.fixture
def training():
    """The module that trains; with it comes Lightning, which takes two seconds to load."""
    from secondglance.models.training import second_glance

    return second_glance


@pytest.fixture
def stack():
    """An ellipsoid with white matter and coordinates that rise from left to right."""
    rng = np.random.default_rng(0)
    y, x, z = np.mgrid[:9, :70, :56]
    away = ((x - 34) / 26) ** 2 + ((z - 27) / 18) ** 2 + ((y - 4) / 6) ** 2
    mask = (away < 1).astype(np.float32)
    across = (x - 34) * 0.25
    white = np.clip(0.5 + across / 14, 0, 1)
    fractions = np.stack([white, 1 - white, 0 * white], axis=1) * mask[:, None]
    places = np.stack([across, y - 4.0, (z - 27) * 0.25], axis=1)
    image = rng.normal(10, 0.2, away.shape) + 3 * white
    return PlacedStack(
        image.astype(np.float32),
        mask,
        fractions.astype(np.float32),
        mask,
        places.astype(np.float32),
        mask,
        np.clip(1.5 - away, 0, 1).astype(np.float32),
        np.arange(9.0),
        0.25,
        'rat',
        'sub-1',
    )


def held(targets):
    """White matter and place across, where both are known."""
    known = (targets[:, 3] > 0.5) & (targets[:, 7] > 0.5)
    return targets[:, 0][known], targets[:, 4][known]


def test_laid_out_stack_keeps_fractions_and_place_together(stack):
    laid = lay_out(stack).float()
    assert laid.shape[1:] == (N_CHANNELS + N_TARGETS, *FRAME)
    white, across = held(laid[:, N_CHANNELS:])
    assert torch.allclose(white, 0.5 + across / 14, atol=0.01)
    assert (
        float(
            (laid[:, N_CHANNELS : N_CHANNELS + 3].sum(1)[laid[:, N_CHANNELS + 3] > 0.5] - 1)
            .abs()
            .max()
        )
        < 2e-3
    )


def test_varied_slices_keep_fractions_and_place_together(stack):
    laid = lay_out(stack).float()
    channels, targets = vary_samples(laid.repeat(4, 1, 1, 1), np.random.default_rng(1))
    for one in targets:
        white, across = held(one[None])
        mirrored = (white - (0.5 - across / 14)).abs().median() < 0.01
        upright = (white - (0.5 + across / 14)).abs().median() < 0.01
        assert upright or mirrored
    assert torch.isfinite(channels).all()
    # The place that is shown turns with the brain that is shown
    for shown, true in zip(channels, targets, strict=True):
        known = true[7] > 0.5
        pair = torch.stack([shown[ACROSS][known], true[4][known]])
        assert float(torch.corrcoef(pair)[0, 1]) > 0.97


def test_varied_slices_are_deterministic(stack):
    laid = lay_out(stack).float()
    a, b = (vary_samples(laid, np.random.default_rng(5)) for _ in range(2))
    assert torch.equal(a[0], b[0])
    assert torch.equal(a[1], b[1])


def test_missing_neighbours_stay_marked(stack):
    laid = lay_out(stack).float()
    assert (laid[0, N_IMAGES] == -1).all()
    channels, _ = vary_samples(laid, np.random.default_rng(2))
    assert (channels[0, N_IMAGES] == -1).all()


@pytest.mark.parametrize('seed', range(4))
def test_redrawn_scan_keeps_fractions_and_place_together(stack, seed):
    again = redraw_placed(stack, np.random.default_rng(seed))
    sure = (again.known > 0.5) & (again.placed > 0.5)
    white, across = again.fractions[:, 0][sure], again.coordinates[:, 0][sure]
    away = [np.abs(white - (0.5 + s * across / 14)) for s in (1, -1)]
    assert min(np.percentile(a, 95) for a in away) < 0.03
    assert again.coordinates[:, 1][sure] == pytest.approx(
        np.broadcast_to(again.positions_mm[:, None, None], sure.shape)[sure] - 4, abs=0.02
    )


def test_scan_as_it_is_keeps_its_image_up_to_scale(stack):
    again = redraw_placed(stack, np.random.default_rng(0), as_it_is=True)
    assert np.corrcoef(again.images.ravel(), stack.images.ravel())[0, 1] > 0.999 or (
        np.all(again.images[stack.mask < 0.5] == 0)
    )
    assert np.array_equal(again.mask, stack.mask)


@pytest.mark.slow
def test_half_of_the_samples_show_a_scan_in_its_own_contrast(training, stack, tmp_path):
    image = N_IMAGES // 2
    own = lay_out(stack)[:, image].float()

    def shows_it(one):
        """Whether a slice is one of the scan's, but for what lies around the brain."""
        brain = one[N_IMAGES + image] > 0.99
        return min(float((one[image] - other)[brain].abs().median()) for other in own) < 0.15

    laid = training.SamplePool(tmp_path, 0).scan(stack, 'a', 6)
    assert [all(map(shows_it, sample.float())) for sample in laid] == [True] * 3 + [False] * 3


@pytest.mark.slow
def test_loss_is_least_where_the_network_says_the_fractions(training, stack):
    laid = lay_out(stack).float()
    channels, targets = laid[:, :N_CHANNELS], laid[:, N_CHANNELS:]
    zeros = torch.zeros(len(laid), 4, *FRAME)
    true = torch.cat([targets[:, :3].clamp(min=1e-6).log(), zeros], dim=1)
    best = training.second_glance_loss(true, channels, targets)
    for sharper in (0.5, 2.0):
        other = torch.cat([sharper * true[:, :3], zeros], dim=1)
        assert training.second_glance_loss(other, channels, targets) > best


@pytest.mark.slow
def test_unknown_pixels_do_not_count(training, stack):
    laid = lay_out(stack).float()
    channels, targets = laid[:, :N_CHANNELS], laid[:, N_CHANNELS:].clone()
    outputs = torch.randn(len(laid), 7, *FRAME, generator=torch.Generator().manual_seed(0))
    before = training.second_glance_loss(outputs, channels, targets)
    outputs[:, :3] += 50 * (targets[:, 3:4] < 0.5) * torch.tensor([1.0, -1, 0])[:, None, None]
    outputs[:, 3:6] += 9 * (targets[:, 7:8] < 0.5)
    assert torch.allclose(
        before, training.second_glance_loss(outputs, channels, targets), atol=1e-4
    )


def test_share_of_brain_goes_with_the_brain_and_scans_have_none(stack):
    laid = lay_out(stack).float()
    inside = laid[:, N_CHANNELS + 3] > 0.5
    share = laid[:, -1]
    assert float(share[inside].min()) > 0.4
    assert float(share[~inside].min()) == 0
    assert 0.1 < float(((share > 0.02) & (share < 0.98)).float().mean()) < 0.5
    _, targets = vary_samples(laid, np.random.default_rng(3))
    # Pixels within the brain are filled, whatever the pose
    assert float(targets[:, 8][targets[:, 3] > 0.5].min()) > 0.4
    for as_it_is in (True, False):
        again = redraw_placed(stack, np.random.default_rng(1), as_it_is=as_it_is)
        assert np.all(again.share < 0)
        assert again.share.shape == again.mask.shape
        drawn = lay_out(again).float()
        assert float(drawn[:, -1][drawn[:, N_CHANNELS + 3] > 0.5].max()) < 0


def coarse(training, monkeypatch):
    """Draw animals coarser than a training does, and sooner."""
    monkeypatch.setattr(training, 'DRAWN_MM', 0.3)
    monkeypatch.setattr(training, 'DRAWN_SIDE', 64)


@pytest.mark.slow
def test_simulated_stacks_know_their_share_of_brain(training, rat_atlas, monkeypatch):
    coarse(training, monkeypatch)
    animal, rng = training.simulated_animal(rat_atlas, 3, 0)
    drawn = draw_placed(animal, rng, perfect=True, thickness=0.6)
    assert np.all((drawn.share >= 0) & (drawn.share <= 1))
    # A pixel is brain from a third on
    assert drawn.share[drawn.mask > 0].min() > 0.3
    assert np.mean(drawn.share[drawn.mask == 0] > 0.35) < 3e-3
    assert 1.01 < drawn.mask.sum() / drawn.share.sum() < 1.1


@pytest.mark.slow
def test_loss_is_least_at_the_true_share_where_it_is_known(training, stack):
    laid = lay_out(stack).float()
    channels, targets = laid[:, :N_CHANNELS], laid[:, N_CHANNELS:].clone()
    outputs = torch.zeros(len(laid), 7, *FRAME)
    outputs[:, 6] = targets[:, 8].clamp(1e-4, 1 - 1e-4).logit()
    best = training.second_glance_loss(outputs, channels, targets)
    for more in (-0.5, 0.5):
        other = outputs.clone()
        other[:, 6] += more
        assert training.second_glance_loss(other, channels, targets) > best
    # Far from the mask it does not matter, and where it is not known nowhere
    mask = channels[:, N_IMAGES + N_IMAGES // 2] > 0
    far = torch.nn.functional.max_pool2d(mask[:, None].float(), 7, 1, 3)[:, 0] < 0.5
    other = outputs.clone()
    other[:, 6][far] += 5
    assert torch.allclose(training.second_glance_loss(other, channels, targets), best)
    targets[:, 8] = -1
    unknown = training.second_glance_loss(outputs, channels, targets)
    other = outputs.clone()
    other[:, 6] -= 3
    assert torch.allclose(training.second_glance_loss(other, channels, targets), unknown)


def test_samples_come_back_from_disk(stack, tmp_path):
    laid = lay_out(stack)
    save_samples(laid, tmp_path / 'a.safetensors')
    assert torch.equal(load_samples(tmp_path / 'a.safetensors'), laid)


@pytest.fixture
def data_set(tmp_path, stack):
    """One rat, T2-weighted, with labels, in (R, A, S)."""
    anat = tmp_path / 'sub-1' / 'anat'
    labels = tmp_path / 'derivatives' / 'reference' / 'sub-1' / 'anat'
    anat.mkdir(parents=True)
    labels.mkdir(parents=True)
    (tmp_path / 'dataset_description.json').write_text('{"Name": "a", "BIDSVersion": "1.8.0"}')
    affine = np.diag([0.25, 1.0, 0.25, 1.0])
    image = stack.images.transpose(1, 0, 2)
    tissue = np.where(stack.mask > 0, stack.fractions.argmax(1) + 1, 0).transpose(1, 0, 2)
    nib.save(nib.Nifti1Image(image, affine), anat / 'sub-1_T2w.nii.gz')
    nib.save(nib.Nifti1Image(file_labels(tissue), affine), labels / 'sub-1_dseg.nii.gz')
    return tmp_path, labels, affine


def test_labels_of_a_data_set_become_stacks(data_set, stack):
    (scan,) = read_placed_scans(data_set[0], 'T2w')
    found = scan.stack
    assert (scan.name, scan.animal) == ('sub-1_T2w', 'sub-1')
    (read,) = find_labelled(data_set[0], 'T2w')
    assert scan.digest == digest_of_voxels(read.voxels)
    assert (found.species, found.animal) == ('rat', 'sub-1')
    # The frame is filled up to whole blocks of pixels
    part = np.s_[..., : stack.images.shape[1], : stack.images.shape[2]]
    assert np.allclose(found.images[part], stack.images, atol=1e-4)
    assert np.array_equal(found.mask[part], stack.mask)
    assert found.mask.sum() == stack.mask.sum()
    assert found.placed.sum() == 0
    sure = stack.mask > 0
    labels = found.fractions[part].argmax(1)
    assert np.array_equal(labels[sure], stack.fractions.argmax(1)[sure])


def test_fractions_and_coordinates_beside_labels_are_used(data_set, stack):
    root, labels, affine = data_set
    for k, tissue in enumerate(('WM', 'GM', 'CSF')):
        share = stack.fractions[:, k].transpose(1, 0, 2)
        nib.save(nib.Nifti1Image(share, affine), labels / f'sub-1_label-{tissue}_probseg.nii.gz')
    places = (stack.coordinates * stack.mask[:, None]).transpose(2, 0, 3, 1)
    nib.save(nib.Nifti1Image(places, affine), labels / 'sub-1_desc-coordinates_map.nii.gz')
    found = read_placed_scans(root, 'T2w')[0].stack
    part = np.s_[..., : stack.images.shape[1], : stack.images.shape[2]]
    assert np.allclose(found.fractions[part], stack.fractions, atol=1e-5)
    sure = found.placed[part] > 0.5
    assert sure.sum() > 0.98 * stack.mask.sum()
    places = found.coordinates[part][:, 0]
    assert np.allclose(places[sure], stack.coordinates[:, 0][sure], atol=1e-4)


@pytest.mark.slow
def test_training_learns_resumes_and_leaves_a_card(
    training, rat_atlas, tmp_path, stack, monkeypatch, capsys
):
    coarse(training, monkeypatch)
    monkeypatch.setattr(training, 'HEADS_EACH', 2)
    monkeypatch.setattr(training, 'SCANS_EACH', 2)
    recipe = dataclasses.replace(RECIPES['second-glance'], channels=(4, 6, 8, 8, 8), batch_size=4)
    source = training.Source('rat', rat_atlas)
    output = tmp_path / 'second.safetensors'
    asked = {
        'n_animals': 3,
        'checkpoint_every': 5,
        'recipe': recipe,
        'scans': [PlacedScan('a', stack, 'voxels:1')],
    }
    card = training.train_second_glance([source], output, steps=10, **asked)
    said = r'step 10/10 .* validation Dice WM 0.* mean 0\.\d+  closeness of place 0\.\d{3}'
    assert re.search(said, capsys.readouterr().out)
    assert card['scans'] == {'animals': ['sub-1'], 'names': ['a'], 'digests': ['voxels:1']}
    assert set(card['test']) == {'place', 'WM', 'GM', 'CSF', 'mean'}
    assert json.loads(output.with_suffix('.json').read_text())['checksum'] == card['checksum']
    model = load_weights(output, form=SECOND_GLANCE)
    assert model.spacing == 0.2
    # The same again, from the checkpoint at its end: nothing is trained, nothing changes
    again = training.train_second_glance([source], output, steps=10, **asked)
    assert again['checksum'] == card['checksum']


def test_place_is_seen_from_both_ends(stack):
    laid = lay_out(stack).float()
    assert (laid[1:, FROM_BACK, 0, 0] > laid[:-1, FROM_BACK, 0, 0]).all()
