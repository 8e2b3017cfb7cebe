"""Brain masks of other tools on the same scans: Dice, 95 % Hausdorff distance, seconds, memory.

``python benchmarks/peers.py BIDS --suffix sbref --rat --mouse-unet WHEEL --template 02 05 10``

Every scan that has a mask drawn by hand is masked by

- ``secondglance``: the weights that ship, and those that were trained on simulated heads alone;
  an animal is never its own donor;
- ``mouse U-Net``: the network of the package seg-for-4modalities (The Jackson Laboratory, for
  mice), rebuilt from the configuration in its own file. ``--mouse-unet`` is its wheel, or one of
  the ``.hdf5`` in it; needs ``pip install h5py``. It runs at its own 0.08 mm in plane, and on rats
  also at that size times `RAT_SIZE`, at which a rat's brain is as large as a mouse's. Of the
  four quarter turns it is given the one that suits it best on the first scan;
- ``ANTs``: heads of other animals of the same data set with their masks drawn by hand
  (``--template``), each registered (affine, then SyN). ``ANTs, one template`` takes the first of
  them, as RABIES does; ``ANTs, templates`` the majority of all masks. Needs the extra ``label``;
- ``Otsu``: N4, Otsu's threshold in four classes, opening, the largest piece, closing: what is left
  without template or network;
- ``BET``: FSL's, on voxel sizes times ten, where FSLDIR has its ``bin/bet2``; from the centre
  that it finds itself, with the threshold that suits it best on the first scan;
- ``brighter than zero``: for scans without a head around the brain, where it needs no method.

Each method runs in a process of its own, with one thread: seconds are those of the processor, per
scan, without start; memory is the most that the process and what it called held. Under the rows
of a method stands its row of the table in docs/peers.md.
"""

import argparse
import json
import os
import resource
import subprocess
import tempfile
import zipfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

from secondglance.data import donor_paths
from secondglance.files.labelled import find_labelled
from secondglance.imaging.metrics import scores
from secondglance.models.donors import read_donors
from secondglance.models.pose import estimate_pose
from secondglance.models.segment import find_brain
from secondglance.models.weights import (
    REFINEMENT,
    default_refinement,
    default_weights,
    load_weights,
    trained_on,
)

DEFAULT_NET = 'model156_0.50.25_scan.hdf5'
"""What the package takes unless told otherwise."""

MOUSE_PIXEL, PATCH, THRESHOLD, CLIP = 0.08, 128, 0.3, 20
"""Of the mouse U-Net: mm in plane, pixels, probability, multiple of the mean; its defaults."""

RAT_SIZE = 1.6
"""Cube root of the volumes of a rat's and a mouse's brain, 1800 and 440 mm³."""

BET_THRESHOLDS, BET_RUNS = ('0.3', '0.5', '0.7'), 10
"""Fractional intensities that BET is tried with, and how often it looks for the centre."""

OPEN_MM, CLOSE_MM = 0.5, 1.0
"""Of Otsu's mask: what is cut off, and what is closed."""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Raw)
    parser.add_argument('bids_dir', type=Path)
    parser.add_argument('--suffix', default='sbref')
    parser.add_argument('--subject', nargs='+', help='default: all that are no template')
    parser.add_argument('--first-scan', action='store_true', help='of each animal alone')
    parser.add_argument('--template', nargs='+', default=[], metavar='LABEL')
    parser.add_argument('--mouse-unet', type=Path, metavar='WHEEL|FILE')
    parser.add_argument('--stride', type=int, default=64, help='of its patches; its own is 16')
    parser.add_argument('--rat', action='store_true', help='scans are of rats')
    parser.add_argument('--only', nargs='+', choices=METHODS, default=list(METHODS))
    args = parser.parse_args()
    print('method', 'animal', 'scan', 'dice', 'hd95_mm', 'cpu_s', 'memory_mb', sep='\t')
    for name in args.only:
        # A fresh process: its memory is the method's alone
        with ProcessPoolExecutor(1, mp_context=get_context('spawn')) as pool:
            try:
                rows = pool.submit(run, name, args).result()
            except (ImportError, LookupError) as missing:
                print(f'# {name} left out: {missing}', flush=True)
                continue
        tell(name, rows)


class _Raw(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of the description."""


def tell(name, rows):
    """Print a row a scan, and the mean over animals."""
    animals: dict = {}
    for animal, scan, score, distance, seconds, memory in rows:
        print(
            name,
            animal,
            scan,
            f'{score:.4f}',
            f'{distance:.3f}',
            f'{seconds:.1f}',
            memory,
            sep='\t',
        )
        animals.setdefault(animal, []).append((score, distance, seconds))
    means = np.array([np.mean(values, axis=0) for values in animals.values()])
    score, distance, seconds = means.mean(axis=0)
    spread = f' ± {means[:, 0].std(ddof=1):.3f}' if len(means) > 1 else ''
    print(
        f'| {name} | {len(means)} | {score:.3f}{spread} | {means[:, 0].min():.3f} '
        f'| {distance:.2f} | {seconds:.1f} | {rows[-1][-1]} |',
        flush=True,
    )


def run(name, args):
    """Mask every scan by one method: ``(animal, scan, Dice, HD95 mm, s, MB)`` each."""
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    templates = [f'sub-{label.removeprefix("sub-")}' for label in args.template]
    scans = list(find_labelled(args.bids_dir, args.suffix, args.subject))
    scans = [found for found in scans if found.scan.subject not in templates]
    if args.first_scan:
        scans = list({found.scan.subject: found for found in reversed(scans)}.values())[::-1]
    masker = METHODS[name](args, scans)
    rows = []
    for found in scans:
        begun = cpu_seconds()
        mask = masker(found)
        seconds = cpu_seconds() - begun
        size = nib.affines.voxel_sizes(found.affine)
        score = scores(mask, found.labels > 0, size)
        rows.append([found.scan.subject, found.scan.name, score['dsc'], score['hd95_mm'], seconds])
    whose = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    memory = max(resource.getrusage(one).ru_maxrss for one in whose) // 1024
    return [(*row, memory) for row in rows]


def dice_of(mask, found):
    """Dice of a mask with the one drawn by hand."""
    return scores(mask, found.labels > 0, np.ones(3))['dsc']


def cpu_seconds():
    """Seconds of the processor that this process and those it called have used."""
    times = os.times()
    return sum(times[:4])


# secondglance


def ours(weights, refinement):
    """Make a method of weights; animals that they were trained on are left out."""

    def prepare(args, scans):
        model = load_weights(weights)
        refiner = load_weights(refinement, form=REFINEMENT)
        donors = read_donors(model, donor_paths())
        known = trained_on(weights) | trained_on(refinement)
        scans[:] = [found for found in scans if found.scan.name not in known]
        if not scans:
            raise LookupError('the weights were trained on every animal here')

        def mask(found):
            pose = estimate_pose(model, found.voxels, found.affine)
            grid = pose.grid(found.voxels.shape, found.affine)
            others = [donor for donor in donors if donor.animal != found.scan.subject]
            head = pose.stack(grid, found.voxels)
            return grid.to_native(find_brain(model, refiner, head, others).brain.mask) >= 0.5

        return mask

    return prepare


def simulated(name):
    """Path of a file of weights that were trained on simulated heads alone."""
    return default_weights().with_name(name)


# The mouse U-Net


class KerasNet:
    """A network of Keras, run by torch as its own configuration says.

    Parameters
    ----------
    path : path
        A wheel that holds `DEFAULT_NET`, or an ``.hdf5``.
    """

    def __init__(self, path):
        import h5py

        with tempfile.TemporaryDirectory() as folder:
            if path.suffix == '.whl':
                with zipfile.ZipFile(path) as wheel:
                    (name,) = [n for n in wheel.namelist() if n.endswith(f'/{DEFAULT_NET}')]
                    path = Path(wheel.extract(name, folder))
            with h5py.File(path) as file:
                config = json.loads(file.attrs['model_config'])['config']
                self.layers = [
                    self._layer(layer, file['model_weights']) for layer in config['layers']
                ]
        self.output = config['output_layers'][0][0]

    @staticmethod
    def _layer(layer, weights):
        name = layer['name']
        inputs = [node[0] for node in layer['inbound_nodes'][0]] if layer['inbound_nodes'] else []
        group = weights[name]
        kept = [torch.from_numpy(group[key][()]) for key in group.attrs.get('weight_names', ())]
        return layer['class_name'], name, inputs, layer['config'], kept

    def __call__(self, images):
        """Probability of the brain, (B, 1, 128, 128), of images of that shape."""
        known = {}
        for kind, name, inputs, config, weights in self.layers:
            values = [known[one] for one in inputs] or [images]
            known[name] = getattr(self, kind)(config, weights, *values)
        return known[self.output]

    def InputLayer(self, config, weights, x):
        return x

    def Conv2D(self, config, weights, x):
        if (config['padding'], config['strides'], config['dilation_rate']) != (
            'same',
            [1, 1],
            [1, 1],
        ):
            raise ValueError(f'a convolution that is not rebuilt here: {config}')
        kernel = weights[0].permute(3, 2, 0, 1)
        # Of an even kernel, Keras pads below and to the right
        before = [(n - 1) // 2 for n in config['kernel_size']]
        after = [n // 2 for n in config['kernel_size']]
        x = functional.pad(x, (before[1], after[1], before[0], after[0]))
        return ACTIVATIONS[config['activation']](functional.conv2d(x, kernel, weights[1]))

    def BatchNormalization(self, config, weights, x):
        scale, shift, mean, variance = weights
        return functional.batch_norm(x, mean, variance, scale, shift, eps=config['epsilon'])

    def MaxPooling2D(self, config, weights, x):
        return functional.max_pool2d(x, config['pool_size'], config['strides'])

    def UpSampling2D(self, config, weights, x):
        return functional.interpolate(x, scale_factor=config['size'], mode=config['interpolation'])

    def Concatenate(self, config, weights, *xs):
        return torch.cat(xs, dim=1)

    def Dropout(self, config, weights, x):
        return x


ACTIVATIONS = {'relu': torch.relu, 'sigmoid': torch.sigmoid, 'linear': lambda x: x}


def mouse_unet(scale):
    """Make the method of the mouse U-Net for heads that are `scale` times a mouse's."""

    def prepare(args, scans):
        if args.mouse_unet is None:
            raise LookupError('--mouse-unet names no file')
        if scale != 1 and not args.rat:
            raise LookupError('these are mice')
        net = KerasNet(args.mouse_unet)
        pixel = MOUSE_PIXEL * scale

        def mask(found, turn):
            return unet_probability(net, found, pixel, args.stride, turn) > THRESHOLD

        turn = max(range(4), key=lambda turn: dice_of(mask(scans[0], turn), scans[0]))
        print(f'# {turn} quarter turns', flush=True)
        return lambda found: mask(found, turn)

    return prepare


def unet_probability(net, found, pixel, stride, turn):
    """Probability of the brain on the scan's grid, as the package computes it."""
    voxels = np.where(
        found.voxels > CLIP * found.voxels.mean(), np.median(found.voxels), found.voxels
    )
    size = nib.affines.voxel_sizes(found.affine)
    axis = slice_axis(size)
    plane = np.delete(size, axis)
    stack = np.moveaxis(voxels, axis, 0)
    zoom = (1, *(plane / pixel))
    fine = ndimage.zoom(stack, zoom, order=1, grid_mode=True, mode='nearest')
    fine = np.rot90((fine - fine.min()) / (fine.max() - fine.min()), turn, axes=(1, 2))
    probability = np.stack([by_patches(net, one, stride) for one in fine.astype(np.float32)])
    probability = np.rot90(probability, -turn, axes=(1, 2))
    back = tuple(n / m for n, m in zip(stack.shape, probability.shape, strict=True))
    native = ndimage.zoom(probability, back, order=0, grid_mode=True, mode='nearest')
    return np.moveaxis(native, 0, axis)


def slice_axis(size):
    """Axis along which slices lie: the coarsest, of isotropic scans the second (coronal)."""
    return int(size.argmax()) if size.max() > 1.5 * size.min() else 1


def by_patches(net, image, stride):
    """Mean probability of overlapping patches, (H, W); the image is padded to a patch at least."""
    height, width = image.shape
    padded = np.pad(image, [(0, max(0, PATCH - n)) for n in image.shape])
    total, count = np.zeros_like(padded), np.zeros_like(padded)
    corners = [
        (i, j) for i in starts(padded.shape[0], stride) for j in starts(padded.shape[1], stride)
    ]
    patches = np.stack([padded[i : i + PATCH, j : j + PATCH] for i, j in corners])
    for (i, j), patch in zip(corners, net(torch.from_numpy(patches)[:, None])[:, 0], strict=True):
        total[i : i + PATCH, j : j + PATCH] += patch.numpy()
        count[i : i + PATCH, j : j + PATCH] += 1
    return (total / count)[:height, :width]


def starts(length, stride):
    """Where patches begin: from both ends, as the package lays them."""
    last = length - PATCH
    return sorted({*range(0, last + 1, stride), *(last - n for n in range(0, last + 1, stride))})


# Templates, thresholds, BET


def templates(most):
    """Make the method of heads with masks, `most` at most, registered to each scan by ANTs."""

    def prepare(args, scans):
        from secondglance.models.labelling.ants_registration import import_ants, to_ants

        chosen = args.template[:most]
        if not chosen:
            raise LookupError('--template names no animal')
        if most is None and len(chosen) == 1:
            raise LookupError('--template names one animal')
        ants = import_ants()
        bank = {}
        for found in find_labelled(args.bids_dir, args.suffix, chosen):
            pair = [to_ants(values, found.affine) for values in (found.voxels, found.labels > 0)]
            bank.setdefault(found.scan.subject, pair)

        def mask(found):
            fixed = to_ants(found.voxels, found.affine)
            votes = []
            for image, brain in bank.values():
                moved = ants.registration(
                    fixed, image, 'SyN', syn_metric='CC', syn_sampling=2, random_seed=1
                )
                transforms = moved['fwdtransforms']
                warped = ants.apply_transforms(fixed, brain, transforms, 'nearestNeighbor')
                votes.append(warped.numpy() > 0.5)
            return np.mean(votes, axis=0) > 0.5

        return mask

    return prepare


def otsu(args, scans):
    """N4, Otsu's threshold in four classes, and morphology."""
    import SimpleITK as sitk

    def mask(found):
        size = nib.affines.voxel_sizes(found.affine)
        image = sitk.GetImageFromArray(np.maximum(found.voxels, 0).T)
        image.SetSpacing(size.tolist())
        head = sitk.OtsuThreshold(image, 0, 1)
        field = sitk.N4BiasFieldCorrectionImageFilter()
        field.SetMaximumNumberOfIterations([50, 50, 50])
        even = field.Execute(image, head)
        classes = sitk.GetArrayFromImage(sitk.OtsuMultipleThresholds(even, 3)).T
        brain = morph(ndimage.binary_opening, classes >= 2, size, OPEN_MM)
        pieces, n = ndimage.label(brain)
        if n:
            brain = pieces == 1 + np.bincount(pieces.ravel())[1:].argmax()
        brain = morph(ndimage.binary_closing, brain, size, CLOSE_MM)
        return ndimage.binary_fill_holes(brain)

    return mask


def brighter_than_zero(args, scans):
    """Every voxel that is not empty."""
    return lambda found: found.voxels > 0


def morph(operation, mask, size, radius):
    """Open or close a mask by a ball of so many mm."""
    reach = [int(radius // one) for one in size]
    grid = np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing='ij')
    ball = sum((g * s) ** 2 for g, s in zip(grid, size, strict=True)) <= radius**2
    around = np.pad(mask, [(n, n) for n in reach])
    inner = tuple(slice(n, n + m) for n, m in zip(reach, mask.shape, strict=True))
    return operation(around, ball)[inner]


def bet(args, scans):
    """FSL's brain extraction, on voxel sizes times ten, from the centre that it finds itself.

    As its option ``-R`` does, it is run again from the middle of the brain that it found. Of
    `BET_THRESHOLDS` it is given the one that suits it best on the first scan.
    """
    program = Path(os.environ.get('FSLDIR', '/nowhere')) / 'bin' / 'bet2'
    if not program.is_file():
        raise LookupError('FSLDIR has no BET')

    def mask(found, threshold):
        with tempfile.TemporaryDirectory() as folder:
            affine = np.diag([10.0, 10.0, 10.0, 1.0]) @ found.affine
            there = nib.as_closest_canonical(nib.Nifti1Image(found.voxels, affine))
            nib.save(there, f'{folder}/head.nii.gz')
            voxels, centre = there.get_fdata(), None
            for _ in range(BET_RUNS):
                at = [] if centre is None else ['-c', *(f'{value:.2f}' for value in centre)]
                subprocess.run(
                    [program, f'{folder}/head', f'{folder}/brain', '-m', '-f', threshold, *at],
                    check=True,
                    env={**os.environ, 'FSLOUTPUTTYPE': 'NIFTI_GZ'},
                )
                brain = nib.load(f'{folder}/brain_mask.nii.gz')
                weight = voxels * (brain.get_fdata() > 0.5)
                before = centre
                centre = np.array(
                    [np.average(g, weights=weight) for g in np.indices(weight.shape)]
                )
                if before is not None and np.abs(centre - before).max() < 1:
                    break
            back = nib.orientations.ornt_transform(
                nib.io_orientation(brain.affine), nib.io_orientation(affine)
            )
            return nib.orientations.apply_orientation(brain.get_fdata() > 0.5, back) > 0

    best = max(BET_THRESHOLDS, key=lambda f: dice_of(mask(scans[0], f), scans[0]))
    print(f'# BET with -f {best}', flush=True)
    return lambda found: mask(found, best)


METHODS = {
    'secondglance': ours(default_weights(), default_refinement()),
    'secondglance, simulated heads alone': ours(
        simulated('simulated.safetensors'), simulated('simulated_refinement.safetensors')
    ),
    'mouse U-Net': mouse_unet(1.0),
    'mouse U-Net, at the size of a rat': mouse_unet(RAT_SIZE),
    'ANTs, one template': templates(1),
    'ANTs, templates': templates(None),
    'Otsu': otsu,
    'BET': bet,
    'brighter than zero': brighter_than_zero,
}


if __name__ == '__main__':
    main()
