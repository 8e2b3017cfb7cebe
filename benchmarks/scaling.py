"""What a cohort costs: finding its scans, planning, running, and what it leaves on disk.

``python benchmarks/scaling.py index [--subjects 5000]``
``python benchmarks/scaling.py plan [--subjects 1000]``
``python benchmarks/scaling.py cohort [--subjects 8] [--nprocs 2]``
``python benchmarks/scaling.py tiny [--subjects 1000] [--nprocs 2]``

*index*: one subject's scans among many, beside the same among one. *plan*: ``--dry-run`` of all,
with the most memory of the process. *cohort*: simulated rats of usual size, side by side, against
each by itself with one thread: the ratio of the wall to their sum over the processes. *tiny*:
heads of 24 × 24 × 3, so that what is measured is all that is not computing.
"""

import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np

from secondglance.files.bids import find_scans

COMMAND = [sys.executable, '-m', 'secondglance.workflows']


def tiny_study(folder: Path, n: int) -> None:
    """Write a data set of `n` heads that are nearly nothing."""
    rng = np.random.default_rng(0)
    voxels = np.zeros((24, 24, 3), np.float32)
    voxels[6:18, 6:18] = rng.gamma(4.0, 20.0, (12, 12, 3))
    affine = np.diag([0.5, 0.5, 1.0, 1])
    source = folder / 'source.nii'
    nib.save(nib.Nifti1Image(voxels, affine), source)
    for number in range(n):
        target = folder / f'sub-{number:05d}' / 'dwi'
        target.mkdir(parents=True)
        os.link(source, target / f'sub-{number:05d}_dwi.nii')
    (folder / 'dataset_description.json').write_text('{"Name": "tiny", "BIDSVersion": "1.10.0"}')


def timed(options, **more):
    """Seconds, and what was printed."""
    start = time.perf_counter()
    done = subprocess.run([*COMMAND, *options], capture_output=True, text=True, **more)
    if done.returncode:
        sys.exit(done.stderr)
    return time.perf_counter() - start, done.stderr


def count(folder: Path) -> tuple[int, float]:
    """Files and folders, and megabytes."""
    found = [*folder.rglob('*')]
    return len(found), sum(p.stat().st_size for p in found if p.is_file()) / 1e6


def index(args, folder):
    for n in (1, args.subjects):
        study = folder / str(n)
        study.mkdir()
        tiny_study(study, n)
        start = time.perf_counter()
        find_scans(study, '00000')
        print(f'sub-00000 of {n}: {1000 * (time.perf_counter() - start):.1f} ms')


def plan(args, folder):
    tiny_study(folder, args.subjects)
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    seconds, told = timed(['--subject', 'all', '--bids-dir', str(folder), '--dry-run'], cwd=folder)
    most = max(before, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1e6
    print(told.splitlines()[-1])
    print(f'{seconds:.1f} s, {most:.2f} GB at most')


def cohort(args, folder):
    study = folder / 'study'
    subprocess.run(
        [*COMMAND, 'simulate', '--output', str(study), '--subjects', str(args.subjects)],
        check=True,
        capture_output=True,
    )
    shutil.rmtree(study / 'derivatives')
    common = ['--bids-dir', str(study), '--nprocs']
    places = ['--output-dir', str(folder / 'together'), '--work-dir', str(folder / 'work')]
    wall, _ = timed(['--subject', 'all', *common, str(args.nprocs), *places])
    alone = []
    one_thread = {**os.environ, 'SLURM_CPUS_PER_TASK': '1'}
    for number, subject in enumerate(sorted(p.name for p in study.glob('sub-*'))):
        places = ['--output-dir', str(folder / 'alone'), '--work-dir', str(folder / f'w{number}')]
        _, told = timed(['--subject', subject, *common, '1', *places], env=one_thread)
        alone.append(float(re.search(r'\(([\d.]+) s\)', told)[1]))
    print(f'{args.subjects} rats, {args.nprocs} at a time: {wall:.1f} s')
    print(f'each by itself, one thread, its start not counted: {np.mean(alone):.1f} s on average')
    print(f'wall / (sum / {args.nprocs}): {wall / (sum(alone) / args.nprocs):.2f}')
    for name in ('work', 'together'):
        files, size = count(folder / name)
        print(f'{name}: {files / args.subjects:.0f} files, {size / args.subjects:.1f} MB a rat')
    start = time.perf_counter()
    places = ['--output-dir', str(folder / 'together'), '--work-dir', str(folder / 'work')]
    timed(['--subject', 'all', *common, str(args.nprocs), *places])
    print(f'the same again, all finished: {time.perf_counter() - start:.1f} s')


def tiny(args, folder):
    study = folder / 'study'
    study.mkdir()
    tiny_study(study, args.subjects)
    places = ['--output-dir', str(folder / 'out'), '--work-dir', str(folder / 'work')]
    call = ['--subject', 'all', '--bids-dir', str(study), '--motion', 'none', '--clean']
    call += ['--nprocs', str(args.nprocs), *places]
    seconds, told = timed(call)
    print(next(line for line in told.splitlines() if ' done, ' in line))
    print(f'{seconds:.1f} s, {seconds / args.subjects * args.nprocs:.2f} s a scan and process')
    for name in ('work', 'out'):
        files, size = count(folder / name)
        print(f'{name}: {files / args.subjects:.1f} files, {size / args.subjects:.2f} MB a scan')
    print(f'again, all finished: {timed(call)[0]:.1f} s')


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('what', choices=('index', 'plan', 'cohort', 'tiny'))
    parser.add_argument('--subjects', type=int)
    parser.add_argument('--nprocs', type=int, default=2)
    args = parser.parse_args()
    defaults = {'index': 5000, 'plan': 1000, 'cohort': 8, 'tiny': 1000}
    args.subjects = args.subjects or defaults[args.what]
    with tempfile.TemporaryDirectory() as scratch:
        globals()[args.what](args, Path(scratch))


if __name__ == '__main__':
    main()
