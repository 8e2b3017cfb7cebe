"""Dice of the brain where its outline is visible, and where it is hidden.

``python benchmarks/outlines.py [--animals 6] [--bids-dir RAT_EPI] [--weights FILE]``

Where what lies about the brain is as bright as the brain, no network sees where one ends. Slices
of simulated heads of unseen shape (b0, T2w and EPI contrast, SNR 20), and of real ones, are
grouped by the share of their outline that is hidden: inside and outside, over two pixels on each
side, differ there by less than 15 %. Of each group the brain Dice of the first glance, slice by
slice; the first and last 4 mm of a brain are left out. Last, how far wrong pixels lie from the
outline.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from secondglance.data import atlas_path
from secondglance.imaging.intensity import normalise_slices
from secondglance.imaging.metrics import dice
from secondglance.models.inference import predict
from secondglance.models.training.scans import read_labelled_scans
from secondglance.models.weights import default_weights, load_weights
from secondglance.simulation.animal import cut_through, draw_animal
from secondglance.simulation.atlas import read_atlas
from secondglance.simulation.contrast import CONTRASTS
from secondglance.simulation.head_slices import render_as

SHOWN = ('b0', 'T2w', 'EPI')
ALIKE = 0.15
SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 1.01)
ENDS_MM = 4.0
APART_MM = 0.75


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--animals', type=int, default=6)
    parser.add_argument('--atlas', type=Path, default=atlas_path())
    parser.add_argument('--bids-dir', type=Path, help='real heads as well')
    parser.add_argument('--suffix', default='sbref')
    parser.add_argument('--weights', type=Path, default=default_weights())
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    model = load_weights(args.weights)
    for kind, heads in (('simulated', simulated(args, model)), ('real', real(args, model))):
        rows, away = [], []
        for images, brain, positions in heads:
            found_brain = predict(model, images)[:, 0] < 0.5
            held = positions[brain.any(axis=(1, 2))]
            middle = (positions > held[0] + ENDS_MM) & (positions < held[-1] - ENDS_MM)
            for image, found, truth in zip(
                normalise_slices(images)[middle], found_brain[middle], brain[middle], strict=True
            ):
                rows.append((hidden_share(image, truth), dice(found, truth)))
                away.append(from_outline(truth)[found ^ truth])
        if rows:
            tell(kind, *np.array(rows).T, np.concatenate(away))


def simulated(args, model):
    """Give slices, brain and positions of heads of animals that taught no network."""
    atlas = read_atlas(args.atlas)
    for number in range(args.animals):
        # The animals of the grid of scanners
        rng = np.random.default_rng([number, 6])
        animal = draw_animal(atlas, rng, model.spacing, 80, scale_range=(1.0, 1.0))
        maps, centres = cut_through(animal, APART_MM)
        for contrast in (CONTRASTS[name] for name in SHOWN):
            images, labels = render_as(
                maps, np.random.default_rng([number, 7]), model.spacing, contrast=contrast
            )
            yield images[:, 0].numpy(), labels[:, 0].numpy() > 0, centres


def real(args, model):
    """Give the same of labelled scans."""
    if args.bids_dir:
        for one in read_labelled_scans(args.bids_dir, args.suffix, model.spacing):
            yield one.images, one.labels != 0, one.positions


def from_outline(brain):
    """Distance of every pixel to the other side of the outline, in pixels."""
    inside, outside = (ndimage.distance_transform_edt(side) for side in (brain, ~brain))
    return np.where(brain, inside, outside)


def hidden_share(image, brain):
    """Share of a brain's outline where the image is alike on both sides."""
    away = from_outline(brain)
    near = (away > 1) & (away <= 3)
    inside, outside = (local_mean(image, near & side) for side in (brain, ~brain))
    brighter = np.maximum(np.maximum(inside, outside), 1e-3)
    rim = brain & (away <= 1)
    return float((np.abs(inside - outside) / brighter < ALIKE)[rim].mean())


def local_mean(image, where):
    """Mean of some pixels about each."""
    weight = ndimage.gaussian_filter(where.astype(float), 1.5)
    return ndimage.gaussian_filter(image * where, 1.5) / np.maximum(weight, 1e-6)


def tell(kind, hidden, found, away):
    """Print a table."""
    print(f'\n{kind}: {len(found)} slices, mean {found.mean():.3f}\n')
    print('| outline hidden | slices | mean Dice | median |')
    print('| --- | --- | --- | --- |')
    for low, high in itertools.pairwise(SHARES):
        group = found[(hidden >= low) & (hidden < high)]
        if len(group):
            name = f'{low:.0%} to {min(high, 1):.0%}'
            print(f'| {name} | {len(group)} | {group.mean():.3f} | {np.median(group):.3f} |')
    within = ', '.join(f'{(away <= d).mean():.0%} within {d}' for d in (1, 2, 3))
    print(f'\nwrong pixels: {within} pixels of the outline')


if __name__ == '__main__':
    main()
