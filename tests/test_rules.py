"""Rules of the tree that no linter knows: short functions, and no state behind their back."""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = (
    *('benchmarks', 'commands', 'data', 'docker', 'docs', 'files', 'imaging', 'interfaces'),
    *('models', 'pipelines', 'reports', 'simulation', 'tests'),
)

LINES, POSITIONAL = 80, 8
FACTORY_LINES, FACTORY_PARAMETERS = 150, 12

FACTORY = re.compile(r'init_\w+_wf')
"""Builders of a workflow: a list of nodes and edges."""

PARSER = re.compile(r'build_parser|add_arguments')
"""Builders of a parser: a list of options."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@functools.cache
def tree_of(source: str) -> ast.Module:
    """Syntax tree of a source; several rules look at the same ones."""
    return ast.parse(source)


@functools.cache
def nodes_of(source: str) -> list[ast.AST]:
    """All nodes of the tree of a source."""
    return list(ast.walk(tree_of(source)))


def beyond(source: str) -> Iterator[str]:
    """Name the functions of a source that are beyond the limits, and by what."""
    for node in nodes_of(source):
        if not isinstance(node, Function):
            continue
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        positional = [one.arg for one in node.args.posonlyargs + node.args.args]
        positional = positional[positional[:1] in (['self'], ['cls']) :]
        factory = FACTORY.fullmatch(node.name) is not None
        most = FACTORY_LINES if factory else LINES
        if lines > most and not PARSER.fullmatch(node.name):
            yield f'{node.name} has {lines} lines'
        if len(positional) > POSITIONAL:
            yield f'{node.name} has {len(positional)} positional parameters'
        if factory and len(positional + node.args.kwonlyargs) > FACTORY_PARAMETERS:
            yield f'{node.name} has {len(positional + node.args.kwonlyargs)} parameters'


@pytest.mark.parametrize('folder', FOLDERS)
def test_functions_are_short_and_take_few_parameters(folder):
    found = [
        f'{path.relative_to(ROOT)}: {what}'
        for path in sorted((ROOT / folder).rglob('*.py'))
        for what in beyond(path.read_text(encoding='utf-8'))
    ]
    assert found == []


def test_the_command_line_is_within_the_limits():
    assert list(beyond((ROOT / 'workflows.py').read_text(encoding='utf-8'))) == []


@pytest.mark.parametrize(
    ('source', 'found'),
    [
        ('def f(a, b, c, d, e, f, g, h): ...', []),
        ('def f(a, b, c, d, e, f, g, h, i): ...', ['f has 9 positional parameters']),
        ('def f(self, b, c, d, e, f, g, h, i): ...', []),
        ('def f(*, a, b, c, d, e, f, g, h, i): ...', []),
        ('def f():\n' + 79 * ' x\n', []),
        ('def f():\n' + 80 * ' x\n', ['f has 81 lines']),
        ('def init_x_wf():\n' + 149 * ' x\n', []),
        ('def init_x_wf():\n' + 150 * ' x\n', ['init_x_wf has 151 lines']),
        ('def init_x_wf(*, a, b, c, d, e, f, g, h, i, j, k, l): ...', []),
        (
            'def init_x_wf(*, a, b, c, d, e, f, g, h, i, j, k, l, m): ...',
            ['init_x_wf has 13 parameters'],
        ),
    ],
)
def test_limits_by_hand(source, found):
    assert list(beyond(source)) == found


ENVIRONMENT = 'pipelines/execution/environment.py'
"""The one file that sets environment variables: for a while."""

CHANGES = ('setdefault', 'update', 'pop', 'clear', 'append', 'extend', 'add', 'insert', 'remove')


def changed_from_afar(source: str) -> Iterator[str]:
    """Name what functions change beyond themselves: variables of the environment, or globals."""
    tree = tree_of(source)
    shared = {
        name.id
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for name in ast.walk(node)
        if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
    } | {'os.environ'}
    for function in (node for node in nodes_of(source) if isinstance(node, Function)):
        within = list(ast.walk(function))
        own = {node.arg for node in within if isinstance(node, ast.arg)} | {
            node.id
            for node in within
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        for node in within:
            if isinstance(node, ast.Global):
                yield from (f'{function.name}: {name}' for name in node.names)
            changed = None
            if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
                changed = ast.unparse(node.value)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                changed = ast.unparse(node.func.value) if node.func.attr in CHANGES else None
            if changed in shared - own:
                yield f'{function.name}: {changed}'


@pytest.mark.parametrize('folder', [name for name in FOLDERS if name not in ('tests', 'docs')])
def test_no_function_changes_the_environment_or_a_global(folder):
    found = [
        f'{path.relative_to(ROOT)}: {what}'
        for path in sorted((ROOT / folder).rglob('*.py'))
        if str(path.relative_to(ROOT)) != ENVIRONMENT
        for what in changed_from_afar(path.read_text(encoding='utf-8'))
    ]
    assert found == []


@pytest.mark.parametrize(
    ('source', 'found'),
    [
        ("def f():\n os.environ['A'] = '1'", ['f: os.environ']),
        ("def f():\n os.environ.setdefault('A', '1')", ['f: os.environ']),
        ('KNOWN = {}\ndef f():\n KNOWN[1] = 2', ['f: KNOWN']),
        ('KNOWN = {}\ndef f():\n del KNOWN[1]', ['f: KNOWN']),
        ('KNOWN = []\ndef f():\n KNOWN.append(2)', ['f: KNOWN']),
        ('def f():\n global a\n a = 1', ['f: a']),
        ('KNOWN = {}\ndef f(KNOWN):\n KNOWN[1] = 2', []),
        ('KNOWN = {}\ndef f():\n own = dict(KNOWN)\n own[1] = KNOWN[2]', []),
        ("A = os.environ.get('A')\ndef f():\n return os.environ['A']", []),
    ],
)
def test_changes_from_afar_by_hand(source, found):
    assert list(changed_from_afar(source)) == found


PACKAGE = [name for name in FOLDERS if name not in ('benchmarks', 'docker', 'docs', 'tests')]

SHARED_NAMES = {
    'add_arguments': 'of every command',
    'main': 'of every command',
    'attribute': 'of every saliency method',
}
"""Functions that several files have because another calls them by this name."""


def test_no_function_or_class_has_the_name_of_another():
    homes: dict[str, list[str]] = {}
    for folder in PACKAGE:
        for path in sorted((ROOT / folder).rglob('*.py')):
            for node in tree_of(path.read_text(encoding='utf-8')).body:
                if isinstance(node, Function | ast.ClassDef) and node.name[0] != '_':
                    homes.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert {name for name, paths in homes.items() if len(paths) > 1} == set(SHARED_NAMES)


def private_names(source: str) -> Iterator[str]:
    """Name what a test takes of the package that is not public."""
    ours: set[str] = set()
    for node in nodes_of(source):
        if isinstance(node, ast.ImportFrom) and (node.module or '').startswith('secondglance'):
            ours |= {one.asname or one.name for one in node.names}
            yield from (one.name for one in node.names if re.match('_[a-z]', one.name, re.I))
    for node in nodes_of(source):
        if isinstance(node, ast.Attribute) and re.match('_[a-z]', node.attr, re.I):
            name = ast.unparse(node.value)
            if name in ours or name.startswith('secondglance.'):
                yield f'{name}.{node.attr}'
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from re.findall(r'^secondglance\.[\w.]*\._[a-z]\w*$', node.value)


def test_tests_take_public_names_alone():
    found = [
        f'{path.relative_to(ROOT)}: {what}'
        for path in sorted((ROOT / 'tests').rglob('*.py'))
        for what in private_names(path.read_text(encoding='utf-8'))
    ]
    assert found == []


@pytest.mark.parametrize(
    ('source', 'found'),
    [
        ('from secondglance.a import _b, c', ['_b']),
        ('from secondglance import a\na._b(1)', ['a._b']),
        ('from secondglance import a as d\nd._b(1)', ['d._b']),
        ("monkeypatch.setattr('secondglance.a._b', 1)", ['secondglance' + '.a._b']),
        ('from numpy import a\na._b(1)\na.__doc__', []),
        ('from secondglance import a\na.__doc__', []),
    ],
)
def test_private_names_by_hand(source, found):
    assert list(private_names(source)) == found
