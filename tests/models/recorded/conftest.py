"""Small networks with weights that no training made, and small heads, for recorded results."""

import json

import numpy as np
import pytest
import torch

from secondglance.imaging.labels import CLASSES
from secondglance.imaging.mask.quality import Calibration
from secondglance.imaging.regions import Region, RegionAtlas
from secondglance.models.brain_refinement import N_CHANNELS as REFINED
from secondglance.models.second_glance.network import N_CHANNELS, OUTPUTS
from secondglance.models.unet import UNet
from secondglance.models.weights import LoadedModel


@pytest.fixture(scope='session')
def net(bright_net):
    """A network that takes bright pixels for tissue, by and large."""
    return bright_net((3, 4, 5), 118)


@pytest.fixture(scope='session')
def small(bright_net):
    """The same of two levels."""
    return LoadedModel(bright_net((2, 3), 232), 0.3, CLASSES, '', '', {})


@pytest.fixture(scope='session')
def model(net):
    return LoadedModel(net, 0.3, CLASSES, '', '', {})


@pytest.fixture(scope='session')
def refinement(filled):
    calibration = Calibration(
        (0.3, 0.4, 0.2, 0.1, 0.5, 0.6, 0.7, 0.8, 0.1), (0.5, 0.3, 0.4) * 2 + (-1.0,)
    )
    made = filled(UNet((3, 4), REFINED, 1), 5)
    header = {'calibration': json.dumps(calibration.to_plain())}
    return LoadedModel(made, 0.3, ('brain',), '', '', header)


@pytest.fixture(scope='session')
def network(filled):
    """A network of the second glance: tissues at random, places near to what the mask says."""
    made = filled(UNet((3, 4, 4, 4, 5), N_CHANNELS, len(OUTPUTS)), 9)
    with torch.no_grad():
        made.head.weight[3:6] *= 0.1
        made.head.bias[3:6] *= 0.1
    return LoadedModel(made, 0.2, OUTPUTS, '', '', {})


def shapes(*size):
    """Squared distances from the middle of a head and of its brain, in radii."""
    axes = np.ogrid[tuple(slice(n) for n in size)]

    def away(centre, radii):
        return sum(
            ((x - c * n) / (r * n)) ** 2
            for x, n, c, r in zip(axes, size, centre, radii, strict=True)
        )

    return away((0.5, 0.47, 0.53), (0.7, 0.39, 0.36)), away((0.45, 0.5, 0.45), (0.62, 0.27, 0.23))


def made_head(size, seed):
    """Slices (N, H, W) of a head with a brain, not alike on any two sides, and the brain."""
    rng = np.random.default_rng(seed)
    outer, brain = shapes(*size)
    n, h, w = np.indices(size)
    waves = 12 * np.cos(0.6 * h + 0.2 * w) + 8 * np.sin(0.3 * w - 0.7 * n) + 0.5 * h
    signal = 70 + waves + 60 * (brain < 1) + 30 * (brain < 0.3) - 20 * (w > 0.7 * size[2])
    return np.where(outer < 1, signal + rng.normal(0, 4, size), rng.rayleigh(3, size)), brain < 1


@pytest.fixture(scope='session')
def head():
    """A stack of 6 × 30 × 34."""
    return made_head((6, 30, 34), 50)


@pytest.fixture(scope='session')
def other():
    """Another animal: a stack of 7 × 33 × 31."""
    return made_head((7, 33, 31), 51)


@pytest.fixture(scope='session')
def scan(head):
    """That stack as a volume that lies askew: voxels, brain, affine; (30, 6, 34)."""
    voxels, brain = (np.moveaxis(one, 0, 1)[:, ::-1, ::-1] for one in head)
    affine = np.array(
        [[0.3, 0.02, 0.01, -6], [-0.02, -1.1, 0, 3.2], [0, 0.03, -0.33, 7], [0, 0, 0, 1]]
    )
    return np.ascontiguousarray(voxels), np.ascontiguousarray(brain), affine


@pytest.fixture(scope='session')
def atlas():
    """Regions in blocks, about as large as a rat's brain."""
    labels = np.zeros((16, 22, 12), np.int16)
    labels[1:15, 1:21, 1:11] = 1 + np.indices((14, 20, 10)).sum(axis=0) // 9
    affine = np.eye(4)
    affine[:3, 3] = -8, -12, -4
    tissues = ('WM', 'GM', 'CSF', '', 'GM')
    regions = tuple(
        Region(n, f'Region {n}', f'R{n}', '#123456', t) for n, t in enumerate(tissues, 1)
    )
    return RegionAtlas(labels, affine, regions)
