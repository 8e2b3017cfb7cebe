"""Which way up a head lies."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

from secondglance.data import donor_paths, example_rat
from secondglance.files.heads import read_head
from secondglance.imaging.grids import slice_grid
from secondglance.imaging.pose import Pose
from secondglance.models import pose as pose_module
from secondglance.models.pose import (
    TURN_BELOW,
    PoseFit,
    estimate_pose,
    find_pose,
    fit_of_pose,
    middle_slices,
)
from secondglance.models.weights import default_weights, load_weights


@pytest.fixture(scope='module')
def model():
    return load_weights(default_weights())


def middle_of(path):
    """Three slices of a scan, and its affine."""
    image = nib.load(path)
    return np.asarray(image.dataobj[:, :, 7:10], np.float32), image.affine


def quarter_turns(model, stack):
    return find_pose(model, lambda _: stack, species='rat').quarter_turns


HEADS = [example_rat()[0], *(p / 'image.nii.gz' for p in donor_paths() if 'simulated' in p.name)]
SOME = [
    pytest.param(path, marks=[pytest.mark.slow] * ('simulated' in name))
    for path, name in ((path, path.parent.name) for path in HEADS)
]


@pytest.mark.parametrize('path', SOME, ids=lambda path: path.parent.name)
@pytest.mark.parametrize('turned', range(4))
def test_heads_are_set_upright(model, path, turned):
    head = read_head(path, None, Pose('rat', model.spacing))[0].images
    # Two slices say it, a third of those that are looked at
    few = head[len(head) // 2 - 1 :][:2]
    found = quarter_turns(model, np.rot90(few, turned, (1, 2)))
    assert (found + turned) % 4 == 0


@pytest.mark.parametrize('n_slices', [1, 2, 3])
def test_few_slices_are_enough(model, n_slices):
    middle = read_head(example_rat()[0], None, Pose('rat', model.spacing))[0].images[
        6 : 6 + n_slices
    ]
    assert quarter_turns(model, np.rot90(middle, 2, (1, 2))) == 2


@pytest.mark.filterwarnings('error')
def test_an_image_without_a_head_is_not_turned(model, rng):
    assert quarter_turns(model, np.zeros((2, 64, 48), np.float32)) == 0
    assert quarter_turns(model, rng.rayleigh(1.0, (2, 64, 64)).astype(np.float32)) == 0


@pytest.mark.parametrize('path', SOME, ids=lambda path: path.parent.name)
@pytest.mark.parametrize(('size', 'species'), [(1.0, 'rat'), (0.65, 'mouse')])
def test_species_is_estimated_from_brain_size(model, path, size, species):
    voxels, affine = middle_of(path)
    pose = estimate_pose(model, voxels, np.diag([size, size, size, 1]) @ affine)
    assert pose.species == species
    assert pose.spacing == pytest.approx(model.spacing * size)


def test_what_is_known_is_not_asked(model):
    voxels, affine = middle_of(example_rat()[0])

    def stack_at(spacing):
        return slice_grid(voxels.shape, affine, spacing).to_stack(voxels)

    pose = find_pose(model, stack_at, species='mouse', quarter_turns=3)
    assert (pose.species, pose.quarter_turns) == ('mouse', 3)


def test_an_image_without_a_head_is_a_rat(model):
    pose = find_pose(model, lambda _: np.zeros((2, 48, 32), np.float32))
    assert (pose.species, pose.quarter_turns) == ('rat', 0)


@pytest.mark.parametrize('share', [0.5, 0.65])
def test_a_head_that_is_ambiguous_stays_as_it_lies(model, share):
    """As much, or more, of it lies on its back: the network is not sure enough to turn it."""
    head = read_head(example_rat()[0], None, Pose('rat', model.spacing))[0].images[6:8]
    side = min(head.shape[1:])
    square = head[:, :side, :side]
    assert quarter_turns(model, np.rot90(square, 2, (1, 2))) == 2
    both = (1 - share) * square + share * np.rot90(square, 2, (1, 2))
    assert quarter_turns(model, both) == 0


def test_slices_are_cut_along_the_axis_that_was_asked_for(model):
    voxels, affine = middle_of(example_rat()[0])
    turned = affine[:, [2, 0, 1, 3]]
    pose = estimate_pose(model, np.moveaxis(voxels, 2, 0), turned, slice_axis='i')
    assert (pose.species, pose.slice_axis, pose.quarter_turns) == ('rat', 'i', 0)
    known = estimate_pose(model, voxels, affine, species='mouse', quarter_turns=1)
    assert known == Pose('mouse', model.spacing * 0.65, 'auto', 1)


def test_every_species_is_looked_at_with_its_own_pixels(model):
    asked = []

    def stack_at(spacing):
        asked.append(spacing)
        return np.zeros((1, 32, 48), np.float32)

    find_pose(model, stack_at)
    assert asked == pytest.approx([model.spacing, model.spacing * 0.65])
    asked.clear()
    find_pose(model, stack_at, species='mouse')
    assert asked == pytest.approx([model.spacing * 0.65])


@pytest.mark.parametrize(
    ('rat', 'mouse', 'sizes', 'species'),
    [
        (PoseFit(0.4, 101), None, 1, 'rat'),
        (PoseFit(0.4, 99), PoseFit(0.3, 60), 2, 'mouse'),
        (PoseFit(0.4, 99), PoseFit(0.5, 60), 2, 'rat'),
        (PoseFit(0.4, 55), PoseFit(0.5, 99), 2, 'mouse'),
        # Hardly any brain was seen, however large the section
        (PoseFit(np.inf, 101), PoseFit(0.3, 60), 2, 'mouse'),
    ],
)
def test_only_a_clear_rat_is_not_looked_at_as_a_mouse(
    model, monkeypatch, rat, mouse, sizes, species
):
    asked = []

    def look(_model, _stack, spacing, _device):
        asked.append(spacing)
        return rat if spacing == model.spacing else mouse

    monkeypatch.setattr(pose_module, 'fit_of_pose', look)
    found = find_pose(model, lambda _: np.ones((5, 16, 16), np.float32))
    assert (found.species, len(set(asked))) == (species, sizes)


@pytest.mark.parametrize(('share', 'turns'), [(TURN_BELOW + 0.01, 0), (TURN_BELOW - 0.01, 2)])
def test_a_head_is_turned_where_that_is_clearly_surer(model, monkeypatch, share, turns):
    looks = iter([PoseFit(0.4, 90), PoseFit(0.5, 90), PoseFit(0.4 * share, 90), PoseFit(0.9, 90)])
    monkeypatch.setattr(pose_module, 'fit_of_pose', lambda *_: next(looks))
    found = find_pose(model, lambda _: np.ones((5, 16, 16), np.float32), species='rat')
    assert found.quarter_turns == turns


class Bright(torch.nn.Module):
    """Takes what is brighter than 0.6 for grey matter."""

    stride = 1

    def forward(self, images):
        away = 40 * (images - 0.6)
        return torch.cat([-away, -away - 9, away, -away - 9], dim=1)


def test_the_section_of_a_brain_is_its_largest_in_square_millimetres(model):
    stack = np.zeros((3, 60, 50), np.float32)
    stack[:, 8:50, 5:45] = 40
    for n, side in enumerate((10, 20, 14)):
        stack[n, 20 : 20 + side, 15 : 15 + side] = 100
    bright = replace(model, net=Bright())
    assert fit_of_pose(bright, stack, 0.3, 'cpu').section == pytest.approx(400 * 0.3**2)
    # What shines in air is no brain
    spot = stack.copy()
    spot[1, 1, 47] = 100
    assert fit_of_pose(bright, spot, 0.3, 'cpu').section == pytest.approx(400 * 0.3**2)


class HalfBright(Bright):
    """Takes what is half as bright as the head for grey matter."""

    def forward(self, images):
        return super().forward(0.8 - (images - 0.5).abs())


@pytest.mark.parametrize(('side', 'seen'), [(3, False), (8, True)])
def test_a_hundredth_of_the_head_must_be_brain(model, side, seen):
    stack = np.zeros((1, 60, 50), np.float32)
    stack[:, 8:50, 5:45] = 100
    stack[:, 20 : 20 + side, 15 : 15 + side] = 50
    fit = fit_of_pose(replace(model, net=HalfBright()), stack, 0.3, 'cpu')
    assert fit.section == pytest.approx(side**2 * 0.3**2)
    assert np.isfinite(fit.doubt) == seen


def test_slices_from_the_middle_three_fifths_are_looked_at():
    assert middle_slices(np.arange(10)).tolist() == [2, 3, 4, 5, 6, 7]
    assert middle_slices(np.arange(50)).tolist() == [10, 15, 21, 27, 33, 39]
    assert middle_slices(np.arange(2)).tolist() == [0]


@pytest.mark.parametrize(('species', 'turns'), [('rat', 1), ('auto', 1), ('rat', None)])
def test_what_is_told_of_a_pose_is_taken_and_the_rest_is_estimated(model, species, turns):
    """Where all is told, not a voxel is looked at."""
    asked = {'species': species, 'quarter_turns': turns, 'slice_axis': 'k'}
    pose = estimate_pose(model, *middle_of(example_rat()[0]), **asked)
    # The example lies upright
    assert (pose.species, pose.quarter_turns) == ('rat', turns or 0)
    assert (pose.spacing, pose.slice_axis) == (model.spacing, 'k')
    told = estimate_pose(model, None, None, species='mouse', quarter_turns=3)
    assert (told.species, told.quarter_turns) == ('mouse', 3)
