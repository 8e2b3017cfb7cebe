"""The experiment of the paper, on simulated animals: its two tables beside ours.

``python benchmarks/paper.py --work DIR [--atlas SIGMA_FOLDER] [--steps 20000]``

144 simulated animals are split by animal as Matos et al. 2019 split theirs (80 % / 20 %, and the
80 again 80 % / 20 %). A network is trained by the paper's recipe on background-free slices of the
first part; every animal of the last part is then scanned as a whole head, and segmented without a
mask, with a donor's mask placed by the cross-correlation of saliency, and with the true mask.
Donors are animals trained on. The paper's scans are one protocol of one scanner, so are these.
Below stands what the weights that ship make of those test animals that they never saw; with
``--shipped`` that alone.
"""

import argparse
import logging
import warnings
from pathlib import Path

import numpy as np
import torch

from secondglance.data import atlas_path, donor_paths
from secondglance.imaging.metrics import scores
from secondglance.imaging.placement.donors import place_from_bank
from secondglance.imaging.pose import HeadStack
from secondglance.models.donors import read_donors
from secondglance.models.inference import predict
from secondglance.models.segment import find_brain, first_glance, prepare_donor
from secondglance.models.training.segmentation import train
from secondglance.models.training.split import animal_rng, split_animals
from secondglance.models.weights import (
    REFINEMENT,
    default_refinement,
    default_weights,
    load_weights,
)
from secondglance.simulation.animal import cut_through, draw_animal
from secondglance.simulation.atlas import read_atlas
from secondglance.simulation.head_slices import render_as

N_ANIMALS = 144
APART_MM = 0.5
SHIPPED_SAW = 36
SCORES = ('accuracy', 'precision', 'sensitivity', 'dsc')
PAPERS = {
    'placed mask': {'WM': 86.05, 'GM': 76.76, 'CSF': 60.15, 'brain': 99.12},
    'mask by hand': {'WM': 91.05, 'GM': 84.65, 'CSF': 77.61},
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--atlas', type=Path, default=atlas_path())
    parser.add_argument(
        '--work', type=Path, required=True, help='weights, and what to resume from'
    )
    parser.add_argument('--steps', type=int, default=20000)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--donors', type=int, default=8)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--shipped', action='store_true', help='only the weights that ship')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    logging.getLogger('lightning.pytorch').setLevel(logging.WARNING)
    warnings.filterwarnings('ignore', module='lightning')
    atlas = read_atlas(args.atlas)
    split = split_animals(N_ANIMALS, np.random.default_rng([args.seed, 0]))
    if not args.shipped:
        repeat(args, atlas, split)
    judge_shipped(args, atlas, split)


def scanned(args, atlas, number, spacing, side):
    """Scan a simulated animal as a whole head: images, labels and where the slices lie."""
    animal = draw_animal(atlas, animal_rng(args.seed, number), spacing, side)
    maps, centres = cut_through(animal, APART_MM)
    images, labels = render_as(maps, np.random.default_rng([number, 8]), spacing)
    return images[:, 0].numpy(), labels[:, 0].numpy(), centres


def repeat(args, atlas, split):
    """Train and test as the paper did."""
    weights = args.work / 'paper.safetensors'
    if not weights.with_suffix('.json').exists():
        train(
            atlas,
            weights,
            recipe='paper',
            steps=args.steps,
            seed=args.seed,
            n_animals=N_ANIMALS,
            checkpoint_every=1000,
        )
    model = load_weights(weights)
    donors = []
    for number in split.train[: args.donors]:
        stack, labels, positions = scanned(args, atlas, number, model.spacing, 64)
        donors.append(prepare_donor(model, HeadStack(stack, positions, model.spacing, labels)))
    found: dict[tuple[str, str], list[dict]] = {}
    for number in split.test:
        stack, labels, positions = scanned(args, atlas, number, model.spacing, 64)
        first = first_glance(model, stack)
        placed = place_from_bank(first.enhanced, positions, donors).mask
        compare(found, 'no mask', first.probabilities, None, labels, model)
        compare(found, 'placed mask', *inside(model, stack, placed), labels, model)
        compare(found, 'mask by hand', *inside(model, stack, labels > 0), labels, model)
    tell(found, split.test)


def judge_shipped(args, atlas, split):
    """Test the weights that ship."""
    model = load_weights(default_weights())
    refinement = load_weights(default_refinement(), form=REFINEMENT)
    donors = read_donors(model, donor_paths())
    unseen = [number for number in split.test if number >= SHIPPED_SAW]
    found = {}
    for number in unseen:
        stack, labels, positions = scanned(args, atlas, number, model.spacing, 80)
        segmented = find_brain(
            model, refinement, HeadStack(stack, positions, model.spacing), donors
        )
        mask = segmented.brain.mask >= 0.5
        compare(found, 'no mask', segmented.first.probabilities, None, labels, model)
        compare(found, 'mask of the network', *inside(model, stack, mask), labels, model)
        compare(found, 'mask by hand', *inside(model, stack, labels > 0), labels, model)
    print('\nThe weights that ship:')
    tell(found, unseen)


def inside(model, stack, mask):
    """Class probabilities inside a mask, and the mask."""
    return predict(model, np.where(mask, stack, 0)), mask


def compare(found, condition, probabilities, mask, labels, model):
    """Score the brain and its tissues of one animal."""
    classes = probabilities.argmax(axis=1)
    if mask is not None:
        classes = np.where(mask, probabilities[:, 1:].argmax(axis=1) + 1, 0)
    size = (APART_MM, model.spacing, model.spacing)
    row = scores(classes > 0, labels > 0, size)
    found.setdefault((condition, 'brain'), []).append(row)
    for value, name in ((1, 'WM'), (2, 'GM'), (3, 'CSF')):
        row = scores(classes == value, labels == value, size)
        found.setdefault((condition, name), []).append(row)


def tell(found, animals):
    """Print a table."""
    print(f'{len(animals)} test animals; mean ± sd in per cent; last the DSC of the paper\n')
    print('| mask | class | ' + ' | '.join(SCORES) + ' | HD95 mm | paper |')
    print('| --- | --- |' + ' --- |' * (len(SCORES) + 2))
    for (condition, name), rows in found.items():
        cells = []
        for score in SCORES:
            values = 100 * np.array([row[score] for row in rows])
            cells.append(f'{np.nanmean(values):.2f} ± {np.nanstd(values, ddof=1):.2f}')
        cells.append(f'{np.nanmean([row["hd95_mm"] for row in rows]):.2f}')
        cells.append(str(PAPERS.get(condition, {}).get(name, '')))
        print(f'| {condition} | {name} | ' + ' | '.join(cells) + ' |')


if __name__ == '__main__':
    main()
