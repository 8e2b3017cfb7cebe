"""No function is longer, or takes more, than a reader holds in mind."""

import ast
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

PARSER = re.compile(r'_build_parser|add_arguments')
"""Builders of a parser: a list of options."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def beyond(source: str) -> Iterator[str]:
    """Name the functions of a source that are beyond the limits, and by what."""
    for node in ast.walk(ast.parse(source)):
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
