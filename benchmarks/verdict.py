"""Whether a good scan is green and a bad one is not: real scans, and spoiled copies of them.

``python benchmarks/verdict.py FOLDER --rats RAT_EPI --mice MOUSE_T2W [--weights FILE] [--write]``

Each scan is segmented as it is; one of each animal is segmented again after each of `SPOILS`, and
becomes each of the `SERIES`, in which the head moves by a known amount. Of every copy the folder
keeps what the verdict is made from, and the truth; copies that are there are not made again.
Rats alternate between a half on which thresholds are chosen and a half on which they are tested;
no threshold was chosen on mice. A scan is good if its mask has a Dice of at least 0.95, at most a
twentieth of the brain lies beyond the field of view, no signal was taken away, no slice moved, and
the head lay still. Printed, for each half: the verdicts of each copy; how often the flag that it
is for is raised on it, and on good scans; and how well slices and volumes are named. ``--write``
puts the tables of the half that is tested into docs/report.md.
"""

import argparse
import json
import re
import textwrap
import zlib
from collections import Counter, defaultdict
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from secondglance.data import donor_paths
from secondglance.files.labelled import find_labelled
from secondglance.files.nifti import read_volume
from secondglance.imaging.grids import slice_grid, voxel_volume
from secondglance.imaging.mask.cleaning import agreement
from secondglance.imaging.mask.quality import GOOD_DICE
from secondglance.imaging.metrics import dice, tissue_volumes
from secondglance.imaging.motion import (
    estimate_motion,
    framewise_displacement,
    motion_parameters,
    resample_motion,
    residual_displacement,
)
from secondglance.imaging.motion_correction import (
    PARAMETERS,
    MotionEstimate,
    correct_motion,
    motion_table,
)
from secondglance.imaging.placement.donors import Donor
from secondglance.imaging.pose import Pose
from secondglance.imaging.species import HEAD_RADIUS_MM
from secondglance.interfaces.placement import placement_rows
from secondglance.interfaces.preprocessing import motion_notes
from secondglance.models.brain_region import brain_region
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
    REVERSED_SLICES,
    brain_warnings,
    cut_brain,
    dark_slices,
    displaced_slices,
    doubtful_slices,
    faint_slices,
    jumps,
    level,
    lost_slices,
    overruled_slices,
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


def aside(voxels, brain, rng, axis):
    """Three slices inside the brain lie eight voxels aside."""
    inside = np.flatnonzero(brain.any(axis=tuple(a for a in range(3) if a != axis)))
    out = np.moveaxis(voxels.copy(), axis, 0)
    for n in rng.choice(inside[3:-3], 3, replace=False):
        out[n] = np.roll(out[n], int(rng.choice([-8, 8])), axis=0)
    return np.moveaxis(out, 0, axis)


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

PLACED = 'three slices aside, mask placed'
"""The donor's mask on slices of which three contradict the others."""

FAULTY = ('slices lost', 'drop-out', 'motion', PLACED)
"""Copies that are no good scans, whatever their Dice: signal was taken away, or slices moved."""

STILL, PIXEL = 0.2, 0.5
"""Framewise displacement, in pixels, up to which a head at rest moves; and from which on that is
reported."""

SERIES = ('series at rest', 'series with jumps', 'series, a volume torn')
"""Copies that are series of `N_VOLUMES` noisy volumes: one in which the head lies still, one in
which it moves by 0.6 to 2 pixels before two of them, and one of which a volume has every second
slice from a head of which the brain lies half to two pixels away."""

N_VOLUMES, SERIES_SNR = 7, 25

MEANT_FOR = {
    'slices lost': 'signal lost',
    'drop-out': 'signal drops out',
    'motion': 'slices displaced',
    'slices cut': 'brain cut',
    'width cut': 'brain cut',
    'half a brain': 'brain cut',
    'wrong donor, mask placed': 'mask doubtful',
    PLACED: 'slices overruled',
    'series with jumps': 'head moved',
    'series, a volume torn': 'volume torn',
}
"""Copies, and the flag that should be raised on them."""

TOLD = {
    'as it is': 'as it is',
    'wrong donor': "another animal's mask as donor, wrongly drawn; mask of the network",
    'noise': 'noise, signal-to-noise ratio 3',
    'motion': 'every second slice moved by three voxels, and blurred',
    'slices lost': 'three slices with a twentieth of their signal',
    'drop-out': "signal fades in a part of the brain's rim",
    'slices cut': 'field of view cuts 30 % of the length',
    'width cut': 'field of view cuts 20 % of the width',
    'half a brain': 'half a brain',
    'wrong donor, mask placed': "the wrong donor's mask, placed",
    PLACED: "three slices moved by eight voxels; a donor's mask, placed",
    'series at rest': f'series of {N_VOLUMES} volumes, the head lies still',
    'series with jumps': 'series, the head moves by 0.6 to 2 pixels before two volumes',
    'series, a volume torn': 'series, every second slice of a volume lies half to two pixels away',
}
"""Copies in the words of the page, in its order."""

PAGE = Path(__file__).resolve().parent.parent / 'docs' / 'report.md'
HEADING = '### How well the verdict tells good scans from others'
END = '#### An earlier run'
ABOUT = (
    'Written by `benchmarks/verdict.py --write`, with first glance and refinement that were '
    'trained on no real scan (`{folder}`): all volumes that have a reference mask, and of one '
    'volume of each animal spoiled copies. Thresholds were set on every second rat; these are '
    '{rat} of the others (EPI), and {mouse} mice (T2w, of which all but the brain had been '
    'removed; {slices}), on which none was set. *Meant for it* is the flag that should be raised '
    'on a copy; *on good scans*, how often it is raised on good scans of the species. That of '
    'torn volumes was set on simulated heads after two of these rats and a mouse had been seen.'
)

WRONG_SLICE, RIGHT_SLICE = 0.85, 0.9
"""Dice of a slice below which its mask is wrong, and from which on it is right."""

NAMED_SLICES = ('slices lost', PLACED)
"""Copies of which some slices were changed, which their flag should name."""

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
        affine = image.affine.copy()
        axis = slice_grid(voxels.shape, affine, 0.15).slice_axis
        thin = tuple(slice(None, None, args.every if a == axis else 1) for a in range(3))
        affine[:, axis] *= args.every
        yield path.name.partition('.')[0], subject, voxels[thin], brain[thin], affine


def make(args, networks):
    """Segment every copy that the folder has not."""
    seen = set()
    for name, animal, voxels, brain, affine in read_scans(args):
        copies = ['as it is']
        if animal not in seen:
            copies += [*SPOILS, *WRONG_DONOR, PLACED, *SERIES]
        seen.add(animal)
        for copy in copies:
            path = args.folder / f'{name} {copy}.npz'
            if path.exists():
                continue
            rng = np.random.default_rng(zlib.crc32(path.name.encode()))
            print(path.name, flush=True)
            species = 'mouse' if animal.startswith('sub-m') else 'rat'
            if copy in SERIES:
                kept = moving(voxels, brain, affine, species, copy, animal, rng, networks[0])
            else:
                kept = judged(voxels, brain, affine, species, copy, animal, rng, networks)
            np.savez_compressed(path, **kept)


def judged(voxels, brain, affine, species, copy, animal, rng, networks):
    """Segment a copy, and gather what its verdict is made from."""
    model, refinement, second, bank = networks
    pose = Pose(species, model.spacing * Pose(species, 1.0).relative_size)
    axis = pose.grid(voxels.shape, affine).slice_axis
    spoiled, true, at = np.asarray(voxels, np.float32), brain, affine.copy()
    changed = np.zeros(brain.shape, bool)
    if copy in SPOILS or copy == PLACED:
        spoiled = (aside if copy == PLACED else SPOILS[copy])(spoiled, brain, rng, axis)
        if isinstance(spoiled, tuple):
            spoiled, keep = spoiled
            true = brain[keep]
            at[:3, 3] += affine[:3, :3] @ [part.start or 0 for part in keep]
            changed = changed[keep]
        else:
            changed = brain & (spoiled != voxels)
    donors = [donor for donor in bank if donor.animal != animal]
    if copy in WRONG_DONOR:
        one = donors[0]
        donors = [Donor(one.enhanced, np.roll(one.mask, (18, -14), (1, 2)), one.positions)]
    grid = pose.grid(spoiled.shape, at)
    head = pose.stack(grid, np.ascontiguousarray(spoiled, np.float32))
    method = 'correlation' if copy in (WRONG_DONOR[1], PLACED) else 'network'
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
        'changed': np.flatnonzero(grid.to_stack(changed.astype(np.float32)).any((1, 2))).tolist(),
        'size': size,
        'scale': found.placement.match.slices.scale,
        'pixel': head.spacing * size,
        'voxel': voxel_volume(grid.affine),
        'rows': rows,
        'volumes': tissue_volumes(tissues.labels, voxel, amounts=tissues.amounts),
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


def moving(voxels, brain, affine, species, copy, animal, rng, model):
    """Make a series of a head that moves, correct its motion, and gather what is told of it."""
    pose = Pose(species, model.spacing * Pose(species, 1.0).relative_size)
    grid = pose.grid(voxels.shape, affine)
    pixel = min(grid.voxel_size[axis] for axis in grid.in_plane)
    middle = nib.affines.apply_affine(affine, (np.array(voxels.shape) - 1) / 2)
    still = rng.normal(0, STILL * pixel / 24, (N_VOLUMES, 6))
    parameters = still.copy()
    torn, apart = int(rng.integers(1, N_VOLUMES)), 0.0
    if copy == 'series with jumps':
        for t in rng.choice(np.arange(1, N_VOLUMES), 2, replace=False):
            parameters[t:] += _jump(rng, rng.uniform(0.6, 2) * pixel)
    matrices = _matrices(parameters, middle, species)
    series = resample_motion(
        np.repeat(np.asarray(voxels, np.float32)[..., None], N_VOLUMES, 3),
        affine,
        np.linalg.inv(matrices),
    )
    if copy == 'series, a volume torn':
        step = _jump(rng, pixel)
        away = _matrices((parameters[torn] + step)[None], middle, species)
        points = nib.affines.apply_affine(affine, np.argwhere(brain))
        by = residual_displacement(away, matrices[torn][None], points)[0]
        step *= rng.uniform(0.5, 2) * pixel / by
        away = _matrices((parameters[torn] + step)[None], middle, species)
        apart = residual_displacement(away, matrices[torn][None], points)[0]
        whole = np.asarray(voxels, np.float32)[..., None]
        other = resample_motion(whole, affine, np.linalg.inv(away))[..., 0]
        odd = np.moveaxis(series[..., torn], grid.slice_axis, 0)
        odd[1::2] = np.moveaxis(other, grid.slice_axis, 0)[1::2]
    sigma = voxels[brain].mean() / SERIES_SNR
    real, imaginary = rng.normal(0, sigma, (2, *series.shape))
    series = np.hypot(series + real, imaginary).astype(np.float32)

    def estimate(volumes, start, region):
        first, reference = (start.matrices, start.reference) if start else (None, None)
        mean = start.mean if start else None
        return MotionEstimate(
            *estimate_motion(volumes, affine, reference, region=region, start=first, mean=mean)
        )

    found = correct_motion(
        *(series, affine, estimate),
        lambda corrected: brain_region(model, corrected.mean(axis=3), affine, pose),
    )
    rows = motion_table(found, list(range(N_VOLUMES)), middle, {})
    radius = HEAD_RADIUS_MM[species]
    moved = framewise_displacement([[row[name] for name in PARAMETERS] for row in rows], radius)
    for row, value in zip(rows, moved, strict=True):
        row['framewise_displacement'] = float(value)
    truth = framewise_displacement(motion_parameters(matrices, middle), radius)
    told = {
        'copy': copy,
        'animal': animal,
        'species': species,
        'rows': rows,
        'truth': truth.tolist(),
        'torn': [torn] if copy == 'series, a volume torn' else [],
        'apart': apart,
        'pixel': pixel,
    }
    return {'told': json.dumps(told, default=float)}


def _jump(rng, mm):
    """Draw six parameters of which the framewise displacement is `mm`, rotations in mm."""
    step = rng.normal(size=6)
    return step * mm / np.abs(step).sum()


def _matrices(parameters, middle, species):
    """Turn parameters (T, 6), all in mm, into world mm, volume to reference."""
    turns = Rotation.from_euler('xyz', parameters[:, 3:] / HEAD_RADIUS_MM[species]).as_matrix()
    return np.stack(
        [
            nib.affines.from_matvec(turn, middle + shift - turn @ middle)
            for turn, shift in zip(turns, parameters[:, :3], strict=True)
        ]
    )


def numbers(words):
    """List the slices or volumes that sentences name.

    Examples
    --------
    >>> numbers(['The signal is lost in slices 3–5, 8.', 'It drops out in a part of slice 2.'])
    {2, 3, 4, 5, 8}
    """
    named = set()
    for sentence in words:
        for listed in re.findall(r'(?:slices?|volumes?|were scanned.*:) (\d[\d–, ]*)', sentence):
            for part in re.findall(r'\d+(?:–\d+)?', listed):
                first, _, last = part.partition('–')
                named |= set(range(int(first), int(last or first) + 1))
    return named


def series_judgement(told):
    """Raise the flags of a series."""
    flags = {
        'head moved': jumps(told['rows'], told['pixel']),
        'volume torn': motion_notes(told['rows'], told['pixel']),
    }
    truth = np.array(told['truth'], float)
    return {
        **told,
        'flags': [name for name, warnings in flags.items() if warnings],
        'verdict': 'look' if any(flags.values()) else 'good',
        'good': told['copy'] == SERIES[0],
        'dice': np.nan,
        'slices': [],
        'places': [],
        'volumes': [
            (float(true / told['pixel']), t in numbers(flags['head moved']))
            for t, true in enumerate(truth)
            # A volume that is torn has moved by half
            if np.isfinite(true) and not told['torn']
        ],
        'parts': [
            (t in told['torn'], t in numbers(flags['volume torn'])) for t in range(N_VOLUMES)
        ],
    }


def judgement(path):
    """Read a copy, and raise its flags as the report does."""
    kept = np.load(path)
    told = json.loads(str(kept['told']))
    if told['copy'] in SERIES:
        return series_judgement(told)
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
        'slices overruled': overruled_slices(told['rows'], told['confidence']['Method']),
        'slices reversed': [REVERSED_SLICES] if told['scale'] < 0 else [],
    }
    raised = [name for name, warnings in flags.items() if warnings]
    sure, volume = (told['confidence'][name] for name in ('Confidence', 'BrainVolume'))
    held = kept['reference'].any((1, 2))
    aim = MEANT_FOR.get(told['copy'])
    named = numbers(flags[aim]) if aim else set()
    return {
        **told,
        'flags': raised,
        'verdict': level(raised, sure, volume),
        'good': told['dice'] >= GOOD_DICE and told['lost'] <= LOST and told['copy'] not in FAULTY,
        'slices': [
            (alike, row['probability'])
            for alike, row, there in zip(told['slice_dice'], told['rows'], held, strict=True)
            if there
        ],
        'places': [
            (n in told['changed'], n in named)
            for n in np.flatnonzero(held)
            if told['copy'] in NAMED_SLICES
        ],
        'volumes': [],
        'parts': [],
    }


def counted(pairs):
    """Count (wrong, named): how many of the wrong are named, and how many of the others."""
    wrong, named = np.array(pairs, bool).reshape(-1, 2).T
    return (
        f'{(wrong & named).sum()} of {wrong.sum()}',
        f'{(~wrong & named).sum()} of {(~wrong).sum()}',
    )


def table(scans):
    """Tabulate one half: a row a species and copy, as cells of text."""
    copies = defaultdict(list)
    for scan in scans:
        copies[scan['copy'], scan['species']].append(scan)
    rows = []
    for copy in TOLD:
        for species in ('rat', 'mouse'):
            members = copies.get((copy, species))
            if not members:
                continue
            counts = Counter(scan['verdict'] for scan in members)
            aim = MEANT_FOR.get(copy)
            falsely = [s for s in scans if s['good'] and s['species'] == species]
            falsely = [s for s in falsely if (s['copy'] in SERIES) == (copy in SERIES)]
            value = np.mean([scan['dice'] for scan in members])
            rows.append(
                [
                    TOLD[copy],
                    f'{len(members)} {"rats" if species == "rat" else "mice"}',
                    f'{value:.3f}' if np.isfinite(value) else '',
                    *(str(counts[level]) for level in ('good', 'look', 'bad')),
                    aim or '',
                    f'{sum(aim in s["flags"] for s in members)} of {len(members)}' if aim else '',
                    f'{sum(aim in s["flags"] for s in falsely)} of {len(falsely)}' if aim else '',
                ]
            )
    return rows


def sentences(scans):
    """Tell how well scans, slices and volumes are told apart."""
    good = [scan for scan in scans if scan['good']]
    bad = [scan for scan in scans if not scan['good']]
    slices = np.array([pair for scan in scans for pair in scan['slices']]).reshape(-1, 2)
    named, wrong, right = (
        slices[:, 1] < BAD_SLICE,
        slices[:, 0] < WRONG_SLICE,
        slices[:, 0] >= RIGHT_SLICE,
    )
    places = counted([pair for scan in scans for pair in scan['places']])
    moved = np.array([pair for scan in scans for pair in scan['volumes']]).reshape(-1, 2)
    far, near = moved[:, 0] > PIXEL, moved[:, 0] <= PIXEL
    torn = counted([pair for scan in scans for pair in scan['parts']])
    told = moved[:, 1] > 0
    passed = [f'{s["animal"]}, {TOLD[s["copy"]]}' for s in bad if s['verdict'] == 'good']
    alarms = [f'{s["animal"]}, {TOLD[s["copy"]]}' for s in good if s['verdict'] != 'good']
    return [
        'Scans that are not good (a Dice below 0.95, more than a twentieth of the brain beyond '
        f'the field of view, signal taken away, slices or a head that moved): '
        f'{sum(s["verdict"] != "good" for s in bad)} of {len(bad)} are not green. Good scans: '
        f'{sum(s["verdict"] == "good" for s in good)} of {len(good)} are green.',
        f'Not noticed: {"; ".join(passed) or "none"}. Not green though good: '
        f'{"; ".join(alarms) or "none"}.',
        f'Slices by the probability of their mask: of those with a Dice below {WRONG_SLICE}, '
        f'{(named & wrong).sum()} of {wrong.sum()} are named; of those with {RIGHT_SLICE} or '
        f'more, {(named & right).sum()} of {right.sum()}. By the flag that is meant for a copy '
        f'({"; ".join(NAMED_SLICES)}): of those that were changed, {places[0]} are named; of the '
        f'others of these scans, {places[1]}.',
        f'Volumes: of those before which the head moved by more than half a pixel, '
        f'{(told & far).sum()} of {far.sum()} are named; of the others, {(told & near).sum()} of '
        f'{near.sum()}. Torn volumes: {torn[0]} are named; whole ones: {torn[1]}.',
    ]


COLUMNS = (
    *('copy', 'scans', 'Dice', 'green', 'amber', 'red'),
    *('meant for it', 'raised', 'on good scans'),
)


def half_of(scans, half, rats):
    """Take every second of the rats, from the first or the second on; mice chose no threshold."""
    mice = {scan['animal'] for scan in scans if scan['species'] == 'mouse'}
    chosen = {*rats[half::2], *(mice if half else ())}
    return [scan for scan in scans if scan['animal'] in chosen]


def write(scans, about):
    """Put the tables of the half that is tested into the page."""
    before, found, after = PAGE.read_text().partition(HEADING)
    _, mark, rest = after.partition(END)
    assert found, f'{PAGE} has no heading {HEADING}'
    assert mark, f'{PAGE} has no line {END}'
    lines = [
        HEADING,
        '',
        *wrapped(about),
        '',
        f'| {" | ".join(COLUMNS)} |',
        '| --- ' * len(COLUMNS) + '|',
        *(f'| {" | ".join(row)} |' for row in table(scans)),
        '',
        *(line for words in sentences(scans) for line in [*wrapped(words), '']),
    ]
    PAGE.write_text(before + '\n'.join(lines) + '\n' + mark + rest)


def wrapped(words):
    return textwrap.wrap(words, 110, break_long_words=False, break_on_hyphens=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folder', type=Path)
    parser.add_argument('--rats', type=Path)
    parser.add_argument('--mice', type=Path)
    parser.add_argument('--kept', action='store_true', help='make no copies; judge those kept')
    parser.add_argument('--every', type=int, default=1, help='slice of mice that is taken')
    parser.add_argument('--write', action='store_true', help='to docs/report.md')
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
    if not args.kept:
        make(args, networks)
    scans = [judgement(path) for path in sorted(args.folder.glob('*.npz'))]
    # Of the data set, not of what the folder holds yet: the halves stay
    rats = sorted(path.name for path in args.rats.glob('sub-*')) if args.rats else []
    for half, words in enumerate(('thresholds were chosen on', 'tested on')):
        members = half_of(scans, half, rats)
        print(f'\n# {words}: {" ".join(sorted({scan["animal"] for scan in members}))}')
        for row in (COLUMNS, *table(members), *((line,) for line in sentences(members))):
            print(*row, sep='\t')
    if args.write:
        tested = half_of(scans, 1, rats)
        animals = Counter(s['species'] for s in tested if s['copy'] == 'noise')
        slices = 'all slices' if args.every == 1 else f'one slice of {args.every}'
        write(tested, ABOUT.format(**animals, folder=args.weights.name, slices=slices))


if __name__ == '__main__':
    main()
