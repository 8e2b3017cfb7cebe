"""How much a result depends on where the field of view lies: crops, pads and sub-pixel shifts.

``python benchmarks/field_of_view.py HEAD.nii.gz [HEAD.nii.gz …]``

Every head is segmented as it is, and again after a change that moves no anatomy in the world: six
and four pixels of air or muscle cut off in plane; three and five pixels of zeros added; the field
of view doubled, with noise like that of its corners; and the grid shifted by half a pixel, by the
phase of its Fourier transform, which loses nothing. Dice with the result of the head as it is,
and the difference of the confidence.

After half a pixel of shift the fractions are brought back by a cubic spline before they are
labelled. The row `other voxels` has what the voxels cost by themselves: what the networks found in
the head as it is, read out on voxels half a pixel away, and brought back in the same way. No
method that ends in voxels of this size can do better.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

import secondglance
from secondglance.data import donor_paths
from secondglance.imaging.grids import slice_grid
from secondglance.imaging.labels import TISSUES
from secondglance.imaging.metrics import dice
from secondglance.imaging.pose import Pose
from secondglance.imaging.tissues import label_tissues
from secondglance.models.donors import read_donors
from secondglance.models.second_glance.channels import brain_input
from secondglance.models.second_glance.glance import predict_brain
from secondglance.models.second_glance.volume import own_grid
from secondglance.models.segment import find_brain
from secondglance.models.weights import (
    REFINEMENT,
    SECOND_GLANCE,
    default_refinement,
    default_second_glance,
    default_weights,
    load_weights,
)

CUT, ADDED, SHIFT = (6, 4), (3, 5), 0.5
"""Pixels along the two axes in plane."""

CORNER = 6
"""Edge of the corners from which noise is taken, pixels."""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('heads', nargs='+', type=Path)
    parser.add_argument('--second-weights', type=Path)
    args = parser.parse_args()
    print('head\tchange\tbrain\t' + '\t'.join(TISSUES) + '\tconfidence')
    rows: dict[str, list[list[float]]] = {}
    for path in args.heads:
        for change, row in judge(path, args.second_weights):
            rows.setdefault(change, []).append(row)
            told = (f'{value:.3f}' for value in row[:4])
            print(path.name.split('.')[0], change, *told, f'{row[4]:+.2f}', sep='\t', flush=True)
    for change, found in rows.items():
        means, least = np.mean(found, axis=0), np.min(found, axis=0)
        told = (f'{m:.3f} (≥ {low:.3f})' for m, low in zip(means[:4], least[:4], strict=True))
        print('all', change, *told, f'{np.abs(found)[:, 4].max():.2f}', sep='\t')


def judge(path: Path, weights: Path | None):
    """Change a head in each way, and compare each result with that of the head as it is."""
    image = nib.load(path)
    voxels, affine = image.get_fdata(dtype=np.float32), image.affine
    plane = sorted(slice_grid(voxels.shape, affine, 1.0).in_plane)
    original = segmented(voxels, affine, weights)
    for change, changed, start in changes(voxels, original['mask'] > 0, plane):
        moved = affine.copy()
        moved[:3, 3] += affine[:3, :3] @ start
        found = segmented(changed, moved, weights)
        back = bring_back(found, start, voxels.shape)
        yield change, [*compare(original, back), found['confidence'] - original['confidence']]
        if change == 'half a pixel':
            there = read_elsewhere(voxels, affine, moved, original['pose'], weights)
            back = bring_back({'fractions': there}, start, voxels.shape)
            yield 'other voxels', [*compare(original, back), 0.0]


def read_elsewhere(
    voxels: NDArray, affine: NDArray, moved: NDArray, pose: Pose, weights: Path | None
) -> NDArray[np.float32]:
    """Fractions of a head, on voxels that lie where another affine says."""
    shape = voxels.shape
    model = load_weights(default_weights())
    refinement = load_weights(default_refinement(), form=REFINEMENT)
    network = load_weights(weights or default_second_glance(), form=SECOND_GLANCE)
    donors = read_donors(model, donor_paths())
    head = pose.stack(pose.grid(shape, affine), voxels)
    soft = find_brain(model, refinement, head, donors).brain.mask
    here, there = (pose.grid(shape, a).to_native(soft) >= 0.5 for a in (affine, moved))

    grid, other = (own_grid(shape, a, pose) for a in (affine, moved))
    given = brain_input(
        grid.to_stack(voxels), grid.to_stack(here), grid.positions, grid.spacing, pose.species
    )
    fractions, *_ = predict_brain(network, given)
    centre = np.linalg.solve(other.affine, grid.affine @ [*given.grid.centre, 0, 1])
    placed = replace(
        given.grid, stack_shape=other.stack_shape, centre=(float(centre[0]), float(centre[1]))
    )
    shares = np.clip(other.to_native(placed.to_stack(fractions)), 1e-4, None) * there[..., None]
    return shares / np.maximum(shares.sum(axis=-1, keepdims=True), 1e-6)


def segmented(voxels: NDArray, affine: NDArray, weights: Path | None) -> dict:
    """Mask, fractions and confidence of a head."""
    found = secondglance.segment(nib.Nifti1Image(voxels, affine), second_weights=weights)
    return {
        'mask': np.asarray(found.mask.dataobj),
        'fractions': np.asarray(found.probabilities.dataobj),
        'confidence': found.confidence,
        'pose': found.pose,
    }


def changes(voxels: NDArray, brain: NDArray, plane: list[int]):
    """Name, voxels, and the first voxel's place in the voxels of the head as it is."""
    cut, start = [slice(None)] * 3, np.zeros(3)
    for axis, pixels in zip(plane, CUT, strict=True):
        held = np.flatnonzero(brain.any(axis=tuple(a for a in range(3) if a != axis)))
        before, after = held[0], brain.shape[axis] - 1 - held[-1]
        if before >= after:
            cut[axis], start[axis] = slice(pixels, None), pixels
        else:
            cut[axis] = slice(None, -pixels)
    yield 'crop', voxels[tuple(cut)], start

    pads, start = [(0, 0)] * 3, np.zeros(3)
    for axis, pixels in zip(plane, ADDED, strict=True):
        pads[axis], start[axis] = (pixels, 0), -pixels
    yield 'pad', np.pad(voxels, pads), start

    corner = voxels[tuple(slice(CORNER) if a in plane else slice(None) for a in range(3))]
    pads, start = [(0, 0)] * 3, np.zeros(3)
    for axis in plane:
        half = voxels.shape[axis] // 2
        pads[axis], start[axis] = (half, half), -half
    wide = np.pad(voxels, pads)
    outside = np.pad(np.zeros(voxels.shape, bool), pads, constant_values=True)
    rng = np.random.default_rng(0)
    wide[outside] = rng.choice(corner.ravel(), int(outside.sum()))
    yield 'noisy field', wide, start

    start = np.zeros(3)
    start[plane] = SHIFT
    shifted = ndimage.fourier_shift(np.fft.fftn(voxels), -start)
    yield 'half a pixel', np.abs(np.fft.ifftn(shifted)).astype(np.float32), start


def bring_back(found: dict, start: NDArray, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Fractions on the voxels of the head as it is."""
    fractions = found['fractions']
    if np.all(start == np.rint(start)):
        whole = np.zeros((*shape, fractions.shape[-1]), np.float32)
        index = [
            (max(int(s), 0), min(int(s) + n, size))
            for s, n, size in zip(start, fractions.shape, shape, strict=False)
        ]
        there = tuple(slice(a, b) for a, b in index)
        here = tuple(slice(a - int(s), b - int(s)) for (a, b), s in zip(index, start, strict=True))
        whole[there] = fractions[here]
        return whole
    return ndimage.shift(fractions, (*start, 0), order=3, mode='nearest')


def compare(original: dict, back: NDArray) -> list[float]:
    """Dice of the brain and of each tissue; brain is where fractions sum to half or more."""
    brain, other = original['mask'] > 0, back.sum(axis=-1) >= 0.5
    labels = label_tissues(original['fractions'], brain)
    found = label_tissues(np.clip(back, 0, None), other)
    return [dice(brain, other)] + [dice(labels == k, found == k) for k in (1, 2, 3)]


if __name__ == '__main__':
    main()
