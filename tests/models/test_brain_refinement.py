"""What the refinement sees, and that it begins as the first glance itself."""

import numpy as np
import pytest
import torch

from secondglance.imaging.intensity import near_head, normalise_slices
from secondglance.models.brain_refinement import (
    CONTEXT_MM,
    FAR_MM,
    LOGIT_LIMIT,
    N_CHANNELS,
    NEAR_MM,
    logits_of,
    refine,
    refined_logits,
    refinement_channels,
)
from secondglance.models.training.recipes import RECIPES
from secondglance.models.unet import UNet
from secondglance.models.weights import REFINEMENT, LoadedModel, load_weights, save_weights


@pytest.fixture
def head(rng):
    """Five slices, 1 mm apart, with values that name them."""
    n, shape = 5, (5, 12, 16)
    level = np.arange(n, dtype=np.float32)[:, None, None]
    return {
        'images': np.broadcast_to(level / 4, shape),
        'probability': rng.uniform(0.05, 0.95, shape).astype(np.float32),
        'enhanced': rng.uniform(0, 1, shape).astype(np.float32),
        'placed': rng.uniform(0, 1, shape) > 0.5,
        'positions': np.arange(n) - 2.0,
    }


def test_neighbours_are_chosen_by_distance(head):
    channels = refinement_channels(**head)
    assert channels.shape == (5, N_CHANNELS, 12, 16)
    logits = logits_of(head['probability']) / LOGIT_LIMIT
    np.testing.assert_allclose(channels[2, CONTEXT_MM.index(1.0)], logits[3], atol=1e-6)
    np.testing.assert_allclose(channels[2, CONTEXT_MM.index(-2.0)], logits[0], atol=1e-6)
    # Beyond the stack there is no brain, and nothing to see
    assert (channels[2, CONTEXT_MM.index(4.0)] == -1).all()
    near = len(CONTEXT_MM)
    assert (channels[0, near + NEAR_MM.index(-1.0)] == 0).all()
    assert (channels[1, near + NEAR_MM.index(1.0)] == 2 / 4).all()
    far = near + len(NEAR_MM)
    np.testing.assert_array_equal(channels[1, far + FAR_MM.index(2.0)], head['placed'][3])
    np.testing.assert_array_equal(channels[:, -1], head['enhanced'])


def test_between_slices_is_between_their_values(head):
    thick = {**head, 'positions': head['positions'] * 2}
    channels = refinement_channels(**thick)
    near = len(CONTEXT_MM)
    assert (channels[2, near + NEAR_MM.index(1.0)] == 2.5 / 4).all()
    one = refinement_channels(**thick, chosen=[3])
    np.testing.assert_array_equal(one[0], channels[3])


def test_a_single_slice_has_no_neighbours(head):
    single = {key: value[:1] for key, value in head.items()}
    channels = refinement_channels(**single)
    others = [k for k, d in enumerate(CONTEXT_MM) if d]
    assert (channels[0, others] == -1).all()


@pytest.fixture
def untaught(tmp_path):
    net = UNet(RECIPES['refine'].channels, N_CHANNELS, 1)
    torch.nn.init.zeros_(net.head.weight)
    torch.nn.init.zeros_(net.head.bias)
    path = tmp_path / 'r.safetensors'
    save_weights(net, path, {'spacing': '0.3'}, REFINEMENT)
    return load_weights(path, form=REFINEMENT)


@pytest.fixture
def any_weights(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / 'any.safetensors'
    save_weights(UNet((4, 8), N_CHANNELS, 1), path, {'spacing': '0.3'}, REFINEMENT)
    return load_weights(path, form=REFINEMENT)


def test_it_begins_as_the_first_glance_itself(head, untaught, rng):
    stack = rng.uniform(0, 100, head['images'].shape)
    given = {k: v for k, v in head.items() if k != 'images'}
    refined = refine(untaught, stack, **given)
    same = np.isclose(refined, head['probability'], atol=1e-4)
    # But away from the head, where nothing is brain
    assert same.mean() > 0.99
    assert not refined[~same].any()


def test_how_many_slices_go_at_once_changes_nothing(head, any_weights, rng):
    stack = rng.uniform(0, 100, head['images'].shape)
    given = {k: v for k, v in head.items() if k != 'images'}
    whole, pieces = (refine(any_weights, stack, **given, batch_size=b) for b in (32, 2))
    np.testing.assert_allclose(whole, pieces, atol=1e-6)
    assert whole.shape == stack.shape
    assert np.ptp(whole) > 0.01
    # Slices are normalised as the first glance's are
    again = refine(any_weights, normalise_slices(stack) * 7, **given)
    np.testing.assert_allclose(whole, again, atol=1e-4)


def test_lost_slices_show_no_brain_and_are_no_neighbours(head, any_weights, rng):
    stack = rng.uniform(0, 100, head['images'].shape)
    stack[2] = 7.0
    given = {k: v for k, v in head.items() if k != 'images'}
    found = refine(any_weights, stack, **given)
    assert not found[2].any()
    others = [0, 1, 3, 4]
    alone = refine(any_weights, stack[others], **{k: v[others] for k, v in given.items()})
    np.testing.assert_allclose(found[others], alone, atol=1e-6)


def test_of_nothing_it_makes_nothing(head, untaught):
    given = {k: v for k, v in head.items() if k != 'images'}
    found = refine(untaught, np.zeros(head['images'].shape), **given)
    assert found.shape == head['images'].shape
    assert not found.any()


@pytest.fixture
def lively():
    """An untrained refinement that takes air for brain."""
    torch.manual_seed(3)
    net = UNet((4, 6), N_CHANNELS, 1).eval()
    with torch.no_grad():
        net.head.weight *= 20
        net.head.bias.fill_(9.0)
    return LoadedModel(net, 0.3, ('brain',), '', '', {})


def test_a_single_slice_is_refined_as_one_among_its_like(lively, rng):
    one = [rng.random((1, 20, 24)) for _ in range(4)]
    many = [np.repeat(values, 9, axis=0) for values in one]
    found = refine(lively, *one, [0.0])
    expected = refine(lively, *many, np.arange(9.0) - 4)
    np.testing.assert_allclose(found[0], expected[4], atol=1e-5)
    assert np.abs(expected[0] - expected[4]).max() > 1e-3


def test_there_is_no_brain_away_from_the_head(lively, rng):
    stack = rng.rayleigh(1, (5, 48, 40))
    stack[:, 16:36, 12:30] += 100
    others = [np.full(stack.shape, 0.9) for _ in range(3)]
    found = refine(lively, stack, *others, np.arange(5.0))
    near = near_head(stack)
    assert 0.2 < near.mean() < 0.6
    assert not found[~near].any()
    assert (found[near] > 0.5).mean() > 0.5


def test_the_correction_is_added_to_the_slice_in_the_middle(rng):
    channels = torch.from_numpy(rng.normal(0, 1, (2, N_CHANNELS, 8, 8)).astype(np.float32))
    found = refined_logits(lambda given: given[:, :1] * 0 + 0.5, channels)
    middle = CONTEXT_MM.index(0.0)
    expected = LOGIT_LIMIT * channels[:, [middle]] + 0.5
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected)
