"""Saliency against Captum, a network worked by hand, and networks that must be refused."""

import threading

import numpy as np
import pytest
import torch
from torch import nn

from secondglance.imaging.errors import InputError
from secondglance.imaging.labels import CLASSES
from secondglance.models.inference import predict
from secondglance.models.saliency.attribution import Smoothing, saliency, saliency_stack
from secondglance.models.saliency.methods.guided import GuidedReLU
from secondglance.models.unet import UNet
from secondglance.models.weights import LoadedModel

ORACLES = {
    'guided': 'GuidedBackprop',
    'deconvnet': 'Deconvolution',
    'gradient': 'Saliency',
    'input-x-gradient': 'InputXGradient',
    'integrated-gradients': 'IntegratedGradients',
}
"""Names in ``captum.attr``, which is slow to import."""
RULES = ('guided', 'deconvnet', 'gradient')

STEPS = 32
"""Of integrated gradients, where nothing else is asked for."""


def lively(net: nn.Module, seed: int = 0) -> nn.Module:
    """Give batch normalisation statistics and slopes, and every tissue some evidence for it."""
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
            with torch.no_grad():
                module.weight.normal_(0, 1, generator=generator)
                module.bias.normal_(0, 0.3, generator=generator)
    # Tissues with logits that no feature raises would have a guided map of zeros: nothing to
    # compare.
    with torch.no_grad():
        net.head.weight.abs_()
        net.head.weight[:, ::2] *= -0.3
    return net.eval()


def plain() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 4, 1),
    )


def model_of(net: UNet) -> LoadedModel:
    return LoadedModel(net, 0.375, CLASSES, '', '', {})


ARCHITECTURES = {
    'two levels': lambda: UNet((6, 8)),
    'three levels': lambda: UNet((6, 7, 9)),
    'four levels': lambda: UNet((8, 10, 12, 14)),
    'no pooling': plain,
    'of MONAI': lambda: monai_unet(),
}

EACH_ARCHITECTURE = [
    # MONAI takes a second to import
    pytest.param(name, marks=[pytest.mark.slow] if 'MONAI' in name else [])
    for name in ARCHITECTURES
]


def monai_unet() -> nn.Module:
    from monai.networks.nets import BasicUNet

    features = (4, 4, 6, 6, 8, 4)
    act = ('relu', {'inplace': False})
    net = BasicUNet(2, 1, 4, features, act=act, norm=('batch', {'affine': True}))
    with torch.no_grad():
        net.final_conv.weight.abs_()
        net.final_conv.weight[:, ::2] *= -0.3
    return net


def case(architecture, size):
    torch.manual_seed(2)
    net = ARCHITECTURES[architecture]()
    net = (lively(net) if isinstance(net, UNet) else net.eval()).double()
    b, h, w = size
    return net, torch.randn(b, 1, h, w, dtype=torch.float64)


def difference_to_captum(found, net, images, target, method, region=None, steps=STEPS):
    """Return the largest difference, as a share of the largest value."""
    import captum.attr

    channels = [1, 2, 3] if target == 'brain' else [CLASSES.index(target)]
    # Captum explains one number a slice; slices do not see each other in evaluation mode.
    oracle = getattr(captum.attr, ORACLES[method])(Summed(net, channels, region))
    more = {
        'gradient': {'abs': False},
        'integrated-gradients': {'n_steps': steps, 'method': 'gausslegendre'},
    }.get(method, {})
    expected = oracle.attribute(images.clone().requires_grad_(True), target=0, **more)[:, 0]
    assert expected.abs().max() > 0
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize(
    ('target', 'size'),
    [('brain', (1, 16, 16)), *((target, (2, 16, 32)) for target in ('brain', 'WM', 'GM', 'CSF'))],
)
@pytest.mark.parametrize('method', ORACLES)
@pytest.mark.parametrize('architecture', EACH_ARCHITECTURE)
def test_map_equals_captum(architecture, method, target, size):
    net, images = case(architecture, size)
    found, logits = saliency(net, images, target, method, steps=8)
    assert difference_to_captum(found, net, images, target, method, steps=8) <= 1e-5
    torch.testing.assert_close(logits, net(images))


@pytest.mark.parametrize('method', ORACLES)
def test_map_of_a_region_and_of_a_voxel_equals_captum(method):
    net, images = case('three levels', (2, 24, 32))
    region = torch.zeros(2, 24, 32)
    region[0, 5:12, 8:20] = 1
    region[1, 11, 17] = 1
    found, _ = saliency(net, images, 'brain', method, region=region)
    assert difference_to_captum(found, net, images, 'brain', method, region) <= 1e-5


class Zeros(GuidedReLU):
    @staticmethod
    def backward(ctx, *arriving):
        return torch.zeros_like(arriving[0])


class Flipped(GuidedReLU):
    @staticmethod
    def backward(ctx, *arriving):
        return GuidedReLU.backward(ctx, -arriving[0])


class Unguided(GuidedReLU):
    @staticmethod
    def backward(ctx, *arriving):
        return arriving[0] * (ctx.saved_tensors[0] > 0)


@pytest.mark.parametrize('wrong', [Zeros, Flipped, Unguided])
@pytest.mark.parametrize('architecture', EACH_ARCHITECTURE)
def test_a_wrong_rule_is_noticed(architecture, wrong, monkeypatch):
    from secondglance.models.saliency.methods import guided

    monkeypatch.setattr(guided, 'RECTIFIER', wrong)
    net, images = case(architecture, (1, 16, 16))
    found, _ = saliency(net, images)
    assert difference_to_captum(found, net, images, 'brain', 'guided') > 0.1


class Summed(nn.Module):
    """The target as one number a slice, (B, 1), which is what Captum wants."""

    def __init__(self, net, channels, region=None):
        super().__init__()
        self.net, self.channels, self.region = net, channels, region

    def forward(self, images):
        logits = self.net(images)[:, self.channels]
        if self.region is not None:
            # Integrated gradients come with all steps as one batch
            logits = logits * self.region.repeat(len(images) // len(self.region), 1, 1)[:, None]
        return logits.sum(dim=(1, 2, 3))[:, None]


def test_numbers_of_the_first_figure():
    # Springenberg et al. 2015, figure 1 b, which Matos et al. 2019 show again
    image = torch.tensor([[1.0, -1, 5], [2, -5, -7], [-3, 2, 4]])
    arriving = torch.tensor([[-2.0, 3, -1], [6, -3, 1], [2, -1, 3]])
    net = nn.Sequential(nn.ReLU(), Arriving(arriving))
    found = {m: saliency(net, image[None, None], 'WM', m)[0][0].tolist() for m in RULES}
    assert found == {
        'gradient': [[-2, 0, -1], [6, 0, 0], [0, -1, 3]],
        'deconvnet': [[0, 3, 0], [6, 0, 1], [2, 0, 3]],
        'guided': [[0, 0, 0], [6, 0, 0], [0, 0, 3]],
    }


class Arriving(nn.Module):
    """Logits with a given gradient."""

    def __init__(self, gradient):
        super().__init__()
        self.gradient = gradient

    def forward(self, features):
        return (self.gradient * features).expand(-1, 4, -1, -1)


def test_two_layers_worked_by_hand():
    # One pixel x = 2. Layer 1: a = relu(x), b = relu(-x), c = relu(3x). Layer 2, class WM:
    # relu(a + 5b - 1c + 7) = 2 + 0 - 6 + 7 = 3, open; its logit is 2 of it.
    # Arriving at layer 1: 2·(1, 5, -1) = (2, 10, -2). Open there: a, c.
    first, second, last = nn.Conv2d(1, 3, 1, bias=False), nn.Conv2d(3, 1, 1), nn.Conv2d(1, 4, 1)
    with torch.no_grad():
        first.weight[:, 0, 0, 0] = torch.tensor([1.0, -1.0, 3.0])
        second.weight[0, :, 0, 0] = torch.tensor([1.0, 5.0, -1.0])
        second.bias.fill_(7.0)
        last.weight.zero_()
        last.bias.zero_()
        last.weight[1] = 2.0
    net = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), last)
    image = torch.full((1, 1, 1, 1), 2.0)
    found = {m: float(saliency(net, image, 'WM', m)[0]) for m in RULES}
    # gradient: a·2·1 + c·(-2)·3; guided: c's arrives negative; deconvnet: a's and b's arrive.
    assert found == {'gradient': -4.0, 'guided': 2.0, 'deconvnet': 2.0 * 1 + 10.0 * -1}


def test_map_is_signed():
    torch.manual_seed(0)
    found, _ = saliency(lively(UNet((4, 8))), torch.rand(2, 1, 16, 16))
    assert found.min() < 0 < found.max()


def test_forward_runs_once():
    net = UNet((4, 8))
    calls = []
    net.head.register_forward_hook(lambda *_: calls.append(1))
    saliency(net, torch.rand(2, 1, 16, 16))
    assert len(calls) == 1


@pytest.mark.parametrize('context', [torch.no_grad, torch.inference_mode])
def test_works_where_the_caller_switched_gradients_off(context):
    net = UNet((4, 8)).requires_grad_(False)
    with context():
        found, _ = saliency(net, torch.rand(1, 1, 16, 16))
    assert found.abs().max() > 0


def state(net):
    return {
        'modules': [(name, id(module), module.training) for name, module in net.named_modules()],
        'parameters': [(n, id(p), p.requires_grad, p.grad) for n, p in net.named_parameters()],
        'values': [value.clone() for value in net.state_dict().values()],
        'hooks': [(len(m._forward_hooks), len(m._backward_hooks)) for m in net.modules()],
    }


def same(before, after):
    values = zip(before.pop('values'), after.pop('values'), strict=True)
    return before == after and all(torch.equal(a, b) for a, b in values)


@pytest.mark.parametrize('method', ORACLES)
def test_network_is_left_as_it_was(method):
    net = UNet((4, 8)).train()
    before = state(net)
    saliency(net, torch.rand(2, 1, 16, 16), 'brain', method)
    assert same(before, state(net))


@pytest.mark.parametrize('method', RULES)
def test_a_network_in_training_is_followed_as_in_evaluation(method):
    """Its normalisation is by the statistics that it learnt, not by those of the batch."""
    torch.manual_seed(0)
    net, images = lively(UNet((4, 8))), torch.rand(2, 1, 16, 16)
    expected = saliency(net, images, 'brain', method)
    found = saliency(net.train(), images, 'brain', method)
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize('method', ORACLES)
def test_network_is_left_as_it_was_after_a_failure(method):
    net = UNet((4, 8)).train()

    def fail(*_):
        raise RuntimeError('out of memory')

    handle = net.head.register_forward_hook(fail)
    before = state(net)
    with pytest.raises(RuntimeError, match='out of memory'):
        saliency(net, torch.rand(2, 1, 16, 16), 'brain', method)
    assert same(before, state(net))
    handle.remove()
    torch.manual_seed(0)
    image = torch.rand(1, 1, 16, 16, requires_grad=True)
    net.eval()(image).sum().backward()
    plain_gradient, _ = saliency(net, image, 'brain', 'gradient')
    assert plain_gradient.shape == image.grad[:, 0].shape


@pytest.mark.slow
def test_threads_with_different_methods_do_not_disturb_each_other():
    torch.manual_seed(0)
    net = lively(UNet((4, 8, 8)))
    images = torch.rand(2, 1, 16, 16)
    alone = {method: saliency(net, images, 'brain', method)[0] for method in ORACLES}
    assert not torch.allclose(alone['guided'], alone['gradient'])
    wrong = []

    def work(method):
        for _ in range(5):
            if not torch.allclose(saliency(net, images, 'brain', method)[0], alone[method]):
                wrong.append(method)

    threads = [threading.Thread(target=work, args=(m,)) for m in ORACLES for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_one_relu_module_used_twice_is_guided_twice():
    relu = nn.ReLU()
    torch.manual_seed(3)
    twice = nn.Sequential(nn.Conv2d(1, 4, 3), relu, nn.Conv2d(4, 4, 3), relu, nn.Conv2d(4, 4, 1))
    apart = nn.Sequential(twice[0], nn.ReLU(), twice[2], nn.ReLU(), twice[4])
    images = torch.randn(1, 1, 12, 12)
    assert torch.equal(saliency(twice, images)[0], saliency(apart, images)[0])


class Functional(nn.Module):
    def __init__(self, function, extra=False):
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 1)
        self.relu = nn.ReLU()
        self.function, self.extra = function, extra

    def forward(self, images):
        features = self.first(images)
        return self.last(self.function(self.relu(features) if self.extra else features))


class Hidden(Functional):
    """Its ReLU is reached by a reference that is no child."""

    def __init__(self):
        super().__init__(None)
        hidden = self.relu
        self.function = lambda features: hidden(features)


REFUSED = {
    'no ReLU': (lambda: nn.Conv2d(1, 4, 1), 'no torch.nn.ReLU'),
    'another rectifier': (
        lambda: nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.PReLU()),
        'PReLU',
    ),
    'in place': (lambda: nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(inplace=True)), 'in-place'),
    'functional': (lambda: Functional(nn.functional.relu), 'function'),
    'functional beside a module': (lambda: Functional(torch.relu, extra=True), 'function'),
    'method': (lambda: Functional(lambda t: t.relu()), 'function'),
    'in-place method': (lambda: Functional(lambda t: t.relu_()), 'function'),
    'clamp': (lambda: Functional(lambda t: t.clamp(min=0)), 'function'),
    'clamp by place': (lambda: Functional(lambda t: torch.clamp(t, 0)), 'function'),
    'unused module': (lambda: Functional(lambda t: t), 'took part'),
    'reached around': (Hidden, 'function'),
}


@pytest.mark.parametrize('method', ['guided', 'deconvnet'])
@pytest.mark.parametrize('case', REFUSED)
def test_network_whose_relus_cannot_all_be_guided_is_refused(case, method):
    build, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        saliency(build(), torch.rand(1, 1, 8, 8), 'brain', method)


def test_plain_gradient_needs_no_relu():
    net = nn.Conv2d(1, 4, 1)
    found, _ = saliency(net, torch.rand(1, 1, 8, 8), 'GM', 'gradient')
    torch.testing.assert_close(found, net.weight[2, 0, 0, 0].detach().expand(1, 8, 8))


@pytest.mark.slow
def test_monai_unet_with_its_own_activation_is_refused_not_silently_plain():
    from monai.networks.nets import UNet as MonaiUNet

    net = MonaiUNet(2, 1, 4, (4, 8), (2,))
    with pytest.raises(InputError, match=r'no torch\.nn\.ReLU'):
        saliency(net, torch.rand(1, 1, 16, 16))


@pytest.mark.parametrize(('target', 'method'), [('bone', 'guided'), ('brain', 'lime')])
def test_unknown_names_are_refused(target, method):
    with pytest.raises(InputError, match='choose one of'):
        saliency(UNet((4, 8)), torch.rand(1, 1, 8, 8), target, method)


def test_stack_gives_maps_and_the_probabilities_of_predict():
    rng = np.random.default_rng(5)
    model = model_of(lively(UNet((4, 8, 8))))
    stack = rng.gamma(2.0, 300.0, (5, 17, 22)).astype(np.float32)
    maps, probabilities = saliency_stack(model, stack, batch_size=2)
    assert maps.shape == (5, 17, 22)
    assert np.abs(maps).max() > 0
    np.testing.assert_allclose(probabilities, predict(model, stack), atol=1e-6)
    whole, _ = saliency_stack(model, stack, batch_size=64)
    np.testing.assert_allclose(maps, whole, rtol=1e-4, atol=1e-5 * np.abs(whole).max())


@pytest.mark.parametrize('method', ORACLES)
def test_smoothed_map_is_the_mean_over_noisy_copies(method):
    net, images = case('two levels', (2, 16, 16))
    few = {'method': method, 'steps': 4}
    smoothing = Smoothing(3, noise=0.2, seed=7)
    found, logits = saliency(net, images, 'GM', **few, smoothing=smoothing)
    generator = torch.Generator().manual_seed(7)
    spread = 0.2 * (images.amax((1, 2, 3)) - images.amin((1, 2, 3)))[:, None, None, None]
    maps = [
        saliency(
            net,
            images + spread * torch.randn(1, 16, 16, generator=generator, dtype=torch.float64),
            'GM',
            **few,
        )[0]
        for _ in range(3)
    ]
    torch.testing.assert_close(found, torch.stack(maps).mean(0))
    assert not torch.allclose(found, saliency(net, images, 'GM', **few)[0])
    torch.testing.assert_close(logits, net(images))


def test_integrated_gradients_add_up_to_what_the_image_changed():
    net, images = case('three levels', (2, 16, 16))
    found, logits = saliency(net, images, 'WM', 'integrated-gradients', steps=64)
    black = net(torch.zeros_like(images)).detach()
    changed = (logits - black)[:, 1].sum(dim=(1, 2))
    torch.testing.assert_close(found.sum(dim=(1, 2)), changed, rtol=2e-2, atol=1e-3)


@pytest.mark.parametrize('options', [{}, {'smoothing': Smoothing(2)}])
def test_how_a_stack_is_cut_changes_nothing(options):
    model = model_of(lively(UNet((4, 8, 8))))
    stack = np.random.default_rng(8).gamma(2.0, 300.0, (5, 17, 22)).astype(np.float32)
    region = np.zeros(stack.shape)
    # Of each slice another one
    for n in range(5):
        region[n, 2 * n : 2 * n + 5, 6:11] = 1
    whole, _ = saliency_stack(model, stack, region=region, **options)
    parts, _ = saliency_stack(model, stack, region=region, batch_size=2, **options)
    assert np.abs(whole).max() > 0
    np.testing.assert_allclose(parts, whole, rtol=1e-4, atol=1e-5 * np.abs(whole).max())
