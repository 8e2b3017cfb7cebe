"""``secondglance label``: tissue labels of scans that have a brain mask, by an atlas and ANTs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from secondglance.commands.following import follow
from secondglance.files.extras import install_extra
from secondglance.imaging.errors import InputError
from secondglance.imaging.species import AUTO, BRAIN_SIZE

if TYPE_CHECKING:
    import nibabel as nib
    from numpy.typing import NDArray

    from secondglance.files.bids import Scan
    from secondglance.models.labelling.atlas_labels import AtlasLabels, LabelOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.description = (
        'Label white matter, grey matter and CSF of scans that have a brain mask: an atlas is '
        'registered to each with ANTs, and expectation maximisation with its priors gives the '
        'fraction of each tissue. The labels are what train and evaluate take as reference. '
        f'Needs an extra: {install_extra("label")}.'
    )
    parser.add_argument(
        '--bids-dir', type=Path, required=True, metavar='DIR', help='data set with the scans'
    )
    parser.add_argument(
        '--masks',
        type=Path,
        metavar='DIR',
        help='derivatives with …_desc-brain_mask; default: <bids-dir>/derivatives/reference',
    )
    parser.add_argument('--subject', nargs='+', metavar='LABEL', help='default: all')
    parser.add_argument('--suffix', default='T2w', help='which image of each (T2w)')
    parser.add_argument(
        '--species',
        choices=(AUTO, *BRAIN_SIZE),
        default=AUTO,
        help='default: estimated from the mask',
    )
    parser.add_argument(
        '--atlas',
        type=Path,
        metavar='DIR',
        help='folder with *wm.nii.gz, *gm.nii.gz and *csf.nii.gz; default: that which ships',
    )
    parser.add_argument(
        '-o',
        '--output-dir',
        type=Path,
        metavar='DIR',
        help='default: <bids-dir>/derivatives/reference',
    )


def main(args: argparse.Namespace) -> int:
    """Label every scan; 0 when all are done, 1 when one failed."""
    from secondglance.files.bids import find_scans, find_subjects
    from secondglance.models.labelling.ants_registration import import_ants

    folder = args.masks or args.bids_dir / 'derivatives' / 'reference'
    output_dir = args.output_dir or args.bids_dir / 'derivatives' / 'reference'
    scans: list[Scan] = []
    for subject in args.subject or find_subjects(args.bids_dir):
        try:
            scans += find_scans(args.bids_dir, subject, args.suffix)
        except InputError:
            if args.subject:
                raise
    masks = [(scan, _find_mask(folder, scan)) for scan in scans]
    masked = [(scan, mask) for scan, mask in masks if mask is not None]
    if without := [scan.name for scan, mask in masks if mask is None]:
        print(f'No brain mask, not labelled: {", ".join(without)}.')
    if not masked:
        raise InputError(
            f'No …_{args.suffix} image in {args.bids_dir} has a …_desc-brain_mask in {folder}: '
            'are --suffix and --masks right?'
        )
    # Takes seconds, and without it nothing can be done: after what is wrong at once, before voxels
    import_ants()
    failed = 0
    for scan, mask in follow(masked, 'scan', named=lambda pair: pair[0].name):
        try:
            print(_label(scan, mask, args, output_dir), flush=True)
        except InputError as error:
            print(f'{scan.name}: {error}', file=sys.stderr, flush=True)
            failed += 1
    return 1 if failed else 0


def _find_mask(folder: Path, scan: Scan) -> Path | None:
    for stem in (scan.base, scan.stem):
        for extension in ('.nii.gz', '.nii'):
            path = folder / scan.folder / f'{stem}_desc-brain_mask{extension}'
            if path.is_file():
                return path
    return None


def _label(scan: Scan, mask_path: Path, args: argparse.Namespace, output_dir: Path) -> str:
    """Label one scan and write what was found; a line about it."""
    import numpy as np

    from secondglance.data import atlas_path, mouse_atlas_path
    from secondglance.files.labelled import read_labelled
    from secondglance.files.labels import file_labels
    from secondglance.files.nifti import read_volume
    from secondglance.imaging.labels import TISSUES
    from secondglance.interfaces.derivatives import dataset_files, publish
    from secondglance.models.labelling.atlas_labels import (
        LabelOptions,
        label_by_atlas,
        species_by_smallest_section,
    )
    from secondglance.simulation.atlas import read_maps

    begin = str(scan.folder / scan.stem)
    picture = f'{scan.subject}/figures/{scan.stem}_desc-labels_dseg.png'
    endings = ['dseg.nii.gz', *(f'label-{tissue}_probseg.nii.gz' for tissue in TISSUES)]
    sides = ['dseg.tsv', *(name.replace('.nii.gz', '.json') for name in endings[1:])]
    names = [f'{begin}_{ending}' for ending in (*endings, *sides)] + [picture]
    card = f'{begin}_dseg.json'
    _refuse_others(output_dir, names, card)

    found = read_labelled(scan, mask_path)
    mask = found.labels > 0
    species = (
        species_by_smallest_section(mask, found.affine) if args.species == AUTO else args.species
    )
    shipped = mouse_atlas_path() if species == 'mouse' else atlas_path()
    atlas = args.atlas or shipped
    maps, atlas_affine = read_maps(atlas)
    options = LabelOptions()
    labels = label_by_atlas(
        found.voxels,
        mask,
        found.affine,
        np.stack([maps[tissue.lower()] for tissue in TISSUES]),
        atlas_affine,
        species=species,
        options=options,
    )
    fractions = labels.mixture.fractions
    values = np.where(mask, fractions.argmax(axis=-1) + 1, 0).astype(np.uint8)
    # The scan's own affine, whatever unit it is in: files lie on its grid
    image = read_volume(scan.path)[0]
    volumes: list[NDArray] = [
        file_labels(values),
        *(fractions[..., k] for k in range(len(TISSUES))),
    ]
    files: dict[str, Path | str | bytes] = {
        name: _nifti(volume, image) for name, volume in zip(names, volumes, strict=False)
    }
    about = _about(scan, mask_path, atlas, args, labels, species, options)
    files |= _tables(names, about)
    files[picture] = _picture(found.voxels, values, found.affine)
    files[card] = _card(about, files)
    about_all = dataset_files(output_dir, {'raw': str(args.bids_dir)})
    if (output_dir / 'dataset_description.json').exists():
        # Another's words about the folder are kept
        del about_all['dataset_description.json']
    files |= about_all
    publish(files, output_dir)
    share = fractions[mask].mean(axis=0)
    shares = ', '.join(f'{t} {s:.0%}' for t, s in zip(TISSUES, share, strict=True))
    return f'{scan.name}: {species}, {shares}'


def _refuse_others(output_dir: Path, names: list[str], card: str) -> None:
    """Refuse to write over what another hand made, or changed since."""
    import json

    from secondglance.files.digests import digest_of

    ours: dict[str, str] = {}
    path = output_dir / card
    if path.exists():
        try:
            content = json.loads(path.read_text(encoding='utf-8'))
            if content['GeneratedBy'][0]['Name'] == 'secondglance label':
                ours = content['Digests']
        except (OSError, ValueError, LookupError, TypeError):
            pass
        if not ours:
            raise InputError(f'{path} is not by secondglance label: choose another --output-dir.')
    for name in names:
        there = output_dir / name
        if there.exists() and ours.get(name) != digest_of(there):
            raise InputError(
                f'{there} was made or edited by someone else, and is kept: choose another '
                '--output-dir.'
            )


def _nifti(volume: NDArray, image: nib.Nifti1Pair) -> bytes:
    import gzip

    import nibabel as nib
    import numpy as np

    made = nib.Nifti1Image(np.asarray(volume), image.affine)
    made.header.set_xyzt_units(*image.header.get_xyzt_units()[:1])
    for kind in ('qform', 'sform'):
        code = int(image.header[f'{kind}_code'])
        getattr(made, f'set_{kind}')(image.affine, code or 1)
    # No time stamp inside: the same result is the same bytes
    return gzip.compress(made.to_bytes(), compresslevel=6, mtime=0)


def _about(
    scan: Scan,
    mask_path: Path,
    atlas: Path,
    args: argparse.Namespace,
    labels: AtlasLabels,
    species: str,
    options: LabelOptions,
) -> dict:
    from dataclasses import asdict

    from secondglance import __version__
    from secondglance.files.digests import digest_of
    from secondglance.models.labelling.ants_registration import ants_version

    where = mask_path.name
    if mask_path.is_relative_to(args.bids_dir):
        where = f'bids:raw:{mask_path.relative_to(args.bids_dir)}'
    maps = sorted(p for p in atlas.glob('*.nii*') if p.is_file())
    return {
        'Description': 'Tissues by atlas registration (ANTs) and expectation maximisation.',
        'GeneratedBy': [
            {'Name': 'secondglance label', 'Version': __version__},
            {'Name': 'antspyx', 'Version': ants_version()},
        ],
        'Sources': [f'bids:raw:{scan.folder / scan.path.name}', where],
        'SpatialReference': 'orig',
        'Manual': False,
        'Species': species,
        'Atlas': {'Name': atlas.name, 'Files': {p.name: digest_of(p) for p in maps}},
        'Parameters': asdict(options),
        'TissueMeans': [round(float(m), 4) for m in labels.mixture.means],
        'TissueDeviations': [round(float(s), 4) for s in labels.mixture.deviations],
    }


def _tables(names: list[str], about: dict) -> dict[str, Path | str | bytes]:
    import json

    from secondglance.files.labels import labels_table

    made: dict[str, Path | str | bytes] = {}
    for name in names:
        if name.endswith('.tsv'):
            made[name] = labels_table().encode()
        elif name.endswith('.json'):
            short = {key: about[key] for key in ('Description', 'Sources', 'SpatialReference')}
            made[name] = (json.dumps(short, indent=2) + '\n').encode()
    return made


def _card(about: dict, files: dict) -> bytes:
    import hashlib
    import json

    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    return (json.dumps({**about, 'Digests': digests}, indent=2) + '\n').encode()


def _picture(voxels: NDArray, labels: NDArray, affine: NDArray) -> bytes:
    """Draw up to 24 slices, as they are and with their labels, as a PNG."""
    import io

    import nibabel as nib
    import numpy as np
    from PIL import Image

    from secondglance.reports.figures import grey, mosaic, tissue_overlay

    stacks = [
        nib.as_closest_canonical(nib.Nifti1Image(np.asarray(one, np.float32), affine))
        for one in (voxels, labels)
    ]
    sizes = nib.affines.voxel_sizes(stacks[0].affine)
    axis = int(np.argmax(sizes)) if sizes.max() > 1.5 * sizes.min() else 1
    shown, marked = (np.moveaxis(np.asarray(one.dataobj), axis, 0) for one in stacks)
    brain = np.argwhere(marked > 0)
    low, high = brain.min(axis=0), brain.max(axis=0)
    chosen = np.unique(np.linspace(low[0], high[0], 24).round().astype(int))
    window = tuple(slice(max(0, a - 4), b + 5) for a, b in zip(low[1:], high[1:], strict=True))
    shown, marked = shown[chosen][:, *window], np.rint(marked[chosen][:, *window])
    base = grey(shown)
    rest = np.delete(sizes, axis)
    both = (base, tissue_overlay(base, marked))
    rows = [mosaic(one, aspect=rest[1] / rest[0], columns=8) for one in both]
    stream = io.BytesIO()
    Image.fromarray(np.concatenate(rows)).save(stream, format='PNG')
    return stream.getvalue()
