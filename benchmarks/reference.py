"""How well masks drawn by hand agree with each other: the most a figure on them can say.

``python benchmarks/reference.py BIDS --suffix sbref --weights FILE --refinement FILE``

Of every animal that was scanned and outlined twice, the second scan's mask is brought to the first
scan by the rigid motion between the images, in which no mask has a say, and the two are compared.
Beside them the network's two masks, drawn on each scan by itself and brought together in the same
way, which shows what motion and interpolation leave; and the network's masks against those drawn
by hand.
"""

import argparse
from pathlib import Path

import numpy as np
from nibabel.affines import voxel_sizes
from scipy import ndimage

from secondglance.data import donor_paths
from secondglance.files.labelled import find_labelled
from secondglance.imaging.metrics import dice
from secondglance.imaging.motion import estimate_motion
from secondglance.imaging.pose import Pose
from secondglance.models.donors import read_donors
from secondglance.models.segment import find_brain
from secondglance.models.weights import REFINEMENT, load_weights


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('bids_dir', type=Path)
    parser.add_argument('--suffix', default='sbref')
    parser.add_argument('--weights', type=Path, required=True, help='that saw none of the animals')
    parser.add_argument('--refinement', type=Path, required=True)
    args = parser.parse_args()
    model = load_weights(args.weights)
    refinement = load_weights(args.refinement, form=REFINEMENT)
    donors = read_donors(model, donor_paths())

    scans = {}
    for found in find_labelled(args.bids_dir, args.suffix):
        scans.setdefault(found.scan.subject, []).append(found)
    kinds = ('by hand, twice', 'network, twice', 'network and by hand')
    print('animal', *kinds, sep='\t')
    rows = []
    for animal, runs in scans.items():
        if len(runs) != 2 or runs[0].voxels.shape != runs[1].voxels.shape:
            continue
        drawn = [run.labels > 0 for run in runs]
        # A donor is never the animal itself
        others = [donor for donor in donors if donor.animal != animal]
        predicted = [brain_of(run, model, refinement, others) for run in runs]
        size = voxel_sizes(runs[0].affine)
        pull = motion_between([run.voxels for run in runs], size)
        twice = [dice(moved(masks[1], pull), masks[0]) for masks in (drawn, predicted)]
        across = np.mean([dice(*pair) for pair in zip(predicted, drawn, strict=True)])
        rows.append((*twice, across))
        print(animal, *(f'{value:.4f}' for value in rows[-1]), sep='\t', flush=True)
    for kind, values in zip(kinds, np.array(rows).T, strict=True):
        mean, spread = values.mean(), values.std(ddof=1)
        print(f'# {kind}: {mean:.4f} ± {spread:.4f}, least {values.min():.4f}')


def brain_of(found, model, refinement, donors):
    """Outline the brain of a scan by both networks, on the scan's own grid."""
    pose = Pose('rat', model.spacing)
    grid = pose.grid(found.voxels.shape, found.affine)
    glances = find_brain(model, refinement, pose.stack(grid, found.voxels), donors)
    return grid.to_native(glances.brain.mask) >= 0.5


def motion_between(volumes, size):
    """Pull from voxels of the first volume to those of the second."""
    motion, _ = estimate_motion(np.stack(volumes, axis=-1), np.diag([*size, 1.0]), reference=0)
    to_voxels = np.diag([*(1 / size), 1.0])
    return to_voxels @ np.linalg.inv(motion[1]) @ np.linalg.inv(to_voxels)


def moved(mask, pull):
    """Read a mask where `pull` sends each voxel."""
    values = mask.astype(np.float32)
    # The brain goes on where the field of view ends
    return (
        ndimage.affine_transform(values, pull[:3, :3], pull[:3, 3], order=1, mode='nearest') >= 0.5
    )


if __name__ == '__main__':
    main()
