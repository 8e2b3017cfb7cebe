"""What a shell completes."""

import os
import subprocess
import sys

import pytest

from secondglance.commands.completion import SHELLS
from secondglance.files.extras import install_extra
from secondglance.workflows import COMMANDS, main

pytest.importorskip('argcomplete')

CALL = 'import sys; from secondglance.workflows import main; sys.exit(main())'


@pytest.fixture
def completed(tmp_path):
    """Return a function that answers as to a shell in which Tab was hit at a line's end."""
    (tmp_path / 'rat.nii.gz').touch()

    def _completed(line):
        answer = tmp_path / 'answer'
        asked = {
            **os.environ,
            '_ARGCOMPLETE': '1',
            '_ARGCOMPLETE_SHELL': 'fish',
            '_ARGCOMPLETE_STDOUT_FILENAME': str(answer),
            'COMP_LINE': line,
            'COMP_POINT': str(len(line.encode())),
            'PYTHONPATH': os.pathsep.join(sys.path),
        }
        subprocess.run([sys.executable, '-c', CALL], env=asked, cwd=tmp_path, check=True)
        return [word.split('\t')[0].strip() for word in answer.read_text().splitlines()]

    return _completed


def test_the_first_word_is_a_command_or_a_file(completed):
    assert set(completed('secondglance ')) >= {*COMMANDS, 'example', 'rat.nii.gz'}
    assert completed('secondglance eva') == ['evaluate']
    assert completed('secondglance ra') == ['rat.nii.gz']


def test_options_are_those_of_the_command(completed):
    assert completed('secondglance train --pat') == ['--patience']
    assert completed('secondglance rat.nii.gz --pat') == []
    assert completed('secondglance example --spec') == ['--species']
    assert completed('secondglance run --retr') == ['--retry-failed']
    # A command that is not yet finished is a word of its own
    assert completed('secondglance --retr') == ['--retry-failed']


def test_values_are_those_of_the_option(completed):
    assert completed('secondglance rat.nii.gz --second-glance ma') == ['masked']
    assert completed('secondglance train --recipe fi') == ['fine-tune']


@pytest.mark.parametrize('shell', SHELLS)
def test_every_shell_gets_a_script_that_names_the_program(shell, capsys):
    assert main(['completion', shell]) == 0
    script = capsys.readouterr().out
    assert 'secondglance' in script
    assert '_ARGCOMPLETE' in script


def test_bash_takes_the_script(capsys):
    main(['completion', 'bash'])
    script = capsys.readouterr().out + '\ncomplete -p secondglance'
    told = subprocess.run(['bash', '-c', script], capture_output=True, text=True, check=True)
    assert '_python_argcomplete' in told.stdout


def test_without_the_extra_its_name_is_told(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'argcomplete', None)
    assert main(['completion', 'bash']) == 2
    assert f'not installed: {install_extra("completion")}.' in capsys.readouterr().err
