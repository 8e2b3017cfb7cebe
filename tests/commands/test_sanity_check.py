import json

import nibabel as nib
import numpy as np
import pytest

from secondglance.data import donor_paths, example_rat
from secondglance.imaging.errors import InputError
from secondglance.models import pace
from secondglance.models.saliency.sanity import check_names
from secondglance.models.weights import default_weights, load_weights
from secondglance.workflows import main


@pytest.mark.slow
def test_page_and_figures_say_the_same(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(pace, 'EVERY_SECONDS', 0)
    folder = tmp_path / 'sanity'
    assert main(['sanity-check', '--output', str(folder)]) == 0
    said = capsys.readouterr()
    # Plain lines, as it is redirected: every step by its name, in order
    names = check_names(load_weights(default_weights()).net)
    lines = said.err.splitlines()
    assert [line.split(', ')[0] for line in lines] == [
        f'check {n} of {len(names)}: {name}' for n, name in enumerate(names, 1)
    ]
    assert all(line.endswith(' left') for line in lines[1:])
    told = json.loads((folder / 'sanity.json').read_text())
    passed = sum(verdict['passed'] for verdict in told['verdicts'])
    assert f'{passed} of 5 checks passed' in said.out
    page = (folder / 'sanity.html').read_text()
    assert f'{passed} of 5 checks passed' in page
    rows = (folder / 'sanity.tsv').read_text().splitlines()
    trained = dict(zip(rows[0].split('\t'), rows[1].split('\t'), strict=True))
    assert float(trained['rank_correlation']) == pytest.approx(1)
    assert float(trained['placed_dice']) > 0.88
    for name in page.split('src="')[1:]:
        assert (folder / name.split('"')[0]).stat().st_size
    deletion = told['curves']['deletion']
    assert np.mean(deletion['saliency']) < np.mean(deletion['chance'])


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        (['--brain', 'mask.nii.gz'], 'name both'),
        (['--image', 'nothing.nii.gz'], 'is not there'),
        (['--donor', 'nowhere'], 'nowhere'),
    ],
)
def test_bad_calls_are_one_sentence(arguments, says, tmp_path, capsys):
    assert main(['sanity-check', '--output', str(tmp_path / 'out'), *arguments]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count('\n') == 1


@pytest.mark.slow
def test_small_head_on_its_back_is_checked_as_a_mouse(tmp_path):
    rat, mask = example_rat()
    paths = []
    for path, name in ((rat, 'image.nii.gz'), (mask, 'mask.nii.gz')):
        image = nib.load(path)
        # Half a turn about the head's long axis, and the voxels of a mouse
        affine = np.diag([-0.65, 0.65, -0.65, 1]) @ image.affine
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), tmp_path / name)
        paths.append(str(tmp_path / name))
    folder = tmp_path / 'sanity'
    call = ['sanity-check', '--output', str(folder), '--image', paths[0], '--brain', paths[1]]
    assert main(call) == 0
    assert json.loads((folder / 'sanity.json').read_text())['species'] == 'mouse'
    trained = (folder / 'sanity.tsv').read_text().splitlines()
    row = dict(zip(trained[0].split('\t'), trained[1].split('\t'), strict=True))
    assert float(row['placed_dice']) > 0.88


@pytest.fixture
def ball(save):
    """A bright ball in air, and its mask; its slices are the thickest along the last axis."""
    away = np.linalg.norm((np.indices((40, 36, 8)).T - [20, 18, 4]) * [0.3, 0.3, 1.0], axis=-1).T
    voxels = np.where(away < 4, 100 - away, away).astype(np.float32)
    affine = np.diag([0.3, 0.3, 1.0, 1.0])
    mask = (away < 3).astype(np.uint8)
    return save(voxels, affine, 'ball.nii.gz'), save(mask, affine, 'mask.nii.gz')


@pytest.fixture
def checked(small_weights, ball, tmp_path, monkeypatch):
    """Return a function that gives what is checked of the ball, and how, and checks nothing."""

    def _checked(*options, brain=True):
        given = {}

        def check(model, head, donors, *, progress, **how):
            given.update(how, head=head, checksum=model.checksum, donors=len(donors))
            raise InputError('Enough.')

        monkeypatch.setattr('secondglance.models.saliency.sanity.check', check)
        call = ['--output', tmp_path / 'out', '--weights', small_weights, '--image', ball[0]]
        call += [*(['--brain', ball[1]] if brain else []), '--donor', donor_paths()[0], *options]
        assert main(['sanity-check', *map(str, call)]) == 2
        return given

    return _checked


def test_options_reach_the_checks(checked, small_weights):
    options = ['--saliency', 'gradient', '--target', 'CSF', '--seed', 7, '--device', 'cpu']
    given = checked('--species', 'rat', *options)
    assert (given['method'], given['target']) == ('gradient', 'CSF')
    assert (given['seed'], str(given['device'])) == (7, 'cpu')
    assert (given['checksum'], given['donors']) == (load_weights(small_weights).checksum, 1)


@pytest.mark.parametrize(('axis', 'slices'), [('auto', 8), ('i', 40)])
def test_a_head_is_cut_along_the_axis_that_is_asked_for(checked, axis, slices):
    head = checked('--species', 'mouse', '--slice-axis', axis)['head']
    assert len(head.images) == slices
    assert head.brain.any()


def test_without_a_mask_the_brain_is_what_the_network_takes_for_tissue(checked):
    head = checked('--species', 'rat', brain=False)['head']
    images = np.squeeze(np.asarray(head.images))
    assert np.median(images[head.brain]) > np.median(images[~head.brain])
    assert not head.brain[:, 0, 0].any()
