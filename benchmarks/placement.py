"""How well another animal's mask is placed on heads, with what it could be at best.

``python benchmarks/placement.py RAT_EPI_BIDS_FOLDER [--weights FILE] [--saliency METHOD …]``
``python benchmarks/placement.py --simulated 24 --atlas FOLDER [--weights FILE] …``

Donors are the donors that ship (`--donors bank`) or eight first runs of other animals
(`--donors eight`), never the subject's own; two labels that are one animal count as one. A row a
volume on its own grid: DSC of the mask not moved, moved slice by slice, and after agreement of
the slices; of the best possible translation of the same mask (oracle); of the first glance; and of
the brain made of the first glance with the placed mask's help. Beside the methods of saliency
there are two that should do worse: ``sobel``, the edges of the image, and ``random``, guided
backpropagation through an untrained network; ``random1`` is another one.
"""

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from scipy import ndimage

from secondglance.data import atlas_path, donor_paths
from secondglance.files.bids import find_donor
from secondglance.files.heads import read_head
from secondglance.imaging.enhancement import enhance
from secondglance.imaging.grids import slice_grid, slices_apart
from secondglance.imaging.intensity import head_mask, normalise_slices
from secondglance.imaging.labels import TISSUES
from secondglance.imaging.mask.cleaning import one_brain
from secondglance.imaging.mask.selection import candidate_masks
from secondglance.imaging.metrics import dice
from secondglance.imaging.placement.correlation import (
    best_shift,
    correlate,
    place_mask,
    standardise,
)
from secondglance.imaging.placement.donors import Donor, kernels_of, place_from_bank
from secondglance.imaging.pose import HeadStack, Pose
from secondglance.models.inference import predict
from secondglance.models.saliency.attribution import saliency_stack
from secondglance.models.segment import FirstGlance, gather_evidence
from secondglance.models.unet import UNet
from secondglance.models.weights import (
    REFINEMENT,
    calibration_of,
    default_refinement,
    default_weights,
    load_weights,
)
from secondglance.simulation.animal import draw_animal
from secondglance.simulation.atlas import read_atlas
from secondglance.simulation.head_stack import draw_head

SAME_ANIMAL = ({'01', '09'},)
DONORS = {
    'bank': {'02', '05', '10', '14'},
    'eight': {'02', '04', '05', '07', '10', '12', '13', '14'},
}
COLUMNS = ('not_moved', 'slicewise', 'placed', 'similarity', 'oracle', 'first', 'brain', 'network')
TISSUE_COLUMNS = tuple(f'{t} {mask}' for mask in ('found', 'true') for t in TISSUES)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('root', type=Path, nargs='?')
    parser.add_argument('--simulated', type=int, metavar='N', help='heads, in place of real ones')
    parser.add_argument('--atlas', type=Path, default=atlas_path())
    parser.add_argument('--refinement', type=Path, default=default_refinement())
    parser.add_argument('--weights', type=Path, default=default_weights())
    parser.add_argument('--saliency', nargs='+', default=['guided'])
    parser.add_argument('--target', default='brain')
    parser.add_argument('--donors', choices=DONORS, default='bank')
    parser.add_argument('--limit', type=int, help='only so many volumes')
    parser.add_argument('--figure', type=Path, help='write best, median and worst as an image')
    args = parser.parse_args()
    for saliency in args.saliency:
        print(f'\nsaliency: {saliency}')
        measure(args, saliency)


def measure(args, saliency):
    """Place masks by one kind of saliency, and print how well."""
    model = load_weights(args.weights)
    if saliency.startswith('random'):
        torch.manual_seed(int(saliency.removeprefix('random') or 0))
        model = replace(model, net=UNet(model.net.channels).eval().requires_grad_(False))
    refinement = load_weights(args.refinement, form=REFINEMENT)
    rows, seconds = [], []
    for head, donors in heads_of(args, model, saliency):
        row = place(head, donors, model, refinement)
        seconds.append([head['seconds'], row['seconds']])
        rows.append(row)
        print(
            head['name'],
            f'donor {row["donor"]}',
            *(f'{k} {row[k]:.3f}' for k in COLUMNS),
            f'sure {row["sure"]:.2f}',
            f'replaced {row["replaced"]} unreached {row["unreached"]}',
            flush=True,
        )
    labels = {row['name'].partition('_')[0] for row in rows}
    print(len(rows), 'volumes of', len(labels), 'labels: mean ± sd')
    for column in (*COLUMNS, *(TISSUE_COLUMNS if args.simulated else ())):
        values = np.array([r[column] for r in rows])
        print(f'  {column:<12}{values.mean():.3f} ± {values.std():.3f}  least {values.min():.3f}')
    print('  s a volume: saliency {:.2f}, placement {:.2f}'.format(*np.mean(seconds, axis=0)))
    if args.figure:
        order = np.argsort([-row['placed'] for row in rows])
        draw([rows[order[k]] for k in (0, len(order) // 2, -1)], args.figure)


def heads_of(args, model, saliency):
    """Give each head with its donors: real ones, or simulated ones with the bank."""
    if args.simulated:
        atlas, bank = read_atlas(args.atlas), []
        for folder in donor_paths():
            pose = Pose('rat', model.spacing)
            head, _ = read_head(*find_donor(folder), pose)
            grid = Stack(model.spacing, head.thickness, head.positions)
            bank.append(
                prepared(folder.name, head.images, head.brain, grid, model, saliency, args)
            )
        for number in range(args.simulated):
            rng = np.random.default_rng([number, 9])
            head = draw_head(draw_animal(atlas, rng, model.spacing, 80), rng)
            grid = Stack(model.spacing, slices_apart(head.positions), head.positions)
            name = f'simulated-{number:03d}'
            yield prepared(name, head.images, head.labels, grid, model, saliency, args), bank
        return
    found = args.root / 'derivatives/reference'
    heads = [
        look(args.root, path, model, saliency, args)
        for path in sorted(found.rglob('*_desc-brain_mask.nii.gz'))
    ]
    for head in heads[: args.limit]:
        same = next((s for s in SAME_ANIMAL if head['animal'] in s), {head['animal']})
        yield (
            head,
            [
                d
                for d in heads
                if d['animal'] in DONORS[args.donors] - same and 'run-1' in d['name']
            ],
        )


@dataclass(frozen=True)
class Stack:
    """A grid of slices that are what they are: nothing is resampled."""

    spacing: float
    thickness: float
    positions: np.ndarray

    def to_native(self, stack):
        return stack

    def to_stack(self, volume):
        return volume


def look(root, path, model, saliency, args):
    """Load a head and take the first glance at it."""
    name = path.name.replace('_desc-brain_mask.nii.gz', '')
    image = nib.load(root / f'sub-{name[4:6]}/func/{name}_sbref.nii.gz')
    mask = np.asarray(nib.load(path).dataobj) > 0
    grid = slice_grid(image.shape, image.affine, model.spacing)
    stack = grid.to_stack(image.get_fdata(dtype=np.float32))
    return prepared(name, stack, mask, grid, model, saliency, args)


def prepared(name, stack, labels, grid, model, saliency, args):
    """Take the first glance at a head."""
    start = time.perf_counter()
    method = 'guided' if saliency.startswith(('sobel', 'random')) else saliency
    maps, first = saliency_stack(model, stack, target=args.target, method=method)
    if saliency == 'sobel':
        image = normalise_slices(stack)
        maps = np.hypot(ndimage.sobel(image, axis=1), ndimage.sobel(image, axis=2))
    enhanced = enhance(maps, head_mask(stack))
    return {
        'name': name,
        'animal': name[4:6],
        'grid': grid,
        'stack': stack,
        'labels': np.asarray(labels),
        'mask': np.asarray(labels) > 0,
        'as_donor': Donor(enhanced, grid.to_stack(labels) >= 0.5, grid.positions),
        'first': FirstGlance(maps, first, enhanced),
        'probability': first[:, 1:].sum(1),
        'seconds': time.perf_counter() - start,
    }


def place(head, donors, model, refinement):
    """Place the best donor's mask, and measure it and what might have been."""
    grid, own = head['grid'], head['as_donor']
    start = time.perf_counter()
    placed = place_from_bank(own.enhanced, own.positions, [d['as_donor'] for d in donors])
    index = placed.match.index
    seconds = time.perf_counter() - start

    chosen = placed.donor_slice
    reached = (chosen >= 0)[:, None, None]
    kernels, masks = (
        np.where(reached, stack[chosen], 0)
        for stack in kernels_of(donors[index]['as_donor'], own.mask.shape[1:])
    )
    slicewise = best_shift(correlate(standardise(own.enhanced), standardise(kernels)))[0]
    oracle = best_shift(correlate(own.mask, masks))[0]

    def native(stack):
        return dice(grid.to_native(stack) >= 0.5, head['mask'])

    def moved(shifts):
        return np.stack([place_mask(m, s) for m, s in zip(masks, shifts, strict=True)])

    stack = HeadStack(head['stack'], own.positions, model.spacing)
    bank = [d['as_donor'] for d in donors]
    evidence, _ = gather_evidence(head['first'], refinement, stack, bank)
    network = candidate_masks(evidence, grid.spacing, grid.thickness)['network']
    sure = calibration_of(refinement.metadata).of_mask(network >= 0.5, evidence)

    # Not moved: laid down where it lay in the donor's own field of view
    where = donors[index]['as_donor']
    still = np.where(reached, where.mask[chosen], False)
    same_frame = still.shape == own.mask.shape
    return {
        'name': head['name'],
        'donor': donors[index]['animal'],
        'not_moved': native(still) if same_frame else np.nan,
        'slicewise': native(moved(slicewise)),
        'placed': native(placed.mask),
        'similarity': native(
            place_from_bank(
                own.enhanced, own.positions, [d['as_donor'] for d in donors], similarity=True
            ).mask
        ),
        'oracle': native(moved(oracle)),
        'first': native(head['probability']),
        'brain': native(one_brain(head['probability'], grid.spacing, grid.thickness, placed.mask)),
        'network': native(network),
        'sure': sure,
        **tissues(model, head, network),
        'replaced': int(placed.replaced.sum()),
        'unreached': int((chosen < 0).sum()),
        'seconds': seconds,
        'picture': (head['stack'], own.enhanced, placed.mask, own.mask),
    }


def tissues(model, head, mask):
    """Dice of each tissue with the mask that was found, and with the true one."""
    found, labels = {}, head['labels']
    if labels.max() <= 1:
        return found
    for name, inside in (('found', mask >= 0.5), ('true', labels > 0)):
        classes = predict(model, np.where(inside, head['stack'], 0))[:, 1:].argmax(1) + 1
        classes = np.where(inside, classes, 0)
        for value, tissue in enumerate(TISSUES, 1):
            found[f'{tissue} {name}'] = dice(classes == value, labels == value)
    return found


def draw(rows, path):
    """Outline the placed mask (orange) and the reference (blue) on image and saliency."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(16, 4.2 * len(rows)), facecolor='white', layout='constrained')
    axes = figure.subplots(2 * len(rows), 8)
    for k, row in enumerate(rows):
        stack, enhanced, mask, reference = row['picture']
        for column, n in enumerate(np.linspace(0, len(stack) - 1, 8).round().astype(int)):
            for axis, image in zip(
                axes[2 * k : 2 * k + 2, column], (stack, enhanced), strict=True
            ):
                top = np.percentile(stack[n], 99.5) if image is stack else 1
                axis.imshow(image[n].T, cmap='gray', origin='lower', vmin=0, vmax=top)
                for outline, colour in ((reference, '#56b4e9'), (mask, '#e69f00')):
                    if outline[n].any():
                        axis.contour(outline[n].T, [0.5], colors=colour, linewidths=1.4)
                axis.set_axis_off()
            axes[2 * k, column].set_title(f'slice {n}', fontsize=9)
        title = f'{row["name"]}\nDSC {row["placed"]:.3f}, donor {row["donor"]}'
        axes[2 * k, 0].set_title(title, fontsize=10)
    figure.savefig(path, dpi=70)


if __name__ == '__main__':
    main()
