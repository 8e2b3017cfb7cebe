"""Sanity checks must tell a map that knows the network from one that does not."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from secondglance.imaging.labels import CLASSES
from secondglance.imaging.pose import HeadStack
from secondglance.models.saliency import sanity
from secondglance.models.saliency.sanity import (
    Sanity,
    blocks,
    check,
    check_names,
    edge_maps,
    randomised,
    verdicts,
)
from secondglance.models.unet import UNet
from secondglance.models.weights import LoadedModel


@pytest.fixture
def model():
    torch.manual_seed(0)
    return LoadedModel(UNet((4, 6, 8)).eval(), 0.375, CLASSES, '', '', {})


@pytest.fixture
def small():
    """The same with two levels: checks run every block of it many times."""
    torch.manual_seed(0)
    return LoadedModel(UNet((4, 6)).eval(), 0.375, CLASSES, '', '', {})


@pytest.fixture
def head(rng):
    stack = rng.gamma(2.0, 30.0, (2, 24, 24))
    brain = np.zeros(stack.shape, bool)
    brain[:, 6:18, 7:17] = True
    stack[brain] += 200
    return HeadStack(stack, np.arange(2.0), 0.3, brain.astype(np.uint8))


def test_blocks_run_from_the_output_to_the_input_and_are_the_whole_network(model):
    names = [name for name, _ in blocks(model.net)]
    assert names == [
        *('head', 'expanding 1', 'expanding 0'),
        *('contracting 2', 'contracting 1', 'contracting 0'),
    ]
    found = {id(p) for _, block in blocks(model.net) for p in block.parameters()}
    assert found == {id(p) for p in model.net.parameters()}


def test_only_the_named_blocks_are_randomised_and_the_network_is_unchanged(model):
    with torch.no_grad():
        for module in model.net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.fill_(3.0)
    before = {name: value.clone() for name, value in model.net.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    other = randomised(model.net, ['expanding 0'], seed=1)
    assert torch.equal(torch.rand(1), expected)  # nobody else's dice are touched
    changed = {name for name, value in other.state_dict().items() if not value.equal(before[name])}
    assert changed
    assert all(name.startswith('expanding.0.') for name in changed)
    assert all(value.equal(before[name]) for name, value in model.net.state_dict().items())
    assert randomised(model.net, ['head'], 1).head.weight.equal(
        randomised(model.net, ['head'], 1).head.weight
    )


def test_a_map_that_ignores_the_network_is_found_out(small, head, monkeypatch):
    def edges_of(model, stack, *_, **__):
        return edge_maps(stack), np.full((len(stack), 4, *stack.shape[1:]), 0.25, np.float32)

    monkeypatch.setattr(sanity, 'saliency_stack', edges_of)
    found = check(small, head, [head])
    answers = {verdict.question: verdict.passed for verdict in verdicts(found)}
    assert answers['Does the map depend on what the network has learnt?'] is False
    assert answers['Is it more than the edges of the image?'] is False
    assert (
        answers['Does it place a mask better than controls that know nothing of brains?'] is False
    )
    assert answers['Does it tell one class from another?'] is False
    assert all(row['ssim'] == pytest.approx(1) for row in found.of('cascade'))


def test_a_map_of_the_weights_alone_is_seen_to_change(small, head, monkeypatch):
    def of_weights(model, stack, target='brain', *_, **__):
        seed = int(1e4 * sum(float(p.detach().abs().sum()) for p in model.net.parameters()))
        drawn = np.random.default_rng([seed, len(target)]).normal(size=stack.shape)
        return drawn, np.full((len(stack), 4, *stack.shape[1:]), 0.25, np.float32)

    monkeypatch.setattr(sanity, 'saliency_stack', of_weights)
    found = check(small, head, [head])
    answers = {verdict.question: verdict.passed for verdict in verdicts(found)}
    assert answers['Does the map depend on what the network has learnt?'] is True
    assert answers['Is it more than the edges of the image?'] is True


def test_faithful_order_empties_the_curve_first(model, monkeypatch, rng):
    # A network that sees tissue where it is bright, and only there
    def bright(model, stack, device='cpu'):
        tissue = np.clip(stack, 0, 1)
        return np.stack([1 - tissue, tissue, 0 * tissue, 0 * tissue], axis=1)

    monkeypatch.setattr(sanity, 'predict', bright)
    stack = np.zeros((1, 30, 30))
    stack[0, 10:16, 10:16] = 1
    first = bright(None, stack)
    order = {'right': stack, 'wrong': 1 - stack}
    found = Sanity(
        curves={
            'deletion': {
                by: sanity.change_curve(model, stack, first, o, 'deletion', 'cpu')
                for by, o in order.items()
            },
            'insertion': {
                by: sanity.change_curve(model, stack, first, o, 'insertion', 'cpu')
                for by, o in order.items()
            },
        }
    )
    assert found.curves['deletion']['right'][0] == 1
    assert found.curves['insertion']['right'][-1] == 1
    assert found.area('deletion', 'right') < 0.3 < 0.8 < found.area('deletion', 'wrong')
    assert found.area('insertion', 'right') > 0.8 > 0.3 > found.area('insertion', 'wrong')


def test_every_block_is_randomised_in_turn_and_by_itself(small, head):
    said: list[str] = []
    # A donor of another size: only its own maps fit it
    donor = replace(head, images=head.images[:, 2:-2], labels=head.labels[:, 2:-2])
    found = check(small, head, [donor], progress=said.append)
    assert said == check_names(small.net)
    names = [name for name, _ in blocks(small.net)]
    for test in ('cascade', 'single block'):
        assert [row['what'] for row in found.of(test)] == names
    # The first block is gone by itself in either; the last one is not
    same = [[row['ssim'] for row in found.of(test)] for test in ('cascade', 'single block')]
    assert same[0][0] == same[1][0] < 1
    assert same[0][-1] != same[1][-1]
    assert set(found.maps) == {'trained', 'edges', 'head randomised', 'all randomised'}
    others = {row['what'] for row in found.of('other class')}
    assert others == {'WM', 'GM', 'CSF'}
    drawn = [row['what'] for row in found.of('random network')]
    assert drawn == [f'seed {n}' for n in range(sanity.N_RANDOM)]
    scores = {row['rank_correlation'] for row in found.of('random network')}
    assert len(scores) == sanity.N_RANDOM
    for row in found.of('cascade') + found.of('control') + found.of('trained'):
        assert 0 <= row['placed_dice'] <= 1


def test_curves_are_of_the_slices_with_the_largest_brains(small, head, monkeypatch):
    shown = []

    def curve(_model, images, *_):
        shown.append(images)
        return np.zeros(len(sanity.CHANGED_SHARES))

    brain = np.array(head.labels)
    brain[0, :, :12] = 0
    monkeypatch.setattr(sanity, 'change_curve', curve)
    monkeypatch.setattr(sanity, 'N_CURVE_SLICES', 1)
    check(small, replace(head, labels=brain), [head])
    assert shown
    for images in shown:
        np.testing.assert_array_equal(images, head.images[1:])


def test_what_is_deleted_is_blurred_within_its_slice_alone(model, monkeypatch):
    """An even slice stays what it is beside an empty one, however much of it is blurred."""

    def bright(_model, stack, *_):
        return np.stack([1 - stack, stack, 0 * stack, 0 * stack], axis=1)

    monkeypatch.setattr(sanity, 'predict', bright)
    stack = np.zeros((2, 20, 20))
    stack[1] = 1
    for kind in sanity.CURVES:
        curve = sanity.change_curve(model, stack, bright(None, stack), stack, kind, 'cpu')
        np.testing.assert_allclose(curve, 1, atol=1e-6)


@pytest.mark.parametrize(('dice', 'passed'), [(0.95, True), (0.75, False)])
def test_a_map_must_place_better_than_the_best_of_random_networks(dice, passed):
    rows = [
        ('trained', 'as it is', 1.0, dice),
        ('cascade', 'head', 0.2, 0.5),
        ('cascade', 'contracting 0', 0.1, 0.4),
        ('control', 'edges', 0.3, 0.2),
        ('control', 'chance', 0.0, 0.1),
        # The one that is most like the trained one places worst
        ('random network', 'seed 0', 0.4, 0.3),
        ('random network', 'seed 1', 0.1, 0.8),
        ('other class', 'WM', 0.5, float('nan')),
    ]
    names = 'test', 'what', 'rank_correlation', 'placed_dice'
    made = [dict(zip(names, row, strict=True)) | {'ssim': 0.5} for row in rows]
    curve = {by: np.linspace(0, 1, 11) for by in sanity.ORDERS}
    found = Sanity(made, dict.fromkeys(sanity.CURVES, curve))
    [verdict] = [one for one in verdicts(found) if 'place a mask better' in one.question]
    assert verdict.passed is passed
    assert '0.800 by the best' in verdict.words
