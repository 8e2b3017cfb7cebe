"""How often a head that lies otherwise than its header says is set upright, and a species known.

``python benchmarks/orientation.py [--simulated 24] [--bids-dir RAT_EPI] [--weights FILE]``

Every head lies upright, on its left, on its back and on its right. Simulated heads are of animals
that taught no network, in any contrast and tilted by up to 12 degrees about every axis. Counted:
set upright, left as it lay, and turned to where it is not upright.

Then every head is tested with its own pixels, as a rat, and with those of a mouse: counted is
what each is taken for.
"""

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
from scipy import ndimage

from secondglance.data import atlas_path
from secondglance.imaging.species import BRAIN_SIZE
from secondglance.models.pose import find_pose
from secondglance.models.training.scans import read_labelled_scans
from secondglance.models.weights import default_weights, load_weights
from secondglance.simulation.animal import cut_slices, draw_animal
from secondglance.simulation.atlas import read_atlas
from secondglance.simulation.contrast import draw_contrast
from secondglance.simulation.head_slices import render_heads
from secondglance.simulation.head_stack import THICKNESS_MM, along_head


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--simulated', type=int, default=24, metavar='N', help='heads (24)')
    parser.add_argument('--atlas', type=Path, default=atlas_path())
    parser.add_argument('--bids-dir', type=Path, help='real heads as well')
    parser.add_argument('--suffix', default='sbref')
    parser.add_argument('--weights', type=Path, default=default_weights())
    args = parser.parse_args()
    model = load_weights(args.weights)
    print('heads\tlying\tupright now\tleft\twrong')
    taken = []
    for kind, heads in (('simulated', simulated(args, model)), ('real', real(args, model))):
        counts, species = np.zeros((4, 3), int), Counter()
        for stack in heads:
            species.update((name, species_seen(model, stack, name)) for name in BRAIN_SIZE)
            for lying in range(4):
                shown = np.rot90(stack, lying, (1, 2))
                turned = find_pose(model, lambda _, s=shown: s, species='rat').quarter_turns
                right = (turned + lying) % 4 == 0
                counts[lying, 0 if right else 1 if turned == 0 else 2] += 1
        for lying, row in enumerate(counts):
            if row.any():
                print(kind, f'{90 * lying}°', *row, sep='\t', flush=True)
        taken += [(kind, *pair, count) for pair, count in sorted(species.items())]
    print('heads\tspecies\ttaken for\tcount')
    for row in taken:
        print(*row, sep='\t')


def species_seen(model, stack, species):
    """Estimate the species of a head with the pixel size of a given species."""

    def stack_at(spacing):
        finer = model.spacing * BRAIN_SIZE[species] / spacing
        return ndimage.zoom(stack, (1, finer, finer), order=1)

    return find_pose(model, stack_at).species


def simulated(args, model):
    """Give heads of animals that taught no network, upright."""
    atlas = read_atlas(args.atlas)
    for number in range(args.simulated):
        rng = np.random.default_rng([number, 11])
        animal = draw_animal(atlas, rng, model.spacing, 80)
        low, high = animal.extent_mm
        thickness = float(rng.uniform(*THICKNESS_MM))
        positions = np.arange(low, high, thickness)
        maps = cut_slices(animal, positions, np.full(len(positions), thickness))
        along = along_head(rng, positions)
        images, _ = render_heads(maps, along, model.spacing, contrast=draw_contrast(rng))
        yield images[:, 0].numpy()


def real(args, model):
    """Give labelled scans."""
    if args.bids_dir:
        for one in read_labelled_scans(args.bids_dir, args.suffix, model.spacing):
            yield one.images


if __name__ == '__main__':
    main()
