"""Saliency: what it costs, how it is distributed, and how far its enhancement's constants matter.

``python benchmarks/saliency.py speed [--repeats 20] [--device cuda]``
``python benchmarks/saliency.py distribution RAT_EPI_BIDS_FOLDER``
``python benchmarks/saliency.py constants RAT_EPI_BIDS_FOLDER``

*speed*: 40 slices of 64 × 64, each method beside the plain forward and input gradient of the same
network, written without our code (the floor); medians of interleaved repeats, in one process.
*distribution*: of the slices with brain of every volume, how many each of four distributions
describes best, and the distance to a log-normal. *constants*: Dice of the mask placed with other
peaks and widths of the enhancement than the paper's.
"""

import argparse
import time
from collections import Counter
from pathlib import Path
from statistics import median

import nibabel as nib
import numpy as np
import torch

from secondglance.imaging.enhancement import enhance
from secondglance.imaging.grids import slice_grid
from secondglance.imaging.intensity import head_mask
from secondglance.imaging.lognormality import lognormal_fit
from secondglance.imaging.metrics import dice
from secondglance.imaging.placement.donors import Donor, place_from_bank
from secondglance.models.choices import SALIENCY_METHODS
from secondglance.models.saliency.attribution import saliency, saliency_stack
from secondglance.models.weights import default_weights, load_weights

DONORS = {'02', '05', '10', '14'}
PEAKS = (1.0, 1.5, 2.0, 2.5, 3.0)
WIDTHS = (0.25, 0.5, 1.0, 2.0)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('what', choices=('speed', 'distribution', 'constants'))
    parser.add_argument('root', type=Path, nargs='?')
    parser.add_argument('--weights', type=Path, default=default_weights())
    parser.add_argument('--repeats', type=int, default=20)
    parser.add_argument('--device', default='cpu')
    args = parser.parse_args()
    model = load_weights(args.weights, args.device)
    {'speed': speed, 'distribution': distribution, 'constants': constants}[args.what](model, args)


def speed(model, args):
    """Print times and ratios."""
    net = model.net.to(args.device)
    images = torch.rand(40, 1, 64, 64, device=args.device)

    def plain():
        source = images.clone().requires_grad_(True)
        logits = net(source)
        return torch.autograd.grad(logits[:, 1:].sum(), source)

    def forward():
        with torch.no_grad():
            return net(images)

    calls = {'plain forward and gradient': plain, 'forward alone': forward}
    for method in SALIENCY_METHODS:
        calls[method] = lambda method=method: saliency(net, images, 'brain', method)
    times = {name: [] for name in calls}
    repeats = dict.fromkeys(calls, args.repeats) | {
        'integrated-gradients': max(1, args.repeats // 5)
    }
    for n in range(args.repeats + 1):
        for name, call in calls.items():
            if n > repeats[name]:
                continue
            start = time.perf_counter()
            call()
            if args.device.startswith('cuda'):
                torch.cuda.synchronize()
            if n:  # the first warms up
                times[name].append(time.perf_counter() - start)
    floor = median(times['plain forward and gradient'])
    print(f'{torch.get_num_threads()} threads, {args.device}\n')
    print('| 40 slices of 64 × 64 | ms | ratio to the plain gradient |')
    print('| --- | --- | --- |')
    for name, taken in times.items():
        print(f'| {name} | {1000 * median(taken):.1f} | {median(taken) / floor:.2f} |')


def heads(model, args):
    """Yield name, grid, saliency, head and brain of every labelled volume."""
    for path in sorted((args.root / 'derivatives/reference').rglob('*_desc-brain_mask.nii.gz')):
        name = path.name.replace('_desc-brain_mask.nii.gz', '')
        image = nib.load(args.root / f'sub-{name[4:6]}/func/{name}_sbref.nii.gz')
        grid = slice_grid(image.shape, image.affine, model.spacing)
        stack = grid.to_stack(image.get_fdata(dtype=np.float32))
        maps, _ = saliency_stack(model, stack, device=args.device)
        yield name, grid, maps, head_mask(stack), np.asarray(nib.load(path).dataobj) > 0


def distribution(model, args):
    """Print what describes the magnitude of saliency best."""
    best, rows = Counter(), []
    for _, grid, maps, _, brain in heads(model, args):
        with_brain = grid.to_stack(brain).any(axis=(1, 2))
        fit = lognormal_fit(maps[with_brain])
        best.update(fit.best())
        gaps = [np.mean(fit.aic[other] - fit.aic['lognormal']) for other in list(fit.aic)[1:]]
        rows.append((fit.ks_distance.mean(), fit.anderson_darling.mean(), *gaps))
    rows = np.array(rows)
    print(f'{len(rows)} volumes, {sum(best.values())} slices with brain; best by AIC:', dict(best))
    print('| | mean over volumes | sd |\n| --- | --- | --- |')
    titles = ('Kolmogorov-Smirnov distance', 'Anderson-Darling statistic')
    titles += tuple(
        f'AIC a pixel, {other} − log-normal' for other in ('gamma', 'Weibull', 'half-normal')
    )
    for title, values in zip(titles, rows.T, strict=True):
        print(f'| {title} | {values.mean():.3f} | {values.std(ddof=1):.3f} |')


def constants(model, args):
    """Print the Dice of placed masks, by peak and width."""
    drawn = list(heads(model, args))
    print('| peak \\ width | ' + ' | '.join(map(str, WIDTHS)) + ' |')
    print('| --- |' + ' --- |' * len(WIDTHS))
    for peak in PEAKS:
        cells = []
        for width in WIDTHS:
            donors = {
                name: Donor(
                    enhance(maps, head, peak=peak, width=width),
                    grid.to_stack(brain) >= 0.5,
                    grid.positions,
                )
                for name, grid, maps, head, brain in drawn
                if name[4:6] in DONORS and 'run-1' in name
            }
            scored = []
            for name, grid, maps, head, brain in drawn:
                others = [d for n, d in donors.items() if n[4:6] != name[4:6]]
                enhanced = enhance(maps, head, peak=peak, width=width)
                placed = place_from_bank(enhanced, grid.positions, others)
                mask = grid.to_native(placed.mask.astype(np.float32)) >= 0.5
                scored.append(dice(mask, brain))
            cells.append(f'{np.mean(scored):.3f}, {np.min(scored):.3f}')
        print(f'| {peak} | ' + ' | '.join(cells) + ' |')


if __name__ == '__main__':
    main()
