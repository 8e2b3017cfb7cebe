"""Fixtures that several folders share."""

import doctest
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


def pytest_collection():
    """What is imported stays: the garbage collector need not look through it again and again."""
    gc.disable()


def pytest_collection_finish():
    gc.freeze()
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
def rat_atlas():
    """Read the atlas of the rat, once; nothing changes it."""
    from secondglance.data import atlas_path
    from secondglance.simulation.atlas import read_atlas

    return read_atlas(atlas_path())


@pytest.fixture(scope='session')
def example(tmp_path_factory) -> Path:
    """Make the example data set, once, in a folder with a space in its name."""
    from secondglance.commands.simulate import make_example

    folder = tmp_path_factory.mktemp('a data set') / 'example'
    make_example(folder)
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


@pytest.fixture
def examples():
    """Return a function that tries the examples in the docstrings of a sub-package."""

    def try_all(package):
        folder = importlib.import_module(f'secondglance.{package}')
        names = [m.name for m in pkgutil.walk_packages(folder.__path__, f'{folder.__name__}.')]
        results = {name: doctest.testmod(importlib.import_module(name)) for name in names}
        assert [name for name, result in results.items() if result.failed] == []
        assert sum(result.attempted for result in results.values()) > 0

    return try_all
