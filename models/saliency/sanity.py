"""Sanity checks of saliency: does it depend on the weights, and does the network need it?

A map that stays the same when the weights are randomised shows the image, not the network (Adebayo
et al., *Sanity checks for saliency maps*, NeurIPS 2018); guided backpropagation is known for this
(Nie et al., ICML 2018). The checks also measure what matters here: how well the map places a mask.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import integrate, ndimage
from torch import nn

from secondglance.imaging.enhancement import enhance
from secondglance.imaging.intensity import head_mask, normalise_slices
from secondglance.imaging.labels import TISSUES
from secondglance.imaging.map_similarity import rank_correlation, ssim
from secondglance.imaging.metrics import dice
from secondglance.imaging.placement.donors import Donor, place_from_bank, place_stack
from secondglance.imaging.pose import HeadStack
from secondglance.models.inference import predict
from secondglance.models.saliency.attribution import saliency_stack
from secondglance.models.unet import UNet
from secondglance.models.weights import LoadedModel

CHANGED_SHARES = np.linspace(0, 1, 11)
"""Of the pixels of a slice that are deleted, or inserted."""


BLUR_PX = 6.0
"""Width of the blur that replaces deleted pixels, so that no new edge appears."""


N_RANDOM = 3
"""Number of random networks; their placement is compared with that of the trained one."""


CURVES = ('deletion', 'insertion')
"""What is done to the pixels, in order."""


ORDERS = ('saliency', 'edges', 'chance')
"""What the order of the pixels follows."""


N_CURVE_SLICES = 12
"""Slices with the largest brains, in which pixels are deleted and inserted."""


@dataclass
class Sanity:
    """What the checks found.

    Attributes
    ----------
    rows : list of dict
        A row a map: ``test``, ``what``, ``rank_correlation`` and ``ssim`` to the map of the
        trained network (means over slices with brain), and ``placed_dice``, the Dice of the mask
        that it places with the brain (NaN where no mask was placed).
    curves : dict of (11,) arrays
        ``deletion`` and ``insertion`` by ``saliency``, ``edges`` and ``chance``: share of the
        tissue that is still found, at the shares of deleted or inserted pixels in
        `CHANGED_SHARES`.
    maps : dict of (N, H, W) arrays
        Those to be shown.
    """

    rows: list[dict] = field(default_factory=list)
    curves: dict[str, dict[str, NDArray]] = field(default_factory=dict)
    maps: dict[str, NDArray] = field(default_factory=dict)

    def of(self, test: str, what: str | None = None) -> list[dict]:
        """Rows of a test."""
        return [r for r in self.rows if r['test'] == test and what in (None, r['what'])]

    def area(self, kind: str, by: str) -> float:
        """Area under a curve, in [0, 1]."""
        return float(integrate.trapezoid(self.curves[kind][by], CHANGED_SHARES))


def blocks(net: UNet) -> list[tuple[str, nn.Module]]:
    """Blocks of a network from its output to its input.

    Parameters
    ----------
    net : UNet

    Returns
    -------
    list of (str, torch.nn.Module)
        Name and block.
    """
    up = [(f'expanding {n}', net.expanding[n]) for n in reversed(range(len(net.expanding)))]
    down = [
        (f'contracting {n}', net.contracting[n]) for n in reversed(range(len(net.contracting)))
    ]
    return [('head', net.head), *up, *down]


def randomised(net: UNet, names: Sequence[str], seed: int = 0) -> UNet:
    """Copy a network with some blocks as they were before any training.

    Parameters
    ----------
    net : UNet
        It is left as it is.
    names : sequence of str
        Of `blocks`.
    seed : int
        The same seed gives the same weights.

    Returns
    -------
    UNet
    """
    other = copy.deepcopy(net)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, block in blocks(other):
            if name in names:
                for module in block.modules():
                    if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
                        module.reset_parameters()
    return other


def edge_maps(stack: NDArray) -> NDArray[np.float32]:
    """Sobel magnitude of each slice: what needs no network.

    Parameters
    ----------
    stack : (N, H, W) array
        In any unit.

    Returns
    -------
    (N, H, W) float32 array
        Of the normalised intensities; not negative.
    """
    images = normalise_slices(np.asarray(stack))
    return np.hypot(ndimage.sobel(images, axis=1), ndimage.sobel(images, axis=2))


def check_names(net: UNet) -> list[str]:
    """Name the steps of :func:`check`, in order; each takes about as long as any other.

    Parameters
    ----------
    net : UNet

    Returns
    -------
    list of str
    """
    return [
        'the trained network',
        *(f'randomised down to {name}' for name, _ in blocks(net)),
        *(f'random network {n + 1}' for n in range(N_RANDOM)),
        'controls',
        *(f'{kind} by {by}' for kind in CURVES for by in ORDERS),
    ]


def check(
    model: LoadedModel,
    subject: HeadStack,
    donors: Sequence[HeadStack],
    *,
    method: str = 'guided',
    target: str = 'brain',
    device: str = 'cpu',
    seed: int = 0,
    progress: Callable[[str], object] = lambda step: None,
) -> Sanity:
    """Randomise the weights, and measure how the saliency of a head changes.

    Parameters
    ----------
    model : LoadedModel
    subject : HeadStack
    donors : sequence of HeadStack
        The one that the trained network's saliency takes is used throughout.
    method, target, device : str
        As of `secondglance.models.saliency.attribution.saliency_stack`.
    seed : int
        Of the random weights.
    progress : callable
        Called with the name of each step as it begins, in the order of :func:`check_names`.

    Returns
    -------
    Sanity
    """

    progress('the trained network')
    comparison = _Comparison(model, subject, donors, method, target, device)
    comparison.record(
        'trained', 'as it is', comparison.maps, comparison.look(model.net, comparison.donor)
    )
    _randomise(comparison, seed, progress)
    progress('controls')
    rng = np.random.default_rng(seed)
    heads = (subject, comparison.donor)
    comparison.record('control', 'edges', *(edge_maps(head.images) for head in heads))
    comparison.record('control', 'chance', *(rng.normal(size=h.images.shape) for h in heads))
    for name in TISSUES:
        if name != target:
            comparison.record('other class', name, comparison.look(model.net, target=name))
    comparison.draw_curves(rng, progress)
    return comparison.found


class _Comparison:
    """Compares maps of a head with that of the trained network."""

    def __init__(
        self,
        model: LoadedModel,
        subject: HeadStack,
        donors: Sequence[HeadStack],
        method: str,
        target: str,
        device: str,
    ) -> None:
        self.model, self.subject = model, subject
        self.target, self.method, self.device = target, method, device
        self.maps, self.first = self._attribute(model.net, subject, target)
        self.inside = head_mask(subject.images)
        bank = [_as_donor(self._attribute(model.net, donor, target)[0], donor) for donor in donors]
        enhanced = enhance(self.maps, self.inside)
        self.donor = donors[place_from_bank(enhanced, subject.positions, bank).match.index]
        self.with_brain = subject.brain.any(axis=(1, 2))
        self.found = Sanity(maps={'trained': self.maps, 'edges': edge_maps(subject.images)})

    def _attribute(self, net: UNet, head: HeadStack, target: str) -> tuple[NDArray, NDArray]:
        model = replace(self.model, net=net)
        return saliency_stack(model, head.images, target, self.method, self.device)

    def look(self, net: UNet, head: HeadStack | None = None, target: str = '') -> NDArray:
        """Saliency map of a head, by default the subject's, under a network."""
        return self._attribute(net, head or self.subject, target or self.target)[0]

    def record(
        self, test: str, what: str, other: NDArray, donor_map: NDArray | None = None
    ) -> None:
        """Add the row of a map, and of the mask that it places with the donor's map."""
        row = {
            'test': test,
            'what': what,
            'rank_correlation': _mean(rank_correlation(self.maps, other)[self.with_brain]),
            'ssim': _mean(ssim(self.maps, other)[self.with_brain]),
            'placed_dice': float('nan'),
        }
        if donor_map is not None:
            as_donor = _as_donor(donor_map, self.donor)
            placed = place_stack(enhance(other, self.inside), self.subject.positions, as_donor)
            row['placed_dice'] = dice(placed.mask, self.subject.brain)
        self.found.rows.append(row)

    def draw_curves(self, rng: np.random.Generator, progress: Callable[[str], object]) -> None:
        """Delete and insert pixels of the slices with the largest brains."""
        images = self.subject.images
        chosen = np.sort(np.argsort(-self.subject.brain.sum(axis=(1, 2)))[:N_CURVE_SLICES])
        orders = {
            'saliency': np.abs(self.maps[chosen]),
            'edges': edge_maps(images)[chosen],
            'chance': rng.random(self.maps[chosen].shape),
        }
        for kind in CURVES:
            curves = self.found.curves.setdefault(kind, {})
            for by in ORDERS:
                progress(f'{kind} by {by}')
                curves[by] = change_curve(
                    self.model, images[chosen], self.first[chosen], orders[by], kind, self.device
                )


def _randomise(comparison: _Comparison, seed: int, progress: Callable[[str], object]) -> None:
    """Randomise the network from its output to its input, block by block, and as a whole."""
    trained, look = comparison.model.net, comparison.look
    gone: list[str] = []
    for name, _ in blocks(trained):
        progress(f'randomised down to {name}')
        gone.append(name)
        net = randomised(trained, gone, seed)
        other = look(net)
        comparison.record('cascade', name, other, look(net, comparison.donor))
        if name == 'head':
            comparison.found.maps['head randomised'] = other
        comparison.record('single block', name, look(randomised(trained, [name], seed)))
    comparison.found.maps['all randomised'] = other
    # One draw may be lucky, or not
    for n in range(N_RANDOM):
        progress(f'random network {n + 1}')
        net = randomised(trained, gone, seed + n)
        maps = look(net), look(net, comparison.donor)
        comparison.record('random network', f'seed {seed + n}', *maps)


def _as_donor(maps: NDArray, donor: HeadStack) -> Donor:
    return Donor(enhance(maps, head_mask(donor.images)), donor.brain, donor.positions)


def change_curve(
    model: LoadedModel,
    stack: NDArray,
    first: NDArray,
    order: NDArray,
    kind: str,
    device: str,
) -> NDArray[np.float64]:
    """Share of the tissue that is still found as pixels are deleted or inserted, in order."""
    blurred = ndimage.gaussian_filter(stack, (0, BLUR_PX, BLUR_PX))
    tissue = 1 - first[:, 0]
    inside = tissue >= 0.5
    whole = max(float(tissue[inside].sum()), 1e-12)
    n, pixels = len(order), order[0].size
    rank = np.argsort(np.argsort(-order.reshape(n, -1), axis=1), axis=1).reshape(order.shape)
    curve = []
    for chosen in _chosen(rank, pixels):
        keep = ~chosen if kind == 'deletion' else chosen
        left = 1 - predict(model, np.where(keep, stack, blurred), device)[:, 0]
        curve.append(float(left[inside].sum()) / whole)
    return np.array(curve)


def _chosen(rank: NDArray, pixels: int) -> Iterator[NDArray[np.bool_]]:
    for share in CHANGED_SHARES:
        yield rank < round(share * pixels)


def _mean(values: NDArray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float('nan')


@dataclass(frozen=True)
class Verdict:
    """One question, its answer and the evidence."""

    question: str
    passed: bool
    words: str


LIKE = 0.5
"""Rank correlation from which two maps count as alike."""


BETTER = 0.01
"""Dice by which a mask must lie better for one map to place better than another."""


def verdicts(found: Sanity) -> list[Verdict]:
    """Turn the results into verdicts.

    Parameters
    ----------
    found : Sanity

    Returns
    -------
    list of Verdict
    """
    (trained,) = found.of('trained')
    cascade = found.of('cascade')
    everything = cascade[-1]
    (edge,), (chance,) = found.of('control', 'edges'), found.of('control', 'chance')
    out = []

    n_left = sum(row['rank_correlation'] >= LIKE for row in cascade)
    out.append(
        Verdict(
            'Does the map depend on what the network has learnt?',
            n_left <= len(cascade) // 2,
            f'With all weights random its rank correlation to the trained one is '
            f'{everything["rank_correlation"]:.2f} (SSIM {everything["ssim"]:.2f}); '
            f'{n_left} of {len(cascade)} blocks, from the output on, could be randomised before '
            f'it fell below {LIKE}.',
        )
    )
    out.append(
        Verdict(
            'Is it more than the edges of the image?',
            edge['rank_correlation'] < LIKE,
            f'Its rank correlation to the Sobel edges is {edge["rank_correlation"]:.2f} '
            f'(SSIM {edge["ssim"]:.2f}).',
        )
    )
    random = max(found.of('random network'), key=lambda row: row['placed_dice'])
    better = [
        trained['placed_dice'] > row['placed_dice'] + BETTER for row in (edge, random, chance)
    ]
    out.append(
        Verdict(
            'Does it place a mask better than controls that know nothing of brains?',
            all(better),
            f'Dice of the placed mask: {trained["placed_dice"]:.3f} by the trained network, '
            f'{edge["placed_dice"]:.3f} by edges, {random["placed_dice"]:.3f} by the best of '
            f'{N_RANDOM} random networks, {chance["placed_dice"]:.3f} by noise; '
            f'{cascade[-2]["placed_dice"]:.3f} if '
            f'only {cascade[-1]["what"]} is trained.',
        )
    )
    others = found.of('other class')
    alike = _mean(np.array([row['rank_correlation'] for row in others]))
    out.append(
        Verdict(
            'Does it tell one class from another?',
            alike < 0.9,
            'Mean rank correlation to the maps of '
            f'{", ".join(row["what"] for row in others)}: {alike:.2f}.',
        )
    )
    faithful = found.area('deletion', 'saliency') < found.area('deletion', 'chance') and (
        found.area('insertion', 'saliency') > found.area('insertion', 'chance')
    )
    out.append(
        Verdict(
            'Do the pixels that it marks matter to the network?',
            faithful,
            'Tissue still found, mean over shares of deleted pixels: '
            f'{found.area("deletion", "saliency"):.2f} in order of saliency, '
            f'{found.area("deletion", "edges"):.2f} of edges, '
            f'{found.area("deletion", "chance"):.2f} by chance; of inserted ones '
            f'{found.area("insertion", "saliency"):.2f}, {found.area("insertion", "edges"):.2f} '
            f'and {found.area("insertion", "chance"):.2f}.',
        )
    )
    return out
