"""The documentation names whatever a user can choose, and nothing that does not exist."""

import ast
import inspect
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import secondglance
from secondglance.files.bids import Scan
from secondglance.imaging.mask.methods import METHODS
from secondglance.models.saliency.methods import saliency_methods
from secondglance.models.training.recipes import RECIPES
from secondglance.pipelines import Method
from secondglance.simulation.contrast import CONTRASTS
from secondglance.workflows import COMMANDS, build_parser, main

ROOT = Path(__file__).parents[1]
DOCS = ROOT / 'docs'
PAGES = [ROOT / 'README.md', *sorted(DOCS.glob('*.md'))]


@pytest.mark.parametrize(
    ('page', 'kind', 'names'),
    [
        ('placement.md', 'masks', METHODS),
        ('saliency.md', 'saliency', saliency_methods()),
        ('models.md', 'recipes', RECIPES),
        ('models.md', 'contrasts', CONTRASTS),
    ],
)
def test_a_page_lists_every_entry_of_the_registry(page, kind, names):
    tables = runpy.run_path(str(DOCS / '_ext' / 'registry_rows.py'))['REGISTRIES']
    titles, rows = tables[kind]()
    assert [row[0] for row in rows] == list(names)
    assert {len(row) for row in rows} == {len(titles)}
    assert f'```{{registry}} {kind}\n```' in (DOCS / page).read_text()


def test_the_page_of_the_command_line_names_every_command():
    text = (DOCS / 'command-line.md').read_text()
    assert [name for name in COMMANDS if f'`{name}`' not in text and f' {name}' not in text] == []


# Commands


def commands() -> list[tuple[str, str]]:
    """List every call of the command line in README and docs, with its page."""
    found = []
    for page in PAGES:
        text = page.read_text().replace('\\\n', ' ')
        blocks = re.findall(r'^ {4,}(?:\.venv/bin/)?(secondglance .+)$', text, re.M)
        table = re.findall(r'\| `(secondglance [^`]+ [^`]+)`', text)
        found += [(page.name, command) for command in [*blocks, *table]]
    return found


def words(command: str) -> list[str]:
    return shlex.split(command, comments=True)[1:]


@pytest.mark.parametrize(('page', 'command'), commands())
def test_every_command_is_one_that_the_parser_takes(page, command):
    import importlib

    from secondglance.commands.words import Parser, parse_run

    call = words(command)
    if call[0] == '--version' or '…' in call:
        return
    if call[0] in COMMANDS and call[0] != 'run':
        module = importlib.import_module(f'secondglance.commands.{call[0].replace("-", "_")}')
        parser = Parser(prog=call[0])
        module.add_arguments(parser)
        parser.parse_args(call[1:])
    else:
        parse_run(build_parser(), call[1:] if call[0] == 'run' else call)


def runs() -> list[str]:
    """List the calls of ``run``, each once."""
    found = [command for _, command in commands() if '…' not in command]
    others = {'--version', *COMMANDS} - {'run'}
    return sorted({c for c in found if words(c)[0] not in others and '--worker' not in c})


@pytest.fixture(scope='module')
def study(tmp_path_factory, example):
    """Make a folder in which the commands of the documents can be called."""
    folder = tmp_path_factory.mktemp('documents')
    real = secondglance.data.example_rat()[0]
    for name in ('rat12', 'rat13', 'mean_epi'):
        shutil.copy(real, folder / f'{name}.nii.gz')
    from secondglance.models.weights import default_weights

    shutil.copy(default_weights(), folder / 'mine.safetensors')
    data = folder / 'data/study'
    shutil.copytree(example, data)
    first = next((data / 'sub-01').rglob('*_dwi.nii.gz'))
    scan = nib.load(first)
    lesion = np.zeros(scan.shape[:3], np.uint8)
    lesion[30:34, 28:32, 9:12] = 1
    nib.save(nib.Nifti1Image(lesion, scan.affine), folder / 'lesion.nii.gz')
    for label in ('01', '02', '04'):
        for suffix, kind in (('dwi', 'dwi'), ('bold', 'func'), ('T2w', 'anat')):
            stem = f'sub-{label}{"_task-rest" * (suffix == "bold")}_{suffix}'
            path = data / f'sub-{label}/{kind}/{stem}.nii.gz'
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                shutil.copy(first if suffix == 'dwi' else real, path)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize('command', runs())
def test_every_call_of_run_plans_its_scans(command, study, monkeypatch, capsys):
    """All that is checked before a scan is run: files, options, weights, the graph."""
    call = words(command.replace('/data/', f'{study}/data/'))
    if 'pre' in call or 'group' in call:
        pytest.skip('BIDS Apps with sessions, a filter and results: tests/commands')
    monkeypatch.chdir(study)
    assert main([*call, '--dry-run']) == 0, capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize('script', sorted((DOCS / 'examples').glob('*.py')), ids=lambda p: p.stem)
def test_example_runs(script, tmp_path):
    environment = {**os.environ, 'PYTHONPATH': str(ROOT.parent), 'MPLBACKEND': 'Agg'}
    subprocess.run([sys.executable, script], cwd=tmp_path, env=environment, check=True)
    picture = f'{script.stem}.png'
    assert (picture in script.read_text()) == (tmp_path / picture).is_file()


def test_every_example_is_shown():
    shown = (DOCS / 'examples.md').read_text()
    for script in (DOCS / 'examples').glob('*.py'):
        assert f'examples/{script.name}\n' in shown


# Messages


def literals() -> list[str]:
    """List every text in the code, docstrings included; what is filled in separates parts."""
    found = []
    for folder in ('commands', 'files', 'imaging', 'interfaces', 'models', 'pipelines', 'reports'):
        for path in (ROOT / folder).rglob('*.py'):
            tree = ast.parse(path.read_text())
            found += [
                node.value
                for node in ast.walk(tree)
                if isinstance(node, ast.Constant) and isinstance(node.value, str)
            ]
    return found


def messages() -> list[str]:
    text = (DOCS / 'failures.md').read_text()
    return re.findall(r'^\| `([^`]+)` \|', text, re.M)


def test_each_message_of_the_page_exists_in_the_code():
    texts = literals()
    quoted = messages()
    assert len(quoted) > 30
    for message in quoted:
        for part in message.split('…'):
            assert any(part.strip() in text for text in texts), (message, part)


# What goes in and what comes out

FACTORIES = ('preproc', 'brain', 'tissues', 'explain', 'series', 'outputs', 'subject')


def build(name: str):
    import importlib

    module = importlib.import_module(f'secondglance.pipelines.{name}')
    factory = getattr(module, f'init_{name}_wf')
    given: dict = {}
    if 'scan' in inspect.signature(factory).parameters:
        scan = Scan(Path('sub-01_dwi.nii.gz'), {'sub': '01'}, 'dwi', 'dwi')
        given = {'scan': scan, 'output_dir': 'out'}
    if 'method' in inspect.signature(factory).parameters:
        given['method'] = Method()
    return factory, factory(**given)


def documented(docstring: str, heading: str) -> set[str]:
    """Names in a section of a numpydoc docstring."""
    section = re.search(rf'{heading}\n-+\n(.*?)(\n\n|$)', docstring, re.S)
    assert section, heading
    return {
        name.strip()
        for line in section[1].splitlines()
        if line and not line.startswith(' ')
        for name in line.split(',')
    }


@pytest.mark.parametrize('name', [n for n in FACTORIES if n != 'outputs'])
def test_inputs_and_outputs_of_a_workflow_are_documented(name):
    factory, workflow = build(name)
    docstring = inspect.getdoc(factory)
    for node, heading, side in (
        ('inputnode', 'Inputs', 'inputs'),
        ('outputnode', 'Outputs', 'outputs'),
    ):
        fields = set(getattr(workflow.get_node(node), side).copyable_trait_names())
        assert documented(docstring, heading) == fields, heading


def test_every_factory_is_drawn():
    text = (DOCS / 'workflow-reference.md').read_text()
    for name in FACTORIES:
        assert f'{{workflow}} secondglance.pipelines.{name}.init_{name}_wf\n' in text
    import secondglance.pipelines as public

    factories = {n for n in public.__all__ if n.startswith('init_')}
    assert factories <= {f'init_{name}_wf' for name in FACTORIES}


def test_the_table_for_other_pipelines_names_each_factory_and_fields_that_exist():
    rows = re.findall(
        r'^\| `init_(\w+)_wf` \| (.*) \| (.*) \|$', (DOCS / 'embedding.md').read_text(), re.M
    )
    assert sorted(name for name, *_ in rows) == sorted(FACTORIES)
    for name, inputs, outputs in rows:
        _, workflow = build(name)
        for node, side, cell in (
            ('inputnode', 'inputs', inputs),
            ('outputnode', 'outputs', outputs),
        ):
            fields = set(getattr(workflow.get_node(node), side).copyable_trait_names())
            assert set(re.findall(r'`(\w+)`', cell)) <= fields, name


def test_every_file_that_is_written_is_on_the_page_of_outputs():
    from secondglance.pipelines.outputs import result_endings

    text = (DOCS / 'outputs.md').read_text() + ' '.join(
        f'{ending}.tsv' for ending in secondglance.pipelines.sidecars.TABLE_COLUMNS
    )
    named = result_endings(Method(save_preproc=True), 'dwi').values()
    plain = {ending.removesuffix('.json') for ending in named}
    # One row stands for the three tissues
    plain = {e for e in plain if not re.match(r'label-(GM|CSF)_', e)}
    missing = [
        e
        for e in plain
        if e not in text and not re.search(rf'{re.escape(e.split(".")[0])}\.', text)
    ]
    assert missing == []


def test_no_page_is_left_out_of_the_site():
    listed = re.findall(r'^([a-z*-]+)$', (DOCS / 'index.md').read_text(), re.M)
    pages = {page.stem for page in DOCS.glob('*.md')} - {'index'}
    left_out = {page for page in pages if not any(fnmatch(page, name) for name in listed)}
    assert not left_out, 'name them in a toctree of docs/index.md'
