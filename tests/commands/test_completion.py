"""What a shell completes."""

import os
import shlex
import shutil
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
    """Return a function that answers as to a shell in which Tab was hit behind some words."""
    (tmp_path / 'rat.nii.gz').touch()

    def _completed(line, behind=''):
        answer = tmp_path / 'answer'
        asked = {
            **os.environ,
            '_ARGCOMPLETE': '1',
            '_ARGCOMPLETE_SHELL': 'fish',
            '_ARGCOMPLETE_STDOUT_FILENAME': str(answer),
            'COMP_LINE': line + behind,
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
    # What stands behind the cursor is not asked for
    assert completed('secondglance eva', ' --seed 3') == ['evaluate']


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


def test_the_script_is_in_the_language_of_its_shell(capsys):
    for shell, begins in (('bash', 'complete -o'), ('fish', 'complete --command secondglance')):
        main(['completion', shell])
        assert begins in capsys.readouterr().out


def test_bash_takes_the_script(capsys):
    main(['completion', 'bash'])
    script = capsys.readouterr().out + '\ncomplete -p secondglance'
    told = subprocess.run(['bash', '-c', script], capture_output=True, text=True, check=True)
    assert '_python_argcomplete' in told.stdout


@pytest.fixture
def shell_environment(tmp_path):
    """Make a folder with a scan in which a shell finds the program."""
    program = tmp_path / 'bin' / 'secondglance'
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, "-c", CALL])} "$@"\n')
    program.chmod(0o755)
    (tmp_path / 'rat.nii.gz').touch()
    return {
        **os.environ,
        'PATH': f'{program.parent}{os.pathsep}{os.environ["PATH"]}',
        'PYTHONPATH': os.pathsep.join(sys.path),
        'TERM': 'dumb',
        'HOME': str(tmp_path),
    }


ASKED = {
    'secondglance eva': 'evaluate',
    'secondglance train --pat': '--patience',
    'secondglance rat.nii.gz --second-glance ma': 'masked',
    'secondglance ra': 'rat.nii.gz',
}
"""What was typed when Tab was hit, and the word that it becomes."""


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which('fish'), reason='no fish here')
def test_fish_completes(shell_environment, tmp_path):
    script = 'secondglance completion fish | source; ' + '; '.join(
        f'complete -C {shlex.quote(line)}' for line in ASKED
    )
    told = subprocess.run(
        ['fish', '--no-config', '-c', script],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env=shell_environment,
        cwd=tmp_path,
    )
    assert [line.split('\t')[0] for line in told.stdout.splitlines()] == list(ASKED.values())


ZSH = """
zmodload zsh/zpty || exit 7
zpty shell zsh -f -i
zpty -w shell 'autoload -U compinit; compinit -u -D; eval "$(secondglance completion zsh)"'
zpty -n -w shell {line}$'\\t'
# The word in full, as it stands on the line of the shell
zpty -r shell told {pattern} && print -r -- completed
# Left alone, it may run for ever on a terminal that is gone
[[ $(zpty) =~ '[(]([0-9]+)[)]' ]] && kill -KILL $match[1]
zpty -d shell
"""


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which('zsh'), reason='no zsh here')
@pytest.mark.parametrize('line', ASKED)
def test_zsh_completes(line, shell_environment, tmp_path):
    """In a terminal of its own: zsh completes where a person types alone."""
    word = ASKED[line]
    script = ZSH.format(line=shlex.quote(line), pattern=f"'*{word}*'")
    told = subprocess.run(
        ['zsh', '-f', '-c', script],
        capture_output=True,
        text=True,
        timeout=60,
        env=shell_environment,
        cwd=tmp_path,
    )
    assert told.stdout.strip() == 'completed', told.stderr


def test_without_the_extra_its_name_is_told(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'argcomplete', None)
    assert main(['completion', 'bash']) == 2
    assert f'not installed: {install_extra("completion")}.' in capsys.readouterr().err
