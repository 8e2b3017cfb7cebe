"""What the command says after a training, and what it refuses before."""

import sys

import pytest

from secondglance.commands import evaluate, train
from secondglance.commands.words import Parser
from secondglance.imaging.errors import InputError
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
