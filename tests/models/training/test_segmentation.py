"""Simulated animals, the split by animal, recipes, and a training that was killed."""

import dataclasses
import json
import re

import nibabel as nib
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from secondglance.commands import train as command
from secondglance.imaging.errors import InputError
from secondglance.models import pace
from secondglance.models.training.evaluation import dice_per_class
from secondglance.models.training.plan import Plan, weights_to_start_from
from secondglance.models.training.recipes import RECIPES
from secondglance.models.training.scans import UNKNOWN, LabelledScan, draw_scans
from secondglance.models.training.split import split_animals
from secondglance.models.unet import UNet
from secondglance.models.weights import load_weights, save_weights, trained_on
from secondglance.simulation.animal import cut_slices, draw_animal
from secondglance.simulation.atlas import Atlas, read_atlas
from secondglance.simulation.brains import draw_batch, imperfect_masks, render_slices


def toy_maps(shape=(30, 16, 28)):
    """Nested ellipsoids: CSF around GM around WM, with skull and outside around them."""
    axes = [np.linspace(-1.6, 1.6, n) for n in shape]
    radius = np.sqrt(sum(a**2 for a in np.meshgrid(*axes, indexing='ij')))
    return {
        'wm': radius < 0.5,
        'gm': (radius >= 0.5) & (radius < 0.9),
        'csf': (radius >= 0.9) & (radius < 1.0),
        'skull': (radius >= 1.0) & (radius < 1.2),
        'out': radius >= 1.2,
    }


def write_maps(directory, shape=(30, 16, 28)):
    directory.mkdir()
    for name, values in toy_maps(shape).items():
        image = nib.Nifti1Image(values.astype(np.float32), np.diag([0.6, 0.6, 0.6, 1]))
        nib.save(image, directory / f'toy_{name}.nii.gz')
    return directory


@pytest.fixture
def atlas_dir(tmp_path):
    return write_maps(tmp_path / 'atlas')


@pytest.fixture(scope='module')
def atlas(tmp_path_factory):
    return read_atlas(write_maps(tmp_path_factory.mktemp('toy') / 'atlas'))


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    """An atlas of so few planes that its animals are soon drawn."""
    return read_atlas(write_maps(tmp_path_factory.mktemp('tiny') / 'atlas', (22, 8, 20)))


@pytest.fixture
def curves():
    """Ask for the figure of the curves; it takes longer than these trainings."""


@pytest.fixture
def loop():
    """The loop of a training; with it comes Lightning, which takes two seconds to load."""
    from secondglance.models.training import loop

    return loop


@pytest.fixture
def training(loop, request, monkeypatch):
    """The module that trains, with the loop that it runs through."""
    from secondglance.models.training import segmentation

    if 'curves' not in request.fixturenames:
        monkeypatch.setattr(loop, 'draw_curves', lambda *_: None)
    return segmentation


@pytest.fixture
def run(training):
    """Return a function that trains for a few steps."""

    def _run(atlas, output, steps=6, **more):
        given = {'n_animals': 3, 'checkpoint_every': 2, 'seed': 5, **more}
        return training.train_segmentation(atlas, output, steps=steps, **given)

    return _run


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Recipes of a network so small that a test can train it."""
    for name, recipe in RECIPES.items():
        size = {'channels': (2, 4), 'spacing': 0.75, 'side': 32}
        monkeypatch.setitem(RECIPES, name, dataclasses.replace(recipe, **size))


@pytest.fixture
def scans():
    """Heads of two animals, one with its tissues labelled, one with its brain masked."""
    rng = np.random.default_rng(0)
    labels = np.zeros((3, 30, 34), np.int64)
    labels[:, 8:22, 8:24], labels[:, 12:18, 12:20] = 2, 1
    heads = [50 + 40 * labels + rng.normal(0, 3, labels.shape) for _ in range(2)]
    where = np.array([-1.0, 0.0, 1.0])
    head = heads[0].astype(np.float32)
    known = LabelledScan('sub-01', 'sub-01_T2w', head, labels, where, 'voxels:7')
    masked = np.where(labels > 0, UNKNOWN, 0)
    return [
        known,
        LabelledScan('sub-02', 'sub-02_T2w', heads[1].astype(np.float32), masked, where),
    ]


def test_maps_sum_to_one_and_come_in_the_order_of_the_classes(atlas):
    torch.testing.assert_close(atlas.maps.sum(dim=0), torch.ones(atlas.maps.shape[1:]))
    middle = atlas.maps[:, 15, 8, 14]
    assert middle.tolist() == [0.0, 1.0, 0.0, 0.0, 0.0]


def test_atlas_is_turned_to_canonical_axes(atlas, atlas_dir, tmp_path):
    for path in atlas_dir.iterdir():
        image = nib.load(path)
        turned = image.as_reoriented([[2, -1], [0, 1], [1, -1]])
        nib.save(turned, path)
    assert torch.equal(read_atlas(atlas_dir).maps, atlas.maps)


def test_skull_and_outside_may_be_missing(atlas_dir):
    for name in ('skull', 'out'):
        (atlas_dir / f'toy_{name}.nii.gz').unlink()
    maps = read_atlas(atlas_dir).maps
    assert maps[0, 0, 0, 0] == 1
    assert not maps[4].any()


def test_missing_doubled_and_broken_maps_are_named(atlas_dir):
    path = atlas_dir / 'toy_gm.nii.gz'
    content = path.read_bytes()
    path.write_bytes(content[:200])
    with pytest.raises(InputError, match=r'toy_gm\.nii\.gz'):
        read_atlas(atlas_dir)
    (atlas_dir / 'other_gm.nii.gz').write_bytes(content)
    with pytest.raises(InputError, match='2 files'):
        read_atlas(atlas_dir)
    for extra in ('toy_gm.nii.gz', 'other_gm.nii.gz'):
        (atlas_dir / extra).unlink()
    with pytest.raises(InputError, match='0 files'):
        read_atlas(atlas_dir)


def test_maps_on_different_grids_are_refused(atlas_dir):
    nib.save(nib.Nifti1Image(np.zeros((3, 3, 3)), np.eye(4)), atlas_dir / 'toy_gm.nii.gz')
    with pytest.raises(InputError, match='grids'):
        read_atlas(atlas_dir)


def test_animals_are_reproducible_and_differ(atlas):
    first, again, other = (
        draw_animal(atlas, np.random.default_rng(seed), 0.75, 32) for seed in (1, 1, 2)
    )
    assert torch.equal(first.cumulative, again.cumulative)
    assert not torch.equal(first.cumulative, other.cumulative)


def test_animal_has_the_size_of_the_atlas_within_its_scatter(atlas):
    volume = float((atlas.maps[1:4].sum(dim=0) > 0.5).sum()) * 0.6**3
    for seed in range(3):
        animal = draw_animal(atlas, np.random.default_rng(seed), 0.75, 32)
        planes = animal.cumulative.diff(dim=0)
        found = float((planes[:, 1:4].sum(dim=1) > 0.5).sum()) * 0.15 * 0.75**2
        assert 0.75**3 < found / volume < 1.3**3


def test_slice_is_the_mean_of_its_planes(atlas):
    animal = draw_animal(atlas, np.random.default_rng(0), 0.75, 32)
    planes = animal.cumulative.diff(dim=0)
    # Planes 40 to 43: from 6.0 mm to 6.6 mm.
    found = cut_slices(animal, np.array([6.3]), np.array([0.6]))[0]
    torch.testing.assert_close(found, planes[40:44].mean(dim=0), atol=1e-4, rtol=0)


def test_batches_are_reproducible_normalised_and_labelled(atlas):
    animals = [draw_animal(atlas, np.random.default_rng(0), 0.75, 32)]
    images, labels = draw_batch(animals, np.random.default_rng(3), 6)
    again, _ = draw_batch(animals, np.random.default_rng(3), 6)
    assert torch.equal(images, again)
    assert images.shape == labels.shape == (6, 1, 32, 32)
    assert images.min() == 0
    assert 0.9 < images.max() <= 1.5
    assert labels.unique().tolist() == [0, 1, 2, 3]
    # Where the mask cut the image off there is nothing to be labelled.
    assert not labels[images == 0].any()


def test_perfect_mask_keeps_the_brain_and_nothing_else(atlas):
    animal = draw_animal(atlas, np.random.default_rng(0), 0.75, 32)
    maps = cut_slices(animal, np.full(4, np.mean(animal.planes) * 0.15), np.full(4, 0.6))
    images, labels = render_slices(maps, np.random.default_rng(0), perfect_mask=True)
    assert not images[labels == 0].any()
    assert (images[labels > 0] > 0).float().mean() > 0.99


def test_about_half_of_the_masks_are_off_and_by_little():
    tissue = torch.zeros(200, 1, 40, 40)
    tissue[:, :, 10:30, 8:32] = 1.0
    masks = imperfect_masks(tissue, np.random.default_rng(0))
    off = (masks != (tissue > 0.5)).flatten(1).any(dim=1)
    assert 0.35 < off.float().mean() < 0.65
    assert masks[:, :, :4].float().mean() < 0.01
    assert masks[:, :, 16:24, 14:26].float().mean() > 0.99


@pytest.mark.parametrize('n', [3, 10, 36])
def test_no_animal_is_in_two_parts(n):
    split = split_animals(n, np.random.default_rng(n))
    parts = [set(split.train), set(split.validation), set(split.test)]
    assert all(parts)
    assert sum(map(len, parts)) == n
    assert set.union(*parts) == set(range(n))


def test_too_few_animals_are_refused():
    with pytest.raises(InputError, match='at least 3'):
        split_animals(2, np.random.default_rng(0))


@pytest.mark.slow
def test_training_never_uses_validation_or_test_animals(
    run, training, tiny, tmp_path, monkeypatch
):
    numbers = []
    original = training.animal_rng
    monkeypatch.setattr(
        training, 'animal_rng', lambda s, n: (numbers.append(n), original(s, n))[1]
    )
    drawn = []
    batches = training.SegmentationBatches

    class Spy(batches):
        def __init__(self, animals, *rest):
            drawn.append(len(animals))
            super().__init__(animals, *rest)

    monkeypatch.setattr(training, 'SegmentationBatches', Spy)
    card = run(tiny, tmp_path / 'n.safetensors', steps=1, n_animals=5)
    split = card['animals']
    assert sorted(numbers) == list(range(5))
    assert drawn == [len(split['train'])]
    assert not set(split['train']) & (set(split['validation']) | set(split['test']))


def test_dice_is_worked_by_hand():
    found = dice_per_class(torch.tensor([0, 1, 1, 2, 3]), torch.tensor([1, 1, 0, 2, 2]))
    np.testing.assert_allclose(found, [2 / 4, 2 / 3, 0.0, 6 / 8])


@pytest.mark.slow
def test_paper_recipe_is_the_papers(training):
    module = training.SegmentationTraining(RECIPES['paper'], steps=10)
    settings = module.configure_optimizers()
    group = settings['optimizer'].param_groups[0]
    rate = settings['lr_scheduler']['scheduler'].lr_lambdas[0]
    assert RECIPES['paper'].batch_size == 5
    assert group['initial_lr'] == 3e-4
    assert group['momentum'] == 0.9
    assert rate(0) == 1.0
    assert rate(1_000_000) == pytest.approx(1 / 2.5)
    assert not RECIPES['paper'].cross_entropy
    assert type(settings['optimizer']) is torch.optim.SGD


class Killed(BaseException):
    """As sudden as a signal: nothing catches it by accident."""


@pytest.mark.slow
@pytest.mark.parametrize('recipe', ['paper', 'robust'])
def test_killed_training_resumes_to_the_same_weights(
    run, loop, training, tiny, scans, tmp_path, monkeypatch, recipe
):
    whole = run(tiny, tmp_path / 'whole.safetensors', recipe=recipe, scans=scans)
    output = tmp_path / 'resumed.safetensors'
    original = loop.Progress.on_train_batch_end

    def killing(self, trainer, *rest):
        if trainer.global_step == 5:
            raise Killed
        original(self, trainer, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Progress, 'on_train_batch_end', killing)
        with pytest.raises(Killed):
            run(tiny, output, recipe=recipe, scans=scans)
    starts = []
    batches = training.SegmentationBatches

    class Spy(batches):
        def __init__(self, *given):
            super().__init__(*given)
            starts.append(self.start)

    monkeypatch.setattr(training, 'SegmentationBatches', Spy)
    resumed = run(tiny, output, recipe=recipe, scans=scans)
    assert starts == [4]
    assert resumed['checksum'] == whole['checksum']
    assert resumed['test_dice'] == whole['test_dice']
    curves = [p.with_suffix('.csv').read_text() for p in (output, tmp_path / 'whole.safetensors')]
    assert [line.split(',')[0] for line in curves[0].splitlines()] == ['step', '2', '4', '6']
    assert curves[0] == curves[1]


def test_scans_are_drawn_in_new_poses_with_their_labels(scans):
    images, labels = draw_scans(scans, np.random.default_rng(0), 40, 0.75, 32)
    again, _ = draw_scans(scans, np.random.default_rng(0), 40, 0.75, 32)
    assert torch.equal(images, again)
    assert images.shape == labels.shape == (40, 1, 32, 32)
    of_masked = (labels == UNKNOWN).flatten(1).any(dim=1)
    assert 10 < of_masked.sum() < 30
    # A slice is of one scan: its brain is of known tissue throughout, or of unknown
    assert not (labels[of_masked] > 0).any()
    assert set(labels[~of_masked].unique().tolist()) == {0, 1, 2}
    # Most show a head around the brain; the others black
    around = images.squeeze(1)[(labels == 0).squeeze(1)]
    assert (around > 0.05).float().mean() > 0.3


class Fixed(torch.nn.Module):
    """A network that has made up its mind."""

    def __init__(self, logits):
        super().__init__()
        self.logits = torch.nn.Parameter(logits)

    def forward(self, _):
        return self.logits


@pytest.mark.slow
def test_brain_masks_teach_the_brain_and_leave_the_tissues_open(training, atlas):
    torch.manual_seed(0)
    module = training.SegmentationTraining(RECIPES['robust'], steps=1)
    images = torch.rand(2, 1, 32, 32)
    labels = torch.zeros(2, 1, 32, 32, dtype=torch.int64)
    labels[:, :, 8:20, 8:20] = UNKNOWN
    module.net = Fixed(torch.zeros(2, 4, 32, 32))
    module.training_step((images, labels), 0).backward()
    gradient = module.net.logits.grad
    inside = gradient[:, :, 8:20, 8:20]
    # Every tissue alike is pushed up inside, and down outside
    assert (inside[:, 1:] < 0).all()
    torch.testing.assert_close(inside[:, 1], inside[:, 2])
    assert (gradient[:, 1:, 20:, :] > 0).all()


@pytest.mark.slow
def test_training_starts_from_weights_of_the_same_architecture(run, tiny, scans, tmp_path, curves):
    run(tiny, tmp_path / 'first.safetensors', steps=1)
    start = tmp_path / 'first.safetensors'
    card = run(
        tiny,
        tmp_path / 'mine.safetensors',
        recipe='fine-tune',
        steps=1,
        scans=scans,
        init_weights=start,
    )
    assert card['started_from'] == load_weights(start).checksum
    assert card['trained_before_on'] == []
    assert card['scans'] == {
        'animals': ['sub-01', 'sub-02'],
        'names': ['sub-01_T2w', 'sub-02_T2w'],
        'digests': ['voxels:7'],
    }
    assert (tmp_path / 'mine.png').stat().st_size > 1000
    moved, still = load_weights(tmp_path / 'mine.safetensors').net, load_weights(start).net
    change = max(
        float((a - b).abs().max())
        for a, b in zip(moved.parameters(), still.parameters(), strict=True)
    )
    # One step of at most 5e-4: it did go on from there
    assert 0 < change < 1e-3


@pytest.mark.slow
def test_what_the_first_weights_were_trained_on_is_known_of_the_last(run, tiny, scans, tmp_path):
    first, second = tmp_path / 'first.safetensors', tmp_path / 'second.safetensors'
    run(tiny, first, steps=1, scans=scans[:1])
    run(tiny, second, recipe='fine-tune', steps=1, scans=scans[1:], init_weights=first)
    assert trained_on(first) == {'sub-01_T2w', 'voxels:7'}
    assert trained_on(second) == {'sub-01_T2w', 'sub-02_T2w', 'voxels:7'}


@pytest.mark.slow
def test_every_line_tells_loss_dice_and_the_time_left(run, tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pace, 'EVERY_SECONDS', 0)
    run(tiny, tmp_path / 'n.safetensors', steps=3)
    lines = capsys.readouterr().out.splitlines()
    at = lines.index('3 steps of 16 slices on cpu.')
    assert lines[at + 1].startswith('step 0/3  validation Dice WM 0.')
    steps = [line for line in lines[at + 2 :] if line.startswith('step')]
    assert [line.split('  ')[0] for line in steps] == ['step 1/3', 'step 2/3', 'step 3/3']
    for line in steps:
        assert re.search(r'  loss \d\.\d{4}  validation Dice WM .* brain 0\.\d{3}', line)
    assert [bool(re.search(r'  \d+ s left$', line)) for line in steps] == [True, True, False]
    assert lines[at - 1].startswith('simulating for train: animal')
    tested = [line for line in lines[at:] if line.startswith('test ')]
    assert [line.split(':')[0] for line in tested] == ['test 1 of 3', 'test 2 of 3', 'test 3 of 3']
    # The table holds what it held: one row a checkpoint or hundred steps
    assert [r.split(',')[0] for r in (tmp_path / 'n.csv').read_text().splitlines()] == [
        'step',
        '2',
        '3',
    ]


@pytest.mark.parametrize(('channels', 'spacing'), [((2, 4, 8), '0.75'), ((2, 4), '0.3')])
def test_weights_of_another_size_are_refused(tmp_path, channels, spacing):
    save_weights(UNet(channels), tmp_path / 'other.safetensors', {'spacing': spacing})
    with pytest.raises(InputError, match='start from others'):
        weights_to_start_from(tmp_path / 'other.safetensors', RECIPES['robust'])


@pytest.mark.slow
def test_training_stops_where_nothing_is_gained(
    run, training, tiny, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(training, 'score', lambda *_: np.full(4, 0.5))
    run(tiny, tmp_path / 'n.safetensors', steps=40, patience=2)
    lines = (tmp_path / 'n.csv').read_text().splitlines()
    assert lines[-1].split(',')[0] == '6'
    assert 'stopped' in capsys.readouterr().out


@pytest.mark.slow
def test_other_seed_gives_other_weights(run, tiny, tmp_path):
    first = run(tiny, tmp_path / 'a.safetensors', steps=1)
    other = run(tiny, tmp_path / 'b.safetensors', steps=1, seed=6)
    assert first['checksum'] != other['checksum']


@pytest.mark.slow
def test_checkpoint_of_another_training_is_refused(run, tiny, tmp_path):
    run(tiny, tmp_path / 'n.safetensors', steps=2)
    with pytest.raises(InputError, match='another training'):
        run(tiny, tmp_path / 'n.safetensors', steps=2, seed=9)


@pytest.mark.slow
def test_broken_checkpoint_is_named_and_can_be_put_aside(run, tiny, tmp_path):
    output = tmp_path / 'n.safetensors'
    run(tiny, output, steps=1)
    folder = tmp_path / 'n.checkpoints'
    (folder / 'last.ckpt').write_bytes(b'half a check')
    with pytest.raises(InputError, match='--no-resume'):
        run(tiny, output, steps=1)
    run(tiny, output, steps=1, resume=False)


def test_no_steps_are_refused(tmp_path):
    with pytest.raises(InputError, match='0 steps'):
        Plan(tmp_path / 'n.safetensors', steps=0)


@pytest.mark.slow
def test_unknown_recipe_and_other_weights_are_refused(run, tiny, tmp_path):
    with pytest.raises(InputError, match='robust'):
        run(tiny, tmp_path / 'n.safetensors', recipe='magic')
    save_weights(UNet((2, 4, 8)), tmp_path / 'other.safetensors', {'spacing': '0.75'})
    with pytest.raises(InputError, match='start from others'):
        run(tiny, tmp_path / 'n.safetensors', init_weights=tmp_path / 'other.safetensors')


@pytest.mark.slow
def test_loss_falls(training):
    maps = np.stack([toy_maps()[k] for k in ('out', 'wm', 'gm', 'csf', 'skull')])
    atlas = Atlas(torch.from_numpy(maps.astype(np.float32)), (0.6, 0.6, 0.6))
    animals = [draw_animal(atlas, np.random.default_rng(0))]
    torch.manual_seed(0)
    recipe = dataclasses.replace(RECIPES['robust'], channels=(4, 8))
    module = training.SegmentationTraining(recipe, steps=60)
    optimiser = torch.optim.AdamW(module.net.parameters(), lr=5e-3)
    losses = []
    for step in range(60):
        loss = module.training_step(draw_batch(animals, np.random.default_rng(step), 4), step)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:10])


@pytest.mark.slow
def test_command_writes_weights_and_card(training, atlas_dir, tmp_path, capsys, monkeypatch):
    import argparse

    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    output = tmp_path / 'out' / 'mine.safetensors'
    call = ['--atlas', str(atlas_dir), '--output', str(output), '--steps', '1', '--animals', '3']
    assert command.main(parser.parse_args([*call, '--source', 'a toy', '--recipe', 'paper'])) == 0
    model = load_weights(output)
    card = json.loads(output.with_suffix('.json').read_text(encoding='utf-8'))
    assert card['checksum'] == model.checksum
    assert card['test_dice']['true mask']['n_animals'] == 1
    assert 'a toy' in card['data']
    assert model.metadata['derived_from'] == 'a toy'
    assert 'Test Dice of 1 simulated animal, ' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('change', 'message'), [({'--output': 'w.pt'}, 'safetensors'), ({'--atlas': 'no'}, 'no')]
)
def test_wrong_call_of_the_command_is_refused(tmp_path, change, message):
    import argparse

    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    given = {'--atlas': str(tmp_path), '--output': str(tmp_path / 'w.safetensors'), **change}
    args = parser.parse_args([part for pair in given.items() for part in pair])
    with pytest.raises(InputError, match=message):
        command.main(args)


@pytest.mark.slow
def test_curves_are_named_with_their_last_value(loop, monkeypatch, tmp_path, curves):
    named = []
    save = Figure.savefig

    def saved(figure, path, **options):
        named.extend(text.get_text() for box in figure.legends for text in box.get_texts())
        save(figure, path, **options)

    monkeypatch.setattr(Figure, 'savefig', saved)
    rows = [{'step': 1.0, 'loss': 0.9}, {'step': 2.0, 'loss': 0.8, 'WM': 0.7, 'brain': 0.95}]
    loop.draw_curves(rows, tmp_path / 'mine.safetensors')
    assert (tmp_path / 'mine.png').is_file()
    assert named == ['WM, at last 0.700', 'brain, at last 0.950']
