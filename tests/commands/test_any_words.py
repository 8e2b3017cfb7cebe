"""Whatever is given to an option, a call ends in 0, 1 or 2 and in a sentence."""

import contextlib
import importlib
import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secondglance.commands.words import Parser
from secondglance.workflows import COMMANDS, build_parser, main

ODD = (
    '',
    '-',
    '--',
    '0',
    '-1',
    '1e999',
    'nan',
    'inf',
    '½',
    '1,2,3',
    '~',
    '/',
    '.',
    '..',
    '*',
    '%s',
)
ODD += (
    '{}',
    '$HOME',
    'a\0b',
    '\udcff',
    'x' * 5000,
    'auto',
    'none',
    'all',
    '/dev/null',
    '١٢',
    '1 2',
)


def options(command):
    """Options of a command that take something, by their longest name."""
    if command == 'run':
        parser = build_parser()
    else:
        parser = Parser(prog=command)
        importlib.import_module(
            f'secondglance.commands.{command.replace("-", "_")}'
        ).add_arguments(parser)
    takes = [a for a in parser._actions if a.option_strings and a.nargs != 0]
    return sorted(max(action.option_strings, key=len) for action in takes)


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A folder in which no call can do anything: what each needs is not there."""
    folder = tmp_path_factory.mktemp('nothing here')
    (folder / 'ds' / 'sub-02').mkdir(parents=True)
    (folder / 'ds' / 'dataset_description.json').write_text('{"Name": "x", "BIDSVersion": "1"}')
    (folder / 'full').mkdir()
    (folder / 'full' / 'a').touch()
    return folder


BASES = {
    'run': ['--subject', '01', '--bids-dir', 'ds'],
    'label': ['--bids-dir', 'ds'],
    'simulate': ['--output-dir', 'full'],
    'train': ['--output', 'ds/none/w.safetensors', '--bids-dir', 'nowhere'],
    'evaluate': ['--bids-dir', 'nowhere'],
    'sanity-check': ['--image', 'nowhere.nii.gz'],
}
WORDS = st.one_of(
    st.sampled_from(ODD),
    st.text(max_size=30),
    st.integers().map(str),
    st.floats().map(str),
    st.text(st.sampled_from('ij0123456789.,-+e_ /\\~\'"'), max_size=12),
)


def test_every_command_is_tried():
    assert {*BASES, 'completion'} == set(COMMANDS)


@pytest.mark.parametrize('command', BASES)
@given(data=st.data())
def test_any_words_end_in_a_code_and_a_sentence(command, place, data):
    words = [command, *BASES[command]]
    for option in data.draw(st.lists(st.sampled_from(options(command)), min_size=1, max_size=2)):
        words.append(f'{option}={data.draw(WORDS)}')
    said, before = io.StringIO(), sorted(os.walk(place))
    with contextlib.chdir(place), contextlib.redirect_stderr(said):
        code = main(words)
    assert code in (1, 2), (words, code)
    text = said.getvalue()
    assert 'Traceback' not in text
    assert text.strip(), words
    assert sorted(os.walk(place)) == before


@pytest.mark.parametrize('command', BASES)
def test_two_hyphens_are_no_value(command, place):
    for option in options(command):
        with contextlib.redirect_stderr(io.StringIO()) as said:
            assert main([command, *BASES[command], f'{option}=--']) == 2
        assert '-- is no value' in said.getvalue()


@pytest.mark.slow
@given(words=st.lists(st.one_of(WORDS, st.sampled_from(COMMANDS)), max_size=3))
def test_any_words_without_an_option_too(words, place):
    # Of these one alone is a whole call, and runs for minutes
    words = [word for word in words if word not in ('example', 'simulate')]
    with (
        contextlib.chdir(place),
        contextlib.redirect_stderr(io.StringIO()) as said,
        contextlib.redirect_stdout(io.StringIO()),
    ):
        code = main(['nowhere.nii.gz', *words])
    assert code in (0, 1, 2), (words, code)
    assert 'Traceback' not in said.getvalue()


@given(word=WORDS)
def test_any_shell_may_be_asked_for(word):
    with (
        contextlib.redirect_stderr(io.StringIO()) as said,
        contextlib.redirect_stdout(io.StringIO()),
    ):
        assert main(['completion', word]) in (0, 2)
    assert 'Traceback' not in said.getvalue()
