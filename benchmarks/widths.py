"""What a wider or deeper network is worth, for its time.

``python benchmarks/widths.py --work DIR [--steps 800] [--atlas FOLDER]``

Each network learns from the same animals, batches and schedule (`--recipe robust`, cut short), and
is judged by the same test animals: Dice of whole heads and inside the true mask; milliseconds that
a slice of 96 × 96 takes on one core, the median of five, and beside those of the one that ships,
measured right after.
Trainings that were done are not repeated.
"""

import argparse
import json
import logging
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from secondglance.data import atlas_path
from secondglance.models.training.recipes import RECIPES
from secondglance.models.training.segmentation import train_segmentation
from secondglance.models.unet import UNet
from secondglance.simulation.atlas import read_atlas

SIZES = {
    'four levels': (16, 32, 64, 128),
    'half as wide': (8, 16, 32, 64, 96),
    'as it ships': (16, 32, 64, 128, 192),
    'half as wide again': (24, 48, 96, 192, 288),
}
N_SLICES = 16


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--work', type=Path, required=True, help='weights of every run')
    parser.add_argument('--steps', type=int, default=800)
    parser.add_argument('--animals', type=int, default=36)
    parser.add_argument('--seed', type=int, default=2)
    parser.add_argument('--atlas', type=Path, default=atlas_path())
    parser.add_argument('--size', nargs='+', choices=SIZES, default=list(SIZES))
    args = parser.parse_args()
    logging.getLogger('lightning.pytorch').setLevel(logging.WARNING)
    warnings.filterwarnings('ignore', module='lightning')
    atlas = read_atlas(args.atlas)
    args.work.mkdir(parents=True, exist_ok=True)
    print('network\tparameters\tms a slice\tratio\tbrain\tWM\tGM\tCSF (true mask)')
    for name in args.size:
        card = learn(name, atlas, args)
        whole, inside = (card['test_dice'][k] for k in ('whole head', 'true mask'))
        took, floor = (milliseconds(SIZES[size]) for size in (name, 'as it ships'))
        print(
            name,
            f'{card["parameters"] / 1e6:.2f} M',
            f'{took:.1f}',
            f'{took / floor:.2f}',
            f'{whole["brain"]["mean"]:.3f} ± {whole["brain"]["sd"]:.3f}',
            *(f'{inside[tissue]["mean"]:.3f}' for tissue in ('WM', 'GM', 'CSF')),
            sep='\t',
            flush=True,
        )


def learn(name, atlas, args):
    """Train one network, where that was not done, and give its card."""
    output = args.work / f'{name.replace(" ", "-")}-{args.steps}.safetensors'
    if not output.with_suffix('.json').exists():
        RECIPES[name] = replace(RECIPES['robust'], name=name, channels=SIZES[name])
        train_segmentation(
            atlas,
            output,
            recipe=name,
            steps=args.steps,
            seed=args.seed,
            n_animals=args.animals,
            checkpoint_every=args.steps,
        )
    return json.loads(output.with_suffix('.json').read_text())


def milliseconds(channels):
    """Time that one slice takes on one core."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    net = UNet(channels).eval().to(memory_format=torch.channels_last)
    slices = torch.zeros(N_SLICES, 1, 96, 96)
    took = []
    with torch.inference_mode():
        for _ in range(6):
            since = time.perf_counter()
            net(slices)
            took.append(time.perf_counter() - since)
    torch.set_num_threads(threads)
    return 1e3 * float(np.median(took[1:])) / N_SLICES


if __name__ == '__main__':
    main()
