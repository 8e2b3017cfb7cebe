"""The second glance at small heads, by numbers that were recorded."""

import numpy as np
import pytest
import torch

from secondglance.imaging.pose import Pose
from secondglance.models.second_glance.channels import (
    between_slices,
    brain_input,
    normalise_inside,
)
from secondglance.models.second_glance.glance import predict_brain, second_glance, stack_axes
from secondglance.models.second_glance.grid import brain_grid
from secondglance.models.second_glance.network import split_outputs
from secondglance.models.second_glance.volume import (
    fill_from_nearest,
    glance_at_volume,
    has_place,
    own_grid,
)

POSITIONS = np.array([-2.9, -1.7, -0.6, 0.4, 1.7, 2.8])


@pytest.fixture(scope='module')
def shaded(head):
    """The head in a coil's field, with a lost slice and a soft mask."""
    _, h, w = np.indices(head[0].shape)
    stack = head[0] * np.exp(0.02 * (h - 15) - 0.015 * (w - 17))
    stack[3] = 5
    share = np.clip(head[1] * 0.9 + np.random.default_rng(4).normal(0, 0.1, stack.shape), 0, 1)
    return stack, share


@pytest.mark.parametrize(
    ('species', 'in_plane', 'spacing'),
    [('rat', 0.3, 0.2), ('rat', 0.13, 0.2), ('mouse', 0.2, 0.3)],
)
def test_grids_and_channels(recorded, shaded, species, in_plane, spacing):
    stack, share = shaded
    grid = brain_grid(share, in_plane, species, spacing)
    on_grid = grid.to_grid(stack)
    recorded(
        {
            'grid': grid,
            'offsets': [grid.offsets_mm(axis) for axis in (0, 1)],
            'cubic': on_grid,
            'linear': grid.to_grid(stack, linear=True),
            'back': grid.to_stack(on_grid),
            'linear back': grid.to_stack(np.stack([on_grid, on_grid**2]), linear=True),
            'small strides': brain_grid(share, in_plane, species, spacing, 4),
            'input': brain_input(stack, share, POSITIONS, in_plane, species, spacing),
            'as is': brain_input(stack[:2], share[:2], POSITIONS[:2], in_plane, species),
            'one': brain_input(stack[:1], share[:1], POSITIONS[:1], in_plane, species),
        },
        tolerance=1e-5,
    )


def test_values_inside_brains_and_between_slices(recorded, shaded):
    stack, share = shaded
    stack = np.clip(stack, 0, None)
    stack[0, 12:16, 15:18] = 2000
    tiny = share * (np.indices(share.shape)[1] == 15) * (np.indices(share.shape)[2] < 14)
    _, h, w = np.indices(share.shape)
    noise = 2e-6 * np.random.default_rng(5).normal(size=share.shape)
    noise[:, ::5, ::3] *= 4
    smooth = 90 * np.exp(0.02 * (h - 15) - 0.01 * (w - 17) + noise)
    where = np.array([-3.6, -3.4, -2.2, 0, 0.4, 3.3, 3.5])
    recorded(
        {
            'whole': normalise_inside(stack, share, POSITIONS),
            'tiny': normalise_inside(stack, tiny, POSITIONS),
            'soft': normalise_inside(stack, 0.5 * share, POSITIONS),
            'smooth': normalise_inside(smooth, share, POSITIONS),
            'even': normalise_inside(0 * stack + 3, share, POSITIONS),
            'none': normalise_inside(stack, 0 * share, POSITIONS),
            'many': normalise_inside(
                np.tile(stack, (1, 2, 2)), np.tile(0.95 + 0 * share, (1, 2, 2)), POSITIONS
            ),
            'between': between_slices(stack, POSITIONS, where, -1.0),
            'of two': between_slices(stack[:2], POSITIONS[:2], where, 2.0),
            'of one': between_slices(stack[:1], POSITIONS[:1], where, 0.5),
        },
        tolerance=1e-5,
    )


@pytest.mark.parametrize('mirror', [True, False])
def test_predicted_brains(recorded, network, shaded, mirror):
    given = brain_input(*shaded, POSITIONS, 0.3, 'rat', 0.3)
    outputs = torch.from_numpy(np.random.default_rng(6).normal(size=(6, 7, *given.grid.shape)))
    split = split_outputs(outputs.float(), torch.from_numpy(given.channels))
    recorded(
        {
            'found': predict_brain(network, given, mirror=mirror),
            'split': [part.numpy() for part in split],
        },
        tolerance=1e-4,
    )


@pytest.mark.parametrize(('species', 'mirror'), [('rat', True), ('mouse', False)])
def test_second_glances(recorded, network, atlas, shaded, species, mirror):
    stack, share = shaded
    # Without a background, as of a stripped scan, nothing lies beside the mask
    images = stack if mirror else np.where(share >= 0.5, stack, 0)
    found = second_glance(images, share, POSITIONS, 0.3, species, network, atlas, mirror=mirror)
    recorded(
        {
            'found': found,
            'axes': stack_axes((6, 30, 34), POSITIONS, 0.3),
        },
        tolerance=1e-3,
        pixels=3,
    )


@pytest.mark.parametrize('pose', [Pose('rat', 0.3), Pose('mouse', 0.2, 'j', 3)])
def test_second_glances_at_volumes(recorded, network, atlas, scan, pose):
    voxels, brain, affine = scan
    brain = brain.copy()
    # Crumbs that a coarser stack does not hold
    brain[4:9:2, 2, 3:31:7] = True
    found = glance_at_volume(voxels, brain, affine, pose, network, atlas)
    recorded(
        {
            'found': found,
            'tissues': found.tissues,
            'points': found.to_points,
            'grids': [
                own_grid(voxels.shape, affine @ np.diag([*stretched, 1]), pose)
                for stretched in ((1, 0.3, 1), (2, 0.3, 3), (5, 1, 1))
            ],
        },
        tolerance=1e-3,
        pixels=3,
    )


def test_places_and_fills(recorded, scan):
    values = np.random.default_rng(8).random((7, 6, 5, 3))
    known = values[..., 0] > 0.8
    recorded(
        {
            'filled': fill_from_nearest(values, known),
            'nothing': fill_from_nearest(values, known & False),
            'places': [has_place(np.ones(n)) for n in (0, 199, 200, 201)],
        }
    )
