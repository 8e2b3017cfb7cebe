"""What a lab's own labelled animals add to weights that never saw a real scan.

``python benchmarks/fine_tuning.py BIDS --suffix sbref --weights FILE --work DIR --folds 5``
``python benchmarks/fine_tuning.py BIDS --suffix sbref --weights FILE --work DIR --animals 0 1 2``
with ``--refinement FILE`` to fine-tune and judge the refinement as well

Folds: every animal is judged by weights that were fine-tuned on the others. Animals: weights
fine-tuned on the first so many animals of a seeded order are judged by all the rest. Judged is the
brain that the first glance sees, and that of the refinement, on the scan's own grid; donors are
animals trained on. Labels that
are one animal are named with ``--together`` and never split. Runs that were done are not repeated.
"""

import argparse
import json
import logging
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from secondglance.data import atlas_path, donor_paths
from secondglance.files.labelled import find_labelled
from secondglance.imaging.mask.cleaning import one_brain
from secondglance.imaging.metrics import scores
from secondglance.imaging.placement.donors import place_from_bank
from secondglance.imaging.pose import Pose
from secondglance.models.brain_refinement import refine
from secondglance.models.donors import read_donors
from secondglance.models.segment import brain_probability, first_glance, prepare_donor
from secondglance.models.training.refinement import train_refinement
from secondglance.models.training.scans import read_labelled_scans
from secondglance.models.training.segmentation import train_segmentation
from secondglance.models.weights import REFINEMENT, load_weights
from secondglance.simulation.atlas import read_atlas

N_DONORS = 4
SCORES = ('dsc', 'hd95_mm', 'sensitivity', 'precision')


def _arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('bids_dir', type=Path)
    parser.add_argument('--suffix', default='sbref')
    parser.add_argument('--atlas', type=Path, default=atlas_path())
    parser.add_argument('--weights', type=Path, required=True)
    parser.add_argument('--refinement', type=Path, help='to go on from; without it none is judged')
    parser.add_argument('--refine-steps', type=int, default=600)
    parser.add_argument('--work', type=Path, required=True, help='weights of every run')
    parser.add_argument('--folds', type=int, default=0)
    parser.add_argument('--animals', type=int, nargs='+', default=[])
    parser.add_argument('--steps', type=int, default=500)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--together', nargs='*', default=['sub-01,sub-09'])
    parser.add_argument('--threads', type=int, default=2)
    return parser.parse_args()


def main():
    args = _arguments()
    torch.set_num_threads(args.threads)
    logging.getLogger('lightning.pytorch').setLevel(logging.WARNING)
    warnings.filterwarnings('ignore', module='lightning')
    labelled = list(find_labelled(args.bids_dir, args.suffix))
    groups = grouped(sorted({f.scan.subject for f in labelled}), args.together)
    order = [groups[i] for i in np.random.default_rng(args.seed).permutation(len(groups))]
    atlas = read_atlas(args.atlas)

    runs = []
    for fold in range(args.folds):
        test = {animal for group in order[fold :: args.folds] for animal in group}
        runs.append((f'fold-{fold}', [a for g in order for a in g if a not in test], test))
    for n in args.animals:
        known = [animal for group in order[:n] for animal in group]
        runs.append((f'{n}-animals', known, {a for g in order for a in g} - set(known)))
    print('run\tscan\tmask\tdsc\thd95_mm\tsensitivity\tprecision')
    found: dict[str, dict[str, list[float]]] = {}
    for name, known, test in runs:
        weights, refinement = args.weights, args.refinement
        if known:
            scans = read_labelled_scans(args.bids_dir, args.suffix, 0.3, known)
            weights = args.work / f'{name}.safetensors'
            if not weights.with_suffix('.json').exists():
                train_segmentation(
                    atlas,
                    weights,
                    recipe='fine-tune',
                    steps=args.steps,
                    seed=args.seed,
                    n_animals=12,
                    checkpoint_every=args.steps,
                    scans=scans,
                    init_weights=args.weights,
                )
        model = load_weights(weights)
        donors = looked_at_donors(model, labelled, known)
        if known and refinement:
            refinement = args.work / f'{name}-refinement.safetensors'
            if not refinement.with_suffix('.json').exists():
                train_refinement(
                    atlas,
                    refinement,
                    first=model,
                    donors=donors,
                    steps=args.refine_steps,
                    seed=args.seed,
                    n_animals=12,
                    checkpoint_every=args.refine_steps,
                    scans=scans,
                    init_weights=args.refinement,
                )
        found[name] = {}
        for scan, mask, row in judge(model, refinement, labelled, donors, test):
            print(name, scan, mask, *(f'{row[k]:.4f}' for k in SCORES), sep='\t', flush=True)
            found[name].setdefault(mask, []).append(row['dsc'])
        for mask, values in found[name].items():
            print(
                f'# {name}: {len(known)} known, {len(test)} judged, {told(mask, values)}',
                flush=True,
            )
    if args.folds:
        for mask in found['fold-0']:
            values = [v for fold in range(args.folds) for v in found[f'fold-{fold}'][mask]]
            print(f'# all folds: {told(mask, values)}')
    (args.work / 'dsc.json').write_text(json.dumps(found, indent=1) + '\n')


def grouped(animals, together):
    """Groups of labels that are one animal."""
    joined = [set(labels.split(',')) & set(animals) for labels in together]
    joined = [group for group in joined if group]
    single = [{a} for a in animals if not any(a in group for group in joined)]
    return [tuple(sorted(group)) for group in sorted(joined + single, key=min)]


def told(mask, values):
    """Say in a line how good masks are."""
    dice = np.array(values)
    return (
        f'{mask}: {len(dice)} scans, DSC {dice.mean():.4f} ± {dice.std(ddof=1):.4f}, '
        f'least {dice.min():.4f}'
    )


def head_of(model, found):
    """Stack of a labelled rat, and its grid."""
    pose = Pose('rat', model.spacing)
    grid = pose.grid(found.voxels.shape, found.affine)
    return pose.stack(grid, found.voxels, found.labels), grid


def looked_at_donors(model, labelled, known):
    """Donors among the animals that were trained on, or among all, and the simulated ones."""
    donors = []
    pool = [f for f in labelled if f.scan.subject in known] or labelled
    for found in pool[:: max(1, len(pool) // N_DONORS)]:
        head, _ = head_of(model, found)
        donors.append(prepare_donor(model, head, animal=found.scan.subject))
    simulated = [folder for folder in donor_paths() if folder.name.startswith('simulated')]
    return donors + read_donors(model, simulated)


def judge(model, refinement, labelled, donors, test):
    """Scores of the brain of every scan of the animals that were not trained on."""
    refiner = load_weights(refinement, form=REFINEMENT) if refinement else None
    for found in labelled:
        if found.scan.subject not in test:
            continue
        head, grid = head_of(model, found)
        others = [donor for donor in donors if donor.animal != found.scan.subject]
        first = first_glance(model, head.images)
        placed = place_from_bank(first.enhanced, head.positions, others).mask
        masks = {'first-glance': brain_probability(first.probabilities, head.images)}
        if refiner:
            masks['network'] = refine(
                refiner,
                head.images,
                masks['first-glance'],
                first.enhanced,
                placed,
                head.positions,
            )
        for mask, probability in masks.items():
            brain = one_brain(probability, model.spacing, grid.thickness, placed)
            inside = grid.to_native(brain) >= 0.5
            size = nib.affines.voxel_sizes(found.affine)
            yield found.scan.name, mask, scores(inside, found.labels > 0, size)


if __name__ == '__main__':
    main()
