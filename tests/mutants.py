"""Plants bugs one at a time, and counts those that the fast tests of their folder catch.

Run as ``python tests/mutants.py``; ``docs/testing.md`` says what the score means. The bugs are
those of cosmic-ray's operators that a person could make, a fixed sample of them. Each is planted
in a copy of the tree and judged in a process of its own, forked after the libraries are loaded.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Example, Operator
from cosmic_ray.plugins import get_operator
from parso.python.tree import Keyword

ROOT = Path(__file__).resolve().parent.parent

FOLDERS = {
    'imaging': ['imaging/*.py'],
    'imaging/mask': ['imaging/mask/*.py'],
    'imaging/placement': ['imaging/placement/*.py'],
    'models': [
        'models/brain_refinement.py',
        'models/brain_region.py',
        'models/inference.py',
        'models/pose.py',
        'models/segment.py',
    ],
    'models/saliency': ['models/saliency/*.py', 'models/saliency/methods/*.py'],
    'models/second_glance': ['models/second_glance/*.py'],
    'files': ['files/*.py'],
    'interfaces': ['interfaces/*.py'],
}
"""Where bugs are planted; their tests lie below the first folder of the same name in tests/."""

OPERATORS = (
    *(f'ReplaceBinaryOperator_{pair}' for pair in ('Add_Sub', 'Sub_Add', 'Mul_Div', 'Div_Mul')),
    *(f'ReplaceBinaryOperator_{pair}' for pair in ('FloorDiv_Mul', 'Mod_Mul', 'Pow_Mul')),
    *(f'ReplaceBinaryOperator_{pair}' for pair in ('BitAnd_BitOr', 'BitOr_BitAnd')),
    *(f'ReplaceComparisonOperator_{pair}' for pair in ('Lt_LtE', 'LtE_Lt', 'Gt_GtE', 'GtE_Gt')),
    *(f'ReplaceComparisonOperator_{pair}' for pair in ('Lt_Gt', 'Gt_Lt', 'LtE_GtE', 'GtE_LtE')),
    *(f'ReplaceComparisonOperator_{pair}' for pair in ('Eq_NotEq', 'NotEq_Eq', 'Is_IsNot')),
    *(f'ReplaceUnaryOperator_{pair}' for pair in ('Delete_USub', 'Delete_Invert', 'Delete_Not')),
    *('ReplaceTrueWithFalse', 'ReplaceFalseWithTrue', 'ReplaceAndWithOr', 'ReplaceOrWithAnd'),
    *('ReplaceBreakWithContinue', 'ReplaceContinueWithBreak', 'AddNot', 'NumberReplacer'),
    'ZeroIterationForLoop',
)

LIBRARIES = (
    *('pytest', 'hypothesis', 'torch', 'SimpleITK', 'scipy.stats', 'scipy.ndimage'),
    *('nibabel', 'pandas', 'matplotlib.pyplot', 'nipype.pipeline.engine', 'safetensors.torch'),
)

NUMBERS = 0.3
"""Share of the changed numbers that are drawn."""

CAUGHT, SURVIVED, TIMED_OUT = 'caught', 'survived', 'timed out'


class StatementRemover(Operator):
    """Leave out a call of which nothing is taken, or a change of what is there already."""

    def mutation_positions(self, node):
        if node.type == 'expr_stmt':
            changes = node.children[0].type != 'name' or getattr(node.children[1], 'type', '') in (
                'operator_augassign',
                'augassign',
            )
            grown = getattr(node.children[1], 'value', '') not in ('=', '')
            removable = (changes and node.children[0].type in ('atom_expr', 'power')) or grown
        else:
            removable = (
                node.type in ('atom_expr', 'power')
                and node.parent is not None
                and node.parent.type == 'simple_stmt'
                and node.get_first_leaf().value not in ('warnings', 'logger')
            )
        if removable:
            yield (node.start_pos, node.end_pos)

    def mutate(self, node, index):
        prefix = node.get_first_leaf().prefix
        return Keyword('pass', node.start_pos, prefix)

    @classmethod
    def examples(cls):
        return (
            Example('def f(a):\n    a += 1\n', 'def f(a):\n    pass\n'),
            Example('def f(a):\n    a[0] = 1\n', 'def f(a):\n    pass\n'),
            Example('def f(a):\n    a.sort()\n', 'def f(a):\n    pass\n'),
        )


@dataclass(frozen=True)
class Mutant:
    """One bug."""

    path: str
    operator: str
    occurrence: int
    line: int


def operator_of(name: str) -> Operator:
    """Make an operator by its name."""
    return StatementRemover() if name == 'StatementRemover' else get_operator(f'core/{name}')()


def plant(source: str, mutant: Mutant) -> str:
    """Source with the bug in it; empty where nothing that runs would change."""
    changed = mutate_code(source, operator_of(mutant.operator), mutant.occurrence)
    if changed is None:
        return ''
    with contextlib.suppress(SyntaxError):
        return changed if _bare(changed) != _bare(source) else ''
    return ''


def _bare(source: str) -> str:
    """What a source does, without its annotations."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign):
            node.annotation = ast.Constant(None)
        elif isinstance(node, ast.FunctionDef):
            node.returns = None
    return ast.dump(tree)


def mutants_of(path: str) -> Iterator[Mutant]:
    """All bugs that can be planted in a file."""
    tree = get_ast((ROOT / path).read_text(encoding='utf-8'))
    for name in (*OPERATORS, 'StatementRemover'):
        operator = operator_of(name)
        places = [place for node in ast_nodes(tree) for place in operator.mutation_positions(node)]
        for occurrence, place in enumerate(places):
            yield Mutant(path, name, occurrence, place[0][0])


def tests_of(path: str) -> list[list[str]]:
    """Tests that judge a file, in turn.

    Those of its own name, those that name it, the folder's others, and those of other folders
    that import it.
    """
    top, stem = path.split('/')[0], Path(path).stem
    where = tests_below(top)
    own = [f for name in (stem, 'docstrings') for f in where if f.name == f'test_{name}.py']
    word = re.compile(rf'\b{stem}\b')
    near = [f for f in where if f not in own and word.search(f.read_text(encoding='utf-8'))]
    module = f'from secondglance.{path.removesuffix(".py").replace("/", ".")} import'
    afar = [
        f
        for f in sorted((ROOT / 'tests').glob('*/**/test_*.py'))
        if f.relative_to(ROOT).parts[1] != top and module in f.read_text(encoding='utf-8')
    ]
    rounds = [own, near, [f for f in where if f not in own and f not in near], afar]
    return [[str(f.relative_to(ROOT)) for f in files] for files in rounds if files]


def tests_below(top: str) -> list[Path]:
    """Tests of a folder; those of trainings have no say."""
    every = sorted((ROOT / 'tests' / top).rglob('test_*.py'))
    return [f for f in every if not {'training', 'labelling'} & set(f.parts)]


def copy_tree(folder: Path) -> Path:
    """Copy what git has, changed or not, to a folder named as the package."""
    target = folder / 'secondglance'
    listed = subprocess.run(
        ['git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard'],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split('\0')):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
    return target


def load_libraries() -> None:
    """Import what every test would import anew; nothing of the package itself."""
    for name in LIBRARIES:
        importlib.import_module(name)
    sys.modules['torch'].set_num_threads(1)


def passes(tree: Path, tests: list[str], seconds: int) -> bool | None:
    """Whether tests pass, in a forked process; None if they took too much processor time."""
    child = os.fork()
    if not child:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        os.chdir(tree)
        sys.path.insert(0, str(tree.parent))
        import pytest

        code = 1
        try:
            code = pytest.main(['-x', '-q', '-m', 'not slow', '-p', 'no:cacheprovider', *tests])
        finally:
            os._exit(int(code))
    # Ten times as long where a process waits for what never comes
    end, code = time.monotonic() + 10 * seconds, None
    while code is None and time.monotonic() < end:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            code = os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if code is None:
        os.waitpid(child, 0)
    return None if code in (None, -signal.SIGXCPU, -signal.SIGKILL) else code == 0


def judge(tree: Path, mutant: Mutant, seconds: int) -> str:
    """Plant a bug in the copy of the tree, and run the tests concerned."""
    source = (ROOT / mutant.path).read_text(encoding='utf-8')
    place = tree / mutant.path
    place.write_text(plant(source, mutant), encoding='utf-8')
    try:
        for tests in tests_of(mutant.path):
            passed = passes(tree, tests, seconds)
            if not passed:
                return TIMED_OUT if passed is None else CAUGHT
        return SURVIVED
    finally:
        place.write_text(source, encoding='utf-8')


def sampled(folders: list[str], n: int, seed: int) -> list[tuple[str, Mutant]]:
    """Sample bugs at random: the same for the same sources."""
    every = [
        (folder, mutant)
        for folder in folders
        for pattern in FOLDERS[folder]
        for path in sorted(ROOT.glob(pattern))
        for mutant in mutants_of(path.relative_to(ROOT).as_posix())
    ]
    draw = random.Random(seed)
    draw.shuffle(every)
    kept: list[tuple[str, Mutant]] = []
    for folder, mutant in every:
        if len(kept) == n:
            break
        # Numbers are two thirds of what can be changed, and much alike
        if mutant.operator == 'NumberReplacer' and draw.random() > NUMBERS:
            continue
        if plant((ROOT / mutant.path).read_text(encoding='utf-8'), mutant):
            kept.append((folder, mutant))
    return kept


def main() -> int:
    """Plant bugs, judge them, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('folders', nargs='*', help=f'{", ".join(FOLDERS)} (default: all)')
    parser.add_argument('-n', type=int, default=304, help='bugs to plant (default %(default)s)')
    parser.add_argument('--seed', type=int, default=2019, help='of the sample')
    parser.add_argument('--timeout', type=int, default=90, help='processor seconds a run')
    parser.add_argument('--part', default='1/1', help='K/M: the Kth of M parts of the sample')
    parser.add_argument('--results', type=Path, help='file of results, added to and continued')
    args = parser.parse_args()
    if unknown := set(args.folders) - set(FOLDERS):
        parser.error(f'{", ".join(sorted(unknown))} is none of {", ".join(FOLDERS)}')
    part, parts = map(int, args.part.split('/'))
    chosen = sampled(args.folders or list(FOLDERS), args.n, args.seed)[part - 1 :: parts]
    known = {}
    if args.results and args.results.exists():
        for line in args.results.read_text(encoding='utf-8').splitlines():
            row = json.loads(line)
            known[row['path'], row['operator'], row['occurrence']] = row['outcome']

    os.environ.update(PYTHONDONTWRITEBYTECODE='1', OMP_NUM_THREADS='1', MPLBACKEND='Agg')
    sys.dont_write_bytecode = True
    counts: dict[str, Counter] = {folder: Counter() for folder in FOLDERS}
    with tempfile.TemporaryDirectory() as scratch:
        tree = copy_tree(Path(scratch))
        os.environ['PYTHONPATH'] = scratch
        sys.path[:] = [place for place in sys.path if Path(place or '.').resolve() != ROOT.parent]
        load_libraries()
        for top in sorted({folder.split('/')[0] for folder, _ in chosen}):
            # A test that fails anyhow would catch every bug
            tests = [str(f.relative_to(ROOT)) for f in tests_below(top)]
            if not passes(tree, tests, 5 * args.timeout):
                parser.error(f'tests/{top} fails, or takes too long, without any bug')
        for folder, mutant in chosen:
            key = (mutant.path, mutant.operator, mutant.occurrence)
            if key not in known:
                known[key] = judge(tree, mutant, args.timeout)
                if args.results:
                    with args.results.open('a', encoding='utf-8') as file:
                        file.write(json.dumps({**vars(mutant), 'outcome': known[key]}) + '\n')
            counts[folder][known[key]] += 1
            if known[key] == SURVIVED:
                print(f'survived: {mutant.path}:{mutant.line} {mutant.operator}', flush=True)
    total: Counter = sum(counts.values(), Counter())
    print(f'\n{"folder":24}{"bugs":>6}{"caught":>8}{"score":>7}')
    for folder, count in {**counts, 'all': total}.items():
        if count:
            caught = count[CAUGHT] + count[TIMED_OUT]
            print(f'{folder:24}{count.total():6}{caught:8}{caught / count.total():7.2f}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
