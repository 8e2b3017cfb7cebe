"""How long the whole command takes: cold, cached, and what of it is motion correction.

``python benchmarks/speed.py [--repeats 3]``

Each row is a whole process, as a user waits for it; beside it stands the floor, a process that
imports the engine and the network's library and does nothing. Ratios are to that floor.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
IMPORTS = 'import torch, nibabel, scipy.ndimage, nipype.pipeline.engine'


def timed(command, folder):
    """Seconds of wall clock that a command takes."""
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - start


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--repeats', type=int, default=3)
    repeats = parser.parse_args().repeats
    rows: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        run = [sys.executable, str(ROOT / 'workflows.py'), '--subject', 'sub-01']
        subprocess.run(run, cwd=folder, check=True, capture_output=True)  # makes the example
        for _ in range(repeats):
            for name, options, keep in (
                ('cold', [], ()),
                ('cached', [], ('work', 'out')),
                ('cold, --motion none', ['--motion', 'none'], ()),
                ('cold, --nprocs 2', ['--nprocs', '2'], ()),
            ):
                for there in {'work', 'out'} - set(keep):
                    shutil.rmtree(folder / there, ignore_errors=True)
                rows.setdefault(name, []).append(timed([*run, *options], folder))
            rows.setdefault('floor: imports', []).append(
                timed([sys.executable, '-c', IMPORTS], folder)
            )
    floor = median(rows['floor: imports'])
    print(f'{"":<24}{"median s":>10}{"least":>8}{"most":>8}{"× floor":>9}')
    for name, seconds in rows.items():
        row = f'{median(seconds):>10.1f}{min(seconds):>8.1f}{max(seconds):>8.1f}'
        print(f'{name:<24}{row}{median(seconds) / floor:>9.1f}')


if __name__ == '__main__':
    main()
