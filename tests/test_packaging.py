import configparser
import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import secondglance

ROOT = Path(secondglance.__file__).parent
SHIPPED = ('models', 'imaging', 'interfaces', 'pipelines', 'reports', 'commands', 'data')


def modules():
    for info in pkgutil.walk_packages([str(ROOT)], 'secondglance.'):
        if info.name.split('.')[1] in (*SHIPPED, 'workflows'):
            yield info.name


def test_every_package_is_listed():
    setup = ROOT / 'setup.cfg'
    if not setup.is_file():
        pytest.skip('the installed package has no setup.cfg')
    parser = configparser.ConfigParser()
    parser.read(setup)
    listed = set(parser['options']['packages'].split())
    there = {
        'secondglance.' + '.'.join(path.parent.relative_to(ROOT).parts)
        for path in ROOT.glob('*/**/__init__.py')
        if path.relative_to(ROOT).parts[0] not in ('tests', '.venv', 'build')
    }
    assert listed == there | {'secondglance'}


@pytest.mark.parametrize('name', sorted(modules()))
def test_examples_in_docstrings(name):
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert not failed


def test_help_needs_no_heavy_import():
    import subprocess
    import sys

    code = (
        'import sys; from secondglance.workflows import main; main(["--help"]);'
        'print(*[m for m in ("torch", "nipype", "SimpleITK", "matplotlib") if m in sys.modules])'
    )
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert run.stdout.strip().splitlines()[-1].startswith(('  --', '  -', 'Other'))
