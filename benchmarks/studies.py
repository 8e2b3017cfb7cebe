"""What would be gained by looking at a mirrored head as well, how far probabilities are true, and
what becomes of brains that are ill.

``python benchmarks/studies.py [--simulated 24] [--bids-dir RAT_EPI] [--weights FILE]``

Mirrored: the mean of the probabilities of a head and of its mirror image, at twice the time.
Probabilities: of all pixels within a millimetre of the brain's outline, grouped by what the first
glance said, the share that is brain; the expected calibration error; and the temperature by which
logits would have to be divided for the least cross-entropy.
Ill: Dice of the tissues inside the true mask (b0 contrast, SNR 20, animals that taught no
network), as they are, with fluid swollen by 0.6 mm, and with a cyst of 1.2 mm radius in every
slice.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage, optimize, special

from secondglance.data import atlas_path
from secondglance.imaging.labels import TISSUES
from secondglance.imaging.metrics import dice
from secondglance.models.inference import predict
from secondglance.models.training.evaluation import dice_per_class
from secondglance.models.training.scans import read_labelled_scans
from secondglance.models.weights import default_weights, load_weights
from secondglance.simulation.animal import cut_slices, draw_animal
from secondglance.simulation.atlas import read_atlas
from secondglance.simulation.atlas_repair import CORD_MM
from secondglance.simulation.head_slices import render_as
from secondglance.simulation.head_stack import draw_head
from secondglance.simulation.random_fields import column

BAND_MM = 1.0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--simulated', type=int, default=24, metavar='N', help='heads (24)')
    parser.add_argument('--ill', type=int, default=6, metavar='N', help='animals (6)')
    parser.add_argument('--atlas', type=Path, default=atlas_path())
    parser.add_argument('--bids-dir', type=Path, help='real heads as well')
    parser.add_argument('--suffix', default='sbref')
    parser.add_argument('--subject', nargs='+')
    parser.add_argument('--weights', type=Path, default=default_weights())
    args = parser.parse_args()
    model = load_weights(args.weights)
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
    for name, change in (('as it is', None), ('swollen', swell), ('cyst', add_cyst)):
        found = np.array(list(tissues_of_ill(args, model, change)))
        told = zip(TISSUES, found.mean(axis=0), found.std(axis=0, ddof=1), strict=True)
        print(f'{name}: ' + ', '.join(f'{t} {mean:.3f} ± {sd:.3f}' for t, mean, sd in told))


def tissues_of_ill(args, model, change):
    """Give the Dice of each animal's tissues inside the true mask, its maps changed."""
    atlas = read_atlas(args.atlas)
    for number in range(args.ill):
        rng = np.random.default_rng([number, 21])
        animal = draw_animal(atlas, rng, model.spacing, 80)
        low, high = animal.extent_mm
        centres = np.arange(low + CORD_MM, high - 1, 0.75)
        maps = cut_slices(animal, centres, np.full(len(centres), 0.75))
        if change:
            maps = change(maps, rng)
        images, labels = render_as(maps, np.random.default_rng([number, 22]), model.spacing)
        brain = labels > 0
        probabilities = predict(model, (images * brain)[:, 0].numpy())
        inside = torch.from_numpy(probabilities[:, 1:].argmax(axis=1) + 1)[:, None] * brain
        yield dice_per_class(inside, labels)[:3]


def swell(maps, rng):
    """Let fluid grow by two pixels, at the cost of its neighbours."""
    brain, fluid = maps[:, 1:4].sum(dim=1, keepdim=True), maps[:, 3:4]
    for _ in range(2):
        fluid = torch.minimum(torch.nn.functional.max_pool2d(fluid, 3, 1, 1), brain)
    rest = maps[:, 1:3] * (brain - fluid) / maps[:, 1:3].sum(dim=1, keepdim=True).clamp(min=1e-6)
    return torch.cat([maps[:, :1], rest, fluid, maps[:, 4:]], dim=1)


def add_cyst(maps, rng):
    """Put a round cyst of fluid somewhere in the brain of every slice."""
    brain = maps[:, 1:4].sum(dim=1, keepdim=True)
    middle = np.zeros((len(maps), 2))
    for n, pixels in enumerate(brain[:, 0] > 0.9):
        where = torch.nonzero(pixels).numpy()
        middle[n] = where[rng.integers(len(where))] if len(where) else -100
    across = torch.arange(maps.shape[2])[:, None] - column(middle[:, 0])
    up = torch.arange(maps.shape[3])[None] - column(middle[:, 1])
    cyst = torch.sigmoid((4 - torch.hypot(across, up)) / 0.5)
    tissues = maps[:, 1:4] * (1 - cyst)
    tissues[:, 2:] += cyst * brain
    return torch.cat([maps[:, :1], tissues, maps[:, 4:]], dim=1)


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
