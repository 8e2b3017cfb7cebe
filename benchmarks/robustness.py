"""Where the first glance holds, and where it does not: a grid of scanners over unseen animals.

``python benchmarks/robustness.py --atlas SIGMA_FOLDER [--weights FILE] [--animals 12]``

Every cell scans the same animals, of unseen shape, with one thing changed at a time and then two;
its figure is the mean brain Dice of whole heads over animals, and the least.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from secondglance.data import atlas_path
from secondglance.models.training.evaluation import score
from secondglance.models.weights import default_weights, load_weights
from secondglance.simulation.animal import cut_through, draw_animal
from secondglance.simulation.atlas import read_atlas
from secondglance.simulation.contrast import CONTRASTS
from secondglance.simulation.head_slices import render_as

SNRS = (5, 10, 20, 40)
BIASES = (0.0, 0.2, 0.4, 0.6)
SIZES = (0.8, 0.9, 1.0, 1.1, 1.2)
VOXELS = (0.15, 0.3, 0.45, 0.6)
APART_MM = 0.75


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--atlas', type=Path, default=atlas_path())
    parser.add_argument('--weights', type=Path, default=default_weights())
    parser.add_argument('--animals', type=int, default=6)
    args = parser.parse_args()
    model = load_weights(args.weights)
    atlas = read_atlas(args.atlas)
    side = 64 if model.spacing > 0.35 else 80
    drawn = {
        size: [
            # A stream of its own: no training ever drew these animals
            draw_animal(
                atlas, np.random.default_rng([n, 6]), model.spacing, side, scale_range=(size, size)
            )
            for n in range(args.animals)
        ]
        for size in SIZES
    }

    def cell(size=1.0, **scanner):
        dice = []
        for n, animal in enumerate(drawn[size]):
            maps, _ = cut_through(animal, APART_MM)
            rng = np.random.default_rng([n, 7])
            images, labels = render_as(maps, rng, model.spacing, **scanner)
            dice.append(score(model.net, images, labels)[3])
        return np.array(dice)

    def table(title, rows, columns, at):
        print(f'\n{title} (mean, least of {args.animals} animals)\n')
        print('| | ' + ' | '.join(map(str, columns)) + ' |')
        print('| --- |' + ' --- |' * len(columns))
        for row in rows:
            cells = [cell(**at(row, column)) for column in columns]
            print(
                f'| {row} | ' + ' | '.join(f'{c.mean():.3f}, {c.min():.3f}' for c in cells) + ' |'
            )

    torch.set_grad_enabled(False)
    table(
        'Contrast × signal-to-noise ratio',
        CONTRASTS,
        SNRS,
        lambda row, column: {'contrast': CONTRASTS[row], 'snr': column},
    )
    table(
        'Contrast × size of the animal',
        CONTRASTS,
        SIZES,
        lambda row, column: {'contrast': CONTRASTS[row], 'size': column},
    )
    table(
        'Bias field × voxel size in mm',
        BIASES,
        VOXELS,
        lambda row, column: {'bias': row, 'voxel': column},
    )
    table(
        'Signal-to-noise ratio × bias field',
        SNRS,
        BIASES,
        lambda row, column: {'snr': row, 'bias': column},
    )


if __name__ == '__main__':
    main()
