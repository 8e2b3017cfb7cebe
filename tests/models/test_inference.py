"""Normalisation, padding and batches."""

import contextlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from secondglance.data import example_rat
from secondglance.files.heads import read_head
from secondglance.imaging.intensity import head_mask, normalise_slices
from secondglance.imaging.labels import CLASSES
from secondglance.imaging.pose import Pose
from secondglance.models.choices import MINIMUM_SIDE
from secondglance.models.inference import (
    each_batch,
    pad_to_stride,
    predict,
    window_of_head,
)
from secondglance.models.saliency.attribution import saliency_stack
from secondglance.models.unet import UNet
from secondglance.models.weights import LoadedModel, default_weights, load_weights


@pytest.fixture
def model():
    torch.manual_seed(0)
    return LoadedModel(UNet((4, 8, 8)).eval(), 0.375, CLASSES, '', '', {})


@pytest.mark.parametrize('factor', [1e-6, 1.0, 3e4])
def test_normalisation_forgets_the_unit(factor):
    stack = np.random.default_rng(0).gamma(2.0, 1.0, (3, 9, 7)).astype(np.float32)
    np.testing.assert_allclose(normalise_slices(stack * factor), normalise_slices(stack), 1e-5)


def test_normalisation_by_hand():
    # Of the head's 600 pixels 12 have 100: the 99th percentile; air and the negative do not count
    image = np.zeros((60, 50))
    image[10:40, 10:30] = 50
    image[12:15, 12:16] = 100
    image[0, 0] = -5
    found = normalise_slices(image[None])[0]
    np.testing.assert_allclose(found[20:38, 20:28], 0.5)
    np.testing.assert_allclose(found[12:15, 12:16], 1)
    assert found.min() == 0


@pytest.mark.parametrize('noise', [0.0, 2.0])
def test_air_in_the_field_of_view_changes_nothing(noise):
    rng = np.random.default_rng(3)
    head = np.zeros((60, 50))
    head[10:40, 10:30] = rng.uniform(40, 60, (30, 20))
    wide = np.pad(head, 100)
    air = np.hypot(*rng.normal(0, noise, (2, *wide.shape)))
    wide = np.where(wide > 0, wide, air)
    near = slice(100, 160), slice(100, 150)
    assert (head_mask(wide[None])[0][near] == head_mask(wide[near][None])[0]).mean() > 0.95
    found, expected = normalise_slices(wide[None])[0][near], normalise_slices(wide[near][None])[0]
    np.testing.assert_allclose(found, expected, rtol=5e-3)


def test_bright_spot_is_clipped():
    image = np.ones((1, 30, 30))
    image[0, 0, 0] = 1e6
    assert normalise_slices(image).max() == 1.5


def test_empty_slice_stays_zero_and_does_not_disturb_the_others():
    stack = np.zeros((2, 4, 4), np.float32)
    stack[1] = 3.0
    found = normalise_slices(stack)
    assert not found[0].any()
    assert (found[1] == 1.0).all()


def test_normalisation_leaves_its_argument_alone():
    stack = np.full((1, 3, 3), 7, np.int16)
    assert normalise_slices(stack).dtype == np.float32
    assert (stack == 7).all()


@pytest.mark.parametrize('size', [(16, 16), (17, 31), (1, 8), (64, 65)])
@pytest.mark.parametrize('stride', [1, 4, 8])
def test_padding_round_trip_restores_any_size(size, stride):
    images = torch.rand(2, 1, *size)
    padded, inside = pad_to_stride(images, stride)
    assert padded.shape[-1] % stride == padded.shape[-2] % stride == 0
    assert padded.shape[-1] - size[1] < stride
    assert torch.equal(padded[..., inside[0], inside[1]], images)
    assert padded.sum().isclose(images.sum())


@pytest.mark.parametrize('size', [(16, 24), (17, 31)])
def test_prediction_has_the_size_of_the_stack_and_sums_to_one(model, size):
    stack = np.random.default_rng(1).random((5, *size)).astype(np.float32)
    found = predict(model, stack, batch_size=2)
    assert found.shape == (5, 4, *size)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-5)


def test_batch_size_does_not_change_the_prediction(model):
    stack = np.random.default_rng(1).random((5, 16, 16)).astype(np.float32)
    np.testing.assert_allclose(
        predict(model, stack, batch_size=2), predict(model, stack), atol=1e-6
    )


def test_no_batch_is_larger_than_asked_for(model):
    sizes = []
    model.quick.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    predict(model, np.ones((6, 16, 16), np.float32), batch_size=2)
    assert sizes == [2, 2, 2]


def test_prediction_follows_a_shift_by_the_stride(model):
    stack = np.zeros((1, 64, 64), np.float32)
    stack[0, 24:36, 22:40] = np.random.default_rng(2).random((12, 18))
    moved = np.roll(stack, model.stride, axis=1)
    here, there = predict(model, stack), predict(model, moved)
    np.testing.assert_allclose(there[:, :, 28:44], here[:, :, 24:40], atol=1e-5)


def test_shipped_weights_tell_brain_from_black():
    # Not accuracy, only sense: black is background, and a real brain without background is brain.
    model = load_weights(default_weights())
    head = read_head(*example_rat(), Pose('rat', model.spacing))[0]
    images, brain = head.images[::3], head.brain[::3]
    found = predict(model, np.where(brain, images, 0)).argmax(axis=1)
    assert (found[~brain] == 0).mean() > 0.99
    assert (found[brain] > 0).mean() > 0.97


def test_smallest_side_holds_two_steps_of_the_stride():
    assert load_weights(default_weights()).stride * 2 <= MINIMUM_SIDE


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize('n_slices', [1, 2, 5, 13])
def test_number_of_threads_changes_not_a_bit(threads, n_slices):
    model = load_weights(default_weights())
    stack = np.random.default_rng(3).random((n_slices, 24, 17)).astype(np.float32)
    found = []
    for number in (1, 3):
        threads(number)
        found.append((predict(model, stack), *saliency_stack(model, stack)))
        assert torch.get_num_threads() == number
    for one, same in zip(*found, strict=True):
        np.testing.assert_array_equal(one, same)


@pytest.mark.parametrize('number', [1, 2])
@pytest.mark.parametrize('n_slices', [0, 1, 3, 8, 9, 40])
def test_every_slice_is_in_one_batch_and_gradients_are_on(threads, number, n_slices):
    threads(number)
    parts = []

    def work(part):
        assert torch.is_grad_enabled()
        parts.append(part)

    with torch.no_grad():
        each_batch(work, n_slices, 'cpu', 8)
    assert sorted(n for part in parts for n in range(part.start, part.stop)) == [*range(n_slices)]
    assert all(part.stop - part.start <= 8 for part in parts)
    assert n_slices < 2 or all(part.stop - part.start >= 2 for part in parts)


def test_threads_are_given_back_after_a_failure(threads):
    threads(2)

    def work(part):
        raise ValueError(part)

    with pytest.raises(ValueError, match='slice'):
        each_batch(work, 9, 'cpu', 8)
    assert torch.get_num_threads() == 2


@pytest.fixture
def wide_head():
    """A head in air with noise, and where it lies in a field of view five times as wide."""
    rng = np.random.default_rng(4)
    head = np.zeros((3, 60, 50), np.float32)
    head[:, 10:50, 10:40] = rng.uniform(40, 60, (3, 40, 30))
    wide = np.pad(head, ((0, 0), (160, 180), (128, 122)))
    return wide + np.abs(rng.normal(0, 1, wide.shape)).astype(np.float32)


def test_a_wide_field_is_cut_to_the_head_in_whole_strides(wide_head):
    rows, columns = window_of_head(wide_head, 16)
    # The head is in rows 170 to 209 and columns 138 to 167: 48 pixels more, and whole strides
    assert abs(rows.start - 112) <= 16
    assert abs(rows.stop - 272) <= 16
    assert abs(columns.start - 80) <= 16
    assert abs(columns.stop - 224) <= 16
    assert {rows.start % 16, rows.stop % 16, columns.start % 16, columns.stop % 16} == {0}


def test_the_margin_is_of_48_pixels_wherever_the_head_lies(wide_head):
    for by in range(16):
        moved = np.roll(wide_head[:1, :, 110:200], by, axis=1)
        first, *_, last = np.flatnonzero(head_mask(moved).any(axis=(0, 2)))
        rows, _ = window_of_head(moved, 16)
        assert first - 48 - 16 < rows.start <= first - 48
        assert last + 48 < rows.stop <= last + 48 + 16


def test_a_usual_field_is_taken_whole(wide_head):
    usual = wide_head[:, 130:250, 100:200]
    assert usual[:, *window_of_head(usual, 16)].shape == usual.shape


def test_a_slice_of_noise_widens_no_window(wide_head):
    noise = np.abs(np.random.default_rng(5).normal(0, 1, wide_head.shape[1:]))
    assert window_of_head(np.append(wide_head, noise[None], 0), 16) == window_of_head(
        wide_head, 16
    )


def test_two_heads_in_a_wide_field_are_both_taken(wide_head):
    both = np.concatenate([wide_head, wide_head], axis=2)
    found = np.zeros(both.shape[1:])
    found[window_of_head(both, 16)] = 1
    assert found[170:210, 138:168].all()
    assert found[170:210, 438:468].all()
    # What lies beyond them is not
    assert not found[:96].any()
    assert not found[288:].any()


@pytest.mark.slow
def test_the_window_changes_nothing_of_the_brain(monkeypatch):
    model = load_weights(default_weights())
    head = read_head(*example_rat(), Pose('rat', model.spacing))[0]
    few = head.images[6:9]
    wide = np.pad(few, ((0, 0), (160, 160), (160, 160)))
    windowed = predict(model, wide), saliency_stack(model, wide)[0]
    monkeypatch.setattr('secondglance.models.inference.HEAD_MARGIN', 1000)
    whole = predict(model, wide), saliency_stack(model, wide)[0]
    assert (windowed[0].argmax(1) == whole[0].argmax(1)).mean() > 0.9995
    assert np.corrcoef(windowed[1].ravel(), whole[1].ravel())[0, 1] > 0.999
    # Beyond it, all is background, without saliency
    assert (windowed[0][:, 0, :64] == 1).all()
    assert not windowed[1][:, :64].any()
    np.testing.assert_allclose(windowed[0].sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize('fails', [False, True])
def test_threads_that_are_yet_to_come_have_the_number_that_was_set(threads, fails):
    threads(3)

    def work(_):
        if fails:
            raise RuntimeError('out of memory')

    with pytest.raises(RuntimeError) if fails else contextlib.nullcontext():
        each_batch(work, 9, 'cpu', 2)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 3
