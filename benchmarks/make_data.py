"""How the files of this folder were made from their sources; run once, kept to be repeated.

``python -m secondglance.data.make --atlas SIGMA_FOLDER --epi RAT_EPI_BIDS_FOLDER``
"""

import argparse
import gzip
import io
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from secondglance.simulation.atlas_repair import tidy_maps

HERE = Path(__file__).parent
DONORS = ('02', '05', '10', '14')
"""Animals of the EPI data with brains of different sizes; none is the example's."""

SIMULATED = {'small': 0.88, 'smallish': 0.92, 'largish': 1.08, 'large': 1.08}
"""Simulated donors: size beside the atlas, so that subjects of other sizes find one like them."""

DONOR_VOXEL_MM = (0.3, 0.3, 1.0)

EXAMPLE = '07'
"""Animal of the EPI data that is the example's real rat."""

ATLAS_SPACING = 0.2
"""Of the reduced atlas, mm: finer than any slice that is made from it."""


def save(voxels: np.ndarray, affine: np.ndarray, path: Path) -> None:
    """Write NIfTI, compressed without time stamp: the same data are the same bytes."""
    image = nib.Nifti1Image(voxels, affine)
    image.header.set_xyzt_units('mm')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(image.to_bytes(), 9, mtime=0))


def reduce_atlas(folder: Path) -> None:
    """Average tissue maps to coarser voxels of one byte, cropped to the skull."""
    names = ('out', 'wm', 'gm', 'csf', 'skull')
    images = [nib.load(next(folder.glob(f'*_{tissue}.nii.gz'))) for tissue in names]
    size = nib.affines.voxel_sizes(images[0].affine)
    found = np.clip([image.get_fdata(dtype=np.float32) for image in images], 0, 1)
    # What no map claims is outside; then the maps are cleaned of rim and crumbs
    found[0] = np.maximum(found[0], 1 - found[1:].sum(axis=0))
    tidy = tidy_maps(found / found.sum(axis=0), tuple(size))
    factor = ATLAS_SPACING / size
    matrix = images[0].affine @ np.diag([*factor, 1])
    shape = np.ceil(np.array(images[0].shape) / factor).astype(int)
    maps = {}
    for tissue, source in zip(names[1:], tidy[1:], strict=True):
        voxels = ndimage.uniform_filter(source, factor)
        maps[tissue] = ndimage.affine_transform(voxels, factor, output_shape=shape, order=1)
    inside = np.argwhere(sum(maps.values()) > 0.05)
    box = tuple(slice(a, b + 1) for a, b in zip(inside.min(0), inside.max(0), strict=True))
    matrix = matrix @ nib.affines.from_matvec(np.eye(3), inside.min(0))
    for tissue, voxels in maps.items():
        byte = np.rint(np.clip(voxels[box], 0, 1) * 255).astype(np.uint8)
        image = nib.Nifti1Image(byte, matrix)
        image.header.set_slope_inter(1 / 255, 0)
        image.header.set_xyzt_units('mm')
        path = HERE / 'atlas' / f'rat_{tissue}.nii.gz'
        path.parent.mkdir(exist_ok=True)
        with io.BytesIO() as stream:
            image.to_file_map({'image': nib.FileHolder(fileobj=stream)})
            path.write_bytes(gzip.compress(stream.getvalue(), 9, mtime=0))


def copy_rat(epi: Path, animal: str, image_path: Path, mask_path: Path) -> None:
    """Copy one animal's first run and its mask, as integers."""
    name = f'sub-{animal}/func/sub-{animal}_task-rest_run-1'
    image = nib.load(epi / f'{name}_sbref.nii.gz')
    mask = nib.load(epi / f'derivatives/reference/{name}_desc-brain_mask.nii.gz')
    voxels = image.get_fdata(dtype=np.float32)
    # 12 bits keep far more than the noise
    save(np.rint(voxels / voxels.max() * 4095).astype(np.int16), image.affine, image_path)
    save((np.asarray(mask.dataobj) > 0).astype(np.uint8), image.affine, mask_path)


def simulate_donor(folder: Path, size: float, seed: int) -> None:
    """Draw a head of a size, and scan it once."""
    from secondglance.simulation.atlas import read_maps
    from secondglance.simulation.diffusion import simulate_dwi
    from secondglance.simulation.head_volume import simulate_head

    rng = np.random.default_rng([2026, seed])
    # A head of usual size in smaller voxels is a larger head in usual ones
    axes = np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0]], float)
    linear = axes @ np.diag(np.array(DONOR_VOXEL_MM) / size)
    shape = (64, 64, round(22 * size))
    affine = nib.affines.from_matvec(linear, -linear @ ((np.array(shape) - 1) / 2))
    head = simulate_head(*read_maps(), rng, affine, shape)
    scan = simulate_dwi(head, rng, [0], np.zeros((3, 1)), np.eye(4)[None])[..., 0]
    scaled = nib.affines.from_matvec(linear * size, -linear @ ((np.array(shape) - 1) / 2) * size)
    save(np.rint(scan).astype(np.int16), scaled, folder / 'image.nii.gz')
    save(head.brain_mask.astype(np.uint8), scaled, folder / 'brain_mask.nii.gz')


def main() -> None:
    """Make every file again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--atlas', type=Path, required=True)
    parser.add_argument('--epi', type=Path, required=True)
    args = parser.parse_args()
    reduce_atlas(args.atlas)
    for animal in DONORS:
        folder = HERE / 'donors' / f'rat-{animal}'
        copy_rat(args.epi, animal, folder / 'image.nii.gz', folder / 'brain_mask.nii.gz')
    for seed, (name, size) in enumerate(SIMULATED.items()):
        simulate_donor(HERE / 'donors' / f'simulated-{name}', size, seed)
    rat = HERE / 'example'
    copy_rat(args.epi, EXAMPLE, rat / 'rat_epi.nii.gz', rat / 'rat_brain_mask.nii.gz')
    licence = (args.epi / 'LICENSE').read_text()
    for folder, what in (
        ('donors', f'Heads and brain masks of animals {", ".join(DONORS)}'),
        ('example', f'Head and brain mask of animal {EXAMPLE}'),
    ):
        (HERE / folder / 'README.md').write_text(
            f'{what} of the rat EPI of the skull-stripper project (first run, mean of a '
            'motion-corrected series; intensities scaled to 0 to 4095), under this licence:\n\n'
            f'{licence}'
        )
    with (HERE / 'donors' / 'README.md').open('a') as readme:
        readme.write(
            '\nThe simulated donors were drawn from the atlas of this package, and derive, as it '
            'does, from SIGMA version 2 (GPL-3.0; see ../atlas/README.md).\n'
        )


if __name__ == '__main__':
    main()
