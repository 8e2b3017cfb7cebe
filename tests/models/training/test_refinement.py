"""Training of the refinement: what it learns from, that it resumes, and what it leaves."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from secondglance.data import donor_paths
from secondglance.imaging.errors import InputError
from secondglance.imaging.labels import CLASSES
from secondglance.imaging.metrics import dice
from secondglance.imaging.placement.donors import Donor
from secondglance.imaging.pose import HeadStack
from secondglance.models.brain_refinement import N_CHANNELS
from secondglance.models.training import refinement_samples as samples
from secondglance.models.training.recipes import RECIPES
from secondglance.models.training.refinement_samples import (
    RefinementSample,
    draw_refinement_samples,
    load_sample,
    rescan,
    sample_of_head,
    save_sample,
)
from secondglance.models.training.scans import UNKNOWN, LabelledScan
from secondglance.models.unet import UNet
from secondglance.models.weights import (
    REFINEMENT,
    LoadedModel,
    load_weights,
    read_calibration,
    save_weights,
)
from secondglance.workflows import main

SIDE = 32


RECIPE = dataclasses.replace(RECIPES['refine'], channels=(2, 4), spacing=0.75, side=SIDE)
"""So small that a test can train it."""


@pytest.fixture
def refining(monkeypatch):
    """The module that trains, with few samples of each animal and scan.

    With it comes Lightning, which takes two seconds to load.
    """
    from secondglance.models.training import refinement

    monkeypatch.setattr(refinement, 'HEADS_EACH', 2)
    monkeypatch.setattr(refinement, 'SCANS_EACH', 2)
    return refinement


@pytest.fixture
def run(refining):
    """Return a function that trains for a few steps."""

    def _run(atlas, output, first, donors, steps=6, **more):
        given = {'n_animals': 3, 'checkpoint_every': 2, 'seed': 5, **more}
        return refining.train_refinement(
            atlas, output, first=first, donors=donors, steps=steps, recipe=RECIPE, **given
        )

    return _run


@pytest.fixture
def first():
    torch.manual_seed(3)
    net = UNet((2, 4)).eval().requires_grad_(False)
    return LoadedModel(net, 0.75, CLASSES, '', 'c' * 64)


@pytest.fixture
def donors(rng):
    mask = np.zeros((6, SIDE, SIDE), bool)
    mask[:, 8:24, 8:24] = True
    return [
        Donor(rng.random(mask.shape).astype(np.float32), mask, np.arange(6.0), f'sub-0{k}')
        for k in (1, 2)
    ]


@pytest.fixture
def scan(rng):
    labels = np.zeros((6, 30, 34), np.int64)
    labels[:, 8:22, 8:24] = UNKNOWN
    images = (50 - 40 * labels + rng.normal(0, 3, labels.shape)).astype(np.float32)
    return LabelledScan('sub-01', 'sub-01_T2w', images, labels, np.arange(6.0) - 2.5)


class Killed(BaseException):
    """As sudden as a signal: nothing catches it by accident."""


@pytest.mark.slow
def test_killed_training_resumes_to_the_same_weights(
    run, rat_atlas, first, donors, scan, tmp_path, monkeypatch
):
    from secondglance.models.training import loop

    whole = run(rat_atlas, tmp_path / 'whole.safetensors', first, donors, scans=[scan])
    output = tmp_path / 'resumed.safetensors'
    original = loop.Progress.on_train_batch_end

    def killing(self, trainer, *rest):
        if trainer.global_step == 5:
            raise Killed
        original(self, trainer, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Progress, 'on_train_batch_end', killing)
        with pytest.raises(Killed):
            run(rat_atlas, output, first, donors, scans=[scan])
    resumed = run(rat_atlas, output, first, donors, scans=[scan])
    assert resumed['checksum'] == whole['checksum']
    assert resumed['test_dice'] == whole['test_dice']
    # What is written is whole: weights with their calibration, the card, curves
    model = load_weights(output, form=REFINEMENT)
    assert model.net.in_channels == N_CHANNELS
    assert len(read_calibration(output).weights) == 9
    card = json.loads(output.with_suffix('.json').read_text())
    assert card['refines'] == first.checksum
    assert card['scans']['animals'] == ['sub-01']
    assert set(card['test_dice']) == {'first', 'refined'}
    assert output.with_suffix('.png').is_file()
    with pytest.raises(InputError, match='another training'):
        run(rat_atlas, output, first, donors, scans=[])


@pytest.mark.slow
def test_a_training_animal_is_never_its_own_donor(
    run, refining, rat_atlas, first, donors, scan, tmp_path, monkeypatch
):
    lent = []
    original = refining.sample_of_head

    def spy(model, head, others, device):
        lent.append((head.images.shape, [id(d) for d in others]))
        return original(model, head, others, device)

    monkeypatch.setattr(refining, 'sample_of_head', spy)
    run(rat_atlas, tmp_path / 'n.safetensors', first, donors, steps=1, scans=[scan])
    own, other = (id(donor) for donor in donors)
    of_scan = [ids for shape, ids in lent if len(shape) and ids != [own, other]]
    assert of_scan == [[other]] * 2
    assert len(lent) == 2 + 3 * 2


@pytest.mark.slow
def test_refinement_learns_what_the_first_glance_misses(refining, rng):
    """Slices with information in their neighbours alone: the end of the brain."""
    n, shape = 12, (12, SIDE, SIDE)
    brain = np.zeros(shape, bool)
    brain[4:9, 8:24, 8:24] = True
    seen_as = np.zeros(shape)
    seen_as[2:11, 8:24, 8:24] = 1  # two slices too many at either end
    heads = [
        RefinementSample(
            seen_as.astype(np.float16),
            (0.02 + 0.9 * seen_as).astype(np.float16),
            seen_as.astype(np.float16),
            brain,
            brain,
            np.arange(n) - 5.5,
        )
    ]
    torch.manual_seed(0)
    module = refining.RefinementTraining(dataclasses.replace(RECIPE, channels=(4, 8)), 250)
    optimiser = torch.optim.Adam(module.net.parameters(), 1e-2)
    for step in range(250):
        channels, truth = draw_refinement_samples(heads, np.random.default_rng(step), 8, SIDE)
        loss = module.training_step((channels, truth), step)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    found = refining.brain_scores(module.net, heads, RECIPE.spacing)
    assert found['first'][0] < 0.75
    assert found['refined'][0] > 0.93


def test_lost_slices_are_no_neighbours(first, donors, scan):
    head = HeadStack(scan.images.copy(), scan.positions, 0.3, (scan.labels != 0).astype(np.uint8))
    whole = sample_of_head(first, head, donors)
    head.images[2] = 7.0
    held = [0, 1, 3, 4, 5]
    sample = sample_of_head(first, head, donors)
    np.testing.assert_array_equal(sample.positions, scan.positions[held])
    for name in ('images', 'probability', 'brain'):
        np.testing.assert_array_equal(getattr(sample, name), getattr(whole, name)[held])
    assert sample.enhanced.shape == sample.placed.shape == sample.images.shape


def test_what_was_seen_is_kept_whole(first, donors, rng, tmp_path):
    head = RefinementSample(
        *(rng.random((3, 8, 8)).astype(np.float16) for _ in range(3)),
        *(rng.random((3, 8, 8)) > 0.5 for _ in range(2)),
        np.arange(3.0),
    )
    save_sample(head, tmp_path / 'h.npz')
    again = load_sample(tmp_path / 'h.npz')
    for field in dataclasses.fields(RefinementSample):
        np.testing.assert_array_equal(getattr(head, field.name), getattr(again, field.name))
    assert [p.name for p in tmp_path.iterdir()] == ['h.npz']


def test_a_scan_is_seen_through_another_scanner_with_its_brain(scan):
    again = rescan(scan, np.random.default_rng(0), 0.75, SIDE)
    assert again.images.shape == (6, SIDE, SIDE)
    assert 0.4 < again.labels.sum() / (scan.labels != 0).sum() < 1.6
    np.testing.assert_array_equal(again.positions, scan.positions)


def test_the_brain_moves_with_the_image(scan, monkeypatch):
    monkeypatch.setattr(samples, 'simulate_scanner', lambda image, *_: image)
    monkeypatch.setattr(samples, 'recolour', lambda image, *_: image)
    for number in range(12):
        moved = rescan(scan, np.random.default_rng(number), 0.75, SIDE)
        bright = moved.images > 0.75 * np.quantile(moved.images, 0.99)
        assert dice(bright, moved.labels > 0) > 0.9


@pytest.mark.slow
def test_weights_of_another_kind_are_refused(run, rat_atlas, first, donors, tmp_path):
    path = tmp_path / 'glance.safetensors'
    save_weights(UNet((2, 4)), path, {})
    with pytest.raises(InputError, match='does not hold'):
        run(rat_atlas, tmp_path / 'n.safetensors', first, donors, init_weights=path)
    with pytest.raises(InputError, match='too few'):
        run(rat_atlas, tmp_path / 'n.safetensors', first, donors, steps=0)


@pytest.mark.slow
def test_command_trains_a_refinement(refining, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(RECIPES, 'refine', RECIPE)
    torch.manual_seed(0)
    seen_by, output = tmp_path / 'first.safetensors', tmp_path / 'r.safetensors'
    save_weights(UNet((2, 4)), seen_by, {'spacing': '0.75'})
    call = ['train', '--recipe', 'refine', '--first', str(seen_by), '--output', str(output)]
    call += ['--steps', '1', '--animals', '3', '--donor', str(donor_paths()[0])]
    assert main(call) == 0
    assert 'refined' in capsys.readouterr().out
    card = json.loads(output.with_suffix('.json').read_text())
    assert '--recipe refine' in card['command']
    assert '--first first.safetensors' in card['command']
    assert str(tmp_path) not in card['command']
    assert read_calibration(output)
