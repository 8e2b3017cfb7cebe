"""``secondglance simulate``: a BIDS data set of simulated rats with their truth."""

from __future__ import annotations

import argparse
import gzip
import json
import math
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from secondglance import __version__
from secondglance.commands.following import follow
from secondglance.imaging.errors import InputError

if TYPE_CHECKING:
    import numpy as np

SIMULATED_TERMS = (
    'Simulated from tissue maps of the SIGMA rat brain atlas, version 2 (GPL-3.0), and under the '
    'same licence.\nCite Barrière, D.A., et al., Nature Communications 10, 5699 (2019), '
    'doi 10.1038/s41467-019-13575-7.\n'
)


EXAMPLE = 'The example of secondglance: a simulated and a real rat'
"""Name of that data set."""


B_VALUE = 1000.0
"""s/mm², usual for the brain of a living rat."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.description = (
        'Simulate a BIDS data set of rats: diffusion series with motion, and their truth, brain '
        'mask and tissue labels.'
    )
    parser.add_argument('--output', type=Path, required=True, help='folder of the new data set')
    parser.add_argument('--subjects', type=int, default=4, help='how many animals (4)')
    parser.add_argument('--seed', type=int, default=0, help='same seed, same animals (0)')
    parser.add_argument(
        '--atlas',
        type=Path,
        help='folder with *wm.nii.gz, *gm.nii.gz, *csf.nii.gz and, if there is one, '
        '*skull.nii.gz, or BIDS names such as *WM_probseg.nii.gz; default: the atlas that ships',
    )
    parser.add_argument('--b0-volumes', type=int, default=4, help='volumes without weighting (4)')
    parser.add_argument('--dwi-volumes', type=int, default=8, help='volumes with weighting (8)')
    parser.add_argument(
        '--motion-mm', type=float, default=0.25, help='sd of each translation, mm (0.25)'
    )
    parser.add_argument('--snr', type=float, default=25.0, help='of grey matter in a b0 (25)')


def main(args: argparse.Namespace) -> int:
    """Make the data set; 0 when done."""
    import numpy as np
    from rich.console import Console

    from secondglance.simulation.atlas import read_maps

    _check(args)
    width = max(3, len(str(args.subjects)))
    labels = [f'{n:0{width}d}' for n in range(1, args.subjects + 1)]
    console = Console(stderr=True)
    with _new_folder(args.output) as folder:
        atlas = read_maps(args.atlas)
        for number, label in enumerate(follow(labels, 'animal', named=str)):
            write_animal(
                folder,
                label,
                atlas,
                np.random.default_rng([args.seed, number]),
                b0_volumes=args.b0_volumes,
                dwi_volumes=args.dwi_volumes,
                motion_mm=args.motion_mm,
                snr=args.snr,
            )
        describe(folder, labels, 'Simulated rats', SIMULATED_TERMS if args.atlas is None else '')
    console.print(f'{args.subjects} simulated rats are in {args.output}.')
    return 0


def _check(args: argparse.Namespace) -> None:
    least = {'subjects': 1, 'b0_volumes': 1, 'dwi_volumes': 0, 'seed': 0, 'motion_mm': 0}
    for name, bound in least.items():
        value = getattr(args, name)
        if not (math.isfinite(value) and value >= bound):
            option = name.replace('_', '-')
            raise InputError(f'--{option} {value} cannot be used: give {bound} or more.')
    if not (math.isfinite(args.snr) and args.snr > 0):
        raise InputError(f'--snr {args.snr} cannot be used: give a number above 0, such as 25.')


def make_example(folder: Path) -> None:
    """Make the example: sub-01, simulated diffusion that moves, and sub-02, a real rat's EPI.

    Parameters
    ----------
    folder : Path
        Must not be there yet, or be empty.
    """
    import numpy as np

    from secondglance.data import example_rat
    from secondglance.simulation.atlas import read_maps

    with _new_folder(folder) as new:
        rng = np.random.default_rng(2019)
        write_animal(new, '01', read_maps(), rng, b0_volumes=4, dwi_volumes=6)
        image, mask = example_rat()
        name = 'sub-02/func/sub-02_task-rest'
        _copy(image, new / f'{name}_sbref.nii.gz')
        _copy(mask, new / f'derivatives/reference/{name}_desc-brain_mask.nii.gz')
        _write_json(
            new / f'{name}_sbref.json',
            {
                'Description': 'A real rat: mean of a motion-corrected EPI series.',
                'TaskName': 'rest',
            },
        )
        terms = image.with_name('README.md').read_text(encoding='utf-8')
        describe(
            new,
            ['01', '02'],
            EXAMPLE,
            f'sub-01. {SIMULATED_TERMS}\nsub-02. {terms}',
        )


def is_example(folder: Path) -> bool:
    """Whether a folder is the example, by the name of the data set."""
    try:
        described = json.loads((folder / 'dataset_description.json').read_text(encoding='utf-8'))
        return described['Name'] == EXAMPLE
    except (OSError, ValueError, LookupError, TypeError):
        return False


def write_animal(
    folder: Path,
    label: str,
    atlas: tuple[dict[str, np.ndarray], np.ndarray],
    rng: np.random.Generator,
    b0_volumes: int = 4,
    dwi_volumes: int = 8,
    motion_mm: float = 0.25,
    snr: float = 25.0,
) -> None:
    """Draw an animal, scan it, and write scan and truth in BIDS.

    Parameters
    ----------
    folder : Path
        Root of the data set.
    label : str
        Of the subject, without prefix.
    atlas : (maps, affine)
        Of :func:`read_maps`.
    rng : numpy.random.Generator
    b0_volumes, dwi_volumes : int
    motion_mm : float
        Standard deviation of each translation.
    snr : float
    """
    import numpy as np

    from secondglance.files.labels import file_labels
    from secondglance.simulation.diffusion import draw_motion, simulate_dwi
    from secondglance.simulation.head_volume import simulate_head

    head = simulate_head(*atlas, rng)
    n_volumes = b0_volumes + dwi_volumes
    # b0 volumes are spread over the series, as motion is best followed
    bvals = np.full(n_volumes, B_VALUE)
    bvals[np.linspace(0, n_volumes - 1, b0_volumes).astype(int)] = 0
    bvecs = rng.standard_normal((3, n_volumes))
    bvecs = np.where(bvals > 0, bvecs / np.linalg.norm(bvecs, axis=0), 0)
    motion = draw_motion(n_volumes, rng, head.affine, mm=motion_mm)
    series = simulate_dwi(head, rng, bvals, bvecs, motion, snr=snr)

    name = f'sub-{label}/dwi/sub-{label}'
    _write_nifti(folder / f'{name}_dwi.nii.gz', np.rint(series).astype(np.int16), head.affine)
    # In a .bvec directions are along the voxel axes, x turned where these are right-handed
    axes = head.affine[:3, :3] / np.linalg.norm(head.affine[:3, :3], axis=0)
    local = axes.T @ bvecs
    if np.linalg.det(axes) > 0:
        local[0] = -local[0]
    np.savetxt(folder / f'{name}_dwi.bval', bvals[None], fmt='%g')
    np.savetxt(folder / f'{name}_dwi.bvec', local, fmt='%.6f')
    _write_json(
        folder / f'{name}_dwi.json',
        {'Description': 'Simulated', 'EchoTime': 0.03, 'PhaseEncodingDirection': 'j'},
    )
    truth = folder / 'derivatives/reference'
    _write_nifti(truth / f'{name}_dseg.nii.gz', file_labels(head.labels), head.affine)
    _write_nifti(
        truth / f'{name}_desc-brain_mask.nii.gz', head.brain_mask.astype(np.uint8), head.affine
    )
    _write_json(
        truth / f'{name}_desc-motion_xfm.json',
        {
            'Description': 'world mm, volume to reference',
            'reference': 0,
            'matrices': motion.tolist(),
        },
    )


def describe(folder: Path, labels: list[str], name: str, terms: str) -> None:
    """Write what BIDS asks of a data set as a whole, and the terms it is under."""
    from secondglance.files.labels import labels_table

    _write_json(
        folder / 'dataset_description.json',
        {
            'Name': name,
            'BIDSVersion': '1.10.0',
            'DatasetType': 'raw',
            **({'License': 'see README'} if terms else {}),
            'GeneratedBy': [{'Name': 'secondglance', 'Version': __version__}],
        },
    )
    _write_json(
        folder / 'derivatives/reference/dataset_description.json',
        {
            'Name': f'{name}: truth',
            'BIDSVersion': '1.10.0',
            'DatasetType': 'derivative',
            'GeneratedBy': [{'Name': 'secondglance', 'Version': __version__}],
        },
    )
    (folder / 'derivatives/reference/dseg.tsv').write_text(labels_table(), encoding='utf-8')
    # The validator knows no transforms yet
    (folder / 'derivatives/reference/.bidsignore').write_text('*_xfm.*\n')
    rows = ''.join(f'sub-{label}\trattus norvegicus\n' for label in labels)
    (folder / 'participants.tsv').write_text(f'participant_id\tspecies\n{rows}')
    (folder / 'README').write_text(
        f'{name}, made by secondglance {__version__}.\n\n{terms}'.rstrip() + '\n',
        encoding='utf-8',
    )


class _new_folder:
    """Make a folder whole or not at all: its name appears when all that it holds is there."""

    def __init__(self, path: Path):
        self.path = Path(path).resolve()

    def __enter__(self) -> Path:
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise InputError(f'{self.path} is there and not empty: choose another folder.')
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.temporary = Path(tempfile.mkdtemp(prefix='.new-', dir=self.path.parent))
        except OSError as error:
            raise InputError(
                f'{self.path} cannot be made ({error.strerror}): choose another folder.'
            ) from error
        return self.temporary

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        if kind is None:
            try:
                self.temporary.chmod(0o755)
                os.replace(self.temporary, self.path)
                return
            except OSError as late:
                error = late
        shutil.rmtree(self.temporary, ignore_errors=True)
        if isinstance(error, OSError):
            raise InputError(
                f'{self.path} cannot be written ({error.strerror}): make room, or choose another '
                'folder.'
            ) from error


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _write_nifti(path: Path, voxels: np.ndarray, affine: np.ndarray) -> None:
    import nibabel as nib

    image = nib.Nifti1Image(voxels, affine)
    image.header.set_xyzt_units('mm')
    path.parent.mkdir(parents=True, exist_ok=True)
    # No time stamp inside: the same seed gives the same bytes
    path.write_bytes(gzip.compress(image.to_bytes(), 6, mtime=0))


def _write_json(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + '\n')
