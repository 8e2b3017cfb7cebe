"""What the command says after a training, and what it refuses before."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from secondglance.commands import evaluate, train
from secondglance.commands.words import Parser
from secondglance.imaging.errors import InputError
from secondglance.models.training import scans as training_scans
from secondglance.models.training.recipes import RECIPES


def parsed(command, call):
    parser = Parser(prog='x')
    command.add_arguments(parser)
    return parser.parse_args(call)


@pytest.mark.parametrize('recipe', RECIPES)
def test_the_next_call_judges_the_new_weights_on_the_same_data(recipe):
    files = ['--output', 'my weights.safetensors', '--reference', 'drawn']
    given = parsed(train, ['--bids-dir', 'study', '--suffix', 'dwi', *files])
    call = train.next_call(given, RECIPES[recipe])
    assert call[:2] == ['secondglance', 'evaluate']
    judged = parsed(evaluate, call[2:])
    weights = {
        'segmentation': judged.weights,
        'refinement': judged.refinement,
        'second glance': judged.second_weights,
    }
    assert str(weights.pop(RECIPES[recipe].trains)) == 'my weights.safetensors'
    assert set(weights.values()) == {None}
    assert (str(judged.bids_dir), judged.suffix) == ('study', 'dwi')
    assert str(judged.reference) == 'drawn'


@pytest.mark.parametrize('missing', ['lightning', 'monai'])
def test_what_a_training_needs_and_is_not_installed_is_named(monkeypatch, tmp_path, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(InputError, match=rf'needs {missing}, .* pip install .*\[train\]'):
        train.main(parsed(train, ['--output', str(tmp_path / 'w.safetensors')]))


@pytest.fixture
def given(monkeypatch, tmp_path):
    """Return a function that gives what a training of a first glance is asked for."""
    asked = []

    def train_segmentation(atlas, output, **options):
        asked.append({'atlas': atlas, 'output': output, **options})
        return {'test_dice': {}}

    def read_labelled_scans(folder, suffix, spacing, **options):
        asked.append({'folder': folder, 'suffix': suffix, 'spacing': spacing, **options})
        return []

    # Training itself takes minutes, and Lightning seconds to load
    made = SimpleNamespace(train_segmentation=train_segmentation)
    monkeypatch.setitem(sys.modules, 'secondglance.models.training.segmentation', made)
    monkeypatch.setattr(training_scans, 'read_labelled_scans', read_labelled_scans)
    monkeypatch.setattr('secondglance.simulation.atlas.read_atlas', lambda folder: folder)

    def call(*options):
        asked.clear()
        output = str(tmp_path / 'w.safetensors')
        assert train.main(parsed(train, ['--output', output, *map(str, options)])) == 0
        return asked[-1], asked[:-1]

    return call


@pytest.mark.parametrize(
    ('options', 'changes', 'told'),
    [
        (['--steps', 7], {'steps': 7}, '--steps 7'),
        (['--seed', 3], {'seed': 3}, '--seed 3'),
        (['--animals', 5], {'n_animals': 5}, '--animals 5'),
        (['--checkpoint-dir', 'kept'], {'checkpoint_dir': Path('kept')}, None),
        (['--checkpoint-every', 9], {'checkpoint_every': 9}, None),
        (['--no-resume'], {'resume': False}, None),
        (['--source', 'an atlas'], {'source': 'an atlas'}, None),
        (['--patience', 4], {'patience': 4}, '--patience 4 --checkpoint-every 200'),
        (['--recipe', 'paper'], None, '--recipe paper'),
        (['--device', 'cpu'], {'device': 'cpu'}, None),
    ],
)
def test_an_option_of_a_training_changes_what_it_names(given, options, changes, told):
    """The call on the card has what changes the weights, and no more."""
    (plain, _), (asked, _) = given('--device', 'cpu'), given('--device', 'cpu', *options)
    commands = plain.pop('command'), asked.pop('command')
    assert (commands[0] != commands[1]) == (told is not None)
    assert told is None or told in commands[1]
    if changes is None:
        assert asked['recipe'] == 'paper'
    else:
        assert asked == plain | changes


@pytest.mark.parametrize(
    ('options', 'changes', 'told'),
    [
        (['--suffix', 'dwi'], {'suffix': 'dwi'}, '--suffix dwi'),
        (['--subject', 'b', 'a'], {'subjects': ['b', 'a']}, '--subject b a'),
        (['--reference', 'x/drawn'], {'reference': Path('x/drawn')}, '--reference drawn'),
        (['--species', 'mouse'], {'species': 'mouse'}, '--species mouse'),
    ],
)
def test_an_option_of_the_scans_to_train_on_changes_which_they_are(given, options, changes, told):
    (train_plain, [plain]), (train_asked, [asked]) = (
        given('--recipe', 'robust', '--bids-dir', 'a/study', *more) for more in ([], options)
    )
    assert plain['folder'] == Path('a/study')
    assert asked == plain | changes
    assert '--bids-dir study' in train_plain['command']
    assert told in train_asked['command']
    assert told not in train_plain['command']
