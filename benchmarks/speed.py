"""How long scans take, what of it is arithmetic, and how it grows; writes docs/performance.md.

``python benchmarks/speed.py [--quick] [--large] [--repeats 5] [--slices 10 40 …]``

Every row is a whole process, as a user waits for it. Beside it stands the floor, measured in the
same minutes: a process that imports torch and Nipype, and runs the networks once on as many
slices as the example has, without files, graph or report. ``--quick`` measures once and leaves
out growth; ``--large`` adds 200 volumes of 128 × 128 × 60, which takes long. ``--scans``,
``--slices``, ``--matrix`` and ``--volumes`` choose sizes; with none after it, one is left out.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from statistics import mean, median
from typing import NamedTuple

import nibabel as nib
import numpy as np
from scipy import ndimage

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / 'docs' / 'performance.md'
PICTURE = ROOT / 'docs' / 'performance.png'
COMMAND = [sys.executable, str(ROOT / 'workflows.py')]
CORES = len(os.sched_getaffinity(0))

IMPORTS = 'import torch, numpy, nibabel, scipy.ndimage, nipype.pipeline.engine\n'
NETWORKS = f"""
import time
import torch
from secondglance.models.saliency.attribution import saliency
from secondglance.models.weights import *
torch.set_num_threads({CORES})
first = load_weights(default_weights()).{{form}}
refinement = load_weights(default_refinement(), form=REFINEMENT).{{form}}
second = load_weights(default_second_glance(), form=SECOND_GLANCE).{{form}}
n = {{slices}}
start = time.perf_counter()
for low in range(0, n, 8):
    saliency(first, torch.rand(min(8, n - low), 1, {{first}}))
    with torch.no_grad():
        refinement(torch.rand(min(8, n - low), 14, {{first}}))
        for mirrored in range(2):
            second(torch.rand(min(8, n - low), 13, {{second}}))
print(time.perf_counter() - start)
"""
AT_ONCE = 'import os; os._exit(0)\n'
SIZES = {'slices': 40, 'first': '96, 96', 'second': '96, 80'}
"""Of the example: slices, and their pixels as the networks of the two glances see them."""

SIZES_OF_GROWTH = {
    'scans': [1, 2, 8, 32],
    'slices': [10, 40, 160, 400],
    'matrix': [64, 128, 256],
    'volumes': [1, 10, 50, 200],
}

LARGE = '200 volumes of 128 × 128 × 60'

NAMES = {
    'motion_correction': 'motion correction',
    'pose': 'species and orientation',
    'first_glance': 'first glance and saliency',
    'enhance': 'enhancement, log-normal fit',
    'donor_saliency': 'saliency of the donors',
    'place': 'matching of slices, placement',
    'refine': 'refinement of the mask',
    'brain': 'mask, confidence',
    'look_again': 'second glance, regions, transform',
    'metrics': 'metrics against the reference',
    'report': 'report',
    'publish': 'derivatives',
}
"""Stages by the names of their nodes; all others together are ``other``."""


class Run(NamedTuple):
    """What a process took: seconds of wall clock, of all cores together, and most memory, GB."""

    wall: float
    cpu: float
    memory: float


def run(command: Sequence[str], folder: Path, **environment: str) -> Run:
    """Run a command to its end, and measure it."""
    start = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(
            command,
            cwd=folder,
            stdout=said,
            stderr=subprocess.STDOUT,
            # What is installed is compiled, and so is a checkout from its first call on
            env={
                **os.environ,
                'MPLBACKEND': 'Agg',
                'PYTHONDONTWRITEBYTECODE': '',
                **environment,
            },
        )
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - start
        if child.returncode:
            said.seek(0)
            sys.exit(said.read().decode())
    return Run(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e6)


def segment(folder: Path, *options: str, fresh: bool = True) -> Run:
    """Run ``secondglance run`` in a folder; its cache and results are removed first."""
    if fresh:
        for name in ('work', 'out'):
            shutil.rmtree(folder / name, ignore_errors=True)
    return run([*COMMAND, *options, '-o', 'out', '-w', 'work'], folder)


def single(folder: Path, repeats: int) -> dict[str, list[Run]]:
    """Measure the example: cold, without motion correction, cached, help, and the floor."""
    rows: dict[str, list[Run]] = {}
    example = ('--subject', 'sub-01')
    networks = {form: NETWORKS.format(**SIZES, form=form) for form in ('net', 'quick')}
    segment(folder, *example)  # makes the data set, and fills the system's cache of files
    steps: dict[str, Callable[[], Run]] = {
        'floor': lambda: run([sys.executable, '-c', IMPORTS + networks['net']], folder),
        'floor, networks in their quick form': lambda: run(
            [sys.executable, '-c', IMPORTS + networks['quick'] + AT_ONCE], folder
        ),
        'imports alone': lambda: run([sys.executable, '-c', IMPORTS], folder),
        'cold, without motion correction': lambda: segment(folder, *example, '--motion', 'none'),
        'cold, `--nprocs 2`': lambda: segment(folder, *example, '--nprocs', '2'),
        'cold': lambda: segment(folder, *example),
        'cached': lambda: segment(folder, *example, fresh=False),
        '`--help`': lambda: run([*COMMAND, '--help'], folder),
    }
    for _ in range(repeats):
        for name, step in steps.items():
            rows.setdefault(name, []).append(step())
            print(f'{name:<34}{rows[name][-1].wall:>8.2f} s', flush=True)
    return rows


def stages(folder: Path) -> dict[str, float]:
    """Read what each stage of the last run took, s, from the engine's records."""
    from nipype.utils.filemanip import loadpkl

    found: dict[str, float] = {}
    for path in (folder / 'work').rglob('result_*.pklz'):
        took = getattr(loadpkl(path).runtime, 'duration', None)
        node = path.parent.name.lstrip('_').rstrip('0123456789')
        name = NAMES.get(node, 'other')
        if took is not None:
            found[name] = found.get(name, 0) + took
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def residual(folder: Path) -> float:
    """Mean distance of the example's b0 volumes from where they belong, mm, over the brain."""
    from secondglance.imaging.motion import residual_displacement

    truth = folder / 'example/derivatives/reference/sub-01/dwi'
    known = json.loads((truth / 'sub-01_desc-motion_xfm.json').read_text())['matrices']
    mask = nib.load(truth / 'sub-01_desc-brain_mask.nii.gz')
    points = nib.affines.apply_affine(mask.affine, np.argwhere(np.asarray(mask.dataobj) > 0))
    (path,) = (folder / 'out').rglob('*desc-hmc_xfm.json')
    told = json.loads(path.read_text())
    volumes = told['volumes']
    found = np.array(told['matrices'])
    # Both to the reference that was found
    reference = np.linalg.inv(np.array(known)[told['reference']])
    expected = np.array([reference @ np.array(known)[volume] for volume in volumes])
    return float(np.mean(residual_displacement(found, expected, points)))


def cohort(folder: Path, sizes: Sequence[int]) -> tuple[dict[int, Run], float]:
    """Measure cohorts of simulated rats, as many side by side as there are cores.

    Returns them, and what the stages of a scan take in the largest, s, on a core of its own.
    """
    study = folder / 'study'
    simulate = [*COMMAND, 'simulate', '--output', str(study), '--subjects', str(max(sizes))]
    run(simulate, folder)
    subjects = sorted(path.name for path in study.glob('sub-*'))
    found = {}
    for size in sorted(sizes):
        found[size] = segment(
            folder, '--bids-dir', str(study), '--subject', *subjects[:size], '--nprocs', str(CORES)
        )
        print(f'{size} scans {found[size].wall:.1f} s', flush=True)
    return found, sum(stages(folder).values()) / max(sizes)


def scan(folder: Path, slices: int, matrix: int, volumes: int) -> Path:
    """Write a series with the example's head, resampled to other numbers of voxels."""
    image = nib.load(folder / 'example/sub-01/dwi/sub-01_dwi.nii.gz')
    voxels = np.asarray(image.dataobj[..., 0], np.float32)
    shape = (matrix, matrix, slices)
    factors = np.array(shape) / voxels.shape
    head = ndimage.zoom(voxels, factors, order=1)
    affine = image.affine @ np.diag([*(1 / factors), 1])
    rng = np.random.default_rng(0)
    path = folder / 'growth_dwi.nii'
    series = np.empty((*shape, volumes), np.int16)
    for t in range(volumes):
        moved = ndimage.shift(head, rng.normal(0, 0.3, 3), order=1, mode='nearest')
        series[..., t] = moved + rng.normal(0, 0.02 * head.max(), shape)
    nib.save(nib.Nifti1Image(series, affine), path)
    return path


def growth(folder: Path, sizes: dict[str, list[int]], large: bool) -> dict[str, dict[int, Run]]:
    """Measure how time and memory grow with slices, matrix and volumes."""
    found: dict[str, dict[int, Run]] = {}
    plan: list[tuple[str, int, tuple[int, int, int]]] = [
        *(('slices', n, (n, 64, 1)) for n in sizes['slices']),
        *(('matrix', n, (40, n, 1)) for n in sizes['matrix']),
        *(('volumes', n, (40, 64, n)) for n in sizes['volumes']),
        *(((LARGE, 200, (60, 128, 200)),) if large else ()),
    ]
    for name, n, size in plan:
        path = scan(folder, *size)
        found.setdefault(name, {})[n] = segment(folder, str(path), '--all-b0')
        path.unlink()
        print(f'{name} {n}: {found[name][n].wall:.1f} s', flush=True)
    return found


def draw(told: dict[str, dict[int, Run]], took: dict[str, float]) -> None:
    """Draw stages, and growth."""
    from matplotlib import pyplot as plt

    told = {name: runs for name, runs in told.items() if len(runs) > 1}
    figure, axes = plt.subplots(1, 1 + len(told), figsize=(3.2 * (1 + len(told)), 3.4))
    axes = np.atleast_1d(axes)
    axes[0].barh(list(took)[::-1], list(took.values())[::-1], color='0.4')
    axes[0].set_xlabel('s, example')
    for axis, (name, runs) in zip(axes[1:], told.items(), strict=True):
        axis.plot(list(runs), [one.wall for one in runs.values()], 'o-', color='k')
        axis.set(xlabel=name, ylabel='s', xlim=(0, None), ylim=(0, None))
    figure.tight_layout()
    figure.savefig(PICTURE, dpi=90)


def spread(runs: Sequence[Run]) -> str:
    """Median, least and most of the wall clock, s."""
    walls = [one.wall for one in runs]
    return f'{median(walls):.2f} | {min(walls):.2f} to {max(walls):.2f}'


def bars(
    rows: dict[str, list[Run]],
    cohorts: dict[int, Run],
    of_a_scan: float,
    told: dict[str, dict[int, Run]],
    left: float,
) -> list[tuple[str, str, str, bool]]:
    """Compare with what is aimed at: what, aim, measured, whether it is reached."""
    wall = {name: median(one.wall for one in runs) for name, runs in rows.items()}
    memory = max(one.memory for one in rows['cold'])
    found = [
        ('cold ÷ floor', 2.0, wall['cold'] / wall['floor']),
        (
            'cold without motion correction ÷ floor',
            1.6,
            wall['cold, without motion correction'] / wall['floor'],
        ),
        ('cached, s', 0.9, wall['cached']),
        ('`--help`, s', 0.1, wall['`--help`']),
        ('memory of the example, GB', 0.8, memory),
        ('motion left, mm', 0.01, left),
    ]
    if len(cohorts) > 1:
        least, most = min(cohorts), max(cohorts)
        further = (cohorts[most].wall - cohorts[least].wall) / (most - least) * CORES
        found.append(('a further scan of a cohort ÷ its stages', 1.3, further / of_a_scan))
    if LARGE in told:
        (most_memory,) = (one.memory for one in told[LARGE].values())
        found.append((f'memory of {LARGE}, GB', 4.0, most_memory))
    volumes = told.get('volumes', {})
    if len(volumes) > 1:
        few, many = min(volumes), max(volumes)
        each = (volumes[many].wall - volumes[few].wall) / (many - few)
        found.append(('a further volume of 64 × 64 × 40, s', 0.25, each))
    return [(name, f'{aim:g}', f'{value:.3g}', value <= aim) for name, aim, value in found]


def page(
    rows: dict[str, list[Run]],
    took: dict[str, float],
    cohorts: dict[int, Run],
    of_a_scan: float,
    told: dict[str, dict[int, Run]],
    left: float,
) -> str:
    """Compose docs/performance.md."""
    versions = ', '.join(f'{n} {metadata.version(n)}' for n in ('torch', 'nipype', 'numpy'))
    load = os.getloadavg()[0]
    floor = median(one.wall for one in rows['floor'])
    least = median(one.cpu for one in rows['floor'])
    lines = [
        '# Time and memory',
        '',
        f'Written by `benchmarks/speed.py` (`make bench`) on {CORES} cores ({processor()}), no '
        f'GPU; Python {platform.python_version()}, {versions}. Medians of '
        f'{len(rows["cold"])}; load average at the end {load:.1f}.',
        '',
        'The *floor* is a process that imports torch and Nipype and runs the networks on as many '
        'slices as the example has: forward and guided backward of the first glance, refinement, '
        'and the second glance with its mirror image. It reads no scan and writes nothing. '
        'Below it the same with the networks as a scan runs them (batch normalisation folded, '
        'channels side by side), ended without unloading libraries, as a call ends.',
        '',
        'On a busy machine core-seconds say more than the clock. Memory leaves out that of stages '
        'which run in processes of their own.',
        '',
        '| a process | s | least to most | ÷ floor | core-seconds | ÷ floor | memory, GB |',
        '| --- | --- | --- | --- | --- | --- | --- |',
    ]
    for name, runs in rows.items():
        ratio = median(one.wall for one in runs) / floor
        cpu, memory = median(one.cpu for one in runs), max(one.memory for one in runs)
        cells = (spread(runs), f'{ratio:.2f}', f'{cpu:.2f}', f'{cpu / least:.2f}', f'{memory:.2f}')
        lines.append(f'| {name} | {" | ".join(cells)} |')
    lines += ['', '| aim | at most | measured | |', '| --- | --- | --- | --- |']
    for name, aim, value, reached in bars(rows, cohorts, of_a_scan, told, left):
        lines.append(f'| {name} | {aim} | {value} | {"reached" if reached else "not reached"} |')
    lines += ['', '## Stages', '', '| of a cold run | s |', '| --- | --- |']
    lines += [f'| {name} | {seconds:.2f} |' for name, seconds in took.items()]
    rest = mean(one.wall for one in rows['cold']) - sum(took.values())
    lines += [f'| imports, graph, cache, progress | {rest:.2f} |']
    if told:
        lines += ['', '![Stages and growth](performance.png)']
    if cohorts:
        lines += [
            '',
            '## Cohorts',
            '',
            f'Simulated rats of 64 × 64 × 40 with four b0 volumes, {CORES} at a time. Processes '
            'stay and are warm after their first scan; libraries are imported once for all. Of a '
            f'scan, whose process has one core, the stages take {of_a_scan:.1f} s in the largest.',
            '',
            '| scans | s | s a scan and process |',
            '| --- | --- | --- |',
        ]
    for size, one in cohorts.items():
        each = one.wall / size * min(CORES, size)
        lines.append(f'| {size} | {one.wall:.1f} | {each:.1f} |')
    if told:
        lines += ['', '## Growth', '']
        lines += ['| | | s | core-seconds | memory, GB |', '| --- | --- | --- | --- | --- |']
        for name, runs in told.items():
            for n, one in runs.items():
                lines.append(
                    f'| {name} | {n} | {one.wall:.1f} | {one.cpu:.1f} | {one.memory:.2f} |'
                )
        lines += [
            '',
            'One thing grows at a time from one volume of 64 × 64 × 40. Networks see pixels of '
            'one size, so a larger matrix costs resampling and files, not networks.',
        ]
    # What is written by hand stays
    _, mark, kept = PAGE.read_text().partition('## Large studies')
    return '\n'.join([*lines, '', mark + kept])


def processor() -> str:
    """Name of the processor."""
    for line in Path('/proc/cpuinfo').read_text().splitlines():
        if line.startswith('model name'):
            return line.partition(':')[2].strip()
    return platform.machine()


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--quick', action='store_true')
    parser.add_argument('--large', action='store_true')
    parser.add_argument('--repeats', type=int, default=5)
    for name, usual in SIZES_OF_GROWTH.items():
        parser.add_argument(f'--{name}', type=int, nargs='*', default=usual)
    args = parser.parse_args()
    if args.quick:
        args.repeats, args.scans = 1, [2, 4]
        args.slices = args.matrix = args.volumes = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        rows = single(folder, args.repeats)
        segment(folder, '--subject', 'sub-01')
        took, left = stages(folder), residual(folder)
        cohorts, of_a_scan = cohort(folder, args.scans) if args.scans else ({}, 0.0)
        told = growth(folder, vars(args), args.large)
    text = page(rows, took, cohorts, of_a_scan, told, left)
    PAGE.write_text(text)
    if told:
        draw(told, took)
    print(text)


if __name__ == '__main__':
    main()
