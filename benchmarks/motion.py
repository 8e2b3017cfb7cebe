"""Motion correction: what is left of a known motion, and how long each engine takes.

Prints a table. Run it from anywhere: ``python benchmarks/motion.py --rats 2 --threads 2``; MCFLIRT
is measured too where ``FSLDIR`` has it.
"""

import argparse
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np

from secondglance.imaging.motion import estimate_motion, residual_displacement
from secondglance.interfaces.mcflirt import mcflirt_matrices, mcflirt_path
from secondglance.simulation.atlas import read_maps
from secondglance.simulation.diffusion import draw_motion, simulate_dwi
from secondglance.simulation.whole_head import simulate_head

N_VOLUMES = 12


def moving_rat(rng: np.random.Generator, mm: float, deg: float, snr: float):
    """Simulate b0 volumes of a rat that moves; return them, the head and the true matrices."""
    head = simulate_head(*read_maps(), rng)
    motion = draw_motion(N_VOLUMES, rng, head.affine, mm=mm, deg=deg)
    series = simulate_dwi(
        head, rng, np.zeros(N_VOLUMES), np.zeros((3, N_VOLUMES)), motion, snr=snr
    )
    return series, head, motion


def _none(series, affine, n_threads):
    return np.tile(np.eye(4), (series.shape[3], 1, 1)), 0


def _sitk(series, affine, n_threads):
    return estimate_motion(series, affine, n_threads=n_threads)


def _fsl(series, affine, n_threads):
    with tempfile.TemporaryDirectory() as folder:
        matrices, reference, _ = mcflirt_matrices(series, affine, Path(folder))
    return matrices, reference


def main() -> None:
    """Measure every engine that is there on simulated rats."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rats', type=int, default=2, help='how many are simulated')
    parser.add_argument('--threads', type=int, default=2, help='of the embedded engine')
    parser.add_argument('--mm', type=float, default=0.35, help='sd of each translation')
    parser.add_argument('--deg', type=float, default=1.2, help='sd of each rotation')
    parser.add_argument('--snr', type=float, default=25.0, help='of grey matter')
    args = parser.parse_args()
    engines = {'none': _none, 'sitk': _sitk}
    if mcflirt_path():
        engines['fsl'] = _fsl
    print('rat  engine  mean mm  worst volume mm  s a volume')
    for rat in range(args.rats):
        rng = np.random.default_rng(rat)
        series, head, motion = moving_rat(rng, args.mm, args.deg, args.snr)
        brain = nib.affines.apply_affine(head.affine, np.argwhere(head.brain_mask))
        for name, engine in engines.items():
            start = time.perf_counter()
            matrices, reference = engine(series, head.affine, args.threads)
            seconds = (time.perf_counter() - start) / N_VOLUMES
            truth = np.linalg.inv(motion[reference]) @ motion
            left = np.delete(residual_displacement(matrices, truth, brain), reference)
            print(f'{rat:3d}  {name:6s}  {left.mean():7.4f}  {left.max():15.4f}  {seconds:10.3f}')


if __name__ == '__main__':
    main()
