"""Fixtures that several folders share."""

import ast
import dataclasses
import doctest
import fcntl
import functools
import gc
import importlib
import json
import os
import pkgutil
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings

# The same cases in every run; `HYPOTHESIS_PROFILE=long` looks further
settings.register_profile(
    'short',
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=15,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.register_profile(
    'long', settings.get_profile('short'), derandomize=False, max_examples=2000
)
settings.load_profile(os.environ.get('HYPOTHESIS_PROFILE', 'short'))

VALIDATOR = 'bids-validator-deno'

FEW = 16
"""Arrays of at most so many numbers are recorded whole."""


def pytest_addoption(parser):
    parser.addoption(
        '--record', action='store_true', help='record results anew instead of comparing them'
    )


def pytest_collection():
    """What is imported stays: the garbage collector need not look through it again and again."""
    gc.disable()


def pytest_collection_finish():
    gc.freeze()
    # Trees of sources and stacks of small objects would else be looked through all the time
    gc.set_threshold(10_000)
    gc.enable()


@pytest.fixture
def rng():
    return np.random.default_rng(20190512)


@pytest.fixture
def oblique():
    """Return an affine that is tilted, off-centre, and coarsest along its third axis."""
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_euler('xyz', [7, -11, 13], degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([0.25, -0.3, 0.9])
    affine[:3, 3] = [3.1, -7.7, 12.3]
    return affine


@pytest.fixture(scope='session')
def filled():
    """Return a function that fills a network with numbers of a seed alone, not of torch."""
    import torch

    def fill(net, seed):
        rng = np.random.default_rng(seed)
        with torch.no_grad():
            for name, values in [*net.named_parameters(), *net.named_buffers()]:
                if values.ndim > 1:
                    spread = np.sqrt(2 / np.prod(values.shape[1:]))
                    new = rng.normal(0, spread, values.shape)
                elif name.endswith(('weight', 'running_var')):
                    new = rng.uniform(0.6, 1.4, values.shape)
                elif values.ndim:
                    new = rng.normal(0, 0.2, values.shape)
                else:
                    continue
                values.copy_(torch.from_numpy(new))
        return net.eval()

    return fill


@pytest.fixture(scope='session')
def bright_net(filled):
    """Return a function that makes a small network which takes air for background.

    By and large, it takes bright pixels for tissue.
    """
    import torch

    from secondglance.models.unet import UNet

    def make(channels, seed):
        made = filled(UNet(channels), seed)
        with torch.no_grad():
            made.head.weight *= 3
            air = made(torch.zeros(1, 1, 8, 8))[0, :, 4, 4]
            made.head.bias -= air
            made.head.bias[0] += 0.7
        return made

    return make


@pytest.fixture(scope='session')
def small_weights(bright_net, tmp_path_factory):
    """Weights of a network that is soon asked."""
    from secondglance.models.weights import save_weights

    path = tmp_path_factory.mktemp('weights') / 'small.safetensors'
    save_weights(bright_net((3, 4, 5), 118), path, {'spacing': '0.3'})
    return path


@pytest.fixture(scope='session')
def rat_atlas():
    """Read the atlas of the rat, once; nothing changes it."""
    from secondglance.data import atlas_path
    from secondglance.simulation.atlas import read_atlas

    return read_atlas(atlas_path())


@pytest.fixture(scope='session')
def example(tmp_path_factory) -> Path:
    """Make the example data set, once for all processes, in a folder with a space in its name."""
    from secondglance.commands.simulate import make_example

    base = tmp_path_factory.getbasetemp()
    if 'PYTEST_XDIST_WORKER' in os.environ:
        base = base.parent
    folder = base / 'a data set' / 'example'
    folder.parent.mkdir(exist_ok=True)
    with (base / 'example.lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            make_example(folder.with_name('partial'))
            folder.with_name('partial').rename(folder)
    return folder


@pytest.fixture(scope='session')
def bids_errors():
    """Return a function that gives what the official validator finds wrong with a data set."""
    found = shutil.which(VALIDATOR) or shutil.which(VALIDATOR, path=Path(sys.executable).parent)
    if found is None:
        pytest.skip(f'{VALIDATOR} is not installed')

    def errors(folder):
        # Its schema lies within it: no network is needed
        call = subprocess.run([found, str(folder), '--format', 'json'], capture_output=True)
        issues = json.loads(call.stdout)['issues']['issues']
        assert issues, 'it finds something to recommend in any data set'
        return [
            f'{one["code"]} {one.get("subCode", "")} {one.get("location", "")}'
            for one in issues
            if one['severity'] == 'error'
        ]

    return errors


@pytest.fixture
def save(tmp_path):
    """Return a function that writes an array as NIfTI and gives its path."""

    import nibabel as nib

    def _save(voxels, affine=None, name='image.nii.gz'):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(voxels, np.eye(4) if affine is None else affine), path)
        return path

    return _save


def plain(result):
    """What is recorded of a result: plain values, and of a large array numbers that tell it.

    These are its shape, its range, its norm, and its sum weighted by fixed random numbers,
    which depends on every value and on its place; of labels, how many there are of each.
    """
    if isinstance(result, float):
        return float(f'{result:.12g}')
    if result is None or isinstance(result, bool | int | str):
        return result
    if dataclasses.is_dataclass(result):
        return {f.name: plain(getattr(result, f.name)) for f in dataclasses.fields(result)}
    if isinstance(result, tuple) and hasattr(result, '_asdict'):
        result = result._asdict()
    if isinstance(result, dict):
        return {str(name): plain(value) for name, value in result.items()}
    if isinstance(result, list | tuple):
        return [plain(one) for one in result]
    values = np.asarray(result)
    if values.size <= FEW:
        return plain(values.tolist())
    known = np.nan_to_num(values.astype(float), posinf=0, neginf=0).ravel()
    weights = np.random.default_rng(values.size).random(values.size) - 0.5
    numbers = {'shape': list(values.shape), 'sum': plain(float(known @ weights))}
    if values.dtype.kind in 'biu':
        labels, counts = np.unique(values, return_counts=True)
        if len(labels) <= FEW:
            return numbers | {'labels': labels.astype(int).tolist(), 'counts': counts.tolist()}
    return numbers | {
        'norm': plain(float(np.linalg.norm(known))),
        'known': int(np.isfinite(values).sum()),
        'range': plain([float(known.min()), float(known.max())]),
    }


def told(results):
    """What is recorded, as a file would give it back."""
    return json.loads(json.dumps(plain(results)))


def apart(found, known, tolerance, pixels, where=''):
    """Name where two results, as of `plain`, differ.

    Numbers may differ by `tolerance`, of themselves or of the norm of their array; labels in as
    many `pixels`.
    """
    if isinstance(known, dict) and 'norm' in known and isinstance(found, dict):
        norm = known['norm']
        near = dict.fromkeys(('norm', 'sum', 'range'), tolerance * norm)
    elif isinstance(known, dict) and 'counts' in known:
        top = max(map(abs, known['labels']), default=0)
        near = {'counts': pixels, 'sum': pixels * top + 1e-6}
    else:
        near = {}
    if isinstance(known, dict) and isinstance(found, dict) and found.keys() == known.keys():
        for name in known:
            within = f'{where}.{name}' if where else name
            if name in near:
                pairs = np.atleast_1d(found[name]), np.atleast_1d(known[name])
                same = pairs[0].shape == pairs[1].shape
                if not same or (np.abs(pairs[0] - pairs[1]) > near[name] + 1e-9).any():
                    yield f'{within}: {found[name]} for {known[name]}'
            else:
                yield from apart(found[name], known[name], tolerance, pixels, within)
    elif isinstance(known, list) and isinstance(found, list) and len(found) == len(known):
        for n, (one, other) in enumerate(zip(found, known, strict=True)):
            yield from apart(one, other, tolerance, pixels, f'{where}[{n}]')
    elif isinstance(known, float) and isinstance(found, int | float):
        if found != pytest.approx(known, rel=tolerance, abs=1e-3 * tolerance, nan_ok=True):
            yield f'{where}: {found} for {known}'
    elif type(found) is not type(known) or found != known:
        yield f'{where}: {found} for {known}'


@functools.cache
def records_of(file):
    """Read what was recorded beside some tests, once."""
    return json.loads(file.read_text(encoding='utf-8'))


@pytest.fixture
def differences():
    """Return a function that names where two results differ."""

    def named(found, known, *, tolerance=1e-6, pixels=0):
        return list(apart(told(found), told(known), tolerance, pixels))

    return named


@pytest.fixture
def recorded(request):
    """Return a function that compares results with those in `recorded.json` beside the test.

    With the option ``--record`` they are written there instead.
    """
    file = request.path.with_name('recorded.json')
    key = f'{request.path.stem}.{request.node.name}'

    def compare(results, *, tolerance=1e-6, pixels=0):
        found = told(results)
        if request.config.getoption('--record'):
            records = json.loads(file.read_text(encoding='utf-8')) if file.exists() else {}
            records[key] = found
            lines = (
                f'{json.dumps(name)}: {{\n'
                + ',\n'.join(f' {json.dumps(k)}: {json.dumps(v)}' for k, v in one.items())
                + '\n}'
                for name, one in sorted(records.items())
            )
            file.write_text('{\n' + ',\n'.join(lines) + '\n}\n', encoding='utf-8')
            return
        assert list(apart(found, records_of(file)[key], tolerance, pixels)) == []

    return compare


@pytest.fixture
def changeable():
    """Return a function that names the dataclasses of a sub-package that are not frozen."""

    def name_all(package):
        folder = Path(importlib.import_module(f'secondglance.{package}').__file__).parent
        decorated = [
            (node.name, ast.unparse(decorator))
            for path in folder.rglob('*.py')
            for node in ast.walk(ast.parse(path.read_text(encoding='utf-8')))
            if isinstance(node, ast.ClassDef)
            for decorator in node.decorator_list
        ]
        assert any(how == 'dataclass(frozen=True)' for _, how in decorated)
        return {name for name, how in decorated if 'dataclass' in how and 'frozen=True' not in how}

    return name_all


@pytest.fixture
def examples():
    """Return a function that tries the examples in the docstrings of a sub-package."""

    def try_all(package, without='nothing'):
        folder = importlib.import_module(f'secondglance.{package}')
        # The folder that is left out is not imported either
        inside = pkgutil.walk_packages(folder.__path__, f'{folder.__name__}.')
        names = [m.name for m in inside if f'.{without}.' not in f'{m.name}.']
        results = {name: doctest.testmod(importlib.import_module(name)) for name in names}
        assert [name for name, result in results.items() if result.failed] == []
        assert sum(result.attempted for result in results.values()) > 0

    return try_all
