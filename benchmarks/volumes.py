"""How far volumes of tissues and brain are from the true ones, over voxel sizes.

``python benchmarks/volumes.py [--animals 4] [--second-weights FILE]``

Simulated rats of unseen size and shape, each scanned once (b0 contrast, SNR 25). True volumes are
the sums of the true fractions, outside the mask as well as inside. They are compared with volumes
from fractions and from labels of the default method, in the predicted mask and in the true one.
Prints mean ± standard deviation over animals, per cent.
"""

import argparse
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from secondglance import segment
from secondglance.imaging.glance_pooling import pool_glances
from secondglance.imaging.grids import voxel_volume
from secondglance.imaging.labels import TISSUES
from secondglance.imaging.metrics import tissue_volumes
from secondglance.imaging.tissues import tissues_inside
from secondglance.models.second_glance.volume import glance_at_volume
from secondglance.models.weights import SECOND_GLANCE, default_second_glance, load_weights
from secondglance.simulation.atlas import read_maps
from secondglance.simulation.diffusion import simulate_dwi
from secondglance.simulation.head_volume import simulate_head

VOXELS_MM = ((0.375, 0.375, 0.5), (0.3, 0.3, 1.0), (0.2, 0.2, 0.75))
FIELD_MM = 24.0, 24.0, 26.0
"""Field of view: twice in plane, then along the slices."""

WAYS = ('volume_from_fractions_mm3', 'volume_mm3')


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--animals', type=int, default=4)
    parser.add_argument('--seed', type=int, default=9)
    parser.add_argument('--second-weights', type=Path, default=default_second_glance())
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    network = load_weights(args.second_weights, form=SECOND_GLANCE)
    atlas = read_maps()
    names = (*TISSUES, 'brain')
    print('| voxels, mm | mask | volumes from | ' + ' | '.join(names) + ' |')
    print('| --- | --- | --- |' + ' --- |' * len(names))
    for size in VOXELS_MM:
        errors = []
        for number in range(args.animals):
            rng = np.random.default_rng([args.seed, number])
            image, head = scan(atlas, rng, size)
            errors.append(measure(image, head, network))
        table = 100 * np.array(errors)
        for k, mask in enumerate(('predicted', 'true')):
            for j, way in enumerate(('fractions', 'labels')):
                cells = [f'{v.mean():+.1f} ± {v.std(ddof=1):.1f}' for v in table[:, k, j].T]
                size_said = ' × '.join(f'{s:g}' for s in size)
                print(f'| {size_said} | {mask} | {way} | ' + ' | '.join(cells) + ' |', flush=True)


def scan(atlas, rng, size):
    """Draw a head, and scan it in coronal slices: image, and the head."""
    axes = np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0]], float)
    shape = tuple(round(mm / s) for mm, s in zip(FIELD_MM, size, strict=True))
    linear = axes @ np.diag(size)
    affine = nib.affines.from_matvec(linear, -linear @ ((np.array(shape) - 1) / 2))
    head = simulate_head(*atlas, rng, affine, shape)
    voxels = simulate_dwi(head, rng, [0], np.zeros((3, 1)), np.eye(4)[None])[..., 0]
    image = nib.Nifti1Image(voxels.astype(np.float32), affine)
    image.header.set_xyzt_units('mm')
    return image, head


def measure(image, head, network):
    """Relative errors, (2 masks, 2 ways, 4 of tissues and brain)."""
    one = voxel_volume(image.affine)
    true = np.array([head.fractions[name].sum() * one for name in TISSUES])
    true = np.append(true, true.sum())
    found = segment(image, species='rat', second_glance='none')
    pose, mask = found.pose, np.asarray(found.mask.dataobj) > 0
    first = np.asarray(found.first_probabilities.dataobj)
    rows = []
    for inside in (mask, head.brain_mask):
        glance = glance_at_volume(
            image.get_fdata(dtype=np.float32), inside, image.affine, pose, network
        )
        tissues, _ = pool_glances(tissues_inside(first, inside), glance.tissues, inside)
        said = tissue_volumes(tissues.labels, one, amounts=tissues.amounts)
        rows.append([[row[way] for row in said] for way in WAYS])
    return np.array(rows) / true - 1


if __name__ == '__main__':
    main()
