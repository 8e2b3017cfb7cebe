"""How well labels of `secondglance label` repeat: two scans of one animal, brought together.

``python benchmarks/labels.py BIDS --labels DERIVATIVES --suffix sbref``

Both scans are labelled on their own. The second scan's fractions are brought to the first by the
rigid motion between the images, in which labels have no say, and the largest tissue of each voxel
is compared: the most that a figure against such labels can say.
"""

import argparse
from pathlib import Path

import nibabel as nib
import numpy as np

from secondglance.files.bids import find_scans, find_subjects
from secondglance.files.nifti import read_volume
from secondglance.imaging.labels import TISSUES
from secondglance.imaging.metrics import dice
from secondglance.models.labelling.ants_registration import bring_together


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('bids_dir', type=Path)
    parser.add_argument('--labels', type=Path, required=True, help='what label wrote')
    parser.add_argument('--suffix', default='sbref')
    parser.add_argument('--subject', nargs='+')
    args = parser.parse_args()
    print('animal', *TISSUES, sep='\t')
    rows = []
    for subject in args.subject or find_subjects(args.bids_dir):
        scans = find_scans(args.bids_dir, subject, args.suffix)
        labelled = [scan for scan in scans if _map(args.labels, scan, TISSUES[0]).is_file()]
        if len(labelled) != 2:
            continue
        rows.append(agreement(args.labels, *labelled))
        print(scans[0].subject, *(f'{value:.3f}' for value in rows[-1]), sep='\t', flush=True)
    if len(rows) > 1:
        mean, spread = np.mean(rows, axis=0), np.std(rows, axis=0, ddof=1)
        pairs = zip(mean, spread, strict=True)
        print(f'{len(rows)} animals', *(f'{m:.3f} ± {s:.3f}' for m, s in pairs), sep='\t')


def _map(folder, scan, tissue):
    return folder / scan.folder / f'{scan.stem}_label-{tissue}_probseg.nii.gz'


def agreement(folder, first, second):
    """Dice of WM, GM and CSF between the labels of two scans of one animal."""
    images = [read_volume(scan.path)[1] for scan in (first, second)]
    affines = [nib.load(scan.path).affine for scan in (first, second)]
    fractions = [
        np.stack([read_volume(_map(folder, scan, tissue))[1] for tissue in TISSUES], axis=-1)
        for scan in (first, second)
    ]
    mask = fractions[0].sum(axis=-1) > 0.5
    moved = bring_together(images[0], images[1], mask, affines, fractions[1])
    there = moved.sum(axis=-1) > 0.5
    one, two = fractions[0].argmax(axis=-1), moved.argmax(axis=-1)
    return [dice(mask & (one == k), there & (two == k)) for k in range(len(TISSUES))]


if __name__ == '__main__':
    main()
