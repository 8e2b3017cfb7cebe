import ast
import configparser
import doctest
import importlib.util
import pkgutil
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import secondglance

ROOT = Path(secondglance.__file__).parent


def modules():
    for info in pkgutil.walk_packages([str(ROOT)], 'secondglance.'):
        # Those of the other folders are tried with their tests
        if info.name.split('.')[1] in ('data', 'workflows'):
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
    code = (
        'import sys; from secondglance.workflows import COMMANDS, main\n'
        'for command in COMMANDS: main([command, "--help"])\n'
        'heavy = ("numpy", "torch", "nipype", "SimpleITK", "matplotlib", "argcomplete")\n'
        'print("imported", *[name for name in heavy if name in sys.modules])'
    )
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == 'imported'


@pytest.fixture(scope='module')
def description():
    """Return the function that turns the README for a package index."""
    path = ROOT / 'setup.py'
    if not path.is_file():
        pytest.skip('the installed package has no setup.py')
    spec = importlib.util.spec_from_file_location('description', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.for_an_index


def test_links_of_the_readme_lead_to_a_repository_that_is_known(description):
    text = 'See [it](docs/a.md), ![b](docs/b.png), [c](https://c.org) and [d](#d).'
    assert description(text, 'https://a.b/x/y', 'v1') == (
        'See [it](https://a.b/x/y/blob/v1/docs/a.md), ![b](https://a.b/x/y/raw/v1/docs/b.png), '
        '[c](https://c.org) and [d](#d).'
    )
    assert description(text) == 'See it, , [c](https://c.org) and [d](#d).'


def test_the_readme_on_an_index_has_no_link_to_a_file(description):
    readme = (ROOT / 'README.md').read_text()
    assert '](docs/' in readme
    assert not re.search(r'\]\((?!https?:|#)', description(readme))


def test_the_licences_that_are_named_are_those_of_notice():
    """Of code, atlases, regions and heads; the text of each lies in the repository."""
    if not (ROOT / 'setup.cfg').is_file():
        pytest.skip('the installed package has no setup.cfg')
    parser = configparser.ConfigParser()
    parser.read(ROOT / 'setup.cfg')
    named = set(parser['metadata']['license_expression'].split(' AND '))
    assert named == {'Apache-2.0', 'GPL-3.0-only', 'CC-BY-SA-4.0', 'MIT'}
    texts = {path.stem for path in (ROOT / 'LICENSES').iterdir()}
    assert named - texts == {'Apache-2.0', 'MIT'}
    assert 'Apache License' in (ROOT / 'LICENSE').read_text()
    assert 'MIT License' in (ROOT / 'data/donors/README.md').read_text()


def test_version_is_written_in_one_place():
    if not (ROOT / 'CITATION.cff').is_file():
        pytest.skip('the installed package has no citation file')
    for name in ('setup.cfg', 'setup.py', 'CITATION.cff', '.zenodo.json', 'docker/Dockerfile'):
        assert secondglance.__version__ not in (ROOT / name).read_text(), name


def test_hashes_of_the_image_are_of_the_versions_that_are_tested():
    def versions(path):
        lines = [line.split()[0] for line in path.read_text().splitlines() if '==' in line]
        pairs = (line.split('==') for line in lines if not line.startswith('#'))
        return {re.sub(r'[-_.]+', '-', name).lower(): version for name, version in pairs}

    if not (ROOT / 'docker').is_dir():
        pytest.skip('the installed package has no image')
    hashed, pinned = versions(ROOT / 'docker/hashes.txt'), versions(ROOT / 'constraints.txt')
    assert {name: pinned.get(name) for name in hashed if name != 'setuptools'} == {
        name: version for name, version in hashed.items() if name != 'setuptools'
    }
    parser = configparser.ConfigParser()
    parser.read(ROOT / 'setup.cfg')
    needed = re.findall(r'^([\w-]+)', parser['options']['install_requires'], re.M)
    assert {re.sub('_', '-', name).lower() for name in needed} <= {*hashed, 'torch'}


def test_what_the_forge_looks_for_is_one_file():
    """Of a pattern that two files match, ``test`` makes an error."""
    if not (ROOT / '.github').is_dir():
        pytest.skip('the installed package has no workflows')
    text = (ROOT / '.github/workflows/ci.yml').read_text()
    assert 'test -s results/' in text
    assert not re.search(r'test -\w [^|&;\n]*\*', text)


def test_the_image_is_made_of_pinned_parts():
    if not (ROOT / 'docker').is_dir():
        pytest.skip('the installed package has no image')
    text = (ROOT / 'docker/Dockerfile').read_text()
    [base] = re.findall(r'^ARG BASE=(.+)$', text, re.M)
    assert re.fullmatch(r'python:3\.11-slim-bookworm@sha256:[0-9a-f]{64}', base)
    own = {'${BASE}', 'build', 'fsl-${ACCEPT_FSL_LICENCE}'}
    assert set(re.findall(r'^FROM (\S+)', text, re.M)) == own
    # What is fetched by its address is checked, what by its name has a version
    assert len(re.findall(r'curl -', text)) == len(re.findall(r"echo '[0-9a-f]{64}  /", text)) == 1
    packages = re.findall(r'(?<=\s)fsl-[a-z]+\b(?:=[\d.]+)?(?= )', text)
    assert len(packages) >= 3
    assert [name for name in packages if '=' not in name] == []


def test_the_lowest_versions_are_those_of_setup_cfg():
    if not (ROOT / 'constraints-lowest.txt').is_file():
        pytest.skip('the installed package has no constraints')
    parser = configparser.ConfigParser()
    parser.read(ROOT / 'setup.cfg')
    extras = parser['options.extras_require']
    parts = [parser['options']['install_requires'], extras['completion']]
    text = '\n'.join([*parts, extras['label'], extras['train']])
    asked = dict(re.findall(r'^([\w.-]+) >= ([\d.]+)', text, re.MULTILINE))
    tested = (ROOT / 'constraints-lowest.txt').read_text()
    assert dict(re.findall(r'^([\w.-]+)==([\d.]+)', tested, re.MULTILINE)) == asked
    assert len(asked) > 15


def imported_at_the_top():
    """Name the libraries that some module of the package cannot be imported without."""
    found = set()
    for path in ROOT.rglob('*.py'):
        folder = path.relative_to(ROOT).parts[0]
        if folder in ('benchmarks', 'build', 'docker', 'docs', 'setup.py', 'tests', '.venv'):
            continue
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Import):
                found |= {name.name.split('.')[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(node.module.split('.')[0])
    return found - {*sys.stdlib_module_names, 'secondglance'}


def test_the_site_can_import_every_module_that_it_describes():
    if not (ROOT / 'setup.cfg').is_file():
        pytest.skip('the installed package has no setup.cfg')
    parser = configparser.ConfigParser()
    parser.read(ROOT / 'setup.cfg')
    extras = parser['options.extras_require']
    asked = parser['options']['install_requires'] + extras['docs']
    for name in re.findall(r'secondglance\[([\w,]+)\]', extras['docs']):
        asked += ''.join(extras[one] for one in name.split(','))
    installed = {
        re.sub('[-_.]+', '-', name).lower() for name in re.findall(r'^([\w-]+)', asked, re.M)
    }
    providers = packages_distributions()
    needed = imported_at_the_top()
    assert {'lightning', 'torch'} <= needed
    assert [
        name
        for name in sorted(needed)
        if not {re.sub('[-_.]+', '-', d).lower() for d in providers[name]} & installed
    ] == []
