"""Environment variables are set for a while, and no server is asked for versions."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import secondglance
from secondglance.data import example_rat
from secondglance.pipelines.execution.environment import environment

ASKED = """
from pathlib import Path

def check_available_version(*arguments, **options):
    Path(__file__).with_name('asked').touch()
"""


def test_variables_are_set_and_removed_even_after_a_fault(monkeypatch):
    monkeypatch.setenv('SET_BEFORE', 'mine')
    before = dict(os.environ)
    inside = []

    def fail():
        with environment(SET_BEFORE='other', ADDED='1'):
            inside.append(dict(os.environ))
            raise ValueError('fault')

    with pytest.raises(ValueError, match='fault'):
        fail()
    assert inside == [before | {'ADDED': '1'}]
    assert os.environ == before


@pytest.mark.slow
def test_the_command_asks_no_server_for_newer_versions(tmp_path, monkeypatch):
    """Nipype does where it may, whenever the first interface of a process is made."""
    (tmp_path / 'etelemetry.py').write_text(ASKED)
    root = Path(secondglance.__file__).parent.parent
    for name in ('NO_ET', 'NIPYPE_NO_ET'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join([str(tmp_path), str(root)]))
    call = 'import sys; from secondglance.workflows import main; sys.exit(main(sys.argv[1:]))'
    arguments = ['--image', str(example_rat()[0]), '-o', 'out', '--dry-run', '--graph', 'g.dot']
    subprocess.run([sys.executable, '-c', call, *arguments], cwd=tmp_path, check=True)
    assert (tmp_path / 'g.dot').is_file()
    assert not (tmp_path / 'asked').exists()
