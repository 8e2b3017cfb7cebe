"""Whether a good scan is green and a bad one is not: real scans, and spoiled copies of them.

``python benchmarks/verdict.py FOLDER --rats RAT_EPI --mice MOUSE_T2W [--weights FILE] …``

Each scan is segmented as it is; one of each animal is segmented again after each of `SPOILS`. Of
every copy the folder keeps what the verdict is made from, and the true mask; copies that are there
are not made again. Animals alternate between a half on which thresholds are chosen and a half on
which they are tested. A scan is good if its mask has a Dice of at least 0.95, at most a twentieth
of the brain lies beyond the field of view, and no signal was taken away. Printed, for each half:
the verdicts of each copy; of each flag, the share of the copies that it is for on which it is
raised, and the share of good scans; and how well slices are named.
"""

import argparse
import json
import zlib
from collections import Counter, defaultdict
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from secondglance.data import donor_paths
from secondglance.files.labelled import find_labelled
from secondglance.files.nifti import read_volume
from secondglance.imaging.grids import voxel_volume
from secondglance.imaging.mask.cleaning import agreement
from secondglance.imaging.mask.quality import GOOD_DICE
from secondglance.imaging.metrics import dice, tissue_volumes
from secondglance.imaging.placement.donors import Donor
from secondglance.imaging.pose import Pose
from secondglance.interfaces.placement import placement_rows
from secondglance.models.donors import read_donors
from secondglance.models.segment import find_brain, look_again
from secondglance.models.weights import (
    REFINEMENT,
    SECOND_GLANCE,
    default_refinement,
    default_second_glance,
    default_weights,
    load_weights,
)
from secondglance.reports.verdict import (
    BAD_SLICE,
    brain_warnings,
    cut_brain,
    dark_slices,
    displaced_slices,
    doubtful_slices,
    faint_slices,
    level,
    lost_slices,
    placement_warnings,
    unusual_tissues,
)

LOST = 0.05
"""Share of the brain beyond the field of view from which on a scan is not good."""


def noisy(voxels, brain, rng, axis):
    """Rician noise at a signal-to-noise ratio of 3 in the brain."""
    sigma = voxels[brain].mean() / 3
    real, imaginary = rng.normal(0, sigma, (2, *voxels.shape))
    return np.hypot(voxels + real, imaginary)


def moved(voxels, brain, rng, axis):
    """Every second slice lies three voxels aside, and all are a mean over movements."""
    plane = [a for a in range(3) if a != axis]
    mean = np.zeros_like(voxels)
    for _ in range(6):
        shift = np.zeros(3)
        shift[plane] = rng.uniform(-2, 2, 2)
        mean += ndimage.shift(voxels, shift, order=1) / 6
    out = np.moveaxis(mean.copy(), axis, 0)
    out[1::2] = np.roll(out[1::2], 3, axis=1)
    return np.moveaxis(out, 0, axis)


def darkened(voxels, brain, rng, axis):
    """Three slices inside the brain hold a twentieth of their signal."""
    inside = np.flatnonzero(brain.any(axis=tuple(a for a in range(3) if a != axis)))
    chosen = rng.choice(inside[2:-2], 3, replace=False)
    out = np.moveaxis(voxels.copy(), axis, 0)
    out[chosen] *= 0.05
    return np.moveaxis(out, 0, axis)


def dropped_out(voxels, brain, rng, axis):
    """The signal fades about a point on the rim of the brain, over a quarter of its width."""
    rim = np.argwhere(brain & ~ndimage.binary_erosion(brain))
    centre = rim[rng.integers(len(rim))]
    widths = np.ptp(np.argwhere(brain), axis=0) / 4
    away = sum(((g - c) / w) ** 2 for g, c, w in zip(
        np.indices(voxels.shape), centre, widths, strict=True))  # fmt: skip
    return voxels * (1 - np.exp(-away))


def cut(axis_of, share):
    """Make a function that cuts `share` of the brain's length off the field of view."""

    def crop(voxels, brain, rng, axis):
        across = {'slices': axis, 'width': next(a for a in range(3) if a != axis)}[axis_of]
        along = np.flatnonzero(brain.any(axis=tuple(a for a in range(3) if a != across)))
        last = round(along[0] + (1 - share) * (along[-1] + 1 - along[0]))
        keep = [slice(None)] * 3
        keep[across] = slice(0, last) if rng.random() < 0.5 else slice(
            along[-1] + 1 + along[0] - last, None)  # fmt: skip
        return voxels[tuple(keep)], tuple(keep)

    return crop


SPOILS = {
    'noise': noisy,
    'motion': moved,
    'slices lost': darkened,
    'drop-out': dropped_out,
    'slices cut': cut('slices', 0.3),
    'width cut': cut('width', 0.2),
    'half a brain': cut('width', 0.5),
}
"""Copies, each a function of voxels, brain, generator and slice axis."""

FADED = ('slices lost', 'drop-out')
"""Copies from which signal was taken away."""

MEANT_FOR = {
    'signal lost': ['slices lost'],
    'signal drops out': ['drop-out'],
    'slices displaced': ['motion'],
    'brain cut': ['slices cut', 'width cut', 'half a brain'],
    'mask doubtful': ['half a brain', 'wrong donor, mask placed'],
}
"""Flags, and the copies that they should be raised on."""

WRONG_SLICE = 0.85
"""Dice of a slice below which its mask is wrong."""

WRONG_DONOR = ('wrong donor', 'wrong donor, mask placed')
"""Copies that have another donor, not another image; the second takes its mask."""


def read_scans(args):
    """Give name, animal, voxels, brain and affine of each labelled scan."""
    if args.rats:
        for found in find_labelled(args.rats, 'sbref'):
            yield found.scan.name, found.scan.subject, found.voxels, found.labels > 0, found.affine
    for path in sorted(args.mice.glob('sub-*/anat/*_T2w.nii.gz')) if args.mice else ():
        image, voxels = read_volume(path)
        subject = path.name.partition('_')[0]
        (labels,) = (args.mice / 'derivatives/reference' / subject).glob('anat/*_dseg.nii.gz')
        brain = np.asarray(nib.load(labels).dataobj) > 0
        yield path.name.partition('.')[0], subject, voxels, brain, image.affine


def make(args, networks):
    """Segment every copy that the folder has not."""
    seen = set()
    for name, animal, voxels, brain, affine in read_scans(args):
        copies = ['as it is']
        if animal not in seen:
            copies += [*SPOILS, *WRONG_DONOR]
        seen.add(animal)
        for copy in copies:
            path = args.folder / f'{name} {copy}.npz'
            if path.exists():
                continue
            rng = np.random.default_rng(zlib.crc32(path.name.encode()))
            print(path.name, flush=True)
            species = 'mouse' if animal.startswith('sub-m') else 'rat'
            np.savez_compressed(
                path, **judged(voxels, brain, affine, species, copy, animal, rng, networks)
            )


def judged(voxels, brain, affine, species, copy, animal, rng, networks):
    """Segment a copy, and gather what its verdict is made from."""
    model, refinement, second, bank = networks
    pose = Pose(species, model.spacing * Pose(species, 1.0).relative_size)
    axis = pose.grid(voxels.shape, affine).slice_axis
    spoiled, true, at = np.asarray(voxels, np.float32), brain, affine.copy()
    if copy in SPOILS:
        spoiled = SPOILS[copy](spoiled, brain, rng, axis)
        if isinstance(spoiled, tuple):
            spoiled, keep = spoiled
            true = brain[keep]
            at[:3, 3] += affine[:3, :3] @ [part.start or 0 for part in keep]
    donors = [donor for donor in bank if donor.animal != animal]
    if copy in WRONG_DONOR:
        one = donors[0]
        donors = [Donor(one.enhanced, np.roll(one.mask, (18, -14), (1, 2)), one.positions)]
    grid = pose.grid(spoiled.shape, at)
    head = pose.stack(grid, np.ascontiguousarray(spoiled, np.float32))
    method = 'correlation' if copy == WRONG_DONOR[1] else 'network'
    found = find_brain(model, refinement, head, donors, mask_method=method)
    mask = grid.to_native(found.brain.mask) >= 0.5
    tissues, _ = look_again(
        'network', spoiled, mask, at, pose, first=found.first, model=model, network=second
    )
    size, stack_mask = pose.relative_size, found.brain.mask >= 0.5
    rows = placement_rows(found.placement, head.positions * size, head.spacing * size)
    alike = agreement(stack_mask, found.placement.mask)
    for row, agreed, sure in zip(rows, alike, found.brain.slice_confidence, strict=True):
        row |= {'agreement': float(agreed), 'probability': float(sure)}
    voxel = voxel_volume(at)
    reference = grid.to_stack(true.astype(np.float32)) >= 0.5
    told = {
        'copy': copy,
        'animal': animal,
        'species': species,
        'dice': dice(mask, true),
        'slice_dice': agreement(stack_mask, reference).tolist(),
        'lost': 1 - true.sum() / brain.sum(),
        'size': size,
        'pixel': head.spacing * size,
        'voxel': voxel_volume(grid.affine),
        'rows': rows,
        'volumes': tissue_volumes(tissues.labels, voxel, fractions=tissues.fractions),
        'confidence': {
            'Method': found.brain.method,
            'MethodAskedFor': method,
            'Confidence': found.brain.confidence,
            'BrainVolume': float(mask.sum()) * voxel,
        },
    }
    return {
        'told': json.dumps(told, default=float),
        'image': head.images.astype(np.float16),
        'mask': stack_mask,
        'reference': reference,
        'first': found.first.probabilities[:, 0] < 0.5,
    }


def judgement(path):
    """Read a copy, and raise its flags as the report does."""
    kept = np.load(path)
    told = json.loads(str(kept['told']))
    image, mask = kept['image'].astype(np.float32), kept['mask']
    flags = {
        'slices probably wrong': doubtful_slices(told['rows'], mask),
        'signal lost': lost_slices(image, mask) + faint_slices(image, mask),
        'signal drops out': dark_slices(image, mask),
        'slices displaced': displaced_slices(mask, told['pixel'] / told['size']),
        'brain cut': cut_brain(image, mask),
        'tissues unusual': unusual_tissues(told['volumes']),
        'two brains': brain_warnings(image, kept['first'], told['voxel'], told['size']),
        'mask doubtful': placement_warnings(told['rows'], told['confidence'], told['size']),
    }
    raised = [name for name, warnings in flags.items() if warnings]
    sure, volume = (told['confidence'][name] for name in ('Confidence', 'BrainVolume'))
    held = kept['reference'].any((1, 2))
    return {
        **told,
        'flags': raised,
        'verdict': level(raised, sure, volume),
        'good': told['dice'] >= GOOD_DICE and told['lost'] <= LOST and told['copy'] not in FADED,
        'slices': [
            (alike, row['probability'])
            for alike, row, there in zip(told['slice_dice'], told['rows'], held, strict=True)
            if there
        ],
    }


def report(scans):
    """Print the figures of one half."""
    copies = defaultdict(list)
    for scan in scans:
        copies[scan['species'], scan['copy']].append(scan)
    print('species', 'copy', 'scans', 'Dice', 'good', 'green', 'amber', 'red', 'flags', sep='\t')
    for (species, copy), members in copies.items():
        counts = Counter(scan['verdict'] for scan in members)
        flags = Counter(flag for scan in members for flag in scan['flags'])
        print(
            *(species, copy, len(members), f'{np.mean([s["dice"] for s in members]):.3f}'),
            *(sum(scan['good'] for scan in members), counts['good'], counts['look']),
            *(counts['bad'], ', '.join(f'{name} {n}' for name, n in flags.most_common())),
            sep='\t',
        )
    good = [scan for scan in scans if scan['good']]
    bad = [scan for scan in scans if not scan['good']]
    for name, wanted in (('bad scans', bad), ('good scans', good)):
        noticed = sum(scan['verdict'] != 'good' for scan in wanted)
        print(f'{name}: {noticed} of {len(wanted)} not green')
    print('flag', 'raised on its copies', 'raised on good scans', sep='\t')
    for flag, kinds in MEANT_FOR.items():
        ours = [scan for scan in scans if scan['copy'] in kinds]
        rates = (f'{sum(flag in s["flags"] for s in g)} of {len(g)}' for g in (ours, good))
        print(flag, *rates, sep='\t')
    slices = np.array([pair for scan in scans for pair in scan['slices']])
    named, wrong = slices[:, 1] < BAD_SLICE, slices[:, 0] < WRONG_SLICE
    right = slices[:, 0] >= 0.9
    print(
        f'slices with a Dice below {WRONG_SLICE}: {(named & wrong).sum()} of {wrong.sum()} named'
    )
    print(f'slices with a Dice of 0.9 or more: {(named & right).sum()} of {right.sum()} named')


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folder', type=Path)
    parser.add_argument('--rats', type=Path)
    parser.add_argument('--mice', type=Path)
    parser.add_argument('--weights', type=Path, default=default_weights())
    parser.add_argument('--refinement', type=Path, default=default_refinement())
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    model = load_weights(args.weights)
    networks = (
        model,
        load_weights(args.refinement, form=REFINEMENT),
        load_weights(default_second_glance(), form=SECOND_GLANCE),
        read_donors(model, donor_paths()),
    )
    make(args, networks)
    scans = [judgement(path) for path in sorted(args.folder.glob('*.npz'))]
    species = {scan['animal']: scan['species'] for scan in scans}
    for half, words in enumerate(('thresholds were chosen on', 'tested on')):
        chosen = [
            animal
            for kind in ('rat', 'mouse')
            for animal in sorted(name for name, of in species.items() if of == kind)[half::2]
        ]
        print(f'\n# {words}: {" ".join(chosen)}')
        report([scan for scan in scans if scan['animal'] in chosen])


if __name__ == '__main__':
    main()
