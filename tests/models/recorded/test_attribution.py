"""Saliency of small networks and its sanity checks, by numbers that were recorded."""

import numpy as np
import pytest
import torch

from secondglance.imaging.pose import HeadStack
from secondglance.models.saliency.attribution import Smoothing, saliency, saliency_stack
from secondglance.models.saliency.follower import Follower
from secondglance.models.saliency.methods import saliency_methods
from secondglance.models.saliency.rectifiers import calls, twin_of
from secondglance.models.saliency.sanity import (
    CURVES,
    ORDERS,
    Sanity,
    blocks,
    check,
    check_names,
    edge_maps,
    randomised,
    verdicts,
)
from secondglance.models.saliency.targets import TARGETS


@pytest.fixture(scope='module')
def images(head):
    return torch.from_numpy(head[0][1:4, None, 1:29, 1:33].astype(np.float32) / 150)


@pytest.mark.parametrize('method', saliency_methods())
def test_maps_of_methods(recorded, net, images, method):
    region = torch.from_numpy(np.random.default_rng(2).random((3, 28, 32))).float()
    found = {
        target: [part.numpy() for part in saliency(net, images, target, method, steps=4)]
        for target in ('brain', 'CSF')
    }
    smoothing = Smoothing(2, 0.3, 5)
    within = saliency(net, images, 'GM', method, region=region, smoothing=smoothing, steps=3)
    recorded({**found, 'within': [part.numpy() for part in within]}, tolerance=1e-4)


def test_noisy_copies(recorded, images):
    shown = {
        str(of): [copy.numpy() for copy in of.noisy(images)]
        for of in (Smoothing(2), Smoothing(1, 0.4, 7), Smoothing())
    }
    recorded(shown, tolerance=1e-4)


def test_maps_of_stacks(recorded, model, head):
    rng = np.random.default_rng(7)
    stack = np.full((3, 150, 151), 0.0)
    stack[:] = rng.rayleigh(3, stack.shape)
    stack[:, 20:50, 99:133] = head[0][:3]
    region = rng.random(stack.shape)
    recorded(
        {
            'whole': saliency_stack(model, head[0], batch_size=2),
            'window': saliency_stack(
                model, stack, 'WM', 'input-x-gradient', region=region, smoothing=Smoothing(1)
            ),
        },
        tolerance=1e-4,
    )


def test_followers(recorded, net, images):
    twin = twin_of(net, saliency_methods()['guided'].load().RECTIFIER)
    before = calls(twin)
    logits = twin(images)
    follow = Follower(net, None, 'brain', None)
    recorded(
        {
            'calls': [before, calls(twin), calls(net)],
            'logits': logits.numpy(),
            'channels': [Follower(net, None, target, None).channels for target in TARGETS],
            'followed': follow.logits(images).numpy(),
            'gradient': [part.numpy() for part in follow.gradient(images)],
        },
        tolerance=1e-4,
    )


def test_randomised_networks(recorded, net, images):
    names = [name for name, _ in blocks(net)]
    state = torch.get_rng_state()
    changed = {
        str(gone): [
            name
            for name, values in randomised(net, gone, 4).state_dict().items()
            if not torch.equal(values, net.state_dict()[name])
        ]
        for gone in (names[:1], names[1:3], names[3:])
    }
    recorded(
        {
            'names': names,
            'steps': check_names(net),
            'changed': changed,
            'same state': bool((state == torch.get_rng_state()).all()),
            'edges': edge_maps(images[:, 0].numpy()),
        }
    )


@pytest.fixture(scope='module')
def checked(small, head, other):
    """Sanity checks of a small head, and the steps as they were told."""

    def part(stack, brain):
        cut = np.s_[2:4, 3:27, 3:29]
        return HeadStack(stack[cut], np.arange(2.0), 0.3, brain[cut].astype(np.uint8))

    subject, *donors = part(*head), part(*other), part(*(one[:, ::-1] for one in head))
    steps = []
    found = check(small, subject, donors, method='gradient', target='GM', progress=steps.append)
    return found, steps


def test_sanity_checks(recorded, checked):
    found, steps = checked
    # Random weights are those of torch's own generator
    known = [row for row in found.rows if row['test'] in ('trained', 'control', 'other class')]
    recorded(
        {
            'steps': steps,
            'rows': known,
            'names': [[row['test'], row['what']] for row in found.rows],
            'placed': [row['what'] for row in found.rows if np.isfinite(row['placed_dice'])],
            'maps': sorted(found.maps),
            'trained': found.maps['trained'],
            'edges': found.maps['edges'],
        },
        tolerance=1e-3,
    )


def test_curves_of_changed_pixels(recorded, checked):
    found, _ = checked
    areas = {f'{kind} by {by}': found.area(kind, by) for kind in CURVES for by in ORDERS}
    # Pixels that are nearly as salient may change their order from machine to machine
    recorded({'curves': found.curves, 'areas': areas}, tolerance=1e-2)


def row(test, what, like, placed=0.5, alike=0.3):
    return {
        'test': test,
        'what': what,
        'rank_correlation': like,
        'ssim': alike,
        'placed_dice': placed,
    }


@pytest.mark.parametrize('better', [0.3, 0.005, -0.2])
@pytest.mark.parametrize('like', [0.2, 0.49, 0.5, 0.95])
def test_verdicts(recorded, like, better):
    names = [f'block {n}' for n in range(5)]
    rng = np.random.default_rng(1)
    curves = {
        kind: {by: np.sort(rng.random(11)) for by in ('saliency', 'edges', 'chance')}
        for kind in ('deletion', 'insertion')
    }
    curves['deletion']['saliency'] = curves['deletion']['chance'] * (1 - better)
    rows = [
        row('trained', 'as it is', 1.0, 0.6 + better),
        *(row('cascade', n, like + 0.02 - 0.02 * k, 0.1 * k) for k, n in enumerate(names)),
        *(row('random network', f'seed {n}', 0.1, 0.6 - 0.1 * n) for n in range(3)),
        row('control', 'edges', like, 0.55),
        row('control', 'chance', 0.0, 0.59),
        row('other class', 'WM', like),
        row('other class', 'CSF', like - 0.05),
        row('other class', 'GM', float('nan')),
    ]
    recorded({'verdicts': verdicts(Sanity(rows, curves, {}))})
