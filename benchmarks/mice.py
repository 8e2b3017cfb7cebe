"""How the networks do on mice: none was ever trained on one.

``python benchmarks/mice.py --heads SHERM/data --brains MOUSE_ATLAS/FVB_NCrl/in_vivo``

Heads: T1-weighted scans of two C57BL/6J mice, lying on their backs by their header, with brain
masks drawn by hand, of https://github.com/liu-yikang/SHERM-rodentSkullStrip (Liu et al. 2020, doi
10.1007/s12021-020-09453-z). DSC of the first glance and of the default mask, in all slices and in
those that show more than cord or olfactory bulb.

Brains: T2-weighted images of eight FVB/NCrl mice without background, with structures labelled by
hand, of https://github.com/dama-lab/mouse-brain-atlas (Ma et al. 2019, doi
10.3389/fnins.2019.00011). Dice of white matter, grey matter and CSF among the voxels of structures
that are all one tissue.
"""

import argparse
from pathlib import Path

import nibabel as nib
import numpy as np

from secondglance.data import donor_paths
from secondglance.imaging.grids import slice_grid
from secondglance.imaging.labels import TISSUES
from secondglance.imaging.metrics import dice
from secondglance.imaging.species import BRAIN_SIZE
from secondglance.models.donors import read_donors
from secondglance.models.inference import predict
from secondglance.models.pose import estimate_pose
from secondglance.models.segment import segment_stack
from secondglance.models.weights import (
    REFINEMENT,
    default_refinement,
    default_weights,
    load_weights,
)

STRUCTURES = {
    'WM': (2, 4, 6, 20, 24, 26, 40),
    'GM': (1, 3, 14, 15, 21, 23, 34, 35),
    'CSF': (10,),
}
"""External and internal capsule, anterior commissure, fimbria; hippocampus, caudate-putamen,
neocortex, amygdala; ventricles; left and right."""

SMALL = 0.25
"""Slices whose brain is smaller than this share of the largest show cord or olfactory bulb."""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--heads', type=Path)
    parser.add_argument('--brains', type=Path)
    parser.add_argument('--weights', type=Path, default=default_weights())
    parser.add_argument('--refinement', type=Path, default=default_refinement())
    args = parser.parse_args()
    model = load_weights(args.weights)
    if args.heads:
        refinement = load_weights(args.refinement, form=REFINEMENT)
        donors = read_donors(model, donor_paths())
        print('head\tasked for\tmask\tdsc\tlarge slices\tconfidence')
        for path in sorted((args.heads / 'img_N3_intensity_normalized').glob('mouse*.nii')):
            name = path.name.replace('_norm', '_mask')
            judge_head(
                path, args.heads / 'brain_mask_ground_truth' / name, model, refinement, donors
            )
    if args.brains:
        print('brain\t' + '\t'.join(TISSUES))
        rows = []
        for path in sorted((args.brains / 'template').glob('*.nii.gz')):
            rows.append(judge_tissues(path, args.brains / 'label' / path.name, model))
            print(path.name.split('.')[0], *(f'{d:.3f}' for d in rows[-1]), sep='\t')
        told = zip(np.mean(rows, axis=0), np.std(rows, axis=0, ddof=1), strict=True)
        print('mean ± sd', *(f'{mean:.3f} ± {sd:.3f}' for mean, sd in told), sep='\t')


def judge_head(path, reference, model, refinement, donors):
    """Print how good the masks of a whole head are."""
    image = nib.load(path)
    voxels = image.get_fdata(dtype=np.float32)
    # The mask lies on the same voxels, whatever its own header says
    truth = np.asarray(nib.load(reference).dataobj) > 0
    # With pixels so small a mouse looks like a rat
    pose = estimate_pose(model, voxels, image.affine, species='mouse')
    grid = pose.grid(voxels.shape, image.affine)
    area = truth.sum(axis=(0, 1))
    large = area > SMALL * area.max()
    for method in ('first-glance', 'network'):
        head = pose.stack(grid, voxels)
        seen = segment_stack(model, refinement, head, donors, mask_method=method)
        mask = grid.to_native(seen.brain.mask) >= 0.5
        print(
            path.name.split('.')[0],
            method,
            seen.brain.method,
            f'{dice(mask, truth):.3f}',
            f'{dice(mask[..., large], truth[..., large]):.3f}',
            f'{seen.brain.confidence:.2f}',
            sep='\t',
        )


def judge_tissues(path, reference, model):
    """Dice of the tissues among voxels of structures that are all one tissue."""
    image = nib.load(path)
    voxels = image.get_fdata(dtype=np.float32)
    labels = np.asarray(nib.load(reference).dataobj).astype(int)
    grid = slice_grid(voxels.shape, image.affine, model.spacing * BRAIN_SIZE['mouse'])
    seen = predict(model, grid.to_stack(np.where(labels > 0, voxels, 0)))
    native = grid.to_native(seen[:, 1 : 1 + len(TISSUES)])
    known = np.isin(labels, sum(STRUCTURES.values(), ()))
    found = native.argmax(axis=-1)[known]
    return [dice(found == k, np.isin(labels[known], STRUCTURES[t])) for k, t in enumerate(TISSUES)]


if __name__ == '__main__':
    main()
