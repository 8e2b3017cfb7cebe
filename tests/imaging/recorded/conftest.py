"""A small head that lies askew, for results that are recorded."""

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation


def ellipsoid(shape, centre, radii):
    """Squared distance from a centre, in radii; voxels."""
    axes = np.ogrid[tuple(slice(n) for n in shape)]
    return sum(((x - c) / r) ** 2 for x, c, r in zip(axes, centre, radii, strict=True))


@pytest.fixture(scope='session')
def affine():
    """Voxels of 0.31 × 0.27 × 0.9 mm: down, right and forward, all of it turned and shifted."""
    turn = Rotation.from_euler('xyz', [9, -6, 14], degrees=True).as_matrix()
    found = np.eye(4)
    found[:3, :3] = turn @ np.array([[0, 0.27, 0], [0, 0, 0.9], [-0.31, 0, 0]])
    found[:3, 3] = -6.3, -4.1, 7.7
    return found


@pytest.fixture(scope='session')
def head():
    """A head with a brain in it, not alike on any two sides, and noise of air; (41, 52, 9)."""
    rng = np.random.default_rng(71)
    shape = (41, 52, 9)
    outer = ellipsoid(shape, (19, 27, 4.5), (16, 21, 6))
    brain = ellipsoid(shape, (16, 25, 4), (9, 13, 4.5))
    x, y, z = np.mgrid[:41, :52, :9]
    waves = 14 * np.cos(0.7 * x + 0.2 * y) + 9 * np.sin(0.35 * y - 0.8 * z) + 0.4 * y
    signal = 90 + waves + 60 * (brain < 1) + 35 * (brain < 0.35) - 20 * (x > 26)
    return np.where(outer < 1, signal + rng.normal(0, 4, shape), rng.rayleigh(3, shape))


@pytest.fixture(scope='session')
def labels():
    """Tissues of that brain: 1 WM, 2 GM, 3 CSF."""
    shape = (41, 52, 9)
    found = np.where(ellipsoid(shape, (16, 25, 4), (9, 13, 4.5)) < 1, 2, 0)
    found[ellipsoid(shape, (14, 24, 4), (5, 8, 3)) < 1] = 1
    found[ellipsoid(shape, (17, 29, 5), (2.5, 4, 2)) < 1] = 3
    return found


@pytest.fixture(scope='session')
def said():
    """Return a function that gives the words with which a call is refused."""

    def words(function, *args, **options):
        with pytest.raises((ValueError, KeyError)) as refused:
            function(*args, **options)
        return str(refused.value)

    return words


@pytest.fixture(scope='session')
def turned():
    """Return a function that gives a volume and its affine in another order of axes."""

    def other(volume, affine, order, signs):
        image = nib.Nifti1Image(np.asarray(volume, float), affine)
        found = image.as_reoriented(np.stack([order, signs], axis=1))
        return found.get_fdata(), found.affine

    return other
