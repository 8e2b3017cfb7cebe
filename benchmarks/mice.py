"""How the networks do on mice that they were not trained on.

``python benchmarks/mice.py --heads SHERM/data --brains MOUSE_ATLAS/FVB_NCrl/in_vivo
--structures BIDS --subject m11ut m1wt m23wt m25tt``

Heads: T1-weighted scans of two C57BL/6J mice, lying on their backs by their header, with brain
masks drawn by hand, of https://github.com/liu-yikang/SHERM-rodentSkullStrip (Liu et al. 2020, doi
10.1007/s12021-020-09453-z). DSC of the first glance and of the default mask, in all slices and in
those that show more than cord or olfactory bulb.

Brains: T2-weighted images of eight FVB/NCrl mice without background, with structures labelled by
hand, of https://github.com/dama-lab/mouse-brain-atlas (Ma et al. 2019, doi
10.3389/fnins.2019.00011). Dice of white matter, grey matter and CSF among the voxels of structures
that are all one tissue, by each kind of second glance inside the brain that was labelled by hand.

Structures: the same of whole T2-weighted heads of a BIDS data set with
``desc-structures_dseg.nii.gz`` in ``derivatives/reference``, and a table that names the tissue of
each structure that is all one. The last column is the mean Dice of all structures as regions of
the atlas that ships, which was made of eight other mice of this data set.
"""

import argparse
from pathlib import Path

import nibabel as nib
import numpy as np

from secondglance.data import donor_paths, regions_path
from secondglance.files.regions import read_region_atlas
from secondglance.files.tables import read_tsv
from secondglance.imaging.labels import TISSUES
from secondglance.imaging.metrics import dice
from secondglance.models.choices import SECOND_GLANCES
from secondglance.models.donors import read_donors
from secondglance.models.pose import estimate_pose
from secondglance.models.segment import find_brain, first_glance, look_again
from secondglance.models.weights import (
    REFINEMENT,
    SECOND_GLANCE,
    default_refinement,
    default_second_glance,
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
"""Slices with a brain smaller than this share of the largest show cord or olfactory bulb."""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--heads', type=Path)
    parser.add_argument('--brains', type=Path)
    parser.add_argument('--structures', type=Path, metavar='BIDS')
    parser.add_argument('--subject', nargs='+', default=['m11ut', 'm1wt', 'm23wt', 'm25tt'])
    parser.add_argument('--second-weights', type=Path, default=default_second_glance())
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
    second = load_weights(args.second_weights, form=SECOND_GLANCE)
    if args.brains:
        pairs = [
            (path, args.brains / 'label' / path.name)
            for path in sorted((args.brains / 'template').glob('*.nii.gz'))
        ]
        judge_all(pairs, STRUCTURES, model, second)
    if args.structures:
        reference = args.structures / 'derivatives' / 'reference'
        tissue_of = read_tsv(reference / 'desc-structures_dseg.tsv')
        structures = {
            tissue: tuple(int(row['index']) for row in tissue_of if row['tissue'] == tissue)
            for tissue in TISSUES
        }
        pairs = [
            (
                args.structures / f'sub-{name}' / 'anat' / f'sub-{name}_T2w.nii.gz',
                reference / f'sub-{name}' / 'anat' / f'sub-{name}_desc-structures_dseg.nii.gz',
            )
            for name in args.subject
        ]
        judge_all(pairs, structures, model, second)


def judge_all(pairs, structures, model, second):
    """Print the Dice of each brain by each second glance, and their mean."""
    print('second glance\tbrain\t' + '\t'.join((*TISSUES, 'structures')))
    rows = {kind: [] for kind in SECOND_GLANCES}
    atlas = read_region_atlas(regions_path('mouse'))
    for image, labels in pairs:
        judged = judge_tissues(image, labels, structures, model, second, atlas)
        for kind, found in judged.items():
            rows[kind].append(found)
            print(kind, image.name.split('.')[0], *(f'{d:.3f}' for d in found), sep='\t')
    for kind, found in rows.items():
        if len(found) < 2:
            continue
        told = zip(np.mean(found, axis=0), np.std(found, axis=0, ddof=1), strict=True)
        print(kind, 'mean ± sd', *(f'{mean:.3f} ± {sd:.3f}' for mean, sd in told), sep='\t')


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
        segmented = find_brain(model, refinement, head, donors, mask_method=method)
        mask = grid.to_native(segmented.brain.mask) >= 0.5
        print(
            path.name.split('.')[0],
            method,
            segmented.brain.method,
            f'{dice(mask, truth):.3f}',
            f'{dice(mask[..., large], truth[..., large]):.3f}',
            f'{segmented.brain.confidence:.2f}',
            sep='\t',
        )


def judge_tissues(path, reference, structures, model, second, atlas):
    """Dice of the tissues in structures that are all one tissue, and mean Dice of structures."""
    image = nib.load(path)
    voxels = image.get_fdata(dtype=np.float32)
    labels = np.asarray(nib.load(reference).dataobj).astype(int)
    pose = estimate_pose(model, voxels, image.affine, species='mouse')
    first = first_glance(model, pose.stack(pose.grid(voxels.shape, image.affine), voxels).images)
    known = np.isin(labels, sum(structures.values(), ()))
    told = {}
    for kind in SECOND_GLANCES:
        tissues, regions = look_again(
            kind,
            voxels,
            labels > 0,
            image.affine,
            pose,
            first=first,
            model=model,
            network=second,
            atlas=atlas,
        )
        found = tissues.labels[known]
        told[kind] = [
            dice(found == k, np.isin(labels[known], structures[tissue]))
            for k, tissue in enumerate(TISSUES, start=1)
        ]
        # The atlas that ships has the labels of the structures
        named = [value for value in np.unique(labels) if value] if regions is not None else []
        same = [dice(regions == value, labels == value) for value in named]
        told[kind].append(np.mean(same) if same else np.nan)
    return told


if __name__ == '__main__':
    main()
