"""How much a result depends on where the field of view lies: crops, pads and sub-pixel shifts.

``python benchmarks/field_of_view.py HEAD.nii.gz [HEAD.nii.gz …]``

Every head is segmented as it is, and again after a change that moves no anatomy in the world: six
and four pixels of air or muscle cut off in plane; three and five pixels of zeros added; the field
of view doubled, with noise like that of its corners; and the grid shifted by half a pixel, by the
phase of its Fourier transform, which loses nothing. Dice with the result of the head as it is,
and the difference of the confidence.

After half a pixel of shift the fractions are brought back by a cubic spline before they are
labelled. The row `interpolation` has what that costs by itself: the fractions of the head as it
is, brought to the shifted grid, cut to a mask of whole voxels there, and brought back.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

import secondglance
from secondglance.imaging.grids import slice_grid
from secondglance.imaging.labels import TISSUES
from secondglance.imaging.metrics import dice
from secondglance.imaging.tissues import label_tissues

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
            there = ndimage.shift(original['fractions'], (*-start, 0), order=3, mode='nearest')
            total = there.sum(axis=-1, keepdims=True)
            whole = np.where(total >= 0.5, there / np.maximum(total, 0.5), 0)
            back = bring_back({'fractions': whole}, start, voxels.shape)
            yield 'interpolation', [*compare(original, back), 0.0]


def segmented(voxels: NDArray, affine: NDArray, weights: Path | None) -> dict:
    """Mask, fractions and confidence of a head."""
    found = secondglance.segment(nib.Nifti1Image(voxels, affine), second_weights=weights)
    return {
        'mask': np.asarray(found.mask.dataobj),
        'fractions': np.asarray(found.probabilities.dataobj),
        'confidence': found.confidence,
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
