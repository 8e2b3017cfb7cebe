"""The network's shape, stride and rectifiers."""

import pytest
import torch
from torch import nn

from secondglance.models.inference import each_batch
from secondglance.models.unet import UNet, folded
from secondglance.models.weights import (
    FORMAT,
    REFINEMENT,
    SECOND_GLANCE,
    default_refinement,
    default_second_glance,
    default_weights,
    load_weights,
)

SHIPPED = {
    FORMAT: default_weights,
    REFINEMENT: default_refinement,
    SECOND_GLANCE: default_second_glance,
}


@pytest.mark.parametrize('channels', [(2, 4), (2, 3, 4), (4, 4, 4, 4)])
def test_any_multiple_of_the_stride_is_accepted(channels):
    net = UNet(channels).eval()
    size = (net.stride * 3, net.stride * 2)
    assert net.stride == 2 ** (len(channels) - 1)
    assert net(torch.zeros(2, 1, *size)).shape == (2, 4, *size)


@pytest.mark.parametrize('form', SHIPPED)
def test_the_quick_form_has_no_normalisation_left_and_gives_the_same_logits(form):
    net = load_weights(SHIPPED[form](), form=form).net
    before = {name: value.clone() for name, value in net.state_dict().items()}
    quick = folded(net)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in quick.modules())
    image = torch.rand(3, net.in_channels, 48, 64, generator=torch.Generator().manual_seed(0))
    found, expected = quick(image), net(image)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    # A batch of another size gives the same to the last bit: so do other numbers of threads
    assert torch.equal(quick(image[:2]), found[:2])
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_every_relu_is_a_module_used_once_and_not_in_place():
    net = UNet((2, 4, 8))
    uses = []
    for module in net.modules():
        if isinstance(module, nn.ReLU):
            assert not module.inplace
            module.register_forward_hook(lambda m, *_: uses.append(id(m)))
    net(torch.zeros(2, 1, 8, 8))
    # Two a level on the way down, two a level but the lowest on the way up.
    assert len(uses) == len(set(uses)) == 2 * 3 + 2 * 2


def test_slices_of_a_batch_do_not_influence_each_other():
    net = UNet((4, 8)).eval()
    images = torch.rand(3, 1, 8, 8)
    torch.testing.assert_close(net(images)[1:2], net(images[1:2]))


@pytest.mark.parametrize('form', [FORMAT, REFINEMENT, SECOND_GLANCE])
@pytest.mark.parametrize('n', [1, *(pytest.param(n, marks=pytest.mark.slow) for n in (5, 32))])
def test_number_of_threads_changes_no_bit(form, n):
    """As networks are run: some processors' convolutions split their sums among threads."""
    net = folded(load_weights(SHIPPED[form](), 'cpu', form).net)
    images = torch.randn(n, net.in_channels, 64, 48, generator=torch.manual_seed(1))
    before, outputs = torch.get_num_threads(), []

    def run(part):
        with torch.no_grad():
            outputs[-1][part] = net(images[part])

    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            outputs.append(torch.full((n, net.n_classes, 64, 48), torch.nan))
            each_batch(run, n, 'cpu', 8)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(outputs[0], other) for other in outputs[1:])


def test_architecture_rebuilds_the_network():
    net = UNet((3, 5, 7))
    values = {k: v for k, v in net.architecture.items() if k != 'name'}
    again = UNet(**values)
    again.load_state_dict(net.state_dict())


def test_one_level_is_refused():
    with pytest.raises(ValueError, match='two levels'):
        UNet((4,))
