"""Slices of a volume, the head in them, and its size, by numbers that were recorded."""

import numpy as np
import pytest

from secondglance.imaging.grids import (
    edge_letters,
    holds_signal,
    slice_grid,
    slices_apart,
    thickest_axis,
    voxel_volume,
)
from secondglance.imaging.head_size import HeadSize, head_size, header_scale, species_of_brain
from secondglance.imaging.intensity import head_mask, head_pixels, near_head, normalise_slices
from secondglance.imaging.pieces import largest_piece, opened
from secondglance.imaging.pose import HeadStack, Pose
from secondglance.imaging.reference import as_labels
from secondglance.imaging.scan_values import check_scan_values
from secondglance.imaging.species import species_of_section


@pytest.mark.parametrize('spacing', [0.2, 0.29, 0.45])
@pytest.mark.parametrize(('axis', 'turns'), [('auto', 0), ('i', 1), ('j', 2), ('k', 3)])
def test_stacks_of_a_volume_and_back(recorded, head, labels, affine, spacing, axis, turns):
    grid = slice_grid(head.shape, affine, spacing, axis, turns)
    stack = grid.to_stack(head)
    recorded(
        {
            'grid': grid,
            'n': grid.n_slices,
            'thickness': grid.thickness,
            'positions': grid.positions,
            'stack': stack,
            'nearest': grid.to_stack(labels, order=0),
            'back': grid.to_native(stack),
            'two back': grid.to_native(np.stack([stack, stack**2 / 100], axis=1)),
            'nearest back': grid.to_native(np.rint(stack / 50), order=0),
        }
    )


def test_stacks_of_other_orders_of_axes(recorded, head, affine, turned, said):
    found = {}
    for name, order, signs in (
        ('A', (2, 0, 1), (1, 1, -1)),
        ('B', (1, 2, 0), (-1, 1, 1)),
        ('C', (0, 1, 2), (-1, -1, -1)),
    ):
        volume, other = turned(head, affine, order, signs)
        for size in (1.0, 1.7):
            # With cubes, slices are coronal
            shown = other @ np.diag([*(size / np.linalg.norm(other[:3, :3], axis=0)), 1])
            grid = slice_grid(volume.shape, shown, size)
            found[f'{name} {size}'] = [grid, grid.to_stack(volume)]
        other_grid = slice_grid(volume.shape, other, 0.31)
        letters = edge_letters(other_grid.affine)
        found[name] = [other_grid, other_grid.to_stack(volume), letters]
    whole = np.diag([0.3, 1.1, -0.3, 1])
    whole[:3, 3] = -4.65, 2, 4.65
    grid = slice_grid((32, 6, 32), whole, 0.3)
    found['whole blocks'] = [grid, grid.to_stack(np.arange(6144.0).reshape(32, 6, 32))]
    large = np.diag([0.3, 1.1, 0.3, 1])
    large[:3, 3] = -1023.5 * 0.3, 0, -511.5 * 0.3
    found['most pixels'] = slice_grid((2048, 64, 1024), large, 0.3).stack_shape
    found['one slice more'] = said(slice_grid, (2048, 65, 1024), large, 0.3)
    found['flat'] = said(slice_grid, (3, 4, 5), np.diag([1, 0, 1, 1]), 1)
    found['none'] = said(slice_grid, (3, 4, 5), np.eye(4), 0)
    found['long'] = said(slice_grid, (300, 400, 50), np.diag([5, 8, 30, 1]), 0.1)
    found['order'] = said(other_grid.to_stack, volume, 2)
    found['other'] = said(other_grid.to_stack, volume[1:])
    found['other back'] = said(other_grid.to_native, volume)
    recorded(found)


def test_small_measures_of_grids(recorded, affine):
    recorded(
        {
            'held': holds_signal([[[1, 1, 1]], [[0, -2, 0]], [[0, 0, 0]], [[3, 3, 2]]]),
            'thick': [
                thickest_axis(size)
                for size in ([1.5, 1, 1], [1, 1.49, 1], [1, 3, 2], [2, 3, 2], [0.2, 0.1, 0.31])
            ],
            'apart': [slices_apart(p) for p in ([3.0], [0.0, 1.1, 1.9], [-2, 0.5])],
            'volume': voxel_volume(affine),
            'letters': [
                edge_letters(np.array(a)[:, [*order, 3]])
                for a in (affine, affine @ np.diag([-1, 1, -1, 1]))
                for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0))
            ],
            'species': [species_of_section(area) for area in (79.9, 80.0, 80.1)],
            'labels': [
                as_labels(v).tolist()
                for v in ([0, 7, 7], [0, 3, 3], [0, 4, 4], [0, 5, 7], [0, -1, -1], [0.4, 0.6])
            ],
        }
    )


@pytest.mark.parametrize('species', ['rat', 'mouse'])
def test_poses(recorded, head, labels, affine, said, species):
    pose = Pose(species, 0.22, 'j', 3)
    grid = pose.grid(head.shape, affine)
    stack = pose.stack(grid, head, labels)
    recorded(
        {
            'size': pose.relative_size,
            'plain': pose.to_plain(),
            'stack': stack,
            'thickness': stack.thickness,
            'brain': stack.brain,
            'no labels': said(lambda: pose.stack(grid, head).brain),
            'alone': HeadStack(head[:1], np.array([2.0]), 0.3).thickness,
            'small': said(pose.check_extent, grid, 37),
            'large': pose.check_extent(grid, 36),
        }
    )


def test_pieces_and_openings(recorded, head):
    bright = head > 105
    flat = bright[:, :, 4]
    recorded(
        {
            'bright': bright,
            'largest': largest_piece(bright),
            'largest of a slice': largest_piece(flat),
            'one': largest_piece(flat & (np.indices(flat.shape)[1] < 9)),
            'disc': opened(flat, 1.5),
            'oval': opened(flat, 0.6, (0.31, 0.27)),
            'ball': opened(bright, 0.7, (0.31, 0.27, 0.9)),
            'too wide': opened(flat, 30),
            'none': opened(np.zeros((4, 5), bool), 1),
        }
    )


@pytest.fixture(scope='module')
def images(head):
    """Slices in every surrounding: air, emptiness, both, no contrast, one value, spikes."""
    rng = np.random.default_rng(5)
    plain = head[:, :, 4]
    beyond = np.pad(plain[4:, 3:-6], [(1, 3), (6, 3)])
    even = np.where(plain > 40, plain, 30 + rng.normal(0, 1, plain.shape))
    around = np.pad(even[4:, 3:-6], [(1, 3), (6, 3)])
    wide = np.pad(rng.uniform(1, 200, (37, 43)), [(1, 3), (6, 3)])
    spiked = plain.copy()
    spiked[3, 5], spiked[30, 30] = 9000, 3000
    two = plain * (1 + 2.2 * (np.indices(plain.shape)[1] > 26))
    low = plain + 110
    signs = plain - 60
    return np.stack(
        [plain, beyond, even, around, wide, spiked, two, low, signs, 0 * plain, 0 * plain + 5]
    )


def test_heads_in_slices(recorded, images):
    rng, plain = np.random.default_rng(8), images[0]
    spiked = plain.copy()
    spiked[3:6, 5:8] = 3000
    # Even air, that of little contrast, and air that is uneven
    shape = plain.shape
    surroundings = [
        rng.normal(18, 0.6, shape),
        rng.normal(45, 1, shape),
        rng.normal(25, 0.6, shape),
        8 + 0.5 * np.indices(shape)[1],
    ]
    recorded(
        {
            'pixels': [head_pixels(image) for image in images],
            'mask': head_mask(images),
            'alone': [head_mask(image[None]).sum() for image in images],
            'near': near_head(images),
            'in emptiness': [
                head_pixels(np.pad(np.where(plain > 40, plain, air), 30)) for air in surroundings
            ],
            'hardly empty': [
                head_pixels(np.pad(np.where(plain > 40, plain, air), 30, constant_values=around))
                for air, around in ((surroundings[0], 4.2), (surroundings[0] + 5, 6))
            ],
            'spikes': head_pixels(spiked),
            'brighter': head_mask(images.astype(np.float32) * 1000),
        },
        pixels=2,
    )


def test_normalised_slices(recorded, images):
    recorded(
        {
            'whole': normalise_slices(images),
            'each': [normalise_slices(image[None]) for image in images],
            'whole numbers': normalise_slices(np.rint(images[:3]).astype(np.int16)),
        }
    )


def test_sizes_of_heads(recorded, head, labels, affine):
    def measured(volume, size):
        found = head_size(volume, size)
        return [found.width, found.sides, found.distorted]

    long = np.repeat(np.moveaxis(head, 2, 0), 5, axis=0)
    recorded(
        {
            'head': measured(head, (0.31, 0.27, 0.9)),
            'unlike': measured(head, (3.1, 0.27, 0.9)),
            'across': measured(np.moveaxis(head, 2, 0), (0.9, 0.31, 0.27)),
            'between': measured(np.moveaxis(head, 2, 1), (0.31, 1.2, 0.27)),
            'long': measured(long, (0.8, 0.31, 0.27)),
            'dark': measured(-head, (0.31, 0.27, 0.9)),
            'mask': measured(labels > 1, (0.31, 0.27, 0.9)),
            'none': measured(np.zeros((5, 6, 7)), (1, 2, 3)),
            'sides': [
                HeadSize(1.0, sides).distorted
                for sides in ((9, 2, 1), (7, 2, 1), (2, 8, 1), (0, 9, 1), (0, 9, 0))
            ],
            'scales': [
                header_scale(width, field)
                for field in (30.0, 100.0, 101.0)
                for width in (0, 0.2, 2, 3.4, 3.5, 20, 40, 41, 60, 61, 70, 200, 610, 655, 2100)
            ],
            'species': [
                species_of_brain(labels > 0, affine @ np.diag([k, k, k, 1])) for k in (1, 2, 3)
            ],
            'mouse': species_of_brain(np.ones((30, 29, 4)), np.diag([0.3, 0.3, 1, 1])),
            'rat': species_of_brain(np.ones((30, 4, 30)), np.diag([0.3, 1, 0.3, 1])),
        }
    )


def test_values_of_scans_masks_and_labels(recorded, head, labels, said):
    rng = np.random.default_rng(3)
    whole = np.rint(head).astype(np.int16)
    areas = np.kron(rng.integers(1, 60, (9, 12, 9)), np.ones((4, 4, 1)))
    many = np.kron(rng.integers(1, 9, (6, 8, 9)) * 30, np.ones((6, 6, 1)))
    recorded(
        {
            'scan': check_scan_values(head),
            'whole': check_scan_values(whole),
            'three bits': check_scan_values(np.rint(head / 25)),
            'cut off': check_scan_values(np.minimum(whole, 130)),
            'hardly cut off': check_scan_values(np.minimum(whole, 178)),
            'below': check_scan_values(whole - 60),
            'hardly below': check_scan_values(whole - 30),
            'labels': said(check_scan_values, labels),
            'areas': said(check_scan_values, areas),
            'many areas': said(check_scan_values, many),
            'noisy areas': check_scan_values(areas + rng.integers(0, 7, areas.shape)),
            'small': check_scan_values(np.arange(60.0).reshape(3, 4, 5)),
            'few in many': check_scan_values(
                np.where(np.arange(90) == 40, rng.integers(0, 90, (5, 6, 90)), 0)
            ),
        }
    )
