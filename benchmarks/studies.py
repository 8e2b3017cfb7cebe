"""What would be gained by looking at a mirrored head as well, how far probabilities are true, and
what becomes of brains that are ill.

``python benchmarks/studies.py [--simulated 24] [--bids-dir RAT_EPI] [--weights FILE]``

Mirrored: the mean of the probabilities of a head and of its mirror image, at twice the time.
Probabilities: of all pixels within a millimetre of the brain's outline, grouped by what the first
glance said, the share that is brain; the expected calibration error; and the temperature by which
logits would have to be divided for the least cross-entropy.
Ill: whole heads of simulated animals that taught no network (b0 contrast, SNR 20, 0.75 mm),
healthy and with each of `ILLS`, segmented by each kind of second glance inside the true mask and
inside the mask of the network. Near the illness (within 0.6 mm of a pixel that is now of another
tissue) and elsewhere: Dice of the tissues, and in brackets that of the same pixels of the healthy
animal. Of the pixels that are now of another tissue: the share that is labelled as the image shows
it, and the share that is labelled as in the healthy animal. ``--simulated 0`` for this alone,
``--kinds`` and ``--masks`` for less of it.
Cost (``--cost 5`` alone): core-seconds, on one thread, of the second glance, with regions and
without, beside the forward pass of the first glance; least of so many. The example's real rat, and
a simulated one of 64 × 64 × 40.
"""

import argparse
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage, optimize, special

from secondglance.data import atlas_path, donor_paths, example_rat, regions_path
from secondglance.files.nifti import read_volume
from secondglance.files.regions import read_region_atlas
from secondglance.imaging.labels import TISSUES
from secondglance.imaging.metrics import dice
from secondglance.imaging.pose import Pose
from secondglance.models.choices import SECOND_GLANCES
from secondglance.models.donors import read_donors
from secondglance.models.inference import predict
from secondglance.models.second_glance.volume import glance_at_volume
from secondglance.models.segment import find_brain, first_glance, look_again
from secondglance.models.training.scans import read_labelled_scans
from secondglance.models.weights import (
    REFINEMENT,
    SECOND_GLANCE,
    default_refinement,
    default_second_glance,
    default_weights,
    load_weights,
)
from secondglance.simulation.animal import cut_slices, draw_animal
from secondglance.simulation.atlas import read_atlas, read_maps
from secondglance.simulation.atlas_repair import CORD_MM
from secondglance.simulation.contrast import CONTRASTS
from secondglance.simulation.diffusion import simulate_dwi
from secondglance.simulation.head_slices import render_as
from secondglance.simulation.head_stack import along_head, draw_head
from secondglance.simulation.head_volume import simulate_head

BAND_MM = 1.0
APART_MM = 0.75
MASKS = ('true', 'predicted')
RIM_MM = 1.2
"""Fluid deeper in the forebrain than this is that of the ventricles."""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--simulated', type=int, default=24, metavar='N', help='heads (24)')
    parser.add_argument('--ill', type=int, default=6, metavar='N', help='animals (6)')
    parser.add_argument('--kinds', nargs='+', choices=SECOND_GLANCES, default=SECOND_GLANCES)
    parser.add_argument('--masks', nargs='+', choices=MASKS, default=MASKS)
    parser.add_argument('--contrast', choices=CONTRASTS, default='b0', help='of the ill (b0)')
    parser.add_argument('--atlas', type=Path, default=atlas_path())
    parser.add_argument('--bids-dir', type=Path, help='real heads as well')
    parser.add_argument('--suffix', default='sbref')
    parser.add_argument('--subject', nargs='+')
    parser.add_argument('--weights', type=Path, default=default_weights())
    parser.add_argument('--cost', type=int, metavar='N', help='only this, N times')
    args = parser.parse_args()
    model = load_weights(args.weights)
    if args.cost:
        measure_cost(args, model)
        return
    for kind, heads in (('simulated', simulated(args, model)), ('real', real(args, model))):
        rows, said, true = [], [], []
        for images, brain in heads:
            once = 1 - predict(model, images)[:, 0]
            mirrored = 1 - predict(model, images[:, ::-1].copy())[:, 0, ::-1]
            both = (once + mirrored) / 2
            rows.append([dice(p >= 0.5, brain) for p in (once, both)])
            band = near_outline(brain, model.spacing)
            said.append(once[band])
            true.append(brain[band])
        if not rows:
            continue
        first, both = np.array(rows).T
        print(
            f'{kind}: {len(rows)} heads, first glance {first.mean():.4f} ± {first.std(ddof=1):.4f}'
        )
        gain = both - first
        print(
            f'  with the mirror image {both.mean():.4f}, '
            f'gain {gain.mean():+.4f} ± {gain.std():.4f}'
        )
        tell(np.concatenate(said), np.concatenate(true))
    if args.ill:
        judge_ill(args, model)


def measure_cost(args, model):
    """Print what the second glance takes beside the forward pass of the first."""
    torch.set_num_threads(1)
    network = load_weights(default_second_glance(), form=SECOND_GLANCE)
    atlas = read_region_atlas(regions_path('rat'))
    (image, voxels), (_, mask) = (read_volume(path) for path in example_rat())
    rng = np.random.default_rng(2019)
    head = simulate_head(*read_maps(args.atlas), rng)
    b0 = simulate_dwi(head, rng, [0], np.zeros((3, 1)), np.eye(4)[None])[..., 0]
    scans = {
        'real rat': (voxels, mask > 0, image.affine),
        'simulated rat': (b0, head.brain_mask, head.affine),
    }
    pose = Pose('rat', model.spacing)
    for name, (voxels, mask, affine) in scans.items():
        stack = pose.grid(voxels.shape, affine).to_stack(voxels)
        given = (voxels, mask, affine, pose, network)
        steps = {
            'forward pass': partial(predict, model, stack),
            'second glance': partial(glance_at_volume, *given),
            'with regions': partial(glance_at_volume, *given, atlas),
        }
        for step, call in steps.items():
            took = []
            for _ in range(args.cost):
                start = time.process_time()
                call()
                took.append(time.process_time() - start)
            print(f'{name}, {len(stack)} slices, {step}: {min(took):.2f} core-seconds', flush=True)


def judge_ill(args, model):
    """Print what each second glance makes of ill brains, and of the same brains in health."""
    networks = {
        'model': model,
        'refinement': load_weights(default_refinement(), form=REFINEMENT),
        'network': load_weights(default_second_glance(), form=SECOND_GLANCE),
    }
    donors = read_donors(model, donor_paths())
    atlas = read_atlas(args.atlas)
    rows = {}
    for number in range(args.ill):
        rng = np.random.default_rng([number, 21])
        animal = draw_animal(atlas, rng, model.spacing, 80)
        low, high = animal.extent_mm
        centres = np.arange(low + CORD_MM, high - 1, APART_MM)
        healthy = cut_slices(animal, centres, np.full(len(centres), APART_MM))
        states = {'healthy': healthy} | {
            name: change(healthy, rng, model.spacing) for name, change in ILLS.items()
        }
        seen = {
            name: segment_all(maps, number, args, networks, donors)
            for name, maps in states.items()
        }
        for name in ILLS:
            for way, row in compare(seen['healthy'], seen[name], model.spacing):
                rows.setdefault((name, *way), []).append(row)
        print(f'animal {number + 1} of {args.ill}', flush=True)
    told = ' | '.join(TISSUES)
    print(f'\n{args.ill} animals, {args.contrast}; Dice, in brackets of the healthy animal')
    print(f'| illness | mask | by | near: {told} | elsewhere: {told} | as seen | as in health |')
    for (ill, mask, kind), found in rows.items():
        pairs = np.array([near + elsewhere for near, elsewhere, _ in found])
        cells = [f'{mean(now)} ({mean(before)})' for now, before in pairs.transpose(1, 2, 0)]
        shares = np.array([share for *_, share in found])
        cells += [f'{m:.3f} ± {s:.3f}' for m, s in zip(*spread(shares), strict=True)]
        print(f'| {ill} | {mask} | {kind} | ' + ' | '.join(cells) + ' |')


def mean(values):
    """Mean over the animals that have the tissue there, as it is printed."""
    known = values[np.isfinite(values)]
    return f'{known.mean():.3f}' if len(known) else '–'


def spread(values):
    """Mean and standard deviation over the first axis."""
    return values.mean(axis=0), values.std(axis=0, ddof=1)


def segment_all(maps, number, args, networks, donors):
    """True labels of a head, and labels by mask and second glance; (X, Y, Z) arrays."""
    model = networks['model']
    positions = np.arange(len(maps)) * APART_MM
    # The same head, coil and noise whatever the brain has
    along = along_head(np.random.default_rng([number, 22]), positions)
    images, labels = render_as(maps, along, model.spacing, contrast=CONTRASTS[args.contrast])
    images, truth = (np.moveaxis(x[:, 0].numpy(), 0, 1) for x in (images, labels))
    affine = np.diag([model.spacing, APART_MM, model.spacing, 1.0])
    pose = Pose('rat', model.spacing)
    grid = pose.grid(images.shape, affine)
    head = pose.stack(grid, images)
    masks = {'true': truth > 0}
    if 'predicted' in args.masks:
        found = find_brain(model, networks['refinement'], head, donors)
        first, masks['predicted'] = found.first, grid.to_native(found.brain.mask) >= 0.5
    else:
        first = first_glance(model, head.images)
    told = {}
    for name in args.masks:
        for kind in args.kinds:
            tissues, _ = look_again(
                kind,
                images,
                masks[name],
                affine,
                pose,
                first=first,
                model=model,
                network=networks['network'],
            )
            told[name, kind] = tissues.labels
    return truth, told


def compare(healthy, ill, spacing):
    """Dice (now, in health) of each tissue near an illness and elsewhere; how it is labelled."""
    before, now = healthy[0], ill[0]
    changed = before != now
    steps = round(0.6 / spacing)
    near = ndimage.binary_dilation(changed, np.ones((3, 1, 3), bool), iterations=steps)
    for way, found in ill[1].items():
        pairs = [
            [
                tuple(
                    dice((labels == k) & part, (truth == k) & part)
                    if ((truth == k) & part).any()
                    else np.nan
                    for labels, truth in ((found, now), (healthy[1][way], before))
                )
                for k in range(1, len(TISSUES) + 1)
            ]
            for part in (near, ~near)
        ]
        shares = [np.mean(found[changed] == truth[changed]) for truth in (now, before)]
        yield way, (*pairs, shares)


def forebrain(maps):
    """Whether a slice is of the front half of the brain, and not of the olfactory bulb; (B,)."""
    area = (maps[:, 1:4].sum(dim=1) > 0.5).sum(dim=(1, 2)).numpy()
    return (np.arange(len(maps)) >= len(maps) / 2) & (area > 0.5 * area.max())


def swell(maps, rng, spacing):
    """Let the fluid within the forebrain grow by 0.6 mm, at the cost of its neighbours."""
    brain, fluid = maps[:, 1:4].sum(dim=1, keepdim=True), maps[:, 3:4]
    inside = (brain[:, 0] > 0.5).numpy()
    deep = np.stack([ndimage.distance_transform_edt(one) * spacing > RIM_MM for one in inside])
    deep &= forebrain(maps)[:, None, None]
    grown = fluid * torch.from_numpy(deep)[:, None]
    for _ in range(round(0.6 / spacing)):
        grown = torch.nn.functional.max_pool2d(grown, 3, 1, 1)
    fluid = torch.minimum(torch.maximum(fluid, grown), brain)
    rest = maps[:, 1:3] * (brain - fluid) / maps[:, 1:3].sum(dim=1, keepdim=True).clamp(min=1e-6)
    return torch.cat([maps[:, :1], rest, fluid, maps[:, 4:]], dim=1)


def put_ball(maps, rng, spacing, tissue, radius, among):
    """Put a ball that is all one tissue into a forebrain, its middle where `among` is True."""
    brain = maps[:, 1:4].sum(dim=1, keepdim=True)
    size = np.array([APART_MM, spacing, spacing])
    deep = ndimage.distance_transform_edt(brain[:, 0].numpy() > 0.9, sampling=size) > radius
    where = np.argwhere(deep & among & forebrain(maps)[:, None, None])
    middle = where[rng.integers(len(where))]
    index = np.moveaxis(np.indices(deep.shape), 0, -1)
    away = np.linalg.norm((index - middle) * size, axis=-1)
    ball = torch.from_numpy(1 / (1 + np.exp((away - radius) / 0.15))).float()[:, None]
    tissues = maps[:, 1:4] * (1 - ball)
    tissues[:, tissue : tissue + 1] += ball * brain
    return torch.cat([maps[:, :1], tissues, maps[:, 4:]], dim=1)


def add_cyst(maps, rng, spacing):
    """Put a cyst of fluid, 1.2 mm in radius, into the brain."""
    return put_ball(maps, rng, spacing, TISSUES.index('CSF'), 1.2, True)


def add_tumour(maps, rng, spacing):
    """Let a mass as bright as grey matter, 2 mm in radius, grow in white matter."""
    white = maps[:, 1].numpy() > 0.5
    return put_ball(maps, rng, spacing, TISSUES.index('GM'), 2.0, white)


ILLS = {'swollen ventricles': swell, 'cyst': add_cyst, 'tumour': add_tumour}
"""Illnesses of whole brains, as the simulator draws them slice by slice."""


def simulated(args, model):
    """Give image and brain of heads of animals that taught no network."""
    atlas = read_atlas(args.atlas)
    for number in range(args.simulated):
        rng = np.random.default_rng([number, 9])
        head = draw_head(draw_animal(atlas, rng, model.spacing, 80), rng)
        yield head.images, head.labels > 0


def real(args, model):
    """Give image and brain of labelled scans."""
    if args.bids_dir:
        for one in read_labelled_scans(args.bids_dir, args.suffix, model.spacing, args.subject):
            yield one.images, one.labels != 0


def near_outline(brain, spacing):
    """Pixels within `BAND_MM` of the brain's outline, slice by slice."""
    near = np.zeros(brain.shape, bool)
    for image, out in zip(brain, near, strict=True):
        if image.any():
            away = ndimage.distance_transform_edt(~image) + ndimage.distance_transform_edt(image)
            out[:] = (away - 1) * spacing <= BAND_MM
    return near


def tell(said, true):
    """Print how far probabilities are true."""
    edges = np.linspace(0, 1, 11)
    group = np.clip(np.digitize(said, edges) - 1, 0, 9)
    n = np.bincount(group, minlength=10)
    mean = np.bincount(group, said, 10) / np.maximum(n, 1)
    share = np.bincount(group, true, 10) / np.maximum(n, 1)
    print('  said  ' + '  '.join(f'{m:.2f}' for m in mean))
    print('  true  ' + '  '.join(f'{s:.2f}' for s in share))
    print(f'  expected calibration error {(n * np.abs(mean - share)).sum() / n.sum():.3f}')
    logits = special.logit(np.clip(said.astype(float), 1e-6, 1 - 1e-6))

    def entropy(temperature):
        z = logits / temperature
        return float(np.mean(np.logaddexp(0, z) - true * z))

    best = optimize.minimize_scalar(entropy, bounds=(0.3, 5), method='bounded').x
    print(
        f'  temperature {best:.2f}: cross-entropy {entropy(1.0):.3f} to {entropy(best):.3f} there'
    )


if __name__ == '__main__':
    main()
