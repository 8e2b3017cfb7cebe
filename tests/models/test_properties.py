"""What holds for any stack of slices, however it is cut into batches."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from secondglance.imaging.labels import CLASSES
from secondglance.models.brain_refinement import logits_of, refinement_channels
from secondglance.models.inference import batches, pad_to_stride, predict
from secondglance.models.saliency.attribution import saliency_stack
from secondglance.models.unet import UNet
from secondglance.models.weights import LoadedModel

SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture(scope='module')
def model():
    torch.manual_seed(0)
    return LoadedModel(UNet((3, 4)).eval(), 0.375, CLASSES, '', '', {})


@given(n=st.integers(0, 200), most=st.integers(1, 70), least=st.integers(1, 9))
def test_batches_cover_every_slice_once_and_none_is_alone(n, most, least):
    parts = list(batches(n, most, least=least))
    assert [k for part in parts for k in range(part.start, part.stop)] == list(range(n))
    sizes = [part.stop - part.start for part in parts]
    assert max(sizes, default=0) - min(sizes, default=0) <= 1
    if n > 1:
        assert min(sizes) >= 2
        assert max(sizes) <= max(most, 3)


@given(
    h=st.integers(1, 40),
    w=st.integers(1, 40),
    stride=st.sampled_from([1, 2, 4, 8, 16]),
    seed=SEEDS,
)
def test_padding_is_less_than_a_stride_and_comes_off_again(h, w, stride, seed):
    images = torch.rand(2, h, w, generator=torch.manual_seed(seed))
    padded, inside = pad_to_stride(images, stride)
    assert torch.equal(padded[..., *inside], images)
    assert padded.sum() == pytest.approx(float(images.sum()), rel=1e-4)
    for side, before, part in zip(padded.shape[1:], (h, w), inside, strict=True):
        assert side % stride == 0
        assert 0 <= side - before < stride
        # As much on one side as on the other
        assert abs(part.start - (side - part.stop)) <= 1


@given(
    seed=SEEDS,
    n=st.integers(1, 7),
    size=st.integers(1, 9),
    order=st.permutations(range(7)),
    method=st.sampled_from(['guided', 'gradient', 'deconvnet']),
)
def test_slices_and_their_order_and_number_at_once_do_not_matter(
    model, seed, n, size, order, method
):
    stack = np.random.default_rng(seed).gamma(2.0, 50.0, (n, 11, 13))
    order = [k for k in order if k < n]
    whole = predict(model, stack)
    assert whole.shape == (n, 4, 11, 13)
    np.testing.assert_allclose(whole.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(predict(model, stack, batch_size=size), whole, atol=1e-5)
    np.testing.assert_allclose(predict(model, stack[order]), whole[order], atol=1e-5)
    maps, probabilities = saliency_stack(model, stack, method=method, batch_size=size)
    np.testing.assert_allclose(probabilities, whole, atol=1e-5)
    np.testing.assert_allclose(
        saliency_stack(model, stack[order], method=method)[0],
        maps[order],
        atol=1e-4 * max(np.abs(maps).max(), 1e-9),
    )


@given(seed=SEEDS)
def test_logits_are_odd_and_rise_with_the_probability(seed):
    p = np.sort(np.random.default_rng(seed).random(50))
    found = logits_of(p)
    assert (np.diff(found) >= 0).all()
    np.testing.assert_allclose(logits_of(1 - p), -found, atol=1e-3)
    inside = (p > 0.01) & (p < 0.99)
    np.testing.assert_allclose(1 / (1 + np.exp(-found[inside])), p[inside], atol=1e-4)


@given(seed=SEEDS, n=st.integers(1, 6), apart=st.floats(0.2, 3.0))
def test_channels_of_the_reversed_stack_are_those_with_back_and_front_changed(seed, n, apart):
    rng = np.random.default_rng(seed)
    stacks = rng.random((4, n, 5, 6))
    positions = (np.arange(n) - (n - 1) / 2) * apart
    found = refinement_channels(*stacks, positions)
    other = refinement_channels(*stacks[:, ::-1], positions)
    # Seven of the first glance, three of the image, three of the placed mask, the saliency
    mirrored = [6, 5, 4, 3, 2, 1, 0, 9, 8, 7, 12, 11, 10, 13]
    # Just between the last slice and nothing rounding decides
    np.testing.assert_allclose(other[::-1, mirrored], found, atol=1e-3)
