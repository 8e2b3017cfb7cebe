"""How well another animal's mask is placed on real heads, with what it could be at best.

``python benchmarks/placement.py RAT_EPI_BIDS_FOLDER [--weights FILE] [--saliency METHOD]``

Donors are the first runs of all other animals (two labels that are one animal count as one);
with ``--all-donors``, else those that ship. Prints a row a volume and the mean over volumes.
"""

import argparse
import time
from pathlib import Path

import nibabel as nib
import numpy as np
from secondglance.imaging.enhancement import enhance
from secondglance.imaging.matching import match_slices
from secondglance.imaging.placement import best_shift, correlate, place_mask
from secondglance.imaging.reconciliation import reconcile
from secondglance.imaging.slices import slice_grid
from secondglance.interfaces.placement import centre_on
from secondglance.models.saliency import saliency_stack
from secondglance.models.weights import default_weights, load_weights

SAME_ANIMAL = ({'01', '09'},)
BANK = {'02', '05', '10', '14'}


def dice(a, b):
    return 2 * (a & b).sum() / max(a.sum() + b.sum(), 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('root', type=Path)
    parser.add_argument('--weights', type=Path, default=default_weights())
    parser.add_argument('--saliency', default='guided')
    parser.add_argument('--target', default='brain')
    parser.add_argument('--all-donors', action='store_true', help='not the bank alone')
    parser.add_argument('--limit', type=int)
    args = parser.parse_args()
    model = load_weights(args.weights)
    heads = []
    for path in sorted((args.root / 'derivatives/reference').rglob('*_desc-brain_mask.nii.gz')):
        name = path.name.replace('_desc-brain_mask.nii.gz', '')
        animal = name[4:6]
        image = nib.load(args.root / f'sub-{animal}/func/{name}_sbref.nii.gz')
        mask = np.asarray(nib.load(path).dataobj) > 0
        grid = slice_grid(image.shape, image.affine, model.spacing)
        stack = grid.to_stack(image.get_fdata(dtype=np.float32))
        start = time.perf_counter()
        maps, first = saliency_stack(model, stack, target=args.target, method=args.saliency)
        heads.append(
            {
                'name': name,
                'animal': animal,
                'grid': grid,
                'mask': mask,
                'stack_mask': grid.to_stack(mask) >= 0.5,
                'enhanced': enhance(maps),
                'first': first[:, 1:].sum(1) >= 0.5,
                'seconds': time.perf_counter() - start,
            }
        )
    rows = []
    for head in heads[: args.limit]:
        same = next((s for s in SAME_ANIMAL if head['animal'] in s), {head['animal']})
        donors = [
            d
            for d in heads
            if d['animal'] not in same
            and 'run-1' in d['name']
            and (args.all_donors or d['animal'] in BANK)
        ]
        rows.append(place(head, donors))
        row = rows[-1]
        print(
            head['name'],
            f'donor {row["donor"]}',
            *(f'{k} {row[k]:.3f}' for k in COLUMNS),
            f'offset {row["offset"]:+.2f} scale {row["scale"]:.2f} replaced {row["replaced"]}',
        )
    print(len(rows), 'volumes of', len({r['name'][4:6] for r in rows}), 'animals: mean ± sd')
    for column in COLUMNS:
        values = np.array([r[column] for r in rows])
        print(f'  {column:<12}{values.mean():.3f} ± {values.std():.3f}  least {values.min():.3f}')


COLUMNS = ('not_moved', 'slicewise', 'reconciled', 'oracle', 'first')


def place(head, donors):
    grid, enhanced = head['grid'], head['enhanced']
    found = []
    for donor in donors:
        kernels = np.where(donor['stack_mask'], donor['enhanced'], 0)
        kernels, mask = centre_on(
            donor['stack_mask'], enhanced.shape[1:], kernels, donor['stack_mask']
        )
        match = match_slices(enhanced, grid.positions, kernels, donor['grid'].positions)
        found.append((match, kernels, mask, donor))
    match, kernels, mask, donor = max(found, key=lambda f: f[0].score)
    chosen = match.nearest
    kernels = np.where((chosen >= 0)[:, None, None], kernels[chosen], 0)
    masks = np.where((chosen >= 0)[:, None, None], mask[chosen], False)
    shifts, peaks, _ = best_shift(correlate(enhanced, kernels))
    weights = np.where(chosen >= 0, peaks, 0)
    agreed, replaced, _ = reconcile(shifts, weights, grid.positions)
    oracle = best_shift(correlate(head['stack_mask'].astype(float), masks.astype(float)))[0]

    def native(shifts):
        placed = np.stack([place_mask(m, s) for m, s in zip(masks, shifts, strict=True)])
        return dice(grid.to_native(placed) >= 0.5, head['mask'])

    return {
        'name': head['name'],
        'donor': donor['name'][4:6],
        'not_moved': native(np.zeros_like(shifts)),
        'slicewise': native(shifts),
        'reconciled': native(agreed),
        'oracle': native(oracle),
        'first': dice(grid.to_native(head['first']) >= 0.5, head['mask']),
        'offset': match.offset_mm,
        'scale': match.scale,
        'replaced': int(replaced.sum()),
    }


if __name__ == '__main__':
    main()
