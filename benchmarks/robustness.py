"""Where the first glance holds, and where it does not: a grid of scanners over unseen animals.

``python benchmarks/robustness.py --atlas SIGMA_FOLDER [--weights FILE] [--animals 12]``

Every cell scans the same animals, of unseen shape, with one thing changed at a time and then two;
its figure is the mean brain Dice of whole heads over animals, and the least.

``python benchmarks/robustness.py --eyes 8 [--tables 0]``

Eyes: simulated heads of the size of a mouse (b0 contrast, SNR 20), with eyes as far from the
olfactory bulb as a rat's, or touching it, and as bright as grey matter or more. The share of the
eyes' voxels that lies in the brain mask of the default method, Dice and confidence of the mask.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from secondglance.data import atlas_path, donor_paths
from secondglance.imaging.metrics import dice
from secondglance.imaging.species import BRAIN_SIZE
from secondglance.models.donors import read_donors
from secondglance.models.pose import estimate_pose
from secondglance.models.segment import find_brain
from secondglance.models.training.evaluation import score
from secondglance.models.weights import (
    REFINEMENT,
    default_refinement,
    default_weights,
    load_weights,
)
from secondglance.simulation.animal import cut_through, draw_animal
from secondglance.simulation.atlas import read_atlas, read_maps
from secondglance.simulation.contrast import CONTRASTS
from secondglance.simulation.diffusion import SIGNAL_B0
from secondglance.simulation.head_slices import render_as
from secondglance.simulation.head_volume import EYE_MM, simulate_head
from secondglance.simulation.scanner import add_rician_noise, bias_field

SNRS = (5, 10, 20, 40)
BIASES = (0.0, 0.2, 0.4, 0.6)
SIZES = (0.8, 0.9, 1.0, 1.1, 1.2)
VOXELS = (0.15, 0.3, 0.45, 0.6)
APART_MM = 0.75
EYES = {
    'touching': {'eye': (5.0, 11.2, 0.5, 2.6), 'lens': (5.5, 11.6, 0.5, 1.6)},
    "as far as a rat's": EYE_MM,
}
"""Where eyes are, in mm of a rat, as of `EYE_MM`: 2.4 or 5 mm from the middle to their edge."""

LEVELS = (1.0, 1.8, 3.0)
"""Brightness of the eyes beside that of grey matter."""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--atlas', type=Path, default=atlas_path())
    parser.add_argument('--weights', type=Path, default=default_weights())
    parser.add_argument('--animals', type=int, default=6)
    parser.add_argument('--eyes', type=int, metavar='N', help='heads with eyes, and no table')
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    if args.eyes:
        judge_eyes(args)
        return
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


def judge_eyes(args):
    """Print how much of the eyes of simulated mice is taken for brain."""
    model = load_weights(args.weights)
    refinement = load_weights(default_refinement(), form=REFINEMENT)
    donors = read_donors(model, donor_paths())
    maps, maps_affine = read_maps(args.atlas)
    # A rat's head, made smaller with its voxels
    shape = (80, 80, 48)
    affine = np.diag([0.3, -0.75, -0.3, 1.0])[:, [0, 2, 1, 3]]
    print('| eyes | brightness | eyes in the mask | least, most | Dice | least | confidence |')
    print('| --- | --- | --- | --- | --- | --- | --- |')
    for name, eyes in EYES.items():
        for level in LEVELS:
            rows = []
            for number in range(args.eyes):
                rng = np.random.default_rng([number, 31])
                head = simulate_head(maps, maps_affine, rng, affine, shape, eyes=eyes)
                signal = SIGNAL_B0 | {'eye': level * SIGNAL_B0['GM']}
                image = sum(signal[part] * share for part, share in head.fractions.items())
                image = torch.from_numpy(np.float32(image * bias_field(shape, rng, 0.25)))
                image = add_rician_noise(image, SIGNAL_B0['GM'] / 20, rng).numpy()
                small = np.diag([*[BRAIN_SIZE['mouse']] * 3, 1.0]) @ affine
                pose = estimate_pose(model, image, small)
                grid = pose.grid(shape, small)
                found = find_brain(model, refinement, pose.stack(grid, image), donors)
                mask = grid.to_native(found.brain.mask) >= 0.5
                ball = head.fractions['eye'] + head.fractions['lens'] > 0.5
                rows.append(
                    (mask[ball].mean(), dice(mask, head.brain_mask), found.brain.confidence)
                )
            inside, overlap, sure = np.array(rows).T
            print(
                f'| {name} | {level:g} | {inside.mean():.3f} | {inside.min():.3f}, '
                f'{inside.max():.3f} | {overlap.mean():.3f} | {overlap.min():.3f} | '
                f'{sure.mean():.2f} |',
                flush=True,
            )


if __name__ == '__main__':
    main()
