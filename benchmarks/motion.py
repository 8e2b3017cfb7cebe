"""Motion correction: what is left of a known motion, and how long each engine takes.

Prints a table, and with ``--write`` puts its means into docs/performance.md. Run it from anywhere:
``python benchmarks/motion.py --rats 2 --threads 2``; MCFLIRT is measured too where ``FSLDIR`` has
it, ANTs where antspyx is installed, and DIPY where it is. ``--muscle`` gives the heads muscle that
moves by itself. Seconds are those of all cores together, which a busy machine changes least.
"""

import argparse
import importlib.util
import itertools
import os
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.affines import from_matvec

from secondglance.imaging.motion import estimate_motion, residual_displacement
from secondglance.imaging.motion_correction import MotionEstimate, correct_motion
from secondglance.interfaces.mcflirt import mcflirt_in_region, mcflirt_on_head, mcflirt_path
from secondglance.models.brain_region import brain_region
from secondglance.models.pose import estimate_pose
from secondglance.models.weights import default_weights, load_weights
from secondglance.simulation.atlas import read_maps
from secondglance.simulation.diffusion import draw_motion, simulate_dwi
from secondglance.simulation.head_volume import simulate_head

N_VOLUMES = 8
PAGE = Path(__file__).resolve().parent.parent / 'docs' / 'performance.md'
HEADING = '## Motion correction beside other tools'


def moving_rat(rng: np.random.Generator, mm: float, deg: float, snr: float, muscle: float):
    """Simulate b0 volumes of a rat that moves; return them, the head and the true matrices.

    Muscle moves by `muscle` mm on average against the skull.
    """
    head = simulate_head(*read_maps(), rng)
    motion = draw_motion(N_VOLUMES, rng, head.affine, mm=mm, deg=deg)
    own = None
    if muscle:
        own = draw_motion(N_VOLUMES, rng, head.affine, mm=muscle / 1.8, deg=muscle)
    series = simulate_dwi(
        head, rng, np.zeros(N_VOLUMES), np.zeros((3, N_VOLUMES)), motion, snr=snr, muscle=own
    )
    return series, head, motion


def _none(series, affine, n_threads):
    return np.tile(np.eye(4), (series.shape[3], 1, 1)), 0


def _embedded(affine, n_threads):
    """The embedded engine, as `correct_motion` calls it."""

    def estimate(volumes, start, region):
        first, reference = (start.matrices, start.reference) if start else (None, None)
        return MotionEstimate(
            *estimate_motion(volumes, affine, reference, n_threads, region=region, start=first)
        )

    return estimate


def _mcflirt(affine, folder):
    """MCFLIRT, as `correct_motion` calls it."""

    def estimate(volumes, start, region):
        if start is None:
            return mcflirt_on_head(volumes, affine, folder)
        return mcflirt_in_region(volumes, affine, folder, start, region)

    return estimate


def _head(series, affine, n_threads):
    return estimate_motion(series, affine, n_threads=n_threads)


def _brain(series, affine, n_threads):
    return _by_brain(series, affine, _embedded(affine, n_threads))


def _by_brain(series, affine, estimate):
    """Motion as a run finds it: on the head, and again on the brain where that differs."""
    model = load_weights(default_weights())

    def find_brain(corrected):
        mean = corrected.mean(axis=3)
        return brain_region(model, mean, affine, estimate_pose(model, mean, affine))

    motion = correct_motion(series, affine, estimate, find_brain).motion
    return motion.matrices, motion.reference


def _fsl_head(series, affine, n_threads):
    with tempfile.TemporaryDirectory() as folder:
        found = mcflirt_on_head(series, affine, Path(folder))
    return found.matrices, found.reference


def _fsl_brain(series, affine, n_threads):
    with tempfile.TemporaryDirectory() as folder:
        return _by_brain(series, affine, _mcflirt(affine, Path(folder)))


def _ants(series, affine, n_threads):
    """ANTs' rigid registration of every volume with the first."""
    import ants

    flip = np.diag([-1.0, -1, 1, 1])
    matrices = [np.eye(4)]
    with tempfile.TemporaryDirectory() as folder:
        images = []
        for t in range(series.shape[3]):
            path = str(Path(folder) / f'{t}.nii.gz')
            nib.save(nib.Nifti1Image(series[..., t], affine), path)
            images.append(ants.image_read(path))
        for moving in images[1:]:
            found = ants.registration(
                images[0], moving, type_of_transform='Rigid', outprefix=f'{folder}/out'
            )
            transform = ants.read_transform(found['fwdtransforms'][0])
            turn = np.reshape(transform.parameters[:9], (3, 3))
            centre = np.array(transform.fixed_parameters)
            shift = transform.parameters[9:] + centre - turn @ centre
            matrices.append(np.linalg.inv(flip @ from_matvec(turn, shift) @ flip))
    return np.stack(matrices), 0


def _dipy(series, affine, n_threads):
    """DIPY's rigid registration of every volume with the first, by mutual information."""
    from dipy.align import register_series

    steps = ['center_of_mass', 'translation', 'rigid']
    _, pulls = register_series(nib.Nifti1Image(series, affine), ref=0, pipeline=steps)
    return np.linalg.inv(np.moveaxis(pulls, -1, 0)), 0


def core_seconds() -> float:
    """Seconds of all cores that this process, and those that it waited for, have used."""
    return sum(os.times()[:4])


def write(rows: list[tuple[float, str, float, float, float]], about: str) -> None:
    """Put the means over the rats into the page of time, a line an engine and motion of muscle."""
    table = [
        f'| {name} | {muscle:g} | {np.mean(left):.4f} | {max(most):.4f} | {np.mean(took):.2f} |'
        for (muscle, name), same in itertools.groupby(sorted(rows), key=lambda row: row[:2])
        for left, most, took in [zip(*(row[2:] for row in same), strict=True)]
    ]
    text = [
        HEADING,
        '',
        f'Written by `benchmarks/motion.py --write`: {about}. Left is the mean distance of the '
        'brain from where it belongs; *head* and *brain* are what motion is estimated on. '
        '*embedded, brain* is all that a run does: the network that finds the brain, resampling, '
        'and the comparison of the parts of a volume are in it. MCFLIRT is measured where FSL is.',
        '',
        '| engine | muscle moves by, mm | left, mm | worst volume, mm | core-seconds a volume |',
        '| --- | --- | --- | --- | --- |',
        *table,
    ]
    before, _, after = PAGE.read_text().partition(HEADING)
    _, mark, rest = after.partition('\n## ')
    PAGE.write_text('\n'.join([before.rstrip(), '', *text, mark.rstrip('#') + rest]))


def main() -> None:
    """Measure every engine that is there on simulated rats."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rats', type=int, default=2, help='how many are simulated')
    parser.add_argument('--threads', type=int, default=2, help='of the embedded engine')
    parser.add_argument('--mm', type=float, default=0.35, help='sd of each translation')
    parser.add_argument('--deg', type=float, default=1.2, help='sd of each rotation')
    parser.add_argument('--muscle', type=float, nargs='+', default=[0.0, 0.07, 0.31, 1.0])
    parser.add_argument('--snr', type=float, default=25.0, help='of grey matter')
    parser.add_argument('--write', action='store_true', help='to docs/performance.md')
    args = parser.parse_args()
    engines = {'none': _none, 'embedded, head': _head, 'embedded, brain': _brain}
    if mcflirt_path():
        engines |= {'MCFLIRT, head': _fsl_head, 'MCFLIRT, brain': _fsl_brain}
    if importlib.util.find_spec('ants'):
        engines['ANTs, head'] = _ants
    if importlib.util.find_spec('dipy'):
        engines['DIPY, head'] = _dipy
    rows = []
    print('rat  muscle mm  engine           mean mm  worst volume mm  core-s a volume')
    for muscle, rat in itertools.product(args.muscle, range(args.rats)):
        rng = np.random.default_rng(rat)
        series, head, motion = moving_rat(rng, args.mm, args.deg, args.snr, muscle)
        brain = nib.affines.apply_affine(head.affine, np.argwhere(head.brain_mask))
        for name, engine in engines.items():
            start = core_seconds()
            matrices, reference = engine(series, head.affine, args.threads)
            seconds = (core_seconds() - start) / N_VOLUMES
            truth = np.linalg.inv(motion[reference]) @ motion
            left = np.delete(residual_displacement(matrices, truth, brain), reference)
            print(
                f'{rat:3d}  {muscle:9.2f}  {name:15s}  {left.mean():7.4f}  {left.max():15.4f}  '
                f'{seconds:10.3f}',
                flush=True,
            )
            rows.append((muscle, name, left.mean(), left.max(), seconds))
    if args.write:
        about = (
            f'{args.rats} simulated rats, {N_VOLUMES} b0 volumes of '
            f'{" × ".join(map(str, series.shape[:3]))} each, SNR {args.snr:g}, '
            f'moved by {args.mm:g} mm and {args.deg:g}° (sd of each axis)'
        )
        write(rows, about)


if __name__ == '__main__':
    main()
