"""The experiment of the paper, on simulated and on real animals: its two tables beside ours.

``python benchmarks/paper.py --work DIR [--atlas SIGMA_FOLDER] [--steps 20000]``
``python benchmarks/paper.py --work DIR --real BIDS --labels DERIVATIVES --suffix sbref``

144 simulated animals are split by animal as Matos et al. 2019 split theirs (80 % / 20 %, and the
80 again 80 % / 20 %). A network is trained by the paper's recipe on background-free slices of the
first part; every animal of the last part is then scanned as a whole head, and segmented without a
mask, with a donor's mask placed by the cross-correlation of saliency, and with the true mask.
Donors are animals trained on. The paper's scans are one protocol of one scanner, so are these.
Below stands what the weights that ship make of those test animals that they never saw; with
``--shipped`` that alone.

With ``--real``, animals are those of a data set with tissue labels (`secondglance label`), one
scan of each, in folds by animal: trained by the same recipe on the background-free slices of the
other folds, turned and mirrored at random, and scored on the scan's own voxels. A killed training
goes on from its last checkpoint; folds that were trained are only tested.
"""

import argparse
import logging
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from secondglance.data import atlas_path, donor_paths, regions_path
from secondglance.files.bids import find_subjects
from secondglance.files.labelled import find_labelled
from secondglance.files.regions import read_region_atlas
from secondglance.imaging.intensity import normalise_slices
from secondglance.imaging.metrics import scores
from secondglance.imaging.placement.donors import place_from_bank
from secondglance.imaging.pose import HeadStack, Pose
from secondglance.models.donors import read_donors
from secondglance.models.inference import predict
from secondglance.models.segment import (
    find_brain,
    first_glance,
    look_again,
    masked_second_glance,
    prepare_donor,
)
from secondglance.models.training.loop import SeededBatches, TrainingRun
from secondglance.models.training.plan import Plan
from secondglance.models.training.recipes import RECIPES
from secondglance.models.training.scans import frame, read_labelled_scans
from secondglance.models.training.segmentation import SegmentationTraining, train_segmentation
from secondglance.models.training.split import animal_rng, split_animals
from secondglance.models.weights import (
    REFINEMENT,
    SECOND_GLANCE,
    default_refinement,
    default_second_glance,
    default_weights,
    load_weights,
    read_header,
    trained_on,
)
from secondglance.simulation.animal import cut_through, draw_animal
from secondglance.simulation.atlas import read_atlas
from secondglance.simulation.brains import imperfect_masks
from secondglance.simulation.deformation import pose_grid, resample
from secondglance.simulation.head_slices import render_as

N_ANIMALS = 144
APART_MM = 0.5
SHIPPED_SAW = 36
LEAST_BRAIN = 20
"""Pixels of brain that a real slice to train on must show."""
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
    parser.add_argument('--real', type=Path, metavar='BIDS', help='real animals instead')
    parser.add_argument('--labels', type=Path, metavar='DERIVATIVES', help='of the real animals')
    parser.add_argument('--suffix', default='sbref')
    parser.add_argument('--folds', type=int, default=3)
    parser.add_argument('--fold', type=int, nargs='+', help='only these; default: all')
    parser.add_argument('--together', nargs='*', default=['sub-01,sub-09'])
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    logging.getLogger('lightning.pytorch').setLevel(logging.WARNING)
    warnings.filterwarnings('ignore', module='lightning')
    if args.real:
        on_real_animals(args)
        return
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
        train_segmentation(
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
        size = (APART_MM, model.spacing, model.spacing)
        compare(found, 'no mask', first.probabilities.argmax(axis=1), labels, size)
        compare(found, 'placed mask', inside(model, stack, placed), labels, size)
        compare(found, 'mask by hand', inside(model, stack, labels > 0), labels, size)
    tell(found, len(split.test))


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
        size = (APART_MM, model.spacing, model.spacing)
        compare(found, 'no mask', segmented.first.probabilities.argmax(axis=1), labels, size)
        compare(found, 'mask of the network', inside(model, stack, mask), labels, size)
        compare(found, 'mask by hand', inside(model, stack, labels > 0), labels, size)
    print('\nThe weights that ship:')
    tell(found, len(unseen))


def inside(model, stack, mask):
    """Likeliest tissue of every pixel of a mask; 0 outside."""
    probabilities = predict(model, np.where(mask, stack, 0))
    return np.where(mask, probabilities[:, 1:].argmax(axis=1) + 1, 0)


def compare(found, condition, classes, labels, size):
    """Score the brain and its tissues of one animal, with voxels of a size in mm."""
    row = scores(classes > 0, labels > 0, size)
    found.setdefault((condition, 'brain'), []).append(row)
    for value, name in ((1, 'WM'), (2, 'GM'), (3, 'CSF')):
        row = scores(classes == value, labels == value, size)
        found.setdefault((condition, name), []).append(row)


class RealSlices(SeededBatches):
    """Background-free slices of labelled scans: each animal as often, turned and mirrored.

    Masks are as a placement leaves them, half of them exact, as on simulated animals.
    """

    def __init__(self, scans, seed, recipe, start):
        super().__init__(seed, start)
        self.recipe = recipe
        self.slices = [
            [
                torch.from_numpy(np.stack([image, label]).astype(np.float32))
                for image, label in zip(one.images, one.labels, strict=True)
                if np.count_nonzero(label) >= LEAST_BRAIN
            ]
            for one in scans
        ]

    def draw(self, rng):
        """Draw images and labels of one step."""
        b, side = self.recipe.batch_size, self.recipe.side
        drawn = []
        for _ in range(b):
            of_animal = self.slices[int(rng.integers(len(self.slices)))]
            image, label = frame(of_animal[int(rng.integers(len(of_animal)))], side)
            drawn.append(torch.stack([image, *(label == k for k in (1, 2, 3))]))
        grid = pose_grid(
            (b, side, side),
            np.deg2rad(rng.uniform(-10.0, 10.0, b)),
            rng.uniform(0.95, 1.05, b),
            np.where(rng.random(b) < 0.5, -1.0, 1.0),
            rng.uniform(-0.1, 0.1, (b, 2)),
        )
        posed = resample(torch.stack(drawn), grid)
        brain = posed[:, 1:].sum(dim=1, keepdim=True)
        labels = torch.where(brain > 0.5, posed[:, 1:].argmax(dim=1, keepdim=True) + 1, 0)
        mask = imperfect_masks(brain, rng)
        images = normalise_slices((posed[:, :1] * mask)[:, 0].numpy())[:, None]
        return torch.from_numpy(images), labels * mask


def on_real_animals(args):
    """Train and test as the paper did, in folds of real animals; then the weights that ship."""
    animals = [f'sub-{label}' for label in find_subjects(args.real)]
    found = {}
    for fold, test in enumerate(folds_of(animals, args.folds, args.together)):
        if args.fold and fold not in args.fold:
            continue
        known = [animal for animal in animals if animal not in test]
        print(f'Fold {fold}: trained on {", ".join(known)}', flush=True)
        model = load_weights(train_on_real(args, fold, known))
        bank = []
        for scan in first_scans(args, known)[: args.donors]:
            _, head = stack_of(model, scan)
            bank.append(prepare_donor(model, head, animal=scan.scan.subject))
        for scan in first_scans(args, test):
            judge_real(model, bank, scan, found)
        # Of all folds so far
        tell(found, len(next(iter(found.values()))))
    judge_shipped_on_real(args, animals)


def folds_of(animals, n_folds, together):
    """Split animals in order, as many in each fold; what is named together stays so."""
    joined = [label.split(',') for label in together]
    groups = [[a for a in group if a in animals] for group in joined]
    groups += [[a] for a in animals if not any(a in group for group in joined)]
    folds = [[]]
    for group in sorted(group for group in groups if group):
        if len(folds[-1]) + len(group) > -(-len(animals) // n_folds):
            folds.append([])
        folds[-1] += group
    return folds


def first_scans(args, animals):
    """Read the first scan with labels of each animal."""
    found = {}
    for one in find_labelled(args.real, args.suffix, animals, args.labels):
        found.setdefault(one.scan.subject, one)
    if missing := set(animals) - set(found):
        raise SystemExit(f'No labels of {", ".join(sorted(missing))} in {args.labels}.')
    return list(found.values())


def train_on_real(args, fold, known):
    """Train on the scans of the other folds; the path of the weights."""
    weights = args.work / f'real-{fold}.safetensors'
    # The header of weights so far says at which step they were taken
    if weights.exists() and 'step' not in read_header(weights):
        return weights
    # Half the time where the processor has it; weights are kept in single precision
    recipe = replace(RECIPES['paper'], precision='bf16-mixed')
    names = {one.scan.name for one in first_scans(args, known)}
    scans = [
        one
        for one in read_labelled_scans(
            args.real, args.suffix, recipe.spacing, known, args.labels, species='rat'
        )
        if one.name in names
    ]
    plan = Plan(
        weights, args.steps, args.seed, n_animals=len(known), checkpoint_every=500, scans=scans
    )
    training = TrainingRun(SegmentationTraining, plan, recipe)
    training.save(training.fit(RealSlices(scans, args.seed, recipe, training.start), None))
    return weights


def stack_of(model, scan):
    """Lay the grid of a network over a scan, and cut it into slices."""
    pose = Pose('rat', model.spacing)
    grid = pose.grid(scan.voxels.shape, scan.affine)
    return grid, pose.stack(grid, scan.voxels, scan.labels)


def judge_real(model, bank, scan, found):
    """Segment a real animal in the three ways, and score it on its own voxels."""
    grid, head = stack_of(model, scan)
    first = first_glance(model, head.images)
    placed = place_from_bank(first.enhanced, head.positions, bank).mask
    classes = grid.to_native(first.probabilities).argmax(axis=-1)
    compare(found, 'no mask', classes, scan.labels, grid.voxel_size)
    masks = {
        'placed mask': grid.to_native(placed.astype(np.float32)) >= 0.5,
        'mask by hand': scan.labels > 0,
    }
    for condition, mask in masks.items():
        fractions = masked_second_glance(model, head.images, grid, mask).fractions
        classes = np.where(mask, fractions.argmax(axis=-1) + 1, 0)
        compare(found, condition, classes, scan.labels, grid.voxel_size)
    told = ' '.join(f'{100 * rows[-1]["dsc"]:.1f}' for rows in found.values())
    print(f'{scan.scan.name}: Dice {told}', flush=True)


def judge_shipped_on_real(args, animals):
    """Test the weights that ship, on the animals that none of them was trained on."""
    paths = default_weights(), default_refinement(), default_second_glance()
    model, refinement, network = (
        load_weights(path, form=form) if form else load_weights(path)
        for path, form in zip(paths, (None, REFINEMENT, SECOND_GLANCE), strict=True)
    )
    taught = set().union(*map(trained_on, paths))
    scans = list(find_labelled(args.real, args.suffix, animals, args.labels))
    known = {one.scan.subject for one in scans if one.scan.name in taught}
    donors = read_donors(model, donor_paths())
    atlas = read_region_atlas(regions_path('rat'))
    found = {}
    judged = [one for one in scans if one.scan.subject not in known]
    for one in judged:
        grid, head = stack_of(model, one)
        pose = Pose('rat', model.spacing)
        others = [donor for donor in donors if donor.animal != one.scan.subject]
        segmented = find_brain(model, refinement, head, others)
        masks = {
            'placed mask': segmented.placement.mask,
            'mask of the network': segmented.brain.mask,
        }
        masks = {name: grid.to_native(np.float32(mask)) >= 0.5 for name, mask in masks.items()}
        masks['mask by hand'] = one.labels > 0
        classes = grid.to_native(segmented.first.probabilities).argmax(axis=-1)
        compare(found, 'no mask', classes, one.labels, grid.voxel_size)
        for condition, mask in masks.items():
            tissues, _ = look_again(
                'network',
                one.voxels,
                mask,
                one.affine,
                pose,
                first=segmented.first,
                model=model,
                network=network,
                atlas=atlas,
            )
            compare(found, condition, tissues.labels, one.labels, grid.voxel_size)
    print('\nThe weights that ship: ' + ', '.join(one.scan.name for one in judged))
    tell(found, len(judged))


def tell(found, n_scans):
    """Print a table."""
    print(f'{n_scans} test scans; mean ± sd in per cent; last the DSC of the paper\n')
    print('| mask | class | ' + ' | '.join(SCORES) + ' | HD95 mm | paper |')
    print('| --- | --- |' + ' --- |' * (len(SCORES) + 2))
    for (condition, name), rows in found.items():
        cells = []
        for score in SCORES:
            values = 100 * np.array([row[score] for row in rows])
            spread = f' ± {np.nanstd(values, ddof=1):.2f}' if len(values) > 1 else ''
            cells.append(f'{np.nanmean(values):.2f}{spread}')
        cells.append(f'{np.nanmean([row["hd95_mm"] for row in rows]):.2f}')
        cells.append(str(PAPERS.get(condition, {}).get(name, '')))
        print(f'| {condition} | {name} | ' + ' | '.join(cells) + ' |')


if __name__ == '__main__':
    main()
